"""The rows behind a PLY header: tables of scalars at once, lists by a single pass over their counts."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64, Shaped

from recon3d.core.errors import FormatError
from recon3d.formats.reading import ByteReader

if TYPE_CHECKING:
    Doubles = array[float]
else:
    Doubles = array  # not a generic before Python 3.12

Scalars = dict[str, Shaped[np.ndarray, " n"]]


@dataclass(frozen=True)
class PlyProperty:
    """One property of the header: numpy type code of its values and, for lists, of their counts."""

    name: str
    code: str
    count_code: str | None = None


@dataclass(frozen=True)
class PlyElement:
    """One element of the header."""

    name: str
    count: int
    properties: tuple[PlyProperty, ...]

    @property
    def has_lists(self) -> bool:
        """Whether rows differ in length."""
        return any(each.count_code for each in self.properties)


@dataclass(frozen=True, eq=False)
class PlyList:
    """A list property: row ``i`` holds ``values[offsets[i]:offsets[i+1]]``.

    Args:
        values: all entries, ``[v]``.
        offsets: start of each row and the end, ``[n+1]``.
    """

    values: Shaped[np.ndarray, " v"]
    offsets: Int64[np.ndarray, " n_plus_1"]


def read_element_binary(reader: ByteReader, element: PlyElement, order: str) -> tuple[Scalars, dict[str, PlyList]]:
    """Read one element of a binary file.

    Args:
        reader: stands at the first row.
        element: from the header.
        order: ``<`` or ``>``.

    Returns:
        Scalar properties in native byte order, and list properties.

    Raises:
        FormatError: the rows are cut off.
    """
    least = sum(np.dtype(each.count_code or each.code).itemsize for each in element.properties)
    _check_count(reader, element, least)
    if element.has_lists:
        return _binary_rows(reader, element, order)
    table = np.dtype([(each.name, order + each.code) for each in element.properties])
    rows = reader.array(table, element.count, element.name) if element.properties else np.zeros(0, table)
    return {each.name: rows[each.name].astype(each.code) for each in element.properties}, {}


def _check_count(reader: ByteReader, element: PlyElement, least_bytes: int, slack: int = 0) -> None:
    if element.count * least_bytes > reader.remaining + slack or (element.count and not element.properties):
        got = f"{element.count} in {reader.remaining} bytes"
        raise FormatError(f"{reader.name}: impossible number of {element.name!r} elements", got=got)


def _binary_rows(reader: ByteReader, element: PlyElement, order: str) -> tuple[Scalars, dict[str, PlyList]]:
    chunks: dict[str, list[bytes]] = {each.name: [] for each in element.properties}
    for _ in range(element.count):
        for each in element.properties:
            n_values = 1
            if each.count_code:
                raw = reader.take(int(each.count_code[1]), f"a count of {element.name}.{each.name}")
                n_values = int.from_bytes(raw, "little" if order == "<" else "big", signed=each.count_code[0] == "i")
            if n_values < 0:
                raise FormatError(f"{reader.name}: negative list length", got=n_values)
            n_bytes = n_values * int(each.code[1])
            chunks[each.name].append(reader.take(n_bytes, f"{element.name}.{each.name}"))
    return _assemble(element, chunks, order)


def _assemble(element: PlyElement, chunks: dict[str, list[bytes]], order: str) -> tuple[Scalars, dict[str, PlyList]]:
    scalars: Scalars = {}
    lists: dict[str, PlyList] = {}
    for each in element.properties:
        values = np.frombuffer(b"".join(chunks[each.name]), order + each.code).astype(each.code)
        if each.count_code is None:
            scalars[each.name] = values
            continue
        lengths = np.array([len(chunk) // int(each.code[1]) for chunk in chunks[each.name]], np.int64)
        lists[each.name] = PlyList(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    return scalars, lists


def read_element_ascii(reader: ByteReader, element: PlyElement) -> tuple[Scalars, dict[str, PlyList]]:
    """Read one element of an ascii file, one row per line.

    Args:
        reader: stands at the first row.
        element: from the header.

    Returns:
        Scalar properties and list properties.

    Raises:
        FormatError: a row is missing, too short, too long or not of numbers.
    """
    _check_count(reader, element, 2 * len(element.properties), slack=1)  # the last line may lack its line end
    values = {each.name: array("d") for each in element.properties}
    lengths: dict[str, list[int]] = {each.name: [] for each in element.properties if each.count_code}
    for row, line in enumerate(_lines(reader, element)):
        _read_row(line, element, values, lengths, f"{reader.name}: {element.name} {row}")
    columns = {each.name: _cast(values[each.name], each, reader.name) for each in element.properties}
    offsets = {name: np.concatenate([[0], np.cumsum(each)]).astype(np.int64) for name, each in lengths.items()}
    scalars = {name: column for name, column in columns.items() if name not in lengths}
    return scalars, {name: PlyList(columns[name], offsets[name]) for name in lengths}


def _lines(reader: ByteReader, element: PlyElement) -> Iterator[bytes]:
    for row in range(element.count):
        if not reader.remaining:
            raise FormatError(f"{reader.name}: {element.name} is cut off", got=f"{row} rows", expected=element.count)
        end = reader.data.find(b"\n", reader.offset)
        end = len(reader.data) if end < 0 else end
        line = reader.data[reader.offset : end]
        reader.offset = min(end + 1, len(reader.data))
        yield line


def _read_row(
    line: bytes, element: PlyElement, values: dict[str, Doubles], lengths: dict[str, list[int]], where: str
) -> None:
    if b"_" in line:
        raise FormatError(f"{where}: not numbers", got=line[:60])
    try:
        numbers = list(map(float, line.split()))
    except ValueError as error:
        raise FormatError(f"{where}: not numbers", got=line[:60]) from error
    at = 0
    for each in element.properties:
        n_values = 1
        if each.count_code and at < len(numbers):
            n_values = int(numbers[at]) if 0 <= numbers[at] <= len(numbers) else len(numbers)
            lengths[each.name].append(n_values)
            at += 1
        values[each.name].extend(numbers[at : at + n_values])
        at += n_values
    if at != len(numbers):
        raise FormatError(f"{where}: wrong number of values", got=len(numbers), expected=at)


def _cast(numbers: Doubles, each: PlyProperty, name: str) -> Shaped[np.ndarray, " n"]:
    values = np.frombuffer(numbers, np.float64)
    dtype = np.dtype(each.code)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    limits = np.iinfo(dtype)
    if not ((values == np.trunc(values)) & (values >= limits.min) & (values <= limits.max)).all():
        raise FormatError(f"{name}: a value of {each.name!r} does not fit its type", expected=dtype.name)
    return values.astype(dtype)
