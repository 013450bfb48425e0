"""Camera paths from files: TUM trajectories, transforms.json, and plain lists of poses in JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import FormatError
from recon3d.core.files import read_capped
from recon3d.formats.parsing import json_array, json_field, json_int, parse_json
from recon3d.formats.transforms import parse_transforms
from recon3d.formats.tum import parse_tum
from recon3d.render.cameras import Cameras
from recon3d.render.trajectories import framed

MAX_FILE_BYTES = 1 << 28


def read_path_file(path: Path, size: tuple[int, int], focal: float) -> Cameras:
    """Return the cameras of a trajectory file, pinhole, in the order of the file.

    Args:
        path: a TUM trajectory (``timestamp tx ty tz qx qy qz qw``, world_from_cam, OpenCV camera axes), a
            transforms.json of nerfstudio, or JSON with ``cam_from_world`` (a list of 4x4 matrices) and optionally
            ``K`` (one 3x3 matrix per pose or one for all), ``width`` and ``height`` in pixels.
        size: width and height in pixels for files without intrinsics.
        focal: focal length as a share of the diagonal of the frame for files without intrinsics.

    Returns:
        One camera per pose, at least one; those with intrinsics have the size that the file states.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not valid, or holds no pose.
    """
    data = read_capped(path, MAX_FILE_BYTES)
    if path.suffix.lower() == ".json":
        cameras = _from_json(data, str(path), size, focal)
    else:
        cameras = _framed(np.linalg.inv(parse_tum(data, str(path)).world_from_cam), size, focal)
    if not len(cameras):
        raise FormatError(f"{path} holds no pose")
    return cameras


def _framed(poses: Float64[np.ndarray, "n 4 4"], size: tuple[int, int], focal: float) -> Cameras:
    return framed(poses, np.full(len(poses), focal), size)


def _from_json(data: bytes, name: str, size: tuple[int, int], focal: float) -> Cameras:
    value = parse_json(data, name)
    if "frames" in value:
        found = parse_transforms(data, name)
        return Cameras(found.cam_from_world, found.K, found.width, found.height)
    rows = json_field(value, "cam_from_world", list, name)
    poses = json_array(rows, (len(rows), 4, 4), f"{name}: cam_from_world")
    for index, pose in enumerate(poses):
        _check_rigid(pose, f"{name}: pose {index}")
    return _with_intrinsics(poses, value, name) if "K" in value else _framed(poses, size, focal)


def _with_intrinsics(poses: Float64[np.ndarray, "n 4 4"], value: dict[str, Any], name: str) -> Cameras:
    n, rows = len(poses), json_field(value, "K", list, name)
    is_shared = len(rows) == 3 and isinstance(rows[0], list) and rows[0] and not isinstance(rows[0][0], list)
    K = json_array(rows, (3, 3) if is_shared else (n, 3, 3), f"{name}: K")
    K = np.broadcast_to(K, (n, 3, 3)).copy()
    skew, last = K[:, (0, 1), (1, 0)], K[:, 2] - [0, 0, 1]
    if not ((K[:, (0, 1), (0, 1)] > 0).all() and max(np.abs(skew).max(initial=0), np.abs(last).max(initial=0)) < 1e-9):
        expected = "positive focal lengths, no skew, last row 0 0 1"
        raise FormatError(f"{name}: K is no intrinsic matrix of a pinhole camera", expected=expected)
    width, height = (json_int(value, side, name, 1) for side in ("width", "height"))
    return Cameras(poses, K, np.full(n, width, np.int64), np.full(n, height, np.int64))


def _check_rigid(pose: Float64[np.ndarray, "4 4"], where: str) -> None:
    rotation = pose[:3, :3]
    orthonormal = np.abs(rotation).max() < 2 and np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
    if not orthonormal or np.linalg.det(rotation) < 0 or np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-9:
        raise FormatError(f"{where} is not rigid", got=pose.tolist(), expected="a rotation and a translation")
