"""KITTI's text files of one frame: the calibration and the labelled or detected objects, as plain records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_text
from recon3d.formats.parsing import parse_floats, parse_int, text_lines

MAX_FILE_BYTES = 16 << 20
_SHAPES = {"P0": (3, 4), "P1": (3, 4), "P2": (3, 4), "P3": (3, 4)}
_SHAPES |= {"R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4), "Tr_imu_to_velo": (3, 4)}
_NEEDED = ("P2", "R0_rect", "Tr_velo_to_cam")


@dataclass(frozen=True, eq=False)
class KittiCalibration:
    """The calibration of a KITTI frame.

    Args:
        matrices: ``P0``..``P3`` (pixel from rectified camera, 3x4), ``R0_rect`` (3x3), ``Tr_velo_to_cam`` and
            ``Tr_imu_to_velo`` (3x4), by these names; P2, R0_rect and Tr_velo_to_cam are always there.
    """

    matrices: dict[str, Float64[np.ndarray, "r c"]]

    @property
    def cam_from_velo(self) -> Float64[np.ndarray, "4 4"]:
        """The rectified camera frame (x right, y down, z forward) from the velodyne frame."""
        rectify, rigid = np.eye(4), np.eye(4)
        rectify[:3, :3] = self.matrices["R0_rect"]
        rigid[:3] = self.matrices["Tr_velo_to_cam"]
        matrix: Float64[np.ndarray, "4 4"] = rectify @ rigid
        return matrix

    def project(
        self, xyz_velo: Float64[np.ndarray, "n 3"], camera: str = "P2"
    ) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, " n"]]:
        """Project points into a camera image.

        Args:
            xyz_velo: positions in the velodyne frame, metres, ``[n,3]``.
            camera: ``P2`` is the left colour camera.

        Returns:
            Pixels ``[n,2]`` (of no meaning behind the camera) and depths in metres ``[n]``.
        """
        full = self.matrices[camera] @ self.cam_from_velo
        u, v, depth = full[:, :3] @ xyz_velo.T + full[:, 3:]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.stack([u / depth, v / depth], 1), depth


def read_kitti_calibration(path: Path) -> KittiCalibration:
    """Read a calibration file.

    Args:
        path: the file, lines such as ``P2: 721.5 0 ...``.

    Raises:
        InputError: the file cannot be opened.
        FormatError: a line is damaged, or P2, R0_rect or Tr_velo_to_cam is missing.
    """
    return parse_kitti_calibration(read_capped(path, MAX_FILE_BYTES), str(path))


def parse_kitti_calibration(data: bytes, name: str = "calibration") -> KittiCalibration:
    """Read the bytes of a calibration file; see :func:`read_kitti_calibration`.

    Raises:
        FormatError: see :func:`read_kitti_calibration`.
    """
    found: dict[str, Float64[np.ndarray, "r c"]] = {}
    for number, line in enumerate(text_lines(data), 1):
        key, _, rest = line.partition(":")
        if not rest.strip() and not key.strip():
            continue
        where, shape = f"{name}, line {number}", _SHAPES.get(key.strip())
        if shape is None:
            continue  # raw KITTI and its derivatives add lines of their own, such as calib_time
        values = np.array(parse_floats(rest.split(), where), np.float64)
        if values.size != shape[0] * shape[1] or key.strip() in found:
            raise FormatError(f"{where}: wrong matrix {key.strip()}", got=values.size, expected=f"{shape} once")
        found[key.strip()] = values.reshape(shape)
    missing = [key for key in _NEEDED if key not in found]
    if missing:
        raise FormatError(f"{name}: not a KITTI calibration", got=sorted(found), expected=", ".join(_NEEDED))
    return KittiCalibration(found)


def write_kitti_calibration(path: Path, calibration: KittiCalibration) -> None:
    """Write a calibration file atomically, in the digits that float64 needs."""
    lines = []
    for key, matrix in calibration.matrices.items():
        if _SHAPES.get(key) != matrix.shape:
            raise UsageError(f"the matrix {key} has the wrong shape", got=matrix.shape, expected=_SHAPES.get(key))
        lines.append(f"{key}: " + " ".join(f"{value:.17g}" for value in matrix.ravel()))
    write_text(path, "\n".join(lines) + "\n")


@dataclass(frozen=True)
class KittiObject:
    """One line of a label or result file, in KITTI's own conventions.

    Args:
        kind: ``Car``, ``Pedestrian``, ``Cyclist``, ..., or ``DontCare``.
        truncated: 0..1; -1 where it is unknown.
        occluded: 0 visible, 1 partly, 2 largely, 3 unknown; -1 where it does not apply.
        alpha: observation angle, radians.
        box_2d: left, top, right, bottom, pixels.
        size_hwl: height, width, length, metres.
        location: middle of the bottom face in the rectified camera frame, metres.
        rotation_y: about the camera's y axis, radians.
        score: of a detection; None in a label.
    """

    kind: str
    truncated: float
    occluded: int
    alpha: float
    box_2d: tuple[float, float, float, float]
    size_hwl: tuple[float, float, float]
    location: tuple[float, float, float]
    rotation_y: float
    score: float | None = None


def read_kitti_objects(path: Path) -> list[KittiObject]:
    """Read a label or result file.

    Args:
        path: the file, 15 or 16 words per line.

    Raises:
        InputError: the file cannot be opened.
        FormatError: a line is damaged.
    """
    return parse_kitti_objects(read_capped(path, MAX_FILE_BYTES), str(path))


def parse_kitti_objects(data: bytes, name: str = "label file") -> list[KittiObject]:
    """Read the bytes of a label or result file; see :func:`read_kitti_objects`.

    Raises:
        FormatError: a line is damaged.
    """
    lines = enumerate(text_lines(data), 1)
    return [_object(line.split(), f"{name}, line {number}") for number, line in lines if line.strip()]


def _object(words: Sequence[str], where: str) -> KittiObject:
    if len(words) not in (15, 16):
        raise FormatError(f"{where}: wrong number of words", got=len(words), expected="15, or 16 with a score")
    numbers = parse_floats([*words[1:2], *words[3:]], where)
    left, top, right, bottom, height, width, length, x, y, z = numbers[2:12]
    return KittiObject(
        kind=words[0],
        truncated=numbers[0],
        occluded=parse_int(words[2].removesuffix(".0"), where, -1, 3),
        alpha=numbers[1],
        box_2d=(left, top, right, bottom),
        size_hwl=(height, width, length),
        location=(x, y, z),
        rotation_y=numbers[12],
        score=numbers[13] if len(words) == 16 else None,
    )


def write_kitti_objects(path: Path, objects: Sequence[KittiObject]) -> None:
    """Write a label or result file atomically, in the digits that float64 needs (KITTI's own files have two).

    Args:
        path: the file.
        objects: its lines; without one, an empty file, as KITTI has for frames without an object.

    Raises:
        UsageError: a kind is no single word.
    """
    write_text(path, "".join(_line(each) + "\n" for each in objects))


def _line(each: KittiObject) -> str:
    if not re.fullmatch(r"\S+", each.kind):
        raise UsageError("the kind of an object is one word", got=repr(each.kind))
    numbers = [each.alpha, *each.box_2d, *each.size_hwl, *each.location, each.rotation_y]
    numbers += [] if each.score is None else [each.score]
    return f"{each.kind} {_text(each.truncated)} {each.occluded} " + " ".join(map(_text, numbers))


def _text(number: float) -> str:
    short = f"{number:.2f}"
    return short if float(short) == number else repr(float(number))
