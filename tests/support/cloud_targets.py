"""The readers of point clouds that are fuzzed, with valid files made in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from fuzzing import Target

from recon3d.core.errors import FormatError
from recon3d.formats.e57 import read_e57, write_e57
from recon3d.formats.kitti import parse_kitti_points
from recon3d.formats.kitti_semantic import parse_semantic_kitti
from recon3d.formats.kitti_text import parse_kitti_calibration, parse_kitti_objects
from recon3d.formats.las import parse_las, write_las
from recon3d.formats.las_points import LasExtra
from recon3d.formats.mcap_cloud import parse_mcap_clouds
from recon3d.formats.npy_cloud import parse_npy, parse_npz, write_npy, write_npz
from recon3d.formats.pcd import ENCODINGS, parse_pcd, write_pcd
from recon3d.formats.pointcloud2 import pointcloud2_arrays, pointcloud2_message
from recon3d.formats.pointcloud2_codec import parse_pointcloud2, pointcloud2_bytes

CLOUD_NAMES = ["PCD", "scan rows", "SemanticKITTI labels", "KITTI objects", "KITTI calibration", "LAS", "LAZ", "E57"]
CLOUD_NAMES += ["npy", "npz", "PointCloud2 CDR", "PointCloud2 ROS 1", "MCAP"]
CLOUD_EXTRAS = {"LAZ": "lazrs", "E57": "pye57", "MCAP": "mcap"}
_OBJECT = b"Car 0.00 0 -1.57 614.24 181.78 727.31 284.77 1.57 1.73 4.15 1.00 1.75 13.22 -1.62"
_NATIVE_BYTES = 64 << 20


def cloud_targets(folder: Path) -> tuple[Target, ...]:
    """Return the targets of the formats of clouds; those whose package is not installed are left out."""
    xyz = np.random.default_rng(0).normal(size=(40, 3)) * 20
    made: dict[str, Callable[[], Target]] = {
        "LAZ": lambda: _target("LAZ", _las_seeds(folder, xyz, ".laz"), _read_las, _NATIVE_BYTES),
        "E57": lambda: _target("E57", _e57_seeds(folder, xyz), _e57_reader(folder), _NATIVE_BYTES),
        "MCAP": lambda: _target("MCAP", (_mcap_seed(xyz),), parse_mcap_clouds, _NATIVE_BYTES),
    }
    numbers = " ".join(f"{value:.6e}" for value in range(12)).encode()
    lines = [b"P2: " + numbers, b"R0_rect: " + b" ".join(numbers.split()[:9]), b"Tr_velo_to_cam: " + numbers]
    message = pointcloud2_message(_fields(xyz), frame_id="lidar", height=2)
    wire = {name: pointcloud2_bytes(message, name) for name in ("cdr", "ros1")}
    return (
        _target("PCD", _pcd_seeds(folder, xyz), parse_pcd),
        _target("scan rows", (xyz.astype("<f4").tobytes(),), lambda data: parse_kitti_points(data, 3)),
        _target("SemanticKITTI labels", (xyz.astype("<f4").tobytes(),), parse_semantic_kitti),
        _target("KITTI objects", (_OBJECT + b"\n" + _OBJECT + b" 0.9\n",), parse_kitti_objects),
        _target("KITTI calibration", (b"\n".join(lines) + b"\n",), parse_kitti_calibration),
        _target("LAS", _las_seeds(folder, xyz, ".las"), _read_las),
        *(made[name]() for name, package in CLOUD_EXTRAS.items() if find_spec(package) is not None),
        _target("npy", _npy_seeds(folder, xyz), parse_npy),
        _target("npz", (_npz_seed(folder, xyz),), parse_npz),
        _target("PointCloud2 CDR", (wire["cdr"],), lambda data: pointcloud2_arrays(parse_pointcloud2(data))),
        _target("PointCloud2 ROS 1", (wire["ros1"],), lambda data: pointcloud2_arrays(parse_pointcloud2(data, "ros1"))),
    )


def _target(
    name: str, seeds: tuple[bytes, ...], read: Callable[[bytes], object], memory_bytes: int = 16 << 20
) -> Target:
    return Target(name, seeds, read, (FormatError,), memory_bytes)


def _fields(xyz: np.ndarray) -> dict[str, np.ndarray]:
    fields = dict(zip("xyz", xyz.astype(np.float32).T, strict=True))
    return fields | {"ring": np.arange(len(xyz), dtype=np.uint16), "n": np.ones((len(xyz), 2), np.float32)}


def _pcd_seeds(folder: Path, xyz: np.ndarray) -> tuple[bytes, ...]:
    seeds = []
    for encoding in ENCODINGS:
        write_pcd(folder / "a.pcd", _fields(xyz), encoding=encoding, height=2)
        seeds.append((folder / "a.pcd").read_bytes())
    return tuple(seeds)


def _las_seeds(folder: Path, xyz: np.ndarray, suffix: str) -> tuple[bytes, ...]:
    seeds = []
    extra = LasExtra("height", "<i2", 1, (0.1,), (5.0,))
    values = {"intensity": np.arange(len(xyz), dtype=np.uint16), "classification": np.full(len(xyz), 2)}
    for point_format in (3, 7):
        more = {"height": np.arange(len(xyz), dtype=np.int16)}
        path = folder / f"a{suffix}"
        write_las(path, xyz, values | more, point_format=point_format, extras=[extra])
        seeds.append(path.read_bytes())
    return tuple(seeds)


def _read_las(data: bytes) -> None:
    las = parse_las(data)
    for name in las.dimensions:
        las.dimension(name)


def _e57_seeds(folder: Path, xyz: np.ndarray) -> tuple[bytes, ...]:
    rgb = np.full((len(xyz), 3), 9, np.uint8)
    write_e57(folder / "a.e57", xyz, intensity=xyz[:, 0], rgb=rgb)
    return ((folder / "a.e57").read_bytes(),)


def _e57_reader(folder: Path) -> Callable[[bytes], object]:
    path = folder / "damaged.e57"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for scan in read_e57(path):
            _ = scan.xyz

    return read


def _npy_seeds(folder: Path, xyz: np.ndarray) -> tuple[bytes, ...]:
    records = np.zeros(5, [("x", "<f4"), ("label", "<i8")])
    seeds = []
    for table in (xyz, np.asfortranarray(xyz.astype(np.float32)), records):
        write_npy(folder / "a.npy", table)
        seeds.append((folder / "a.npy").read_bytes())
    return tuple(seeds)


def _npz_seed(folder: Path, xyz: np.ndarray) -> bytes:
    write_npz(folder / "a.npz", {"xyz": xyz, "label": np.arange(len(xyz))})
    return (folder / "a.npz").read_bytes()


def _mcap_seed(xyz: np.ndarray) -> bytes:
    from mcap.writer import Writer

    stream = io.BytesIO()
    writer = Writer(stream)
    writer.start()
    schema = writer.register_schema("sensor_msgs/msg/PointCloud2", "ros2msg", b"")
    channel = writer.register_channel("/points", "cdr", schema)
    data = pointcloud2_bytes(pointcloud2_message(_fields(xyz), frame_id="lidar"))
    for number in range(2):
        writer.add_message(channel, log_time=number, publish_time=number, data=data)
    writer.finish()
    return stream.getvalue()
