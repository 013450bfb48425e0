"""Recordings: the clouds of MCAP files and of bags of ROS 1 and ROS 2; damaged and foreign ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.mcap_cloud import parse_mcap_clouds, read_bag_clouds, read_mcap_clouds
from recon3d.formats.pointcloud2 import pointcloud2_arrays, pointcloud2_message
from recon3d.formats.pointcloud2_codec import pointcloud2_bytes
from recon3d.pointcloud.clouds import load, load_recording

TYPE = "sensor_msgs/msg/PointCloud2"


def wire(number: int, encoding: str = "cdr") -> bytes:
    x = np.full(3, number, np.float32)
    return pointcloud2_bytes(pointcloud2_message({"x": x, "y": x, "z": x}, frame_id="lidar"), encoding)


def mcap_file(path: Path, schema: str = TYPE, encoding: str = "cdr", data: bytes | None = None) -> Path:
    writing = pytest.importorskip("mcap.writer")
    with path.open("wb") as file:
        writer = writing.Writer(file)
        writer.start()
        kind = writer.register_schema(schema, "ros2msg", b"")
        channels = [writer.register_channel(topic, encoding, kind) for topic in ("/one", "/two")]
        for number in (2, 0, 1):
            raw = wire(number, encoding) if data is None else data
            writer.add_message(channels[number % 2], log_time=number, publish_time=number, data=raw)
        writer.finish()
    return path


def bag(path: Path, second: bool) -> Path:
    """A bag of ROS 1 or ROS 2 with three clouds on two topics, and a text between them."""
    stores = pytest.importorskip("rosbags.typesys")
    if second:
        store = stores.get_typestore(stores.Stores.ROS2_HUMBLE)
        writer = pytest.importorskip("rosbags.rosbag2").Writer(path, version=9)
    else:
        store = stores.get_typestore(stores.Stores.ROS1_NOETIC)
        writer = pytest.importorskip("rosbags.rosbag1").Writer(path)
    with writer:
        topics = [writer.add_connection(topic, TYPE, typestore=store) for topic in ("/one", "/two")]
        text = writer.add_connection("/text", "std_msgs/msg/String", typestore=store)
        writer.write(text, 1, b"\0\1\0\0\1\0\0\0\0" if second else b"\0\0\0\0")
        for number in range(3):
            writer.write(topics[number % 2], 10 + number, wire(number, "cdr" if second else "ros1"))
    return path


def seen(clouds: object) -> list[tuple[str, int, float]]:
    return [
        (each.topic, each.time_ns, float(pointcloud2_arrays(each.message)["x"][0]))
        for each in clouds  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize(("schema", "encoding"), [(TYPE, "cdr"), ("sensor_msgs/PointCloud2", "ros1")])
def test_clouds_of_mcap_come_in_the_order_of_time(tmp_path: Path, schema: str, encoding: str) -> None:
    path = mcap_file(tmp_path / "a.mcap", schema, encoding)
    expected = [("/one", 0, 0.0), ("/two", 1, 1.0), ("/one", 2, 2.0)]
    assert seen(read_mcap_clouds(path)) == expected
    assert seen(parse_mcap_clouds(path.read_bytes())) == expected
    assert seen(read_mcap_clouds(path, ["/two"])) == expected[1:2]
    assert seen(read_mcap_clouds(path, ["/three"])) == []


@pytest.mark.parametrize(("schema", "encoding"), [("std_msgs/msg/String", "cdr"), (TYPE, "json")])
def test_messages_of_other_types_are_skipped(tmp_path: Path, schema: str, encoding: str) -> None:
    path = mcap_file(tmp_path / "a.mcap", schema, encoding, data=b"{}")
    assert seen(read_mcap_clouds(path)) == []


def test_damaged_mcap(tmp_path: Path) -> None:
    data = mcap_file(tmp_path / "a.mcap").read_bytes()
    for damaged in (b"", b"MCAP", data[: len(data) // 2], data[:60] + b"\xff" * 40 + data[100:]):
        with pytest.raises(FormatError):
            parse_mcap_clouds(damaged)
    with pytest.raises(FormatError, match="/one"):
        parse_mcap_clouds(mcap_file(tmp_path / "b.mcap", data=b"\0\1\0\0").read_bytes())
    with pytest.raises(InputError, match="cannot read"):
        list(read_mcap_clouds(tmp_path / "none.mcap"))


@pytest.mark.parametrize(("name", "second"), [("a.bag", False), ("folder", True)])
def test_clouds_of_bags(tmp_path: Path, name: str, second: bool) -> None:
    path = bag(tmp_path / name, second)
    assert seen(read_bag_clouds(path)) == [("/one", 10, 0.0), ("/two", 11, 1.0), ("/one", 12, 2.0)]
    assert seen(read_bag_clouds(path, ["/two"])) == [("/two", 11, 1.0)]
    assert seen(read_bag_clouds(path, ["/text"])) == []


@pytest.mark.parametrize(("name", "second"), [("a.bag", False), ("folder", True)])
def test_clouds_of_bags_are_loaded(tmp_path: Path, name: str, second: bool) -> None:
    path = bag(tmp_path / name, second)
    clouds = list(load_recording(path))
    assert [float(each.xyz[0, 0]) for each in clouds] == [0, 1, 2]
    assert [each.frame for each in clouds] == ["lidar"] * 3
    assert len(load(path, format="bag")) == 3


def test_damaged_bags(tmp_path: Path) -> None:
    pytest.importorskip("rosbags")
    data = bag(tmp_path / "a.bag", second=False).read_bytes()
    for number, damaged in enumerate((b"", b"no bag", data[:200], data[: len(data) // 2])):
        path = tmp_path / f"{number}.bag"
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="damaged ROS bag"):
            list(read_bag_clouds(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="damaged ROS bag"):
        list(read_bag_clouds(tmp_path / "empty"))
    with pytest.raises(InputError, match="no such file"):
        list(read_bag_clouds(tmp_path / "none.bag"))
