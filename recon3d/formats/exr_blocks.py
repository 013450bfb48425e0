"""Blocks of scan lines in OpenEXR files: the byte shuffle and the compressions on top of it."""

from __future__ import annotations

import zlib

import numpy as np

NONE, RLE, ZIPS, ZIP, PIZ = range(5)


def pack_block(raw: bytes, level: int) -> bytes:
    """Compress a block for ZIP or ZIPS; a block that does not shrink is stored as it is.

    Args:
        raw: its lines.
        level: of zlib.
    """
    packed = zlib.compress(_shuffle(raw), level)
    return packed if len(packed) < len(raw) else raw


def unpack_block(packed: bytes, n_bytes: int, compression: int) -> bytes:
    """Return the lines of a block.

    Args:
        packed: as stored.
        n_bytes: their size; no more is unpacked.
        compression: code of the file.

    Raises:
        ValueError: they are not of that size.
        zlib.error: the stream is damaged.
    """
    if len(packed) == n_bytes:  # not compressed, or it did not shrink
        return packed
    if compression == NONE or len(packed) > n_bytes:
        raise ValueError(f"{len(packed)} bytes for {n_bytes}")
    if compression == RLE:
        return _unshuffle(_run_lengths(packed, n_bytes))
    stream = zlib.decompressobj()
    raw = stream.decompress(packed, n_bytes)
    surplus = stream.decompress(stream.unconsumed_tail, 1)
    if len(raw) != n_bytes or surplus or not stream.eof or stream.unused_data:
        raise ValueError(f"{len(raw)} bytes for {n_bytes}" if len(raw) < n_bytes else "too many bytes")
    return _unshuffle(raw)


def _shuffle(raw: bytes) -> bytes:
    """Even bytes in front of odd ones, then differences to the byte before, plus 128."""
    values = np.frombuffer(raw, np.uint8)
    halves = np.concatenate([values[::2], values[1::2]])
    halves[1:] = halves[1:] - halves[:-1] + np.uint8(128)  # wraps around, as it should
    return halves.tobytes()


def _unshuffle(shuffled: bytes) -> bytes:
    deltas = np.frombuffer(shuffled, np.uint8).copy()
    deltas[1:] -= np.uint8(128)
    halves = np.cumsum(deltas, dtype=np.uint8)
    raw = np.empty_like(halves)
    middle = (len(raw) + 1) // 2
    raw[::2], raw[1::2] = halves[:middle], halves[middle:]
    return raw.tobytes()


def _run_lengths(packed: bytes, n_bytes: int) -> bytes:
    """Unpack runs: a signed count, then -count bytes to copy, or one to repeat count + 1 times."""
    parts: list[bytes] = []
    total = at = 0
    while at < len(packed):
        count = packed[at]
        if count < 128:
            part, used = packed[at + 1 : at + 2] * (count + 1), 2
        else:
            used = 1 + 256 - count
            part = packed[at + 1 : at + used]
        total += len(part)
        at += used
        if total > n_bytes or at > len(packed):
            raise ValueError(f"a run past the end of {n_bytes} bytes")
        parts.append(part)
    if total != n_bytes:
        raise ValueError(f"{total} bytes for {n_bytes}")
    return b"".join(parts)
