"""PointCloud2: fields, gaps, rows and byte orders; the bytes of ROS 1 and ROS 2; what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.pointcloud2 import (
    PointCloud2,
    PointField,
    RosHeader,
    RosTime,
    pointcloud2_arrays,
    pointcloud2_message,
    stamp_seconds,
)
from recon3d.formats.pointcloud2_codec import parse_pointcloud2, pointcloud2_bytes

KINDS = ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]


def fields(n: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {axis: rng.normal(size=n).astype(np.float32) for axis in "xyz"}
    made |= {kind: np.arange(n).astype(kind) for kind in KINDS}
    return made | {"histogram": rng.random((n, 3)).astype(np.float32)}


def message(table: np.ndarray, **changes: object) -> PointCloud2:
    """The message of a structured table, ``[h,w]``, whatever its gaps and byte order."""
    codes = {"f4": 7, "u2": 4, "f8": 8}
    described = tuple(
        PointField(name, int(entry[1]), codes[entry[0].base.str[1:]], int(np.prod(entry[0].shape, dtype=int)))
        for name, entry in table.dtype.fields.items()
    )
    made = PointCloud2(
        header=RosHeader(),
        height=table.shape[0],
        width=table.shape[1],
        fields=described,
        is_bigendian=table.dtype[0].base.str[0] == ">",
        point_step=table.dtype.itemsize,
        row_step=table.dtype.itemsize * table.shape[1],
        data=table.tobytes(),
        is_dense=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("height", [1, 2, 3])
def test_fields_come_back(height: int) -> None:
    here = fields()
    made = pointcloud2_message(here, height=height)
    assert (made.height, made.width, made.row_step) == (height, 6 // height, made.point_step * 6 // height)
    back = pointcloud2_arrays(made)
    assert list(back) == list(here)
    for name, values in here.items():
        assert back[name].dtype == values.dtype
        np.testing.assert_array_equal(back[name], values)


@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_orders_and_gaps(order: str) -> None:
    layout = {"names": ["x", "ring", "n"], "formats": [order + "f4", order + "u2", (order + "f8", (2,))]}
    table = np.zeros((2, 3), np.dtype(layout | {"offsets": [4, 12, 16], "itemsize": 40}))
    table["x"], table["ring"], table["n"] = np.arange(6).reshape(2, 3), 258, [1.5, -2.5]
    back = pointcloud2_arrays(message(table))
    assert back["x"].tolist() == [0, 1, 2, 3, 4, 5] and back["ring"].tolist() == [258] * 6
    np.testing.assert_array_equal(back["n"], np.tile([1.5, -2.5], (6, 1)))
    assert all(values.dtype.isnative for values in back.values())


def test_rows_with_gaps() -> None:
    table = np.arange(12, dtype="<f4").view([("x", "<f4")]).reshape(3, 4)  # two points and two empty places per row
    rows = message(table, width=2)
    assert pointcloud2_arrays(rows)["x"].tolist() == [0, 1, 4, 5, 8, 9]
    without_the_last_gap = replace(rows, data=rows.data[:-8])
    assert pointcloud2_arrays(without_the_last_gap)["x"].tolist() == [0, 1, 4, 5, 8, 9]
    with pytest.raises(FormatError, match="do not fit the data"):
        pointcloud2_arrays(replace(rows, data=rows.data[:-9]))


def test_the_row_step_of_a_single_row_is_of_no_meaning() -> None:
    table = np.arange(4, dtype="<f4").view([("x", "<f4")]).reshape(1, 4)
    assert pointcloud2_arrays(message(table, row_step=0))["x"].tolist() == [0, 1, 2, 3]


def test_points_without_a_position() -> None:
    x = np.array([1, np.nan, np.inf, 4], np.float32)
    made = pointcloud2_message({"x": x, "n": np.arange(4, dtype=np.int32)}, height=2)
    assert not made.is_dense
    assert pointcloud2_arrays(made)["n"].tolist() == [0, 3]
    assert pointcloud2_arrays(made, keep_invalid=True)["n"].tolist() == [0, 1, 2, 3]
    assert pointcloud2_arrays(replace(made, is_dense=True))["n"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [bytes, bytearray, list, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_messages_of_others(kind: object) -> None:
    made = pointcloud2_message(fields())
    other = SimpleNamespace(**{name: getattr(made, name) for name in made.__dataclass_fields__})
    other.data = kind(made.data)  # type: ignore[operator]
    np.testing.assert_array_equal(pointcloud2_arrays(other)["f8"], np.arange(6.0))


@pytest.mark.parametrize("size", [{"width": 0}, {"height": 0}])
def test_no_point(size: dict[str, int]) -> None:
    back = pointcloud2_arrays(replace(pointcloud2_message(fields()), data=b"", **size))
    assert back["x"].shape == (0,) and back["histogram"].shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"height": -1}, "negative size"),
        ({"width": 7}, "do not fit the data"),
        ({"height": 2}, "do not fit the data"),
        ({"height": 2, "width": 3, "row_step": 0}, "do not fit the data"),
        ({"data": b""}, "do not fit the data"),
        ({"point_step": 4}, "does not fit points of 4 bytes"),
        ({"point_step": 2**40}, "impossible point_step"),
        ({"fields": ()}, "without usable fields"),
        ({"fields": (PointField("x", 0, 9),)}, "does not fit points"),
        ({"fields": (PointField("x", -1, 7),)}, "does not fit points"),
        ({"fields": (PointField("x", 0, 7, 10**6),)}, "does not fit points"),
        ({"fields": (PointField("x", 0, 7), PointField("x", 4, 7))}, "different names"),
        ({"fields": (PointField("", 0, 7),)}, "different names"),
    ],
)
def test_damaged_messages(changes: dict[str, object], text: str) -> None:
    with pytest.raises(FormatError, match=text):
        pointcloud2_arrays(replace(pointcloud2_message(fields()), **changes))  # type: ignore[arg-type]


def test_a_count_of_zero_is_one_value() -> None:
    made = pointcloud2_message({"x": np.arange(3, dtype=np.float32)})
    assert pointcloud2_arrays(replace(made, fields=(PointField("x", 0, 7, 0),)))["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "arrays",
    [{}, {"x": np.zeros(2, np.int64)}, {"x": np.zeros(2, bool)}, {"x": np.zeros(2, "f4"), "y": np.zeros(3, "f4")}],
)
def test_arrays_that_no_message_holds(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError, match="cannot hold these"):
        pointcloud2_message(arrays)


@pytest.mark.parametrize("height", [0, 4])
def test_rows_that_do_not_divide_the_points(height: int) -> None:
    with pytest.raises(UsageError, match="do not divide"):
        pointcloud2_message(fields(), height=height)


def test_times_of_both_generations() -> None:
    made = pointcloud2_message(fields(), stamp_ns=1_700_000_000_250_000_000, frame_id="lidar")
    assert made.header == RosHeader(RosTime(1_700_000_000, 250_000_000), "lidar")
    assert stamp_seconds(made) == 1_700_000_000.25
    old = SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(secs=3, nsecs=500_000_000)))
    assert stamp_seconds(old) == 3.5


@pytest.mark.parametrize("frame", ["", "a", "lidar", "früh"])
@pytest.mark.parametrize("encoding", ["cdr", "ros1"])
def test_bytes_come_back(encoding: str, frame: str) -> None:
    made = pointcloud2_message(fields(), frame_id=frame, stamp_ns=12_000_000_034, height=2)
    back = parse_pointcloud2(pointcloud2_bytes(made, encoding), encoding)
    for name in made.__dataclass_fields__:
        assert getattr(back, name) == getattr(made, name), name


def test_big_endian_cdr() -> None:
    words = [b"\0\0\0\0", *(n.to_bytes(4, "big") for n in (5, 6, 2)), b"f\0\0\0"]
    words += [n.to_bytes(4, "big") for n in (1, 1, 1, 2)] + [b"x\0\0\0", bytes(4), b"\x07\0\0\0", b"\0\0\0\1"]
    words += [b"\1\0\0\0", *(n.to_bytes(4, "big") for n in (4, 4, 4)), np.array(2.5, ">f4").tobytes(), b"\1"]
    back = parse_pointcloud2(b"".join(words))
    assert back.header == RosHeader(RosTime(5, 6), "f") and back.is_bigendian
    assert pointcloud2_arrays(back)["x"].tolist() == [2.5]


@pytest.mark.parametrize("encoding", ["cdr", "ros1"])
def test_every_cut_is_found(encoding: str) -> None:
    data = pointcloud2_bytes(pointcloud2_message({"x": np.zeros(2, np.float32)}, frame_id="lidar"), encoding)
    for kept in range(len(data)):
        with pytest.raises(FormatError):
            parse_pointcloud2(data[:kept], encoding)


def test_other_bytes() -> None:
    with pytest.raises(UsageError, match="no encoding"):
        parse_pointcloud2(b"", "json")
    with pytest.raises(UsageError, match="no encoding"):
        pointcloud2_bytes(pointcloud2_message(fields()), "json")
    with pytest.raises(FormatError, match="unknown CDR header"):
        parse_pointcloud2(b"\0\3\0\0" + bytes(100))
    with pytest.raises(FormatError, match="the frame is too long"):
        parse_pointcloud2(b"\0\1\0\0" + bytes(8) + b"\xff\xff\0\0" + bytes(100))
    with pytest.raises(FormatError, match="impossible number of fields"):
        parse_pointcloud2(b"\0\1\0\0" + bytes(8) + b"\1\0\0\0\0" + bytes(3 + 8) + b"\xff\0\0\0" + bytes(100))


@settings(max_examples=40)
@given(st.integers(0, 999), st.lists(st.sampled_from(KINDS), max_size=5), st.integers(0, 20))
def test_messages_of_any_columns_come_back_through_both_encodings(seed: int, kinds: list[str], n: int) -> None:
    rng = np.random.default_rng(seed)
    here = {axis: rng.normal(size=n).astype(np.float32) for axis in "xyz"}
    here |= {f"f{number}": rng.integers(0, 100, n).astype(kind) for number, kind in enumerate(kinds)}
    made = pointcloud2_message(here, frame_id="lidar", stamp_ns=1_500_000_001)
    for encoding in ("cdr", "ros1"):
        again = parse_pointcloud2(pointcloud2_bytes(made, encoding), encoding)
        assert again.header.frame_id == "lidar" and stamp_seconds(again) == pytest.approx(1.500000001)
        back = pointcloud2_arrays(again)
        assert list(back) == list(here)
        for name, values in here.items():
            assert back[name].dtype == values.dtype
            np.testing.assert_array_equal(back[name], values)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["cdr", "ros1"]))
def test_a_changed_byte_gives_a_message_or_an_error(place: int, value: int, encoding: str) -> None:
    data = bytearray(pointcloud2_bytes(pointcloud2_message(fields()), encoding))
    data[place % len(data)] = value
    try:
        arrays = pointcloud2_arrays(parse_pointcloud2(bytes(data), encoding, "scan"))
    except FormatError as error:
        assert str(error)
    else:
        assert len({len(values) for values in arrays.values()}) <= 1
