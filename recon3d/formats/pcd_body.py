"""The points behind a PCD header, in its three encodings."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import FormatError
from recon3d.formats.lzf import lzf_expand, lzf_pack
from recon3d.formats.pcd_header import PADDING, PcdField, PcdHeader
from recon3d.formats.reading import ByteReader

Fields = dict[str, Shaped[np.ndarray, "n ..."]]
_SIZES = struct.Struct("<II")
_MAX_TOKEN = 64
_LINES = 1 << 14


def read_body(reader: ByteReader, header: PcdHeader) -> Fields:
    """Read the points.

    Args:
        reader: stands behind the header.
        header: what it says.

    Returns:
        Arrays by name, ``[n]`` or ``[n,count]``, in native byte order.

    Raises:
        FormatError: the points are cut off or damaged.
    """
    readers: dict[str, Callable[[ByteReader, PcdHeader], Fields]]
    readers = {"ascii": _read_ascii, "binary": _read_binary, "binary_compressed": _read_compressed}
    if header.data not in readers:
        raise FormatError(f"{reader.name}: unknown DATA", got=header.data, expected=", ".join(readers))
    return readers[header.data](reader, header)


def _read_binary(reader: ByteReader, header: PcdHeader) -> Fields:
    table = reader.array(header.dtype, header.n_points, "the points")  # files may be padded to whole pages
    return {name: table[name].astype(table[name].dtype.newbyteorder("=")) for name in table.dtype.names or ()}


def _read_compressed(reader: ByteReader, header: PcdHeader) -> Fields:
    n_packed, n_bytes = (int(value) for value in reader.unpack(_SIZES, "the sizes"))
    if n_bytes != header.n_points * header.dtype.itemsize:
        expected = header.n_points * header.dtype.itemsize
        raise FormatError(f"{reader.name}: the points have another size", got=n_bytes, expected=expected)
    expanded = ByteReader(lzf_expand(reader.take(n_packed, "the points"), n_bytes, reader.name), reader.name)
    fields: Fields = {}
    for each in header.fields:  # all x, then all y, ...
        values = expanded.array(np.dtype(f"<{each.code}"), header.n_points * each.count, each.name)
        if each.name != PADDING:
            fields[each.name] = _shaped(values.astype(each.code), each.count)
    return fields


def _shaped(values: Shaped[np.ndarray, " m"], count: int) -> Shaped[np.ndarray, "n ..."]:
    return values if count == 1 else values.reshape(-1, count)


def _read_ascii(reader: ByteReader, header: PcdHeader) -> Fields:
    n_words = sum(each.count for each in header.fields)
    if header.n_points * 2 * n_words > reader.remaining + 1:  # the last line may lack its end
        got = f"{header.n_points} in {reader.remaining} bytes"
        raise FormatError(f"{reader.name}: impossible number of points", got=got)
    parts: dict[str, list[Shaped[np.ndarray, "m ..."]]] = {each.name: [] for each in header.fields}
    n_rows = 0
    for lines in _line_blocks(reader):
        rows = [line.split() for line in lines]
        n_rows += len(rows)
        if any(len(row) != n_words for row in rows) or n_rows > header.n_points:
            raise FormatError(f"{reader.name}: wrong rows", expected=f"{header.n_points} of {n_words} numbers")
        for name, values in _columns(rows, header.fields, reader.name).items():
            parts[name].append(values)
    if n_rows != header.n_points:
        raise FormatError(f"{reader.name}: the points are cut off", got=n_rows, expected=header.n_points)
    real = [each for each in header.fields if each.name != PADDING]
    empty = {each.name: _shaped(np.zeros(0, each.code), each.count) for each in real}
    return {each.name: np.concatenate([empty[each.name], *parts[each.name]]) for each in real}


def _line_blocks(reader: ByteReader) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    at, data = reader.offset, reader.data
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        line, at = data[at:end], end + 1
        if line.strip():
            block.append(line)
        if len(block) == _LINES:
            yield block
            block = []
    if block:
        yield block


def _columns(rows: Sequence[Sequence[bytes]], fields: Sequence[PcdField], name: str) -> Fields:
    found: Fields = {}
    at = 0
    for each in fields:
        words = [word for row in rows for word in row[at : at + each.count]]
        at += each.count
        if each.name != PADDING:
            found[each.name] = _shaped(_numbers(words, each.code, name), each.count)
    return found


def _numbers(words: Sequence[bytes], code: str, name: str) -> Shaped[np.ndarray, " n"]:
    convert: Callable[[bytes], float] = float if code[0] == "f" else int
    try:
        if any(len(word) > _MAX_TOKEN or b"_" in word for word in words):
            raise ValueError("a word that is no number")
        with np.errstate(over="ignore"):
            return np.array([convert(word) for word in words], np.float64 if code[0] == "f" else code).astype(code)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{name}: not numbers of the type {code}", got=str(error)[:80]) from error


def compressed_body(columns: Sequence[Shaped[np.ndarray, "n ..."]]) -> bytes:
    """Return the body of a binary_compressed file.

    Args:
        columns: the fields in order, little endian.
    """
    raw = b"".join(column.tobytes() for column in columns)
    packed = lzf_pack(raw)
    return _SIZES.pack(len(packed), len(raw)) + packed


def ascii_body(columns: Sequence[Shaped[np.ndarray, "n ..."]]) -> bytes:
    """Return the body of an ascii file; numbers have the digits that give them back exactly.

    Args:
        columns: the fields in order.
    """
    texts: list[list[str]] = []
    for column in columns:
        for values in column.reshape(len(column), math.prod(column.shape[1:])).T:
            digits = {"f4": "%.9g", "f8": "%.17g"}.get(values.dtype.str[1:], "%d")
            texts.append([digits % value for value in values.tolist()])
    return "".join(" ".join(row) + "\n" for row in zip(*texts, strict=True)).encode("ascii")
