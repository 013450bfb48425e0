"""E57 (ASTM E2807) through pye57: all scans of a file, with their poses."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from recon3d.core.errors import DependencyError, FormatError, UsageError
from recon3d.core.files import atomic_path, read_capped
from recon3d.formats.quaternions import rotation_from_quaternion

MAX_FILE_BYTES = 16 << 30
_HEADER = struct.Struct("<8sIIQQQQ")
_MAX_GROWTH, _FREE_BYTES = 64, 4 << 20
_CARTESIAN = ("cartesianX", "cartesianY", "cartesianZ")
_SPHERICAL = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
_INVALID = ("cartesianInvalidState", "sphericalInvalidState")


@dataclass(frozen=True, eq=False)
class E57Scan:
    """One scan.

    Args:
        name: of it.
        fields: numbers by the names of the standard (``cartesianX``, ``intensity``, ``colorRed``, ...), ``[n]``;
            points that the file marks as invalid are left out.
        world_from_scan: the pose, ``[4,4]``; the identity where the file has none.
    """

    name: str
    fields: Mapping[str, Float64[np.ndarray, " n"]]
    world_from_scan: Float64[np.ndarray, "4 4"]

    @property
    def xyz(self) -> Float64[np.ndarray, "n 3"]:
        """Positions in the frame of the file (the pose is applied), metres, ``[n,3]``."""
        moved: Float64[np.ndarray, "n 3"] = self.xyz_scan @ self.world_from_scan[:3, :3].T + self.world_from_scan[:3, 3]
        return moved

    @property
    def xyz_scan(self) -> Float64[np.ndarray, "n 3"]:
        """Positions in the frame of the scanner, metres, ``[n,3]``."""
        if all(name in self.fields for name in _CARTESIAN):
            return np.stack([self.fields[name] for name in _CARTESIAN], 1)
        distance, azimuth, elevation = (self.fields[name] for name in _SPHERICAL)
        level = distance * np.cos(elevation)
        return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), distance * np.sin(elevation)], 1)


def _pye57() -> Any:
    try:
        return importlib.import_module("pye57")
    except ImportError as error:
        raise DependencyError("E57 files need pye57", got=error, fix="pip install 'recon3d[e57]'") from error


def read_e57(path: Path, max_bytes: int = MAX_FILE_BYTES) -> tuple[E57Scan, ...]:
    """Read the scans of an E57 file.

    Args:
        path: the file.
        max_bytes: longest file that is read.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not a valid E57 file.
        DependencyError: pye57 is not installed.
    """
    n_bytes = _check_header(path, max_bytes)
    pye57 = _pye57()
    damage = (pye57.libe57.E57Exception, RuntimeError, ValueError, TypeError, KeyError, IndexError, MemoryError)
    try:
        with pye57.E57(str(path)) as file:
            return tuple(_scan(pye57, file, index, n_bytes, str(path)) for index in range(file.scan_count))
    except damage as error:
        raise FormatError(f"{path} is a damaged E57 file", got=str(error).strip()[:200]) from error


def _check_header(path: Path, max_bytes: int) -> int:
    """Refuse what is no E57 file before native code sees it; return the length of the file."""
    data = read_capped(path, max_bytes)
    if len(data) < _HEADER.size or data[:8] != b"ASTM-E57":
        raise FormatError(f"{path} is not an E57 file", got=data[:8], expected="ASTM-E57")
    _, major, _, length, xml_at, xml_bytes, page = _HEADER.unpack_from(data)
    if major != 1 or length != len(data) or page != 1024 or xml_at + xml_bytes > length:
        raise FormatError(f"{path} has a damaged E57 header", got=f"{length} of {len(data)} bytes, pages of {page}")
    return len(data)


def _scan(pye57: Any, file: Any, index: int, n_bytes: int, path: str) -> E57Scan:
    header = file.get_header(index)
    names, n_points = list(header.point_fields), int(header.point_count)
    known = all(name in names for name in _CARTESIAN) or all(name in names for name in _SPHERICAL)
    if not known or n_points < 0 or n_points * len(names) * 8 > n_bytes * _MAX_GROWTH + _FREE_BYTES:
        got = f"{n_points} points of {', '.join(names)[:200]} in {n_bytes} bytes"
        raise FormatError(f"{path}: impossible E57 scan", got=got)
    fields = {name: np.zeros(n_points) for name in names}
    buffers = pye57.libe57.VectorSourceDestBuffer()
    for name, values in fields.items():
        buffers.append(pye57.libe57.SourceDestBuffer(file.image_file, name, values, n_points, True, True))
    if n_points:
        header.points.reader(buffers).read()
    valid = np.logical_and.reduce(
        [fields[name] == 0 for name in _INVALID if name in fields] or [np.ones(n_points, bool)]
    )
    pose = np.eye(4)
    if header.has_pose():
        pose[:3, :3] = rotation_from_quaternion(np.asarray(header.rotation, np.float64)[None])[0]
        pose[:3, 3] = header.translation
    if not np.isfinite(pose).all():
        raise FormatError(f"{path}: the pose of a scan is no rotation", got=pose.tolist())
    title = str(header.node["name"].value()) if header.node.isDefined("name") else f"scan {index}"
    return E57Scan(title, {name: values[valid] for name, values in fields.items() if name not in _INVALID}, pose)


def write_e57(
    path: Path,
    xyz: Float64[np.ndarray, "n 3"],
    *,
    intensity: Shaped[np.ndarray, " n"] | None = None,
    rgb: Shaped[np.ndarray, "n 3"] | None = None,
    name: str = "scan",
) -> None:
    """Write one scan atomically; positions are float32 around an origin that the pose holds.

    Args:
        path: the file.
        xyz: finite positions, ``[n,3]``, at least one.
        intensity: numbers, ``[n]``.
        rgb: colours in 0..255, ``[n,3]``.
        name: of the scan.

    Raises:
        UsageError: there is no point, or one without a position.
        DependencyError: pye57 is not installed.
    """
    pye57 = _pye57()
    if not len(xyz) or not np.isfinite(xyz).all():
        raise UsageError("E57 holds finite positions, at least one", got=f"{len(xyz)} points")
    origin = np.rint((xyz.min(0) + xyz.max(0)) / 2)
    data = {axis: np.ascontiguousarray(column) for axis, column in zip(_CARTESIAN, (xyz - origin).T, strict=True)}
    if intensity is not None:
        data["intensity"] = intensity.astype(np.float32)
    if rgb is not None:
        for channel, column in zip(("colorRed", "colorGreen", "colorBlue"), rgb.T, strict=True):
            data[channel] = np.ascontiguousarray(column, np.uint8)
    with atomic_path(path) as temporary, pye57.E57(str(temporary), mode="w") as file:
        file.write_scan_raw(data, name=name, rotation=np.array([1.0, 0, 0, 0]), translation=origin)
