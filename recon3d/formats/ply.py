"""PLY: vertices with arbitrary scalar properties, faces and other lists (ascii, binary little and big endian)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64, Shaped

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_bytes
from recon3d.formats.ply_body import PlyElement, PlyList, PlyProperty, read_element_ascii, read_element_binary
from recon3d.formats.reading import ByteReader

MAX_FILE_BYTES = 8 << 30
_MAX_HEADER_BYTES = 1 << 16
_TYPES = {
    name: code
    for code, names in {
        "i1": "char int8",
        "u1": "uchar uint8",
        "i2": "short int16",
        "u2": "ushort uint16",
        "i4": "int int32",
        "u4": "uint uint32",
        "f4": "float float32",
        "f8": "double float64",
    }.items()
    for name in names.split()
}
_NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint"}
_NAMES |= {"f4": "float", "f8": "double"}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True, eq=False)
class Ply:
    """The contents of a PLY file.

    Args:
        vertices: scalar properties of the element ``vertex`` by name, each ``[n]`` in the file's own type.
        elements: scalar properties of every element, by element and property name.
        lists: list properties of every element, by element and property name.
        comments: the comment lines of the header.
    """

    vertices: Mapping[str, Shaped[np.ndarray, " n"]]
    elements: Mapping[str, Mapping[str, Shaped[np.ndarray, " n"]]] = field(default_factory=dict)
    lists: Mapping[str, Mapping[str, PlyList]] = field(default_factory=dict)
    comments: tuple[str, ...] = ()

    def triangles(self) -> Int64[np.ndarray, "f 3"]:
        """Return the faces as triangles, ``[f,3]``; empty without faces.

        Raises:
            FormatError: a face is no triangle or points past the vertices.
        """
        lists = self.lists.get("face", {})
        faces = lists.get("vertex_indices", lists.get("vertex_index"))
        if faces is None:
            return np.zeros((0, 3), np.int64)
        if not (np.diff(faces.offsets) == 3).all():
            raise FormatError("the PLY file holds faces that are not triangles", expected="3 vertices in every face")
        triangles = faces.values.astype(np.int64).reshape(-1, 3)
        n_vertices = len(next(iter(self.vertices.values()), ()))
        if triangles.size and not 0 <= triangles.min() <= triangles.max() < n_vertices:
            raise FormatError("a face of the PLY file points past its vertices", got=f"{n_vertices} vertices")
        return triangles


def read_ply(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Ply:
    """Read a PLY file.

    Args:
        path: the file.
        max_bytes: longest file that is read; memory stays within a small multiple of the file.

    Returns:
        Its elements.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not a valid PLY file.
    """
    return parse_ply(read_capped(path, max_bytes), str(path))


def parse_ply(data: bytes, name: str = "PLY data") -> Ply:
    """Read the bytes of a PLY file; see :func:`read_ply`.

    Raises:
        FormatError: they are not a valid PLY file.
    """
    reader = ByteReader(data, name)
    order, elements, comments = _read_header(reader)
    scalars: dict[str, dict[str, Shaped[np.ndarray, " n"]]] = {}
    lists: dict[str, dict[str, PlyList]] = {}
    for element in elements:
        parts = read_element_binary(reader, element, order) if order else read_element_ascii(reader, element)
        scalars[element.name], lists[element.name] = parts
    if order:
        reader.finish()
    elif reader.data[reader.offset :].strip():
        raise FormatError(f"{name}: text after the last element")
    return Ply(scalars.get("vertex", {}), scalars, lists, comments)


def write_ply(
    path: Path,
    vertices: Mapping[str, Shaped[np.ndarray, " n"]],
    triangles: Int32[np.ndarray, "f 3"] | None = None,
    comments: Sequence[str] = (),
) -> None:
    """Write a binary little-endian PLY file atomically.

    Args:
        path: the file.
        vertices: scalar properties by name, in this order, each ``[n]``; 8- to 32-bit integers, float32 or float64.
        triangles: vertex indices of the faces, ``[f,3]``.
        comments: lines for the header.

    Raises:
        UsageError: a property has an unfit name, type or length.
    """
    table = _vertex_table(vertices)
    header = ["ply", "format binary_little_endian 1.0"]
    header += [f"comment {' '.join(comment.split())}" for comment in comments]
    header.append(f"element vertex {len(table)}")
    header += [f"property {_NAMES[table.dtype[name].str[1:]]} {name}" for name in table.dtype.names or ()]
    faces = b""
    if triangles is not None:
        header += [f"element face {len(triangles)}", "property list uchar int vertex_indices"]
        rows = np.empty(len(triangles), np.dtype([("n", "u1"), ("v", "<i4", 3)]))
        rows["n"], rows["v"] = 3, triangles
        faces = rows.tobytes()
    text = "\n".join([*header, "end_header", ""]).encode("utf-8", "replace")
    write_bytes(path, text + table.tobytes() + faces)


def _vertex_table(vertices: Mapping[str, Shaped[np.ndarray, " n"]]) -> Shaped[np.ndarray, " n"]:
    columns = {name: np.asarray(values) for name, values in vertices.items()}
    sizes = {values.shape for values in columns.values()}
    if not columns or len(sizes) != 1 or len(next(iter(sizes))) != 1:
        shapes = {name: values.shape for name, values in columns.items()}
        raise UsageError("PLY properties must be vectors of one length", got=shapes)
    for name, values in columns.items():
        if not re.fullmatch(r"[!-~]{1,255}", name) or values.dtype.str[1:] not in _NAMES:
            got = f"{name!r} as {values.dtype}"
            raise UsageError("PLY cannot hold this property", got=got, expected=f"a plain name and {sorted(_NAMES)}")
    table = np.empty(sizes.pop(), np.dtype([(name, "<" + v.dtype.str[1:]) for name, v in columns.items()]))
    for name, values in columns.items():
        table[name] = values
    return table


def _read_header(reader: ByteReader) -> tuple[str, list[PlyElement], tuple[str, ...]]:
    lines = _header_lines(reader)
    order: str | None = None
    comments: list[str] = []
    elements: list[PlyElement] = []
    for line in lines:
        words = line.split()
        if not words or words[0] == "obj_info":
            continue
        if words[0] == "comment":
            comments.append(line.strip()[len("comment") :].strip())
        elif words[0] == "format" and order is None and len(words) == 3 and words[1] in _ORDERS:
            order = _ORDERS[words[1]]
        elif words[0] == "element" and len(words) == 3 and all(words[1] != each.name for each in elements):
            elements.append(PlyElement(words[1], _element_count(words[2], reader.name), ()))
        elif words[0] == "property" and elements:
            elements[-1] = _with_property(elements[-1], words[1:], reader.name)
        else:
            raise FormatError(f"{reader.name}: bad line in the PLY header", got=repr(line[:80]))
    if order is None:
        raise FormatError(f"{reader.name}: the PLY header names no format", expected=sorted(_ORDERS))
    return order, elements, tuple(comments)


def _header_lines(reader: ByteReader) -> list[str]:
    if not re.match(rb"ply\s*?\n", reader.data[:16]):
        raise FormatError(f"{reader.name} is not a PLY file", got=reader.data[:16], expected="'ply' in the first line")
    head = reader.data[:_MAX_HEADER_BYTES]
    end = re.search(rb"\nend_header[ \t]*\r?\n", head)
    if end is None:
        raise FormatError(f"{reader.name}: no end_header", got=f"{len(head)} bytes without it")
    reader.offset = end.end()
    return head[: end.start()].decode("utf-8", "replace").split("\n")[1:]


def _element_count(word: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", word):
        raise FormatError(f"{name}: bad number of elements", got=repr(word[:40]))
    return int(word)


def _with_property(element: PlyElement, words: Sequence[str], name: str) -> PlyElement:
    is_list = bool(words) and words[0] == "list"
    types = list(words[1:-1]) if is_list else list(words[:-1])
    known = [_TYPES[word] for word in types if word in _TYPES]
    if len(types) != (2 if is_list else 1) or len(known) != len(types) or (is_list and known[0][0] == "f"):
        raise FormatError(f"{name}: bad property in the PLY header", got=repr(" ".join(words)[:80]))
    if any(words[-1] == each.name for each in element.properties):
        raise FormatError(f"{name}: a property appears twice", got=f"{element.name}.{words[-1][:80]}")
    new = PlyProperty(words[-1], known[-1], known[0] if is_list else None)
    return PlyElement(element.name, element.count, (*element.properties, new))
