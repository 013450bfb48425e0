"""LZF, the byte compression inside binary_compressed PCD files."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Int64, UInt8

from recon3d.core.errors import FormatError
from recon3d.core.kernels import kernel

_HASH_BITS = 14
_MAX_OFFSET, _MAX_LENGTH, _MAX_LITERALS = 8192, 264, 32
_MAX_GROWTH = 88  # three bytes become at most 264


def lzf_expand(packed: bytes, n_bytes: int, name: str = "LZF data") -> bytes:
    """Return the expanded bytes.

    Args:
        packed: an LZF stream.
        n_bytes: their number when expanded.
        name: how error texts call the file.

    Raises:
        FormatError: the stream is damaged or of another length.
    """
    if n_bytes > len(packed) * _MAX_GROWTH:
        raise FormatError(f"{name}: LZF cannot pack so much", got=f"{n_bytes} bytes in {len(packed)}")
    out = np.empty(n_bytes, np.uint8)
    if _expand(np.frombuffer(packed, np.uint8), out) != n_bytes:
        raise FormatError(f"{name}: damaged LZF data", expected=f"{n_bytes} bytes")
    return out.tobytes()


def lzf_pack(data: bytes) -> bytes:
    """Return an LZF stream of the bytes; it is at most a 32nd longer than they are."""
    source = np.frombuffer(data, np.uint8)
    out = np.empty(len(source) + len(source) // _MAX_LITERALS + 2, np.uint8)
    table = np.full(1 << _HASH_BITS, -1, np.int64)
    return out[: _pack(source, out, table)].tobytes()


@kernel(order="written")
@no_type_check
def _expand(packed: UInt8[np.ndarray, " n"], out: UInt8[np.ndarray, " m"]) -> int:
    """Return the number of bytes written, -1 for a damaged stream."""
    at, end, n_packed = 0, 0, len(packed)
    while at < n_packed:
        control = np.int64(packed[at])
        at += 1
        if control < 32:
            length = control + 1
            if at + length > n_packed or end + length > len(out):
                return -1
            for i in range(length):
                out[end + i] = packed[at + i]
            at += length
        else:
            length = control >> 5
            if length == 7:
                if at >= n_packed:
                    return -1
                length += np.int64(packed[at])
                at += 1
            if at >= n_packed:
                return -1
            start = end - (((control & 31) << 8) | np.int64(packed[at])) - 1
            at += 1
            length += 2
            if start < 0 or end + length > len(out):
                return -1
            for i in range(length):
                out[end + i] = out[start + i]
        end += length
    return end


@kernel(order="written")
@no_type_check
def _pack(source: UInt8[np.ndarray, " n"], out: UInt8[np.ndarray, " m"], table: Int64[np.ndarray, " h"]) -> int:
    """Greedy matches of three bytes or more, found by their hash; return the number of bytes written."""
    n, at, end, literals = len(source), 0, 1, 0  # out[end - literals - 1] is the control byte of the open literals
    while at < n:
        length = 0
        if at + 2 < n:
            word = (np.int64(source[at]) << 16) | (np.int64(source[at + 1]) << 8) | np.int64(source[at + 2])
            slot = ((word * 2654435761) >> 10) & (len(table) - 1)
            candidate = table[slot]
            table[slot] = at
            if candidate >= 0 and at - candidate <= _MAX_OFFSET:
                most = min(_MAX_LENGTH, n - at)
                while length < most and source[candidate + length] == source[at + length]:
                    length += 1
        if length < 3:
            out[end] = source[at]
            end, at, literals = end + 1, at + 1, literals + 1
            if literals == _MAX_LITERALS:
                out[end - literals - 1] = literals - 1
                literals = 0
                end += 1
            continue
        if literals:
            out[end - literals - 1] = literals - 1
        else:
            end -= 1  # the control byte was not needed
        offset, short = at - candidate - 1, length - 2
        if short < 7:
            out[end] = (short << 5) | (offset >> 8)
            end += 1
        else:
            out[end] = (7 << 5) | (offset >> 8)
            out[end + 1] = short - 7
            end += 2
        out[end] = offset & 255
        end, at, literals = end + 2, at + length, 0
    if literals:
        out[end - literals - 1] = literals - 1
        return end
    return end - 1
