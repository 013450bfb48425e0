"""PIZ blocks of OpenEXR files: Huffman codes of a wavelet transform of the 16-bit words that occur.

A block holds the bitmap of the words that occur, which numbers them; then all channels one after the other, as numbers
of words, after a Haar transform of each plane of words, as canonical Huffman codes in which the last symbol repeats the
word before it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import no_type_check

import numpy as np
from jaxtyping import Int64, UInt8, UInt16

from recon3d.core.kernels import kernel

_RANGE, _LENGTH, _HUFFMAN = struct.Struct("<HH"), struct.Struct("<i"), struct.Struct("<IIIII")
_N_WORDS = 1 << 16
_BITMAP = _N_WORDS // 8
_MAX_CODE = 58  # bits; the lengths 59 to 63 stand for runs of unused symbols
_SHORT_RUN, _LONG_RUN, _FIRST_LONG = 59, 63, 6


def unpack_piz(packed: bytes, n_lines: int, width: int, words: Sequence[int]) -> bytes:
    """Return the lines of a block.

    Args:
        packed: as stored.
        n_lines: of the block.
        width: of a line, in pixels.
        words: 16-bit words per pixel of each channel, 1 or 2.

    Raises:
        ValueError: the block is damaged.
    """
    table, start = _read_words(packed)
    n_total = n_lines * width * sum(words)
    planes = _read_huffman(packed, start, n_total)
    starts = np.cumsum([0, *(n_lines * width * size for size in words)])
    for begin, size in zip(starts[:-1].tolist(), words, strict=True):
        for part in range(size):
            _undo_wavelet(planes[begin + part :], width, size, n_lines, width * size, len(table) <= 1 << 14)
    if int(planes.max(initial=0)) >= len(table):
        padded = np.zeros(_N_WORDS, np.uint16)
        padded[: len(table)] = table
        table = padded
    values = table[planes]
    lines = np.empty((n_lines, width * sum(words)), np.uint16)
    left = 0
    for begin, end, size in zip(starts[:-1].tolist(), starts[1:].tolist(), words, strict=True):
        lines[:, left : left + width * size] = values[begin:end].reshape(n_lines, width * size)
        left += width * size
    return lines.astype("<u2").tobytes()


def _read_words(packed: bytes) -> tuple[UInt16[np.ndarray, " k"], int]:
    """Return the words that occur, 0 among them always, and where the codes begin."""
    if len(packed) < _RANGE.size:
        raise ValueError("no bitmap")
    first, last = _RANGE.unpack_from(packed)
    bitmap = np.zeros(_BITMAP, np.uint8)
    end = _RANGE.size
    if first <= last:
        end += last - first + 1
        if last >= _BITMAP or end > len(packed):
            raise ValueError("a bad bitmap")
        bitmap[first : last + 1] = np.frombuffer(packed, np.uint8, last - first + 1, _RANGE.size)
    bitmap[0] |= 1
    return np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).astype(np.uint16), end


def _read_huffman(packed: bytes, start: int, n_total: int) -> UInt16[np.ndarray, " n"]:
    if len(packed) < start + _LENGTH.size:
        raise ValueError("no codes")
    (length,) = _LENGTH.unpack_from(packed, start)
    start += _LENGTH.size
    if not _HUFFMAN.size <= length <= len(packed) - start:
        raise ValueError(f"{length} bytes of codes")
    low, high, _, n_bits, _ = _HUFFMAN.unpack_from(packed, start)
    source = np.frombuffer(packed, np.uint8, length - _HUFFMAN.size, start + _HUFFMAN.size)
    if low > high or high > _N_WORDS:
        raise ValueError(f"symbols {low} to {high}")
    lengths = np.zeros(high - low + 1, np.int64)
    used = int(_read_lengths(source, lengths))
    if used < 0 or n_bits > 8 * (source.size - used):
        raise ValueError("a bad table of codes")
    first, count, offset, symbols = _canonical(lengths, low)
    out = np.zeros(n_total, np.uint16)
    if not _decode(source[used:], n_bits, first, count, offset, symbols, high, out):
        raise ValueError("bad codes")
    return out


Table = Int64[np.ndarray, " _"]


def _canonical(lengths: Table, low: int) -> tuple[Table, Table, Table, Table]:
    """Return the first code, the number of codes and where they start in the sorted symbols, by length; the symbols."""
    count = np.bincount(lengths, minlength=_MAX_CODE + 1)[: _MAX_CODE + 1].astype(np.int64)
    count[0] = 0
    first = np.zeros_like(count)
    code = 0
    for length in range(_MAX_CODE, 0, -1):  # long codes have the small numbers
        first[length] = code
        code = (code + int(count[length])) >> 1
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    offset = np.cumsum(count) - count
    return first, count, offset, (order + low).astype(np.int64)


@kernel(order="written")
@no_type_check
def _read_lengths(source: UInt8[np.ndarray, " n"], lengths: Table) -> int:
    """Fill the lengths of the codes, six bits each with runs of zeros; return the bytes read, -1 where damaged."""
    bits, n_bits, at, symbol = np.int64(0), 0, 0, 0
    wanted = 6
    while symbol < lengths.size:
        while n_bits < wanted:
            if at >= source.size:
                return -1
            bits = (bits << 8 | np.int64(source[at])) & 0xFFFFFF
            at += 1
            n_bits += 8
        n_bits -= wanted
        value = (bits >> n_bits) & ((1 << wanted) - 1)
        if wanted == 6 and value == _LONG_RUN:
            wanted = 8
            continue
        if wanted == 8:
            run = value + _FIRST_LONG
        elif value >= _SHORT_RUN:
            run = value - _SHORT_RUN + 2
        else:
            lengths[symbol] = value
            symbol += 1
            continue
        wanted = 6
        if symbol + run > lengths.size:
            return -1
        symbol += run  # they are zero already
    return at


@kernel(order="written")
@no_type_check
def _decode(source, n_bits, first, count, offset, symbols, repeat, out):
    """Decode all words; return whether there were exactly as many as wanted."""
    longest = 0
    for length in range(count.size):
        if count[length] > 0:
            longest = length
    at, n_out = 0, 0
    while n_out < out.size:
        code, symbol = np.int64(0), np.int64(-1)
        for length in range(1, longest + 1):
            if at >= n_bits:
                return False
            code = code << 1 | np.int64((source[at >> 3] >> (7 - (at & 7))) & 1)
            at += 1
            if count[length] > 0 and code >= first[length]:
                rank = code - first[length]
                if rank < count[length]:
                    symbol = symbols[offset[length] + rank]
                break
        if symbol < 0:
            return False
        if symbol != repeat:
            out[n_out] = symbol
            n_out += 1
            continue
        if at + 8 > n_bits or n_out == 0:
            return False
        run = np.int64(0)
        for _ in range(8):
            run = run << 1 | np.int64((source[at >> 3] >> (7 - (at & 7))) & 1)
            at += 1
        if n_out + run > out.size:
            return False
        for i in range(run):
            out[n_out + i] = out[n_out - 1]
        n_out += run
    return True


@kernel(order="written", inline=True)
@no_type_check
def _pair(low, high, narrow):
    """Undo the step of one pair; ``narrow`` words have 14 bits and are differences of signed numbers."""
    if narrow:
        mean, step = np.int64(np.int16(low)), np.int64(np.int16(high))
        a = mean + (step & 1) + (step >> 1)
        return np.uint16(a & 0xFFFF), np.uint16((a - step) & 0xFFFF)
    b = (np.int64(low) - (np.int64(high) >> 1)) & 0xFFFF
    return np.uint16((np.int64(high) + b - 0x8000) & 0xFFFF), np.uint16(b)


@kernel(order="written")
@no_type_check
def _undo_wavelet(data, nx, ox, ny, oy, narrow):
    """Undo the Haar transform of one plane of words in place: ``nx`` by ``ny`` words, ``ox`` and ``oy`` apart."""
    double = 1
    while double * 2 <= min(nx, ny):
        double *= 2
    step = double // 2
    while step >= 1:
        y = 0
        while y + double <= ny:
            x = 0
            while x + double <= nx:
                p00 = y * oy + x * ox
                p01, p10 = p00 + step * ox, p00 + step * oy
                p11 = p10 + step * ox
                i00, i10 = _pair(data[p00], data[p10], narrow)
                i01, i11 = _pair(data[p01], data[p11], narrow)
                data[p00], data[p01] = _pair(i00, i01, narrow)
                data[p10], data[p11] = _pair(i10, i11, narrow)
                x += double
            if nx & step:
                p00 = y * oy + x * ox
                data[p00], data[p00 + step * oy] = _pair(data[p00], data[p00 + step * oy], narrow)
            y += double
        if ny & step:
            x = 0
            while x + double <= nx:
                p00 = y * oy + x * ox
                data[p00], data[p00 + step * ox] = _pair(data[p00], data[p00 + step * ox], narrow)
                x += double
        double, step = step, step // 2
