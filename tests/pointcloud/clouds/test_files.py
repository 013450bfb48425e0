"""Clouds to files and back, in every format, and what files of others mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.npy_cloud import write_npy, write_npz
from recon3d.formats.pcd import write_pcd
from recon3d.formats.ply import write_ply
from recon3d.formats.pointcloud2_codec import pointcloud2_bytes
from recon3d.pointcloud.clouds import (
    PointCloud,
    cloud_format,
    cloud_from_fields,
    cloud_from_message,
    cloud_to_message,
    fields_from_cloud,
    load,
    load_recording,
    save,
)

ALL = ["a.pcd", "a.ply", "a.npz"]
PLAIN = [*ALL, "a.bin", "a.pcd.bin", "a.npy", "a.las", "a.laz", "a.e57"]
NEEDS = {"a.laz": "lazrs", "a.e57": "pye57"}


def cloud(n: int = 20, far: float = 0.0) -> PointCloud:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(n, 3))
    return PointCloud(
        xyz=np.rint(rng.normal(size=(n, 3)) * 2**10) / 2**8 + far,
        attributes={
            "intensity": rng.random(n).astype(np.float32),
            "rgb": rng.integers(0, 256, (n, 3)).astype(np.uint8),
            "normals": (normals / np.linalg.norm(normals, axis=1)[:, None]).astype(np.float32),
            "label": rng.integers(0, 9, n),
            "time_s": rng.random(n),
        },
        frame="map",
        time_s=12.5,
    )


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("far", [0.0, 5_403_712.0])
def test_positions_come_back(tmp_path: Path, name: str, far: float) -> None:
    pytest.importorskip(NEEDS.get(name, "numpy"))
    rows_of_float32 = name in ("a.bin", "a.pcd.bin")
    here = cloud(far=far)
    save(tmp_path / name, here)
    back = load(tmp_path / name)
    limit = 0.5 if rows_of_float32 and far else 5.1e-4 if name.startswith("a.la") else 1e-6
    np.testing.assert_allclose(back.xyz, here.xyz, rtol=0, atol=limit)
    assert back.xyz.dtype == np.float64


@pytest.mark.parametrize("name", ALL)
def test_attributes_come_back(tmp_path: Path, name: str) -> None:
    here = cloud()
    save(tmp_path / name, here)
    back = load(tmp_path / name)
    assert set(back.attributes) == set(here.attributes)
    for each, values in here.attributes.items():
        assert np.array_equal(back.attributes[each], values), each


def test_npz_keeps_the_frame_and_the_time(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", cloud())
    back = load(tmp_path / "a.npz")
    assert (back.frame, back.time_s) == ("map", 12.5)


def test_las_keeps_colours_labels_and_times(tmp_path: Path) -> None:
    here = cloud()
    save(tmp_path / "a.las", here)
    back = load(tmp_path / "a.las")
    assert np.array_equal(back.attributes["rgb"], here.attributes["rgb"])
    assert np.array_equal(back.attributes["label"], here.attributes["label"])
    assert np.array_equal(back.attributes["time_s"], here.attributes["time_s"])
    np.testing.assert_allclose(back.attributes["intensity"] / 65535, here.attributes["intensity"], atol=1e-5)


@pytest.mark.parametrize("name", [each for each in PLAIN if each != "a.e57"])
def test_no_points(tmp_path: Path, name: str) -> None:
    pytest.importorskip(NEEDS.get(name, "numpy"))
    save(tmp_path / name, cloud(0))
    assert len(load(tmp_path / name)) == 0


def test_points_without_a_position_stay(tmp_path: Path) -> None:
    xyz = np.zeros((3, 3))
    xyz[1] = np.nan
    save(tmp_path / "a.pcd", PointCloud(xyz=xyz))
    assert np.isnan(load(tmp_path / "a.pcd").xyz[1]).all()


def test_columns_of_a_format(tmp_path: Path) -> None:
    rows = np.arange(60, dtype="<f4")
    (tmp_path / "a.bin").write_bytes(rows.tobytes())
    kitti = load(tmp_path / "a.bin")
    assert (len(kitti), kitti.frame) == (15, "sensor") and kitti.attributes["intensity"][1] == 7
    nuscenes = load(tmp_path / "a.bin", format="nuscenes")
    assert nuscenes.attributes["ring"].dtype == np.int16 and nuscenes.attributes["ring"][1] == 9
    waymo = load(tmp_path / "a.bin", format="waymo")
    assert set(waymo.attributes) == {"intensity", "elongation", "time_us"} and waymo.frame == "vehicle"
    scannet = load(tmp_path / "a.bin", format="scannet")
    assert scannet.attributes["rgb"][1].tolist() == [9, 10, 11]
    own = load(tmp_path / "a.bin", columns=("z", "x", "y"))
    assert own.xyz[0].tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("format", "columns", "text"),
    [
        ("las2", None, "no format of clouds"),
        ("pcd", ("x", "y", "z"), "name their columns themselves"),
        (None, ("x", "y"), "x, y and z among them"),
        (None, ("x", "y", "z", "x"), "different names"),
    ],
)
def test_unfit_arguments(tmp_path: Path, format: str | None, columns: tuple[str, ...] | None, text: str) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(48))
    with pytest.raises(UsageError, match=text):
        load(tmp_path / "a.bin", format=format, columns=columns)


def test_names_tell_the_format() -> None:
    assert cloud_format(Path("A.PCD.BIN")) == "nuscenes"
    assert cloud_format(Path("a.b.laz")) == "las"
    with pytest.raises(UsageError, match="does not tell the format"):
        cloud_format(Path("a.txt"))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for name in PLAIN:
        with pytest.raises(InputError, match="cannot read"):
            load(tmp_path / name)


def test_a_wrong_number_of_bytes_says_what_would_fit(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(20 * 7))
    with pytest.raises(FormatError, match="5 or 7 columns would fit"):
        load(tmp_path / "a.bin")


def test_files_without_positions(tmp_path: Path) -> None:
    write_pcd(tmp_path / "a.pcd", {"x": np.zeros(3, np.float32), "y": np.zeros(3, np.float32)})
    write_ply(tmp_path / "a.ply", {"red": np.zeros(3, np.uint8)})
    write_npz(tmp_path / "a.npz", {"xyz": np.zeros((3, 2))})
    write_npy(tmp_path / "a.npy", np.zeros(5))
    for name in (*ALL, "a.npy"):
        with pytest.raises(FormatError):
            load(tmp_path / name)


def test_columns_of_different_length(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", {"xyz": np.zeros((3, 3)), "label": np.zeros(2, np.int64)})
    with pytest.raises(FormatError, match="differ in length"):
        load(tmp_path / "a.npz")
    write_npz(tmp_path / "a.npz", {"xyz": np.zeros((3, 3)), "label": np.array(1)})
    with pytest.raises(FormatError, match="one row per point"):
        load(tmp_path / "a.npz")


def test_npy_tables(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", np.arange(10.0).reshape(2, 5))
    with pytest.raises(UsageError, match="name them with columns="):
        load(tmp_path / "a.npy")
    named = load(tmp_path / "a.npy", columns=("x", "y", "z", "a", "ring"))
    assert named.attributes["a"].tolist() == [3, 8]
    records = np.zeros(2, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("t", "i4")])
    write_npy(tmp_path / "b.npy", records)
    assert list(load(tmp_path / "b.npy").attributes) == ["t"]


def test_formats_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written so"):
        save(tmp_path / "a.mcap", cloud())
    large = cloud().with_attributes(instance=np.full(20, 2**40))
    with pytest.raises(UsageError, match="integers of 32 bits"):
        save(tmp_path / "a.ply", large)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
def test_colours_of_other_types(dtype: type) -> None:
    top = {np.float32: 1.0, np.float64: 255.0, np.uint16: 65535}[dtype]
    fields = {axis: np.zeros(3) for axis in "xyz"}
    fields |= {name: np.array([0, top / 5, top]).astype(dtype) for name in ("r", "g", "b")}
    assert cloud_from_fields(fields).attributes["rgb"][:, 0].tolist() == [0, 51, 255]


def test_aliases_get_the_names_of_a_cloud() -> None:
    fields = {axis: np.zeros(2) for axis in "xyz"}
    fields |= {"reflectance": np.ones(2), "classification": np.array([1, 2], np.uint8), "gps_time": np.ones(2)}
    found = cloud_from_fields(fields).attributes
    assert {name: str(values.dtype) for name, values in found.items()} == {
        "intensity": "float32",
        "label": "int64",
        "time_s": "float64",
    }


def test_attributes_of_several_columns_and_of_truths_get_columns() -> None:
    here = PointCloud(
        xyz=np.zeros((2, 3)), attributes={"f": np.arange(4.0).reshape(2, 2), "on": np.array([True, False])}
    )
    fields = fields_from_cloud(here)
    assert fields["f_1"].tolist() == [1, 3] and fields["on"].tolist() == [1, 0]


def test_messages_keep_the_frame_the_time_and_the_attributes() -> None:
    here = cloud()
    back = cloud_from_message(cloud_to_message(here))
    assert (back.frame, back.time_s) == ("map", 12.5)
    np.testing.assert_allclose(back.xyz, here.xyz, atol=1e-6)
    for name in ("rgb", "normals", "intensity", "label"):
        assert np.array_equal(back.attributes[name], here.attributes[name]), name


def test_messages_drop_points_without_a_position_unless_told() -> None:
    xyz = np.zeros((3, 3))
    xyz[0, 0] = np.nan
    message = cloud_to_message(PointCloud(xyz=xyz))
    assert not message.is_dense
    assert (len(cloud_from_message(message)), len(cloud_from_message(message, keep_invalid=True))) == (2, 3)


def test_recordings(tmp_path: Path) -> None:
    writer = pytest.importorskip("mcap.writer")
    with (tmp_path / "a.mcap").open("wb") as file:
        out = writer.Writer(file)
        out.start()
        schema = out.register_schema("sensor_msgs/msg/PointCloud2", "ros2msg", b"")
        for topic in ("/one", "/two"):
            channel = out.register_channel(topic, "cdr", schema)
            data = pointcloud2_bytes(cloud_to_message(cloud(len(topic))))
            out.add_message(channel, log_time=5, publish_time=5, data=data)
        out.finish()
    assert len(list(load_recording(tmp_path / "a.mcap"))) == 2
    assert len(list(load_recording(tmp_path / "a.mcap", topics=["/two"]))) == 1
    assert len(load(tmp_path / "a.mcap")) == 4
    with pytest.raises(UsageError, match="no format of recordings"):
        load_recording(tmp_path / "a.mcap", format="pcd")


def test_recordings_without_a_cloud(tmp_path: Path) -> None:
    writer = pytest.importorskip("mcap.writer")
    with (tmp_path / "a.mcap").open("wb") as file:
        out = writer.Writer(file)
        out.start()
        out.finish()
    with pytest.raises(FormatError, match="holds no cloud"):
        load(tmp_path / "a.mcap")
