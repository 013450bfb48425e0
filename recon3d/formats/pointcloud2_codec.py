"""The bytes of a PointCloud2 message: CDR, as ROS 2 sends it, and the serialisation of ROS 1."""

from __future__ import annotations

import struct
from typing import Any

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.pointcloud2 import PointCloud2, PointField, RosHeader, RosTime, pointcloud2_arrays
from recon3d.formats.reading import ByteReader

ENCODINGS = ("cdr", "ros1")
_MAX_STRING = 1 << 12
_CDR_ORDERS = {0: ">", 1: "<"}


class _Input:
    """Primitive values of a message; CDR aligns each to its size, counted from behind its four bytes of header."""

    def __init__(self, data: bytes, encoding: str, name: str) -> None:
        self.reader, self.aligned, self.order = ByteReader(data, name), encoding == "cdr", "<"
        if self.aligned:
            head = self.reader.take(4, "the CDR header")
            if head[0] != 0 or head[1] not in _CDR_ORDERS:
                raise FormatError(f"{name}: unknown CDR header", got=head.hex(), expected="0000.... or 0001....")
            self.order = _CDR_ORDERS[head[1]]

    def value(self, code: str, what: str) -> int:
        layout = struct.Struct(self.order + code)
        if self.aligned:
            self.reader.take(-(self.reader.offset - 4) % layout.size, what)
        return int(self.reader.unpack(layout, what)[0])

    def string(self, what: str) -> str:
        n_bytes = self.value("I", what)
        if n_bytes > _MAX_STRING:
            raise FormatError(f"{self.reader.name}: {what} is too long", got=f"{n_bytes} bytes")
        raw = self.reader.take(n_bytes, what)
        return (raw[:-1] if self.aligned else raw).decode("utf-8", "replace")


def parse_pointcloud2(data: bytes, encoding: str = "cdr", name: str = "PointCloud2") -> PointCloud2:
    """Read the bytes of a message.

    Args:
        data: as a bag or a wire holds them.
        encoding: ``cdr`` for ROS 2, ``ros1``.
        name: how error texts call it.

    Raises:
        FormatError: they are no valid message, or its points do not fit their table of fields.
        UsageError: there is no such encoding.
    """
    if encoding not in ENCODINGS:
        raise UsageError("no encoding of messages", got=encoding, expected=", ".join(ENCODINGS))
    source = _Input(data, encoding, name)
    if encoding == "ros1":
        source.value("I", "the sequence number")
    seconds, nanoseconds = source.value("i" if encoding == "cdr" else "I", "the time"), source.value("I", "the time")
    header = RosHeader(RosTime(seconds, nanoseconds), source.string("the frame"))
    height, width, n_fields = (source.value("I", what) for what in ("height", "width", "the number of fields"))
    if n_fields * 13 > source.reader.remaining:
        raise FormatError(f"{name}: impossible number of fields", got=n_fields)
    fields = tuple(_field(source) for _ in range(n_fields))
    big = source.value("B", "the byte order") != 0
    point_step, row_step, n_bytes = (source.value("I", what) for what in ("point_step", "row_step", "the data"))
    message = PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=fields,
        is_bigendian=big,
        point_step=point_step,
        row_step=row_step,
        data=source.reader.take(n_bytes, "the data"),
        is_dense=source.value("B", "is_dense") != 0,
    )
    pointcloud2_arrays(message, keep_invalid=True)
    return message


def _field(source: _Input) -> PointField:
    name = source.string("the name of a field")
    offset, datatype = source.value("I", "an offset"), source.value("B", "a type")
    return PointField(name, offset, datatype, source.value("I", "a count"))


class _Output:
    def __init__(self, encoding: str) -> None:
        self.parts, self.length, self.aligned = bytearray(), 0, encoding == "cdr"

    def value(self, code: str, value: int) -> None:
        raw = struct.pack("<" + code, value)
        if self.aligned:
            self.parts += bytes(-len(self.parts) % len(raw))
        self.parts += raw

    def string(self, text: str) -> None:
        raw = text.encode() + (b"\0" if self.aligned else b"")
        self.value("I", len(raw))
        self.parts += raw


def pointcloud2_bytes(message: Any, encoding: str = "cdr") -> bytes:
    """Return the bytes of a message.

    Args:
        message: a :class:`PointCloud2`, or any object with the same attributes and times as ``sec`` and ``nanosec``.
        encoding: ``cdr`` (little endian) for ROS 2, ``ros1``.

    Raises:
        UsageError: there is no such encoding.
    """
    if encoding not in ENCODINGS:
        raise UsageError("no encoding of messages", got=encoding, expected=", ".join(ENCODINGS))
    out = _Output(encoding)
    if encoding == "ros1":
        out.value("I", 0)
    out.value("i" if encoding == "cdr" else "I", message.header.stamp.sec)
    out.value("I", message.header.stamp.nanosec)
    out.string(message.header.frame_id)
    for number in (message.height, message.width, len(message.fields)):
        out.value("I", number)
    for each in message.fields:
        out.string(each.name)
        out.value("I", each.offset)
        out.value("B", each.datatype)
        out.value("I", each.count)
    out.value("B", bool(message.is_bigendian))
    for number in (message.point_step, message.row_step, len(message.data)):
        out.value("I", number)
    out.parts += bytes(message.data)
    out.value("B", bool(message.is_dense))
    return (b"\0\1\0\0" if encoding == "cdr" else b"") + bytes(out.parts)
