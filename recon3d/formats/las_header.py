"""The public header block of LAS 1.0 to 1.4 and its variable-length records."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from recon3d.core.errors import FormatError
from recon3d.formats.reading import ByteReader

_HEAD = struct.Struct("<4sHH16sBB32s32sHHHIIBHI5I12d")  # the 227 bytes that all versions share
_TAIL = struct.Struct("<QQIQ15Q")  # 1.3 has the first number, 1.4 all of them
_VLR = struct.Struct("<H16sHH32s")
HEADER_BYTES = {0: 227, 1: 227, 2: 227, 3: 235, 4: 375}
_COMPRESSED = 0x80


@dataclass(frozen=True)
class LasVlr:
    """One variable-length record."""

    user: str
    number: int
    data: bytes
    description: str = ""


@dataclass(frozen=True)
class LasHeader:
    """What the header says.

    Args:
        minor: of the version 1.x.
        point_format: 0..10.
        compressed: whether the points are LAZ.
        points_at: byte of the first point.
        record_bytes: length of one record.
        n_points: their number.
        scale: of the integer coordinates, metres (or the unit of the map projection).
        offset: of the coordinates.
        vlrs: variable-length records in front of the points.
    """

    minor: int
    point_format: int
    compressed: bool
    points_at: int
    record_bytes: int
    n_points: int
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    vlrs: tuple[LasVlr, ...] = ()

    def vlr(self, user: str, number: int) -> bytes | None:
        """Return the contents of a record, None without it."""
        return next((each.data for each in self.vlrs if (each.user, each.number) == (user, number)), None)


def parse_las_header(reader: ByteReader) -> LasHeader:
    """Read the header and its variable-length records.

    Args:
        reader: stands at the start of the file.

    Raises:
        FormatError: it is no LAS file, or the header is damaged.
    """
    if reader.data[:4] != b"LASF":
        raise FormatError(f"{reader.name} is not a LAS file", got=reader.data[:4], expected="LASF")
    reader.need(_HEAD.size, "the LAS header")
    values = _HEAD.unpack_from(reader.data)
    major, minor, header_bytes, points_at, n_vlrs = values[4], values[5], values[10], values[11], values[12]
    point_format, record_bytes, n_points = values[13], values[14], values[15]
    if major != 1 or minor not in HEADER_BYTES or header_bytes < HEADER_BYTES[minor]:
        got = f"version {major}.{minor} with a header of {header_bytes} bytes"
        raise FormatError(f"{reader.name}: unknown LAS header", got=got, expected="version 1.0 to 1.4")
    reader.need(header_bytes, "the LAS header")
    if minor == 4:
        n_points = _TAIL.unpack_from(reader.data, _HEAD.size)[3]
    scale, offset = values[21:24], values[24:27]
    if not all(abs(value) < 1e300 for value in (*scale, *offset)):
        raise FormatError(f"{reader.name}: scale or offset is no number", got=f"{scale}, {offset}")
    reader.offset = header_bytes
    vlrs = _vlrs(reader, n_vlrs, points_at)
    if not reader.offset <= points_at <= len(reader.data):
        raise FormatError(f"{reader.name}: impossible start of the points", got=points_at)
    return LasHeader(
        minor=minor,
        point_format=point_format & 0x3F,
        compressed=bool(point_format & _COMPRESSED),
        points_at=points_at,
        record_bytes=record_bytes,
        n_points=n_points,
        scale=scale,
        offset=offset,
        vlrs=vlrs,
    )


def _vlrs(reader: ByteReader, n_vlrs: int, points_at: int) -> tuple[LasVlr, ...]:
    found = []
    if n_vlrs * _VLR.size > points_at - reader.offset:
        raise FormatError(f"{reader.name}: impossible number of LAS records", got=n_vlrs)
    for _ in range(n_vlrs):
        reader.need(_VLR.size, "a LAS record")
        _, user, number, n_bytes, text = _VLR.unpack_from(reader.data, reader.offset)
        reader.offset += _VLR.size
        found.append(LasVlr(_text(user), number, reader.take(n_bytes, "a LAS record"), _text(text)))
    return tuple(found)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def las_header_bytes(
    header: LasHeader, bounds: Sequence[float], by_return: Sequence[int], software: str = "recon3d"
) -> bytes:
    """Return the header and its variable-length records, as they stand in front of the points.

    Args:
        header: what to write; ``points_at`` is not used.
        bounds: max x, min x, max y, min y, max z, min z.
        by_return: number of points per return, 15 numbers.
        software: that wrote the file.
    """
    vlrs = b"".join(
        _VLR.pack(0, each.user.encode()[:16], each.number, len(each.data), each.description.encode()[:32]) + each.data
        for each in header.vlrs
    )
    size = HEADER_BYTES[header.minor]
    legacy = header.point_format < 6 and header.n_points < 1 << 32
    counts = [header.n_points if legacy else 0, *(n if legacy else 0 for n in by_return[:5])]
    encoding = 0 if header.point_format < 6 else 1 << 4  # WKT is demanded of the new formats
    head = _HEAD.pack(
        *(b"LASF", 0, encoding, bytes(16), 1, header.minor, b"", software.encode()[:32], 1, 1970),
        *(size, size + len(vlrs), len(header.vlrs), header.point_format | (_COMPRESSED if header.compressed else 0)),
        *(header.record_bytes, *counts, *header.scale, *header.offset, *bounds),
    )
    tail = _TAIL.pack(0, 0, 0, header.n_points, *by_return)
    return (head + tail)[:size] + vlrs
