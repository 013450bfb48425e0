"""Radiance HDR: linear RGB with a shared exponent per pixel (RGBE).

Read: flat pixels, the old run lengths (a pixel of ones repeats its predecessor) and the per-channel run lengths of
today, in any of the eight orders of rows and columns. Written: per-channel run lengths, top row first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, UInt8

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_bytes
from recon3d.core.kernels import kernel
from recon3d.formats.reading import ByteReader

MAX_FILE_BYTES = 2 << 30
MAX_PIXELS = 1 << 27
_MAX_HEADER = 1 << 16
_MIN_RUN_WIDTH, _MAX_RUN_WIDTH = 8, 0x7FFF  # other widths are always flat
_SIZE = re.compile(rb"([+-])([XY]) (\d{1,9}) ([+-])([XY]) (\d{1,9})")
_FORMATS = (b"32-bit_rle_rgbe",)
_BIAS = 136  # of the exponent: mantissa * 2 ** (exponent - 136), as OpenCV and stb decode it
_LARGEST = np.float32(255 * 2.0**119)


def write_hdr(path: Path, rgb: Float32[np.ndarray, "h w 3"]) -> None:
    """Write linear RGB atomically; each pixel keeps eight bits of its largest channel.

    Args:
        path: the file.
        rgb: radiance, finite and not negative, ``[h,w,3]``.

    Raises:
        UsageError: the image is empty, or a value is negative, not finite or beyond 4e37.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise UsageError("an HDR image has three channels", got=rgb.shape)
    if not (rgb >= 0).all() or rgb.max() > _LARGEST:
        raise UsageError("HDR holds radiance", got=f"{rgb.min()} to {rgb.max()}", expected=f"0 to {_LARGEST:.3g}")
    height, width = rgb.shape[:2]
    pixels = encode_rgbe(rgb)
    header = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n" + f"-Y {height} +X {width}\n".encode()
    runs = _MIN_RUN_WIDTH <= width <= _MAX_RUN_WIDTH
    body = b"".join(_packed_row(row) for row in pixels) if runs else pixels.tobytes()
    write_bytes(path, header + body)


def read_hdr(path: Path, max_pixels: int = MAX_PIXELS) -> Float32[np.ndarray, "h w 3"]:
    """Read a Radiance HDR file as linear RGB, ``[h,w,3]``, top row first.

    Args:
        path: the file.
        max_pixels: most pixels; memory stays within a small multiple of the decoded size, which is checked first.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not valid, or of a kind that is not read.
    """
    return parse_hdr(read_capped(path, MAX_FILE_BYTES), str(path), max_pixels)


def parse_hdr(data: bytes, name: str = "HDR data", max_pixels: int = MAX_PIXELS) -> Float32[np.ndarray, "h w 3"]:
    """Read the bytes of a Radiance HDR file; see :func:`read_hdr`.

    Raises:
        FormatError: they are not valid, or of a kind that is not read.
    """
    reader = ByteReader(data, name)
    size = _read_header(reader)
    first, second = int(size[3]), int(size[6])  # the slow axis and the fast one
    if first * second > max_pixels or not first * second:
        raise FormatError(f"{name}: impossible size of the image", got=f"{first} x {second}")
    if first * second > 64 * reader.remaining:  # four bytes of an old run make up to 255 pixels, and more in a chain
        got = f"{first} x {second} in {reader.remaining} bytes"
        raise FormatError(f"{name}: impossible size of the image", got=got)
    pixels = np.empty((first, second, 4), np.uint8)
    source = np.frombuffer(data, np.uint8, reader.remaining, reader.offset)
    bad_row = _decode_rows(source, pixels)
    if bad_row >= 0:
        raise FormatError(f"{name}: line {bad_row} is damaged or cut off")
    return decode_rgbe(_oriented(pixels, size[1] + size[2], size[4] + size[5]))


def hdr_size(data: bytes, name: str = "HDR data") -> tuple[int, int]:
    """Return height and width as the header declares them.

    Raises:
        FormatError: the header is not valid.
    """
    size = _read_header(ByteReader(data, name))
    rows_first = size[2] == b"Y"
    return (int(size[3]), int(size[6])) if rows_first else (int(size[6]), int(size[3]))


def _oriented(pixels: UInt8[np.ndarray, "a b 4"], slow: bytes, fast: bytes) -> UInt8[np.ndarray, "h w 4"]:
    if slow.endswith(b"X"):
        pixels = pixels.swapaxes(0, 1)
    if b"+Y" in (slow, fast):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if b"-X" in (slow, fast) else pixels


