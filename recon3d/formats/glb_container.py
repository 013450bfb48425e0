"""The chunks of GLB files, their JSON, and typed views of their binary part (accessors)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import FormatError
from recon3d.formats.parsing import json_field, json_int, parse_json
from recon3d.formats.reading import ByteReader

_HEADER = struct.Struct("<4sII")
_CHUNK = struct.Struct("<I4s")
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_KNOWN_EXTENSIONS = {"KHR_materials_unlit"}


@dataclass(frozen=True, eq=False)
class GlbContainer:
    """A GLB file taken apart.

    Args:
        name: how error texts call the file.
        tree: its JSON.
        binary: its binary chunk; empty without one.
    """

    name: str
    tree: dict[str, Any]
    binary: bytes

    def items(self, owner: Any, key: str) -> list[Any]:
        """Return a list of the JSON; empty where it is absent."""
        found: list[Any] = json_field(owner, key, list, self.name, [])
        return found

    def item(self, key: str, index: int) -> dict[str, Any]:
        """Return entry ``index`` of a list at the top of the JSON.

        Raises:
            FormatError: there is none, or it is no object.
        """
        entries = self.items(self.tree, key)
        if not 0 <= index < len(entries) or not isinstance(entries[index], dict):
            raise FormatError(f"{self.name}: no {key}[{index}]", got=f"{len(entries)} {key}")
        entry: dict[str, Any] = entries[index]
        return entry

    def optional_int(self, owner: Any, key: str, default: int) -> int:
        """Return an integer that is not negative; ``default`` where it is absent."""
        return json_int(owner, key, self.name) if key in owner else default


def read_container(data: bytes, name: str) -> GlbContainer:
    """Take a GLB file apart.

    Raises:
        FormatError: its header, chunks or JSON are not valid, or it requires an extension that is not known.
    """
    reader = ByteReader(data, name)
    magic, version, length = _HEADER.unpack(reader.take(_HEADER.size, "the header"))
    if magic != b"glTF":
        raise FormatError(f"{name} is not a GLB file", got=data[:4], expected=b"glTF")
    if version != 2 or length != len(data):
        got = f"version {version}, {length} bytes"
        raise FormatError(f"{name}: bad GLB header", got=got, expected=f"version 2, {len(data)} bytes")
    chunks: list[tuple[bytes, bytes]] = []
    while reader.remaining:
        size, kind = _CHUNK.unpack(reader.take(_CHUNK.size, "the head of a chunk"))
        if size % 4:
            raise FormatError(f"{name}: a chunk is not padded", got=f"{size} bytes", expected="a multiple of 4")
        chunks.append((kind, reader.take(size, "a chunk")))
    if not chunks or chunks[0][0] != b"JSON":
        raise FormatError(f"{name}: the first chunk is not JSON", got=chunks[0][0] if chunks else "no chunk")
    tree = parse_json(chunks[0][1], name)
    version_name = json_field(json_field(tree, "asset", dict, name), "version", str, name)
    if version_name.split(".")[0] != "2":
        raise FormatError(f"{name}: unknown version of glTF", got=version_name[:20], expected="2.x")
    required = json_field(tree, "extensionsRequired", list, name, [])
    unknown = [each for each in required if each not in _KNOWN_EXTENSIONS]
    if unknown:
        fix = "export the mesh without compression or quantisation"
        raise FormatError(f"{name} requires an extension that is not read", got=str(unknown[0])[:60], fix=fix)
    binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == b"BIN\0" else b""
    return GlbContainer(name, tree, binary)


def read_accessor(container: GlbContainer, index: int, kinds: tuple[str, ...]) -> Shaped[np.ndarray, "n c"]:
    """Return the values of an accessor as a view of the binary chunk, ``[n,c]``.

    Args:
        container: the file.
        index: of the accessor.
        kinds: what it may be, as numpy type code and width, such as ``<f4 VEC3``; ``normalized`` is implied by use.

    Raises:
        FormatError: it is something else, or reaches past its view.
    """
    name = f"{container.name}: accessor {index}"
    accessor = container.item("accessors", index)
    if "sparse" in accessor or "bufferView" not in accessor:
        raise FormatError(f"{name}: sparse accessors and accessors without data are not read")
    code = _TYPES.get(json_int(accessor, "componentType", name), "?")
    kind = json_field(accessor, "type", str, name)
    if f"{code} {kind}" not in kinds:
        raise FormatError(f"{name} has the wrong type", got=f"{code} {kind[:10]}", expected=", ".join(kinds))
    item = np.dtype(code).itemsize
    start, size, stride = buffer_view(container, json_int(accessor, "bufferView", name))
    width, count = _WIDTHS[kind], json_int(accessor, "count", name, least=1)
    stride = stride or width * item
    offset = container.optional_int(accessor, "byteOffset", 0)
    if offset + stride * (count - 1) + width * item > size or stride < width * item:
        got = f"{count} items of {stride} bytes from byte {offset}"
        raise FormatError(f"{name} reaches past its view", got=got, expected=f"within {size} bytes")
    if (start + offset) % item or stride % item:
        raise FormatError(f"{name} is not aligned", got=f"byte {start + offset}, stride {stride}", expected=item)
    return np.ndarray((count, width), code, container.binary, start + offset, (stride, item))


def buffer_view(container: GlbContainer, index: int) -> tuple[int, int, int]:
    """Return start, size and stride of a view; stride 0 = packed.

    Raises:
        FormatError: it is not valid, or not in the binary chunk.
    """
    name = f"{container.name}: buffer view {index}"
    view = container.item("bufferViews", index)
    if json_int(view, "buffer", name) != 0:
        raise FormatError(f"{name} is not in the binary chunk; other buffers are not read")
    buffer = container.item("buffers", 0)
    if "uri" in buffer:
        raise FormatError(f"{name} is in another file, which is not read", fix="export one self-contained .glb")
    available = json_int(buffer, "byteLength", name)
    start, size = container.optional_int(view, "byteOffset", 0), json_int(view, "byteLength", name, least=1)
    stride = container.optional_int(view, "byteStride", 0)
    if available > len(container.binary) or start + size > available:
        got = f"bytes {start} to {start + size} of {available}"
        raise FormatError(f"{name} reaches past the buffer", got=got, expected=f"within {len(container.binary)} bytes")
    if stride and not (4 <= stride <= 252 and stride % 4 == 0):
        raise FormatError(f"{name}: bad stride", got=stride, expected="a multiple of 4 in 4..252")
    return start, size, stride
