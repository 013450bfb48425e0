"""LAZ: the points of a LAS file, compressed; lazrs does the work."""

from __future__ import annotations

import importlib
import io
import struct
from typing import Any

import numpy as np

from recon3d.core.errors import DependencyError, FormatError
from recon3d.formats.las_header import LasHeader, LasVlr
from recon3d.formats.reading import ByteReader

LASZIP = ("laszip encoded", 22204)
_POSITION, _CHUNKS = struct.Struct("<q"), struct.Struct("<II")
_SETTINGS, _ITEM, _COUNT = struct.Struct("<HHBBHIIqqH"), struct.Struct("<HHH"), struct.Struct("<I")
_LAYERED, _VARIABLE = 3, 2**32 - 1  # kind of compressor; length of chunks that each tell their own
_LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}  # per kind of item: point, colour, colour and infrared, wave packet
_EXTRA_ITEM = 14  # one layer per byte
_BLOCK_POINTS = 1 << 16
_MAX_GROWTH, _FREE_BYTES = 256, 4 << 20  # real files shrink 5 to 20 times


def _lazrs() -> Any:
    try:
        return importlib.import_module("lazrs")
    except ImportError as error:
        raise DependencyError("LAZ files need lazrs", got=error, fix="pip install 'recon3d[las]'") from error


def unpack_laz(reader: ByteReader, header: LasHeader) -> bytes:
    """Return the records as an uncompressed file would hold them.

    Args:
        reader: stands at the first compressed byte.
        header: of the file.

    Raises:
        FormatError: the points are damaged, or claim more than the file can hold.
        DependencyError: lazrs is not installed.
    """
    lazrs = _lazrs()
    settings = header.vlr(*LASZIP)
    n_bytes = header.n_points * header.record_bytes
    if settings is None or n_bytes > reader.remaining * _MAX_GROWTH + _FREE_BYTES:
        got = f"{header.n_points} points in {reader.remaining} bytes"
        raise FormatError(f"{reader.name}: impossible LAZ file", got=got if settings else "no LASzip record")
    if not header.n_points:
        return b""
    _check_layers(reader, header, settings, _check_chunks(reader))
    source = io.BytesIO(reader.data)
    source.seek(reader.offset)
    blocks: list[bytes] = []
    try:
        if lazrs.LazVlr(settings).item_size() != header.record_bytes:
            raise FormatError(f"{reader.name}: the LASzip record is of other points", expected=header.record_bytes)
        decoder = lazrs.LasZipDecompressor(source, settings)
        for start in range(0, header.n_points, _BLOCK_POINTS):
            block = np.zeros(min(_BLOCK_POINTS, header.n_points - start) * header.record_bytes, np.uint8)
            decoder.decompress_many(block)
            blocks.append(block.tobytes())
    except (lazrs.LazrsError, OSError, ValueError, OverflowError, MemoryError) as error:
        raise FormatError(f"{reader.name}: damaged LAZ points", got=str(error)[:200]) from error
    return b"".join(blocks)


def _check_chunks(reader: ByteReader) -> int:
    """Refuse a table of more chunks than there are bytes, for which lazrs would end the process; return its place."""
    start = reader.offset
    (at,) = (int(value) for value in reader.unpack(_POSITION, "the place of the LAZ chunks"))
    if at == -1:
        (at,) = _POSITION.unpack_from(reader.data, len(reader.data) - _POSITION.size)
    reader.offset = start
    if not start + _POSITION.size <= at <= len(reader.data) - _CHUNKS.size:
        raise FormatError(f"{reader.name}: impossible place of the LAZ chunks", got=at)
    _, n_chunks = _CHUNKS.unpack_from(reader.data, at)
    if n_chunks > reader.remaining:
        raise FormatError(
            f"{reader.name}: impossible number of LAZ chunks", got=f"{n_chunks} in {reader.remaining} bytes"
        )
    return at


def _check_layers(reader: ByteReader, header: LasHeader, settings: bytes, end: int) -> None:
    """Refuse layers (of point formats from 6 on) that are longer than the file: lazrs would take their memory first."""
    if len(settings) < _SETTINGS.size or _SETTINGS.unpack_from(settings)[0] != _LAYERED:
        return
    per_chunk, n_layers = int(_SETTINGS.unpack_from(settings)[6]), _n_layers(settings)
    at, left = reader.offset + _POSITION.size, header.n_points
    sizes = struct.Struct(f"<{n_layers}I")
    while left > 0:
        body = at + header.record_bytes + _COUNT.size + sizes.size  # behind the first point, the count and the sizes
        if body > end:
            raise FormatError(f"{reader.name}: the LAZ chunks are cut off", got=f"{left} points more than chunks")
        (count,) = _COUNT.unpack_from(reader.data, at + header.record_bytes)
        n_bytes = sum(sizes.unpack_from(reader.data, body - sizes.size))
        if not 0 < count <= left or (per_chunk != _VARIABLE and count != min(per_chunk, left)) or body + n_bytes > end:
            got = f"{count} points in layers of {n_bytes} bytes, {end - body} bytes left"
            raise FormatError(f"{reader.name}: impossible LAZ chunk", got=got)
        at, left = body + n_bytes, left - count


def _n_layers(settings: bytes) -> int:
    rest = settings[_SETTINGS.size :]
    items = _ITEM.iter_unpack(rest[: len(rest) // _ITEM.size * _ITEM.size])
    return sum(int(size) if kind == _EXTRA_ITEM else _LAYERS.get(kind, 0) for kind, size, _ in items)


def laszip_record(point_format: int, n_extra_bytes: int) -> LasVlr:
    """Return the variable-length record that says how points are compressed.

    Args:
        point_format: 0..10.
        n_extra_bytes: bytes of a record behind those of the format.

    Raises:
        DependencyError: lazrs is not installed.
        FormatError: the points cannot be compressed.
    """
    lazrs = _lazrs()
    try:
        settings = lazrs.LazVlr.new_for_compression(point_format, n_extra_bytes).record_data()
    except (lazrs.LazrsError, ValueError) as error:
        raise FormatError(f"LAZ cannot hold points of format {point_format}", got=str(error)[:200]) from error
    return LasVlr(*LASZIP, bytes(settings), "https://laszip.org")


def pack_laz(front: bytes, settings: LasVlr, records: bytes) -> bytes:
    """Return a whole LAZ file.

    Args:
        front: header and variable-length records.
        settings: of :func:`laszip_record`, one of these.
        records: the uncompressed points.
    """
    lazrs = _lazrs()
    out = io.BytesIO()
    out.write(front)
    packer = lazrs.LasZipCompressor(out, lazrs.LazVlr(settings.data))
    packer.compress_many(np.frombuffer(records, np.uint8))
    packer.done()
    return out.getvalue()
