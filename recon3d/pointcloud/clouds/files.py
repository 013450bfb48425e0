"""Clouds from files and to files, whatever their format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.e57 import read_e57, write_e57
from recon3d.formats.kitti import read_kitti_points, write_kitti_points
from recon3d.formats.las import read_las, write_las
from recon3d.formats.mcap_cloud import read_bag_clouds, read_mcap_clouds
from recon3d.formats.npy_cloud import read_npy, read_npz, write_npy, write_npz
from recon3d.formats.pcd import read_pcd, write_pcd
from recon3d.formats.ply import read_ply, write_ply
from recon3d.pointcloud.clouds.fields import (
    Fields,
    cloud_from_fields,
    cloud_from_message,
    fields_from_cloud,
)
from recon3d.pointcloud.clouds.types import PointCloud

ROW_FORMATS = {
    "kitti": ("x", "y", "z", "intensity"),
    "nuscenes": ("x", "y", "z", "intensity", "ring"),
    "waymo": ("x", "y", "z", "intensity", "elongation", "time_us"),
    "scannet": ("x", "y", "z", "red", "green", "blue"),
}
_ROW_FRAMES = {"waymo": "vehicle", "scannet": "world"}
_SUFFIXES = {".pcd.bin": "nuscenes", ".bin": "kitti", ".pcd": "pcd", ".ply": "ply", ".las": "las", ".laz": "las"}
_SUFFIXES |= {".e57": "e57", ".npy": "npy", ".npz": "npz", ".mcap": "mcap", ".bag": "bag"}
_LAS_NAMES = ("intensity", "classification", "gps_time", "return_number", "number_of_returns", "red", "green", "blue")
FORMATS = (*ROW_FORMATS, "pcd", "ply", "las", "e57", "npy", "npz", "mcap", "bag")


def cloud_format(path: Path) -> str:
    """Return the format that a file name tells: ``.bin`` is KITTI's, ``.pcd.bin`` that of nuScenes.

    Raises:
        UsageError: the name tells none.
    """
    name = Path(path).name.lower()
    found = next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)
    if found is None:
        what = "the name does not tell the format of the cloud"
        raise UsageError(what, got=Path(path).name, expected=", ".join(_SUFFIXES), fix="name it with format=")
    return found


def load(path: Path | str, *, format: str | None = None, columns: Sequence[str] | None = None) -> PointCloud:
    """Read a cloud.

    Positions stay in the frame of the file; points without a position stay as NaN (:meth:`PointCloud.finite` drops
    them). Of a recording it is the first cloud; see :func:`load_recording` for all.

    Args:
        path: the file.
        format: one of ``kitti``, ``nuscenes``, ``waymo``, ``scannet``, ``pcd``, ``ply``, ``las``, ``e57``, ``npy``,
            ``npz``, ``mcap`` and ``bag``; None asks the file name.
        columns: names of the columns of a file that has none (``.bin``, and ``.npy`` with two axes), in its order,
            ``x``, ``y`` and ``z`` among them; None takes those of the format.

    Raises:
        InputError: the file cannot be opened, or is damaged (``FormatError``).
        UsageError: the format is not known, or the columns do not go with it.
        DependencyError: the format needs a package that is not installed.
    """
    path = Path(path)
    kind = cloud_format(path) if format is None else format
    if kind not in FORMATS:
        raise UsageError("no format of clouds", got=kind, expected=", ".join(FORMATS))
    if columns is not None and kind not in (*ROW_FORMATS, "npy"):
        raise UsageError(f"files of the format {kind} name their columns themselves", got=", ".join(columns))
    if kind in ROW_FORMATS:
        names = _checked_columns(columns or ROW_FORMATS[kind])
        rows = read_kitti_points(path, len(names))
        return _from_rows(rows, names, _ROW_FRAMES.get(kind, "sensor"))
    return _LOADERS[kind](path) if columns is None else _load_npy(path, columns)


def _checked_columns(columns: Sequence[str]) -> Sequence[str]:
    if len(set(columns)) != len(columns) or not {"x", "y", "z"} <= set(columns):
        raise UsageError("columns need different names, x, y and z among them", got=", ".join(columns))
    return columns


def _from_rows(rows: Shaped[np.ndarray, "n c"], names: Sequence[str], frame: str) -> PointCloud:
    fields: Fields = {name: np.ascontiguousarray(rows[:, at]) for at, name in enumerate(names)}
    if "ring" in fields:
        fields["ring"] = np.nan_to_num(fields["ring"]).clip(0, 2**15 - 1).astype(np.int16)
    return cloud_from_fields(fields, frame=frame)


def _load_pcd(path: Path) -> PointCloud:
    return cloud_from_fields(read_pcd(path).fields)


def _load_ply(path: Path) -> PointCloud:
    return cloud_from_fields(read_ply(path).vertices, frame="world")


def _load_las(path: Path) -> PointCloud:
    las = read_las(path)
    fields: Fields = {name: las.dimension(name) for name in _LAS_NAMES if name in las.dimensions}
    fields |= {each.name: las.dimension(each.name) for each in las.extras if each.name not in "xyz"}
    return cloud_from_fields(fields | dict(zip("xyz", las.xyz.T, strict=True)), frame="map")


def _load_e57(path: Path) -> PointCloud:
    scans = read_e57(path)
    if not scans:
        raise FormatError(f"{path} holds no scan")
    common = set.intersection(*(set(scan.fields) for scan in scans))
    kept = sorted(name for name in common if name[:9] not in ("cartesian", "spherical"))
    fields: Fields = {name: np.concatenate([scan.fields[name] for scan in scans]) for name in kept}
    fields |= dict(zip("xyz", np.concatenate([scan.xyz for scan in scans]).T, strict=True))
    fields["scan"] = np.repeat(np.arange(len(scans)), [len(scan.xyz) for scan in scans])
    return cloud_from_fields(fields, frame="map")


def _load_npy(path: Path, columns: Sequence[str] | None = None) -> PointCloud:
    table = read_npy(path)
    if table.dtype.names is not None and table.ndim == 1 and columns is None:
        return cloud_from_fields({name: table[name] for name in table.dtype.names})
    if table.ndim != 2 or table.dtype.kind not in "iuf":
        raise FormatError(f"{path} is no table of points", got=f"{table.dtype} {list(table.shape)}")
    names = columns or {3: ("x", "y", "z"), 4: ROW_FORMATS["kitti"]}.get(table.shape[1], ())
    if len(names) != table.shape[1]:
        what = f"the names of the columns do not fit {path}"
        raise UsageError(what, got=len(names), expected=table.shape[1], fix="name them with columns=")
    return _from_rows(table, _checked_columns(names), "sensor")


def _load_npz(path: Path) -> PointCloud:
    arrays = read_npz(path)
    frame, time_s = arrays.pop("cloud_frame", None), arrays.pop("cloud_time_s", None)
    xyz = arrays.pop("xyz", None)
    if xyz is not None:
        if xyz.ndim != 2 or xyz.shape[1] != 3 or xyz.dtype.kind not in "iuf":
            raise FormatError(f"{path}: xyz is no list of positions", got=f"{xyz.dtype} {list(xyz.shape)}")
        arrays |= dict(zip("xyz", xyz.T, strict=True))
    if any(values.ndim == 0 for values in arrays.values()) or (time_s is not None and time_s.dtype.kind != "f"):
        raise FormatError(f"{path}: a cloud has arrays of one row per point", got=", ".join(arrays)[:200])
    name = "sensor" if frame is None else str(frame)
    return cloud_from_fields(arrays, frame=name, time_s=None if time_s is None else float(time_s.reshape(-1)[0]))


def _load_first(path: Path, kind: str) -> PointCloud:
    found = next(load_recording(path, format=kind), None)
    if found is None:
        raise FormatError(f"{path} holds no cloud", expected="a message of the type sensor_msgs/PointCloud2")
    return found


_LOADERS: dict[str, Callable[[Path], PointCloud]] = {
    "pcd": _load_pcd,
    "ply": _load_ply,
    "las": _load_las,
    "e57": _load_e57,
    "npy": _load_npy,
    "npz": _load_npz,
    "mcap": partial(_load_first, kind="mcap"),
    "bag": partial(_load_first, kind="bag"),
}


def load_recording(
    path: Path | str, *, topics: Sequence[str] | None = None, format: str | None = None
) -> Iterator[PointCloud]:
    """Yield the clouds of a recording, one in memory at a time, without the points that have no position.

    Args:
        path: an ``.mcap`` file, a ``.bag`` of ROS 1, or the folder of a bag of ROS 2.
        topics: names; None takes all that carry clouds.
        format: ``mcap`` or ``bag``; None asks the name, and takes a folder for a bag.

    Raises:
        InputError: the recording cannot be opened, or is damaged (``FormatError``).
        DependencyError: the extra ``robotics`` is not installed.
    """
    path = Path(path)
    kind = format or ("bag" if path.is_dir() else cloud_format(path))
    if kind not in ("mcap", "bag"):
        raise UsageError("no format of recordings", got=kind, expected="mcap or bag")
    messages = read_mcap_clouds(path, topics) if kind == "mcap" else read_bag_clouds(path, topics)
    return (cloud_from_message(each.message) for each in messages)


def save(path: Path | str, cloud: PointCloud, *, format: str | None = None) -> None:
    """Write a cloud atomically.

    PCD, PLY and npz keep all attributes (npz the frame and the time, too); LAS and E57 keep intensity and colours, LAS
    also labels and times (intensities of floats within 0..1 become 0..65535 in LAS, as it demands, and come back so);
    rows (``.bin``, ``.npy``) keep the columns of their format, zero where the cloud has none.

    Args:
        path: the file.
        cloud: what to write.
        format: as in :func:`load`; None asks the file name.

    Raises:
        UsageError: the format cannot be written, or cannot hold the cloud.
        DependencyError: the format needs a package that is not installed.
    """
    path = Path(path)
    kind = cloud_format(path) if format is None else format
    if kind in ROW_FORMATS:
        write_kitti_points(path, _rows(cloud, ROW_FORMATS[kind]))
    elif kind in _SAVERS:
        _SAVERS[kind](path, cloud)
    else:
        raise UsageError("clouds cannot be written so", got=kind, expected=", ".join((*ROW_FORMATS, *_SAVERS)))


def _rows(cloud: PointCloud, names: Sequence[str]) -> Shaped[np.ndarray, "n c"]:
    fields = fields_from_cloud(cloud)
    return np.stack([fields.get(name, np.zeros(len(cloud))).astype(np.float32) for name in names], 1)


def _save_pcd(path: Path, cloud: PointCloud) -> None:
    write_pcd(path, fields_from_cloud(cloud, packed_rgb=True))


def _save_ply(path: Path, cloud: PointCloud) -> None:
    fields = fields_from_cloud(cloud)
    for name, values in fields.items():
        if values.dtype.str[1:] in ("i8", "u8"):
            fields[name] = _short(name, values)
        elif values.dtype.str[1:] == "f2":
            fields[name] = values.astype(np.float32)
    write_ply(path, fields)


def _short(name: str, values: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    if len(values) and not -(2**31) <= int(values.min()) <= int(values.max()) < 2**31:
        raise UsageError(f"PLY has integers of 32 bits; the attribute {name!r} is larger", got=int(values.max()))
    return values.astype(np.int32)


def _save_las(path: Path, cloud: PointCloud) -> None:
    found: Fields = {}
    if "intensity" in cloud.attributes:
        found["intensity"] = _scaled_intensity(cloud.attributes["intensity"])
    if "label" in cloud.attributes:
        found["classification"] = cloud.attributes["label"]
    if "time_s" in cloud.attributes:
        found["gps_time"] = cloud.attributes["time_s"]
    if "rgb" in cloud.attributes:
        channels = cloud.attributes["rgb"].astype(np.uint16) * 257
        found |= dict(zip(("red", "green", "blue"), channels.T, strict=True))
    write_las(path, cloud.xyz, found)


def _scaled_intensity(values: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """Intensities as 16 bits: those within 0..1 are stretched, others rounded."""
    numbers = np.nan_to_num(values.astype(np.float64))
    stretch = 65535.0 if values.dtype.kind == "f" and numbers.max(initial=0) <= 1 else 1.0
    return np.clip(np.rint(numbers * stretch), 0, 65535).astype(np.uint16)


def _save_e57(path: Path, cloud: PointCloud) -> None:
    write_e57(path, cloud.xyz, intensity=cloud.attributes.get("intensity"), rgb=cloud.attributes.get("rgb"))


def _save_npy(path: Path, cloud: PointCloud) -> None:
    names = ROW_FORMATS["kitti"] if "intensity" in cloud.attributes else ("x", "y", "z")
    fields = fields_from_cloud(cloud)
    write_npy(path, np.stack([fields[name] for name in names], 1))


def _save_npz(path: Path, cloud: PointCloud) -> None:
    extra = {"cloud_frame": np.array(cloud.frame)}
    if cloud.time_s is not None:
        extra["cloud_time_s"] = np.array(cloud.time_s, np.float64)
    write_npz(path, {"xyz": cloud.xyz, **cloud.attributes, **extra})


_SAVERS: dict[str, Callable[[Path, PointCloud], None]] = {
    "pcd": _save_pcd,
    "ply": _save_ply,
    "las": _save_las,
    "e57": _save_e57,
    "npy": _save_npy,
    "npz": _save_npz,
}
