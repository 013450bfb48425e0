"""OpenEXR: images of float channels by name, single-part scan lines.

Written: float32, ZIP. Read: HALF, FLOAT and UINT channels, without compression or with RLE, ZIPS, ZIP or PIZ, in
either line order. Tiles, several parts, deep pixels, subsampled channels and the other compressions are refused by
name.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_bytes
from recon3d.formats.exr_blocks import PIZ, pack_block, unpack_block
from recon3d.formats.exr_header import ExrHeader, read_header, write_header
from recon3d.formats.exr_piz import unpack_piz
from recon3d.formats.reading import ByteReader

MAX_FILE_BYTES = 4 << 30
MAX_PIXELS = 1 << 28
_BLOCK = struct.Struct("<ii")
_OFFSET = np.dtype("<u8")
_LEVEL = 4  # of zlib, as OpenEXR's own writer takes


def write_exr(path: Path, channels: Mapping[str, Float32[np.ndarray, "h w"]]) -> None:
    """Write an OpenEXR file atomically: float32 channels, ZIP compression; the same input gives the same bytes.

    Args:
        path: the file.
        channels: images of one size by name, each ``[h,w]``; the usual names are R G B A, Z for depth along camera z
            and Y for a single quantity. NaN and infinity are kept.

    Raises:
        UsageError: no channel, different sizes, an empty image or an unfit name.
    """
    images = {name: np.asarray(image) for name, image in channels.items()}
    shapes = {image.shape for image in images.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
        got = {name: image.shape for name, image in images.items()}
        raise UsageError("EXR channels must be images of one size", got=got)
    for name, image in images.items():
        if not (0 < len(name.encode()) <= 31 and name.isprintable()) or image.dtype != np.float32:
            raise UsageError("EXR cannot hold this channel", got=f"{name!r} as {image.dtype}", expected="float32")
    names = sorted(images)
    height, width = shapes.pop()
    header = write_header(names, width, height)
    rows = np.empty((height, len(names), width), "<f4")  # each line holds its channels one after the other
    for index, name in enumerate(names):
        rows[:, index] = images[name]
    blocks = []
    for top in range(0, height, 16):
        packed = pack_block(rows[top : top + 16].tobytes(), _LEVEL)
        blocks.append(_BLOCK.pack(top, len(packed)) + packed)
    ends = np.cumsum([0, *map(len, blocks)])[:-1] + len(header) + _OFFSET.itemsize * len(blocks)
    write_bytes(path, b"".join([header, ends.astype(_OFFSET).tobytes(), *blocks]))


def read_exr(path: Path, max_pixels: int = MAX_PIXELS) -> dict[str, Float32[np.ndarray, "h w"]]:
    """Read an OpenEXR file.

    Args:
        path: the file.
        max_pixels: most pixels of the data window times channels; memory stays within a small multiple of what the
            header declares, which is checked against this and against what the file can hold at most.

    Returns:
        The channels of the data window by name, sorted by name; integers become the nearest float32.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not valid, or of a kind that is not read.
    """
    return parse_exr(read_capped(path, MAX_FILE_BYTES), str(path), max_pixels)


def parse_exr(
    data: bytes, name: str = "EXR data", max_pixels: int = MAX_PIXELS
) -> dict[str, Float32[np.ndarray, "h w"]]:
    """Read the bytes of an OpenEXR file; see :func:`read_exr`.

    Raises:
        FormatError: they are not valid, or of a kind that is not read.
    """
    reader = ByteReader(data, name)
    header = read_header(reader)
    n_values = header.height * header.width * len(header.channels)
    if n_values > max_pixels:
        got = f"{header.width} x {header.height} x {len(header.channels)}"
        raise FormatError(f"{name} is too large", got=got, expected=f"at most {max_pixels} values")
    n_blocks = -(-header.height // header.block_lines)
    least = n_blocks * (_OFFSET.itemsize + _BLOCK.size)
    if least > reader.remaining or header.height * header.line_bytes > header.most_expansion * reader.remaining:
        got = f"{header.width} x {header.height} in {reader.remaining} bytes"
        raise FormatError(f"{name}: impossible size of the image", got=got)
    offsets = reader.array(_OFFSET, n_blocks, "the table of offsets")
    lines = np.empty((header.height, header.line_bytes), np.uint8)
    for index, offset in enumerate(offsets.tolist()):
        top = index * header.block_lines
        block = lines[top : top + header.block_lines]
        block.reshape(-1)[:] = np.frombuffer(_read_block(reader, header, int(offset), top, block.size), np.uint8)
    return _channels(lines, header)


def exr_size(data: bytes, name: str = "EXR data") -> tuple[int, int, int]:
    """Return height, width and number of channels as the header declares them.

    Raises:
        FormatError: the header is not valid, or of a kind that is not read.
    """
    header = read_header(ByteReader(data, name))
    return header.height, header.width, len(header.channels)


def _read_block(reader: ByteReader, header: ExrHeader, offset: int, top: int, n_bytes: int) -> bytes:
    reader.offset = min(offset, len(reader.data))
    what = f"the block of line {top}"
    line, size = reader.unpack(_BLOCK, what)
    if line != header.top + top or size < 0:
        got = f"line {line}, {size} bytes"
        raise FormatError(f"{reader.name}: the offset of line {top} points elsewhere", got=got)
    try:
        packed = reader.take(int(size), what)
        if header.compression == PIZ and len(packed) < n_bytes:
            words = [np.dtype(code).itemsize // 2 for code in header.channels.values()]
            return unpack_piz(packed, n_bytes // header.line_bytes, header.width, words)
        return unpack_block(packed, n_bytes, header.compression)
    except (ValueError, zlib.error) as error:
        raise FormatError(f"{reader.name}: {what} is damaged", got=str(error)) from error


def _channels(lines: np.ndarray, header: ExrHeader) -> dict[str, Float32[np.ndarray, "h w"]]:
    images: dict[str, Float32[np.ndarray, "h w"]] = {}
    start = 0
    for channel, code in header.channels.items():
        stop = start + header.width * np.dtype(code).itemsize
        images[channel] = np.ascontiguousarray(lines[:, start:stop]).view(code).astype(np.float32)
        start = stop
    return images