def _read_header(reader: ByteReader) -> tuple[bytes, ...]:
    """Read up to the line of the size; return its parts (the whole, then sign, axis and number of both axes)."""
    for index, line in enumerate(_lines(reader)):
        if index == 0 and not line.startswith(b"#?"):
            raise FormatError(f"{reader.name} is no Radiance HDR file", got=repr(line[:20]), expected="#?RADIANCE")
        key, _, value = line.partition(b"=")
        if key.strip() == b"FORMAT" and value.strip() not in _FORMATS:
            raise FormatError(f"{reader.name}: unknown format", got=repr(value[:40]), expected=_FORMATS[0].decode())
        if not line.strip():
            break
    line = next(_lines(reader))
    size = _SIZE.fullmatch(line.strip())
    if size is None or size[2] == size[5]:
        raise FormatError(
            f"{reader.name}: the line of the size is wrong", got=repr(line[:40]), expected="-Y 512 +X 1024"
        )
    return (size[0], *size.groups())


def _lines(reader: ByteReader) -> Iterator[bytes]:
    while True:
        end = reader.data.find(b"\n", reader.offset, reader.offset + _MAX_HEADER)
        if end < 0 or end > _MAX_HEADER:
            raise FormatError(f"{reader.name}: the header has no end", expected=f"within {_MAX_HEADER} bytes")
        line = reader.data[reader.offset : end]
        reader.offset = end + 1
        yield line


def encode_rgbe(rgb: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 4"]:
    """Return mantissas and exponents, rounded to the nearest; what underflows becomes black."""
    largest = rgb.max(axis=-1).astype(np.float64)
    exponent = np.frexp(largest)[1]  # largest = m * 2 ** exponent with m in [0.5, 1)
    exponent += largest * 2.0 ** (8 - exponent) >= 255.5  # rounds up to 256
    mantissa = np.rint(rgb * 2.0 ** (8 - exponent)[..., None])
    code = exponent + _BIAS - 8
    kept = (largest > 0) & (code > 0)
    pixels = np.concatenate([mantissa, code[..., None]], axis=-1)
    return np.where(kept[..., None], pixels, 0).astype(np.uint8)


def decode_rgbe(pixels: UInt8[np.ndarray, "h w 4"]) -> Float32[np.ndarray, "h w 3"]:
    """Return the linear values of mantissas and exponents; exponent 0 is black."""
    scale = np.exp2(np.arange(256, dtype=np.float64) - _BIAS)
    scale[0] = 0.0
    rgb: Float32[np.ndarray, "h w 3"] = pixels[..., :3] * scale[pixels[..., 3]].astype(np.float32)[..., None]
    return rgb


def _packed_row(row: UInt8[np.ndarray, "w 4"]) -> bytes:
    """Run-length code one line: its width, then each channel for itself."""
    return bytes([2, 2, len(row) >> 8, len(row) & 255]) + b"".join(_packed(row[:, c].tobytes()) for c in range(4))


def _packed(values: bytes) -> bytes:
    out, literal = bytearray(), bytearray()

    def flush() -> None:
        for start in range(0, len(literal), 128):
            piece = literal[start : start + 128]
            out.extend(bytes([len(piece)]) + piece)
        literal.clear()

    for run in re.finditer(rb"(?s)(.)\1{0,126}", values):
        if len(run[0]) < 3:
            literal.extend(run[0])
            continue
        flush()
        out.extend(bytes([128 + len(run[0])]) + run[1])
    flush()
    return bytes(out)


@kernel(order="written")
@no_type_check
def _decode_rows(source, pixels):
    """Fill the lines of ``pixels``; return the first that is damaged, -1 where none is."""
    at = 0
    for row in range(pixels.shape[0]):
        width = pixels.shape[1]
        coded = _MIN_RUN_WIDTH <= width <= _MAX_RUN_WIDTH and at + 4 <= source.size
        coded = coded and source[at] == 2 and source[at + 1] == 2
        if coded and (np.int64(source[at + 2]) << 8 | np.int64(source[at + 3])) == width:
            at = _channel_runs(source, at + 4, pixels[row])
        else:
            at = _pixel_runs(source, at, pixels[row])
        if at < 0:
            return row
    return -1


@kernel(order="written")
@no_type_check
def _channel_runs(source, at, line):
    for channel in range(4):
        x = 0
        while x < line.shape[0]:
            if at >= source.size:
                return -1
            count = np.int64(source[at])
            repeats = count > 128
            count -= 128 if repeats else 0
            n_bytes = 1 if repeats else count
            if count == 0 or x + count > line.shape[0] or at + 1 + n_bytes > source.size:
                return -1
            for i in range(count):
                line[x + i, channel] = source[at + 1 + (0 if repeats else i)]
            x += count
            at += 1 + n_bytes
    return at


@kernel(order="written")
@no_type_check
def _pixel_runs(source, at, line):
    x, shift = 0, 0
    while x < line.shape[0]:
        if at + 4 > source.size:
            return -1
        if source[at] == 1 and source[at + 1] == 1 and source[at + 2] == 1:
            count = np.int64(source[at + 3]) << shift
            if x == 0 or shift > 16 or x + count > line.shape[0]:
                return -1
            for i in range(count):
                line[x + i] = line[x - 1]
            x += count
            shift += 8
        else:
            line[x] = source[at : at + 4]
            x += 1
            shift = 0
        at += 4
    return at
