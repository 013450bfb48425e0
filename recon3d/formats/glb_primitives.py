"""Triangles of GLB files: attributes checked, moved by their node, and colours between sRGB and linear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped

from recon3d.core.errors import FormatError
from recon3d.formats.glb_container import GlbContainer, read_accessor
from recon3d.formats.parsing import json_field, json_int

_TRIANGLES = 4
_INDICES = ("<u1 SCALAR", "<u2 SCALAR", "<u4 SCALAR")
_UVS = ("<f4 VEC2", "<u1 VEC2", "<u2 VEC2")
_COLOURS = tuple(f"{code} {width}" for code in ("<u1", "<u2", "<f4") for width in ("VEC3", "VEC4"))


@dataclass(frozen=True, eq=False)
class Primitive:
    """Triangles in the axes of the file.

    Args:
        vertices: positions, ``[v,3]``.
        faces: vertex indices, ``[f,3]``.
        normals: unit normals, ``[v,3]``.
        rgb_linear: colours between 0 and 1, ``[v,3]``.
        uv: where in the textures, ``[v,2]``.
        material: index of the material; -1 = none.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]
    normals: Float32[np.ndarray, "v 3"] | None
    rgb_linear: Float32[np.ndarray, "v 3"] | None
    uv: Float32[np.ndarray, "v 2"] | None = None
    material: int = -1

    def moved(self, matrix: Float64[np.ndarray, "4 4"], name: str) -> Primitive:
        """Return the triangles moved by an affine matrix; a mirror keeps them counter-clockwise from outside.

        Raises:
            FormatError: positions leave the range of float32.
        """
        if np.array_equal(matrix, np.eye(4)):
            return self
        linear = matrix[:3, :3]
        with np.errstate(over="ignore", invalid="ignore"):
            vertices = (self.vertices @ linear.T + matrix[:3, 3]).astype(np.float32)
            mirrored = bool(np.linalg.det(linear) < 0)
        if not np.isfinite(vertices).all():
            raise FormatError(f"{name}: the nodes move vertices to infinity")
        faces = self.faces[:, ::-1] if mirrored else self.faces
        normals = None if self.normals is None else _turned(self.normals, linear, mirrored)
        return replace(self, vertices=vertices, faces=faces, normals=normals)


def _turned(
    normals: Float32[np.ndarray, "v 3"], linear: Float64[np.ndarray, "3 3"], mirrored: bool
) -> Float32[np.ndarray, "v 3"]:
    """Turn normals by the cofactors, which are the inverse transpose up to a factor and exist for every matrix."""
    scaled = linear / max(float(np.abs(linear).max()), np.finfo(np.float64).tiny)
    cofactors = np.stack([np.cross(scaled[1], scaled[2]), np.cross(scaled[2], scaled[0]), np.cross(*scaled[:2])])
    turned = normals.astype(np.float64) @ cofactors.T * (-1 if mirrored else 1)
    lengths = np.linalg.norm(turned, axis=1, keepdims=True)
    unit: Float32[np.ndarray, "v 3"] = (turned / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit


def read_primitive(container: GlbContainer, primitive: Any, where: str) -> Primitive:
    """Read one primitive of a mesh.

    Raises:
        FormatError: it is not valid, or not of triangles.
    """
    name = f"{container.name}: {where}"
    attributes = json_field(primitive, "attributes", dict, name)
    mode = container.optional_int(primitive, "mode", _TRIANGLES)
    if mode != _TRIANGLES:
        raise FormatError(f"{name} is not made of triangles", got=f"mode {mode}", expected=_TRIANGLES)
    positions = read_accessor(container, json_int(attributes, "POSITION", name), ("<f4 VEC3",))
    normals = colours = uv = None
    if "NORMAL" in attributes:
        normals = _values(read_accessor(container, json_int(attributes, "NORMAL", name), ("<f4 VEC3",)), name)
    if "COLOR_0" in attributes:
        colours = _colours(read_accessor(container, json_int(attributes, "COLOR_0", name), _COLOURS), name)
    if "TEXCOORD_0" in attributes:
        uv = _scaled(read_accessor(container, json_int(attributes, "TEXCOORD_0", name), _UVS), name)
    for each in (normals, colours, uv):
        if each is not None and len(each) != len(positions):
            raise FormatError(f"{name}: attributes differ in length", got=len(each), expected=len(positions))
    material = json_int(primitive, "material", name) if "material" in primitive else -1
    faces = _faces(container, primitive, len(positions), name)
    return Primitive(_values(positions, name), faces, normals, colours, uv, material)


def _values(values: Shaped[np.ndarray, "n c"], name: str) -> Float32[np.ndarray, "n c"]:
    if not np.isfinite(values).all():
        raise FormatError(f"{name} holds numbers that are not finite")
    return np.ascontiguousarray(values, np.float32)


def _faces(container: GlbContainer, primitive: Any, n_vertices: int, name: str) -> Int64[np.ndarray, "f 3"]:
    if "indices" in primitive:
        indices = read_accessor(container, json_int(primitive, "indices", name), _INDICES)[:, 0].astype(np.int64)
    else:
        indices = np.arange(n_vertices)
    if len(indices) % 3:
        raise FormatError(f"{name}: the last triangle is cut off", got=f"{len(indices)} indices")
    if indices.max(initial=0) >= n_vertices:
        raise FormatError(f"{name}: a face points past the vertices", got=int(indices.max()), expected=n_vertices - 1)
    return indices.reshape(-1, 3)


def _colours(values: Shaped[np.ndarray, "n c"], name: str) -> Float32[np.ndarray, "n 3"]:
    colours: Float32[np.ndarray, "n 3"] = np.clip(_scaled(values[:, :3], name), 0, 1)
    return colours


def _scaled(values: Shaped[np.ndarray, "n c"], name: str) -> Float32[np.ndarray, "n c"]:
    """Return floats as they are, and whole numbers as shares of their largest value."""
    largest = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    return _values(values / np.float32(largest), name)


def linear_from_srgb(encoded: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return linear values between 0 and 1 from sRGB-encoded ones (IEC 61966-2-1)."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(linear: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return sRGB-encoded values between 0 and 1 from linear ones (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)
