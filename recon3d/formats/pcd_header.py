"""The text in front of a PCD file: the table of fields, the size and the viewpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recon3d.core.errors import FormatError
from recon3d.formats.parsing import parse_floats, parse_int
from recon3d.formats.reading import ByteReader

IDENTITY_VIEW = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
KINDS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
PADDING = "_"
_MAX_HEADER_BYTES = 1 << 16
_MAX_FIELDS, _MAX_COUNT, _MAX_POINTS = 1024, 1 << 16, 1 << 40
_KEYS = {"VERSION", "FIELDS", "COLUMNS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA"}


@dataclass(frozen=True)
class PcdField:
    """One field: numpy type code, and how many values it has per point."""

    name: str
    code: str
    count: int = 1


@dataclass(frozen=True)
class PcdHeader:
    """The header; ``data`` is the encoding of what follows it."""

    fields: tuple[PcdField, ...]
    width: int
    height: int
    viewpoint: tuple[float, ...]
    data: str

    @property
    def n_points(self) -> int:
        """Points of the file."""
        return self.width * self.height

    @property
    def dtype(self) -> np.dtype[np.void]:
        """One packed record; padding is left out of its names, not of its bytes."""
        names, formats, offsets, at = [], [], [], 0
        for each in self.fields:
            if each.name != PADDING:
                names.append(each.name)
                formats.append((f"<{each.code}", (each.count,)) if each.count > 1 else f"<{each.code}")
                offsets.append(at)
            at += each.count * int(each.code[1])
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})

    def text(self) -> str:
        """The header as it stands in a file."""
        rows: dict[str, list[object]] = {
            "VERSION": ["0.7"],
            "FIELDS": [each.name for each in self.fields],
            "SIZE": [each.code[1] for each in self.fields],
            "TYPE": [each.code[0].upper() for each in self.fields],
            "COUNT": [each.count for each in self.fields],
            "WIDTH": [self.width],
            "HEIGHT": [self.height],
            "VIEWPOINT": [f"{value:.17g}" for value in self.viewpoint],
            "POINTS": [self.n_points],
            "DATA": [self.data],
        }
        lines = [f"{key} {' '.join(map(str, values))}" for key, values in rows.items()]
        return "\n".join(["# .PCD v0.7 - Point Cloud Data file format", *lines, ""])


def parse_header(reader: ByteReader) -> PcdHeader:
    """Read the header and leave the reader at the first byte behind the line DATA.

    Raises:
        FormatError: it is not a valid header.
    """
    rows = _rows(reader)
    name = reader.name
    fields = _fields(rows, name)
    height = parse_int(_one(rows, "HEIGHT", "1", name), f"{name}: HEIGHT", 1, _MAX_POINTS)
    points = rows.get("POINTS")
    width_text = _one(rows, "WIDTH", points[0] if points and height == 1 else "", name)
    width = parse_int(width_text, f"{name}: WIDTH", 0, _MAX_POINTS)
    n_points = parse_int(_one(rows, "POINTS", str(width * height), name), f"{name}: POINTS", 0)
    if n_points != width * height:
        raise FormatError(f"{name}: POINTS is not WIDTH times HEIGHT", got=n_points, expected=width * height)
    view = tuple(parse_floats(rows["VIEWPOINT"], f"{name}: VIEWPOINT")) if "VIEWPOINT" in rows else IDENTITY_VIEW
    if len(view) != 7:
        raise FormatError(f"{name}: wrong VIEWPOINT", got=f"{len(view)} numbers", expected="tx ty tz qw qx qy qz")
    return PcdHeader(fields, width, height, view, _one(rows, "DATA", "", name).lower())


def _rows(reader: ByteReader) -> dict[str, list[str]]:
    end = re.search(rb"^DATA[ \t]+\w+[ \t]*\r?\n?", reader.data[:_MAX_HEADER_BYTES], re.MULTILINE)
    if end is None:
        got = repr(reader.data[:16])
        raise FormatError(f"{reader.name} is not a PCD file", got=got, expected="a header that ends with a line DATA")
    reader.offset = end.end()
    rows: dict[str, list[str]] = {}
    for line in reader.data[: end.end()].decode("ascii", "replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] not in _KEYS or words[0] in rows:
            raise FormatError(f"{reader.name}: bad line in the PCD header", got=repr(line[:80]))
        rows["FIELDS" if words[0] == "COLUMNS" else words[0]] = words[1:]
    return rows


def _one(rows: Mapping[str, list[str]], key: str, default: str, name: str) -> str:
    words = rows.get(key, [default] if default else [])
    if len(words) != 1:
        raise FormatError(f"{name}: wrong {key} in the PCD header", got=" ".join(words)[:60] or "nothing")
    return words[0]


def _fields(rows: Mapping[str, list[str]], name: str) -> tuple[PcdField, ...]:
    names = rows.get("FIELDS", [])
    columns = [rows.get(key, []) for key in ("SIZE", "TYPE")] + [rows.get("COUNT", ["1"] * len(names))]
    if not 1 <= len(names) <= _MAX_FIELDS or any(len(column) != len(names) for column in columns):
        got = f"{len(names)} fields, {', '.join(str(len(column)) for column in columns)} entries"
        raise FormatError(f"{name}: FIELDS, SIZE, TYPE and COUNT differ in length", got=got)
    sizes, types, counts = columns
    codes = [kind.lower() + size for kind, size in zip(types, sizes, strict=True)]
    unknown = [code for code in codes if code not in KINDS]
    real = [each for each in names if each != PADDING]
    if unknown or len(set(real)) != len(real) or not real:
        raise FormatError(f"{name}: unusable fields", got=f"{names[:20]} of {codes[:20]}", expected=", ".join(KINDS))
    numbers = [parse_int(count, f"{name}: COUNT", 1, _MAX_COUNT) for count in counts]
    return tuple(PcdField(*each) for each in zip(names, codes, numbers, strict=True))
