"""ROS PointCloud2 without ROS: any object with the fields of the message is read, and ours has the same fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import FormatError, UsageError

_CODES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_NUMBERS = {code: number for number, code in _CODES.items()}
_MAX_FIELDS, _MAX_STEP = 1024, 2**31 - 1  # numpy's records are not longer


@dataclass(frozen=True)
class RosTime:
    """``builtin_interfaces/Time``."""

    sec: int = 0
    nanosec: int = 0


@dataclass(frozen=True)
class RosHeader:
    """``std_msgs/Header``."""

    stamp: RosTime = RosTime()
    frame_id: str = ""


@dataclass(frozen=True)
class PointField:
    """``sensor_msgs/PointField``: byte offset, type 1..8 and number of values of one field of a point."""

    name: str
    offset: int
    datatype: int
    count: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class PointCloud2:
    """``sensor_msgs/PointCloud2``, with the names of the message.

    Args:
        header: time and frame.
        height: rows; more than 1 where the cloud is organised.
        width: points per row.
        fields: the layout of one point.
        is_bigendian: byte order of the data.
        point_step: bytes from a point to the next.
        row_step: bytes from a row to the next.
        data: the points.
        is_dense: whether every point has a position.
    """

    header: RosHeader
    height: int
    width: int
    fields: Sequence[PointField]
    is_bigendian: bool
    point_step: int
    row_step: int
    data: bytes
    is_dense: bool


def pointcloud2_arrays(message: Any, *, keep_invalid: bool = False) -> dict[str, Shaped[np.ndarray, "n ..."]]:
    """Return the fields of a message.

    Args:
        message: a :class:`PointCloud2`, a message of ROS 1 or ROS 2, or any object with the same attributes.
        keep_invalid: keep the points that have no position, in the order of rows; they are left out where the message
            is not dense. Only with it, an organised cloud has ``height * width`` points.

    Returns:
        Arrays by name, ``[n]`` or ``[n,count]``, in native byte order. Colours stay packed, see :func:`unpack_rgb`.

    Raises:
        FormatError: the fields do not fit a point, or the points do not fit the data.
    """
    table = _table(message).reshape(-1)
    names = table.dtype.names or ()
    arrays = {name: table[name].astype(table[name].dtype.newbyteorder("=")) for name in names}
    axes = [arrays[axis] for axis in ("x", "y", "z") if axis in arrays and arrays[axis].dtype.kind == "f"]
    if keep_invalid or message.is_dense or not axes:
        return arrays
    valid = np.logical_and.reduce([np.isfinite(axis) for axis in axes])
    return {name: values[valid] for name, values in arrays.items()}


def _table(message: Any) -> Shaped[np.ndarray, "h w"]:
    height, width, step = int(message.height), int(message.width), int(message.point_step)
    layout = _layout(message.fields, step, ">" if message.is_bigendian else "<")
    if height < 0 or width < 0:
        raise FormatError("negative size of a PointCloud2", got=f"{height} x {width}")
    if not height or not width:
        return np.zeros((0, 0), layout)
    data = memoryview(message.data).cast("B") if not isinstance(message.data, list) else memoryview(bytes(message.data))
    row = int(message.row_step) if height > 1 else width * step
    if row < width * step or (height - 1) * row + width * step > len(data):
        got = f"{height} rows of {row} bytes, {width} points of {step}, in {len(data)} bytes"
        raise FormatError("the points do not fit the data of a PointCloud2", got=got)
    return np.ndarray((height, width), layout, data, strides=(row, step))


def _layout(fields: Sequence[Any], step: int, order: str) -> np.dtype[np.void]:
    names, formats, offsets = [], [], []
    if not 1 <= len(fields) <= _MAX_FIELDS:
        raise FormatError("a PointCloud2 without usable fields", got=len(fields), expected=f"1..{_MAX_FIELDS}")
    if not 0 <= step <= _MAX_STEP:
        raise FormatError("impossible point_step of a PointCloud2", got=step, expected=f"0..{_MAX_STEP}")
    for each in fields:
        code, count, offset = _CODES.get(int(each.datatype)), max(1, int(each.count)), int(each.offset)
        if code is None or offset < 0 or offset + count * int(code[1]) > step:
            got = f"{str(each.name)[:40]!r} of type {each.datatype} x {count} at {offset}"
            raise FormatError(f"a field does not fit points of {step} bytes", got=got)
        names.append(str(each.name))
        formats.append((order + code, (count,)) if count > 1 else order + code)
        offsets.append(offset)
    if len(set(names)) != len(names) or not all(names):
        raise FormatError("the fields of a PointCloud2 need different names", got=names[:20])
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": step})


def pointcloud2_message(
    arrays: Mapping[str, Shaped[np.ndarray, "n ..."]],
    *,
    frame_id: str = "",
    stamp_ns: int = 0,
    height: int = 1,
) -> PointCloud2:
    """Return a message of packed little-endian points.

    Args:
        arrays: by name, ``[n]`` or ``[n,count]``; 8- to 32-bit integers, float32 or float64.
        frame_id: the frame.
        stamp_ns: the time, nanoseconds since 1970.
        height: rows of an organised cloud; it divides ``n``.

    Raises:
        UsageError: an array has an unfit type or length.
    """
    lengths = {values.shape[0] for values in arrays.values()}
    codes = {name: values.dtype.str[1:] for name, values in arrays.items()}
    if len(lengths) != 1 or not set(codes.values()) <= set(_NUMBERS):
        shapes = {name: f"{values.dtype} {list(values.shape)}" for name, values in arrays.items()}
        raise UsageError("PointCloud2 cannot hold these", got=shapes, expected=f"one length, of {', '.join(_NUMBERS)}")
    n_points = lengths.pop()
    if height < 1 or n_points % height:
        raise UsageError("the rows do not divide the points", got=f"{n_points} points in {height} rows")
    rows = np.dtype([(name, f"<{codes[name]}", values.shape[1:]) for name, values in arrays.items()])
    table = np.empty(n_points, rows)
    fields = []
    for name, values in arrays.items():
        table[name] = values
        offset = int(rows.fields[name][1]) if rows.fields else 0
        fields.append(PointField(name, offset, _NUMBERS[codes[name]], int(np.prod(values.shape[1:], dtype=int))))
    axes = [arrays[axis] for axis in ("x", "y", "z") if axis in arrays]
    width = n_points // height
    return PointCloud2(
        header=RosHeader(RosTime(*divmod(stamp_ns, 10**9)), frame_id),
        height=height,
        width=width,
        fields=tuple(fields),
        is_bigendian=False,
        point_step=rows.itemsize,
        row_step=rows.itemsize * width,
        data=table.tobytes(),
        is_dense=all(bool(np.isfinite(axis).all()) for axis in axes),
    )


def stamp_seconds(message: Any) -> float:
    """Return the time of a message in seconds, of ROS 1 (secs, nsecs) or ROS 2 (sec, nanosec).

    Args:
        message: with a header.
    """
    stamp = message.header.stamp
    whole, part = getattr(stamp, "sec", None), getattr(stamp, "nanosec", None)
    if whole is None or part is None:
        whole, part = stamp.secs, stamp.nsecs
    return int(whole) + int(part) * 1e-9
