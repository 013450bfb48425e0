"""transforms.json of nerfstudio and instant-ngp: one pinhole camera per frame with OpenCV distortion.

A frame's ``transform_matrix`` is world_from_cam with OpenGL camera axes (x right, y up, z backward); the world is kept.
Pixel centres lie at half-integers there as here, so intrinsics are taken over unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.errors import FormatError
from recon3d.core.files import read_capped, write_json
from recon3d.formats.parsing import json_array, json_field, json_int, json_number, parse_json

MAX_FILE_BYTES = 1 << 28
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # between OpenCV and OpenGL camera axes, its own inverse
_DISTORTION = ("k1", "k2", "p1", "p2")
_UNSUPPORTED = ("k3", "k4", "k5", "k6")
_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")


@dataclass(frozen=True, eq=False)
class Transforms:
    """The frames of a transforms.json, in OpenCV camera axes.

    Args:
        names: ``file_path`` of each frame.
        cam_from_world: poses, ``[n,4,4]``.
        K: intrinsics in pixels, ``[n,3,3]``.
        width: pixels, ``[n]``.
        height: pixels, ``[n]``.
        distortion: ``k1 k2 p1 p2``, ``[n,4]``.
        applied_transform: what the writer applied to its own world before it wrote the poses, ``[3,4]`` (nerfstudio);
            it is handed on, not undone: poses are in the world of the file, like its point cloud. None = absent.
        ply_file_path: the file's point cloud in the same world, empty = absent.
    """

    names: tuple[str, ...]
    cam_from_world: Float64[np.ndarray, "n 4 4"]
    K: Float64[np.ndarray, "n 3 3"]
    width: Int64[np.ndarray, " n"]
    height: Int64[np.ndarray, " n"]
    distortion: Float64[np.ndarray, "n 4"]
    applied_transform: Float64[np.ndarray, "3 4"] | None = None
    ply_file_path: str = ""


def write_transforms(path: Path, transforms: Transforms) -> None:
    """Write a transforms.json with intrinsics per frame, atomically.

    Args:
        path: the file.
        transforms: what to write; the poses are rigid.
    """
    value: dict[str, Any] = {"camera_model": "OPENCV", "frames": _frames(transforms)}
    if transforms.applied_transform is not None:
        value["applied_transform"] = transforms.applied_transform.tolist()
    if transforms.ply_file_path:
        value["ply_file_path"] = transforms.ply_file_path
    write_json(path, value)


def _frames(transforms: Transforms) -> list[dict[str, Any]]:
    frames = []
    for index, name in enumerate(transforms.names):
        K = transforms.K[index]
        numbers = [K[0, 0], K[1, 1], K[0, 2], K[1, 2], *transforms.distortion[index]]
        fields = dict(zip(("fl_x", "fl_y", "cx", "cy", *_DISTORTION), map(float, numbers), strict=True))
        fields |= {"w": int(transforms.width[index]), "h": int(transforms.height[index])}
        matrix = _inverse(transforms.cam_from_world[index]) @ _OPENGL
        frames.append({"file_path": name, "transform_matrix": matrix.tolist(), **fields})
    return frames


def _inverse(pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def read_transforms(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Transforms:
    """Read a transforms.json; intrinsics stand per frame or once for all.

    Args:
        path: the file.
        max_bytes: longest file that is read.

    Returns:
        Its frames in OpenCV camera axes and in the world of the file.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not valid, or its lens model is not supported (fisheye, more than ``k1 k2 p1 p2``).
    """
    return parse_transforms(read_capped(path, max_bytes), str(path))


def parse_transforms(data: bytes, name: str = "transforms.json") -> Transforms:
    """Read the bytes of a transforms.json; see :func:`read_transforms`.

    Raises:
        FormatError: they are not valid.
    """
    top = parse_json(data, name)
    frames = json_field(top, "frames", list, name)
    merged = [_merged(top, frame, f"{name}: frame {index}") for index, frame in enumerate(frames)]
    wheres = [f"{name}: frame {index}" for index in range(len(frames))]
    names = tuple(json_field(frame, "file_path", str, where) for frame, where in zip(merged, wheres, strict=True))
    poses = [_pose(frame, where) for frame, where in zip(merged, wheres, strict=True)]
    lenses = [_intrinsics(frame, where) for frame, where in zip(merged, wheres, strict=True)]
    applied = json_field(top, "applied_transform", list, name, None)
    return Transforms(
        names,
        np.array(poses, np.float64).reshape(-1, 4, 4),
        np.array([each[0] for each in lenses], np.float64).reshape(-1, 3, 3),
        np.array([each[1][0] for each in lenses], np.int64),
        np.array([each[1][1] for each in lenses], np.int64),
        np.array([each[2] for each in lenses], np.float64).reshape(-1, 4),
        None if applied is None else json_array(applied, (3, 4), f"{name}: applied_transform"),
        json_field(top, "ply_file_path", str, name, ""),
    )


def _merged(top: Mapping[str, Any], frame: Any, where: str) -> dict[str, Any]:
    json_field({"frame": frame}, "frame", dict, where)
    return {**{key: value for key, value in top.items() if key != "frames"}, **frame}


def _pose(frame: Mapping[str, Any], where: str) -> Float64[np.ndarray, "4 4"]:
    rows = json_field(frame, "transform_matrix", list, where)
    matrix = np.eye(4)
    matrix[: 3 if len(rows) == 3 else 4] = json_array(rows, (3 if len(rows) == 3 else 4, 4), f"{where}: matrix")
    rotation = matrix[:3, :3]
    rigid = np.abs(rotation).max() < 2 and np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
    if not rigid or np.linalg.det(rotation) < 0 or not np.allclose(matrix[3], [0, 0, 0, 1]):
        expected = "a rotation and a translation (no scale, no mirror)"
        raise FormatError(f"{where}: transform_matrix is not rigid", got=matrix.tolist(), expected=expected)
    u, _, vt = np.linalg.svd(rotation)
    exact = np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-9
    matrix[:3, :3] = rotation if exact else u @ vt  # rounded digits in the file must not shear the camera
    return _inverse(matrix @ _OPENGL)


def _intrinsics(
    frame: Mapping[str, Any], where: str
) -> tuple[Float64[np.ndarray, "3 3"], tuple[int, int], list[float]]:
    width, height = json_int(frame, "w", where, 1), json_int(frame, "h", where, 1)
    model = json_field(frame, "camera_model", str, where, "OPENCV")
    further = [key for key in _UNSUPPORTED if key in frame and json_number(frame, key, where) != 0]
    fisheye = json_field(frame, "is_fisheye", bool, where, False)
    if model not in _MODELS or further or fisheye:
        got = f"{model}, {further or 'fisheye' if fisheye or further else ''}"
        raise FormatError(f"{where}: unsupported lens model", got=got, expected=f"{_MODELS} with {_DISTORTION} only")
    focal_x = _focal(frame, "x", width, where)
    focal_y = _focal(frame, "y", height, where) if {"fl_y", "camera_angle_y"} & set(frame) else focal_x
    center_x = json_number(frame, "cx", where) if "cx" in frame else width / 2
    center_y = json_number(frame, "cy", where) if "cy" in frame else height / 2
    K = np.array([[focal_x, 0, center_x], [0, focal_y, center_y], [0, 0, 1]])
    return K, (width, height), [json_number(frame, key, where) if key in frame else 0.0 for key in _DISTORTION]


def _focal(frame: Mapping[str, Any], axis: str, side: int, where: str) -> float:
    key = f"fl_{axis}"
    if key in frame or f"camera_angle_{axis}" not in frame:
        focal = json_number(frame, key, where)
    else:
        angle = json_number(frame, f"camera_angle_{axis}", where)
        focal = 0.5 * side / math.tan(0.5 * angle) if 0 < angle < math.pi else 0.0
    if not focal > 0:
        raise FormatError(f"{where}: the focal length is not positive", got=focal)
    return focal
