"""Texture atlases for materials that are known at vertices, where glTF has colours but no roughness and no metallic.

Every two triangles share a cell. Both are right-angled with corners on texel centres, one turned by half a circle::

    a a a a a a a a b        4 steps along a leg, corners of the first triangle marked:
    a A a a a A a b b        every texel belongs to one of the two, and every
    a a a a a a b b b        lookup inside a triangle, or up to a texel beside
    a a a a a b b b b        its legs, reads texels of that triangle only.
    a a a a b b b b b
    a A a b b b b b b
    a a b b b b b b b
    a b b b b b b b b
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from recon3d.core.errors import ShapeError, UsageError
from recon3d.formats.glb_materials import Material
from recon3d.formats.glb_primitives import srgb_from_linear
from recon3d.render.mesh.types import Mesh

MAX_SIZE = 8192  # larger textures are not read back
_STEPS = (4, 2, 1)  # even ones put the middles of all edges on texel centres
_CELLS_AT_ONCE = 1 << 12
_BITS = 10  # of a coordinate of a face, where faces are put in order


def bake_vertex_material(
    mesh: Mesh,
    base_color: Float32[np.ndarray, "v 3"],
    roughness: Float32[np.ndarray, " v"],
    metallic: Float32[np.ndarray, " v"],
    *,
    max_size: int = 4096,
) -> Mesh:
    """Return a mesh whose textures show a material that is known at its vertices.

    A bilinear lookup gives the interpolated values of the vertices, but for the rounding to 8 bits, with one exception.
    The lookup at the edge across the right angle also reads texels past it, where the values go on; these cannot leave
    0 to 1. If they would have to, points at that edge between texel centres are off by up to a sixteenth of the range
    of the values of the triangle (an eighth or a quarter where many faces leave 2 texels or 1 for its legs).

    Smaller levels of a mip chain mix cells. Faces are in order along a space-filling curve, so that cells beside each
    other mostly hold faces beside each other.

    Args:
        mesh: at least one face. Its normals stay; its colours, UVs and material do not.
        base_color: linear RGB, 0 to 1, ``[v,3]``.
        roughness: perceptual, 0 to 1, ``[v]``.
        metallic: 0 to 1, ``[v]``.
        max_size: longest side of the textures in texels, at most 8192; they are as small as the largest cells allow
            that fit.

    Raises:
        ShapeError: the arrays do not agree with the vertices.
        UsageError: a value is not between 0 and 1, or the faces are too many for the texture, or none.
    """
    values = _checked(mesh, base_color, roughness, metallic)
    grid = _grid(len(mesh.faces), max_size)
    slots, cells = _in_order(mesh, grid)
    turned = _turned(mesh.faces, values, grid.steps)
    color, surface = _painted(values[turned.faces[slots]].reshape(len(cells), 6, 5), cells, grid)
    uvs = np.empty((len(mesh.faces), 3, 2), np.float32)
    n = len(mesh.faces)
    uvs[slots[:n, None], turned.corners[slots[:n]]] = _corner_uvs(cells, grid)[:n]
    material = Material(metallic=1.0, base_color_texture=color, metallic_roughness_texture=surface)
    return replace(mesh, rgb=None, uvs=uvs, material=material)


class _Grid(NamedTuple):
    """Cells of an atlas: texels along the legs of a triangle, and how many cells there are."""

    steps: int
    rows: int
    columns: int

    @property
    def cell(self) -> tuple[int, int]:
        """Height and width of a cell: two triangles with one texel around each."""
        return self.steps + 4, self.steps + 5


class _Turned(NamedTuple):
    """Faces with the corner first that takes the right angle, and which corners these were, ``[f,3]``."""

    faces: Int64[np.ndarray, "f 3"]
    corners: Int64[np.ndarray, "f 3"]


def _checked(
    mesh: Mesh, base_color: np.ndarray, roughness: np.ndarray, metallic: np.ndarray
) -> Float32[np.ndarray, "v 5"]:
    v = len(mesh.vertices)
    given = {"base_color": (base_color, (v, 3)), "roughness": (roughness, (v,)), "metallic": (metallic, (v,))}
    for name, (value, shape) in given.items():
        if value.shape != shape:
            raise ShapeError(f"{name} does not belong to the vertices", got=value.shape, expected=shape)
        wrong = value[~((value >= 0) & (value <= 1))]
        if wrong.size:
            raise UsageError(f"{name} is out of range", got=float(wrong.flat[0]), expected="0 to 1")
    return np.concatenate([base_color, roughness[:, None], metallic[:, None]], 1).astype(np.float32)


def _grid(n_faces: int, max_size: int) -> _Grid:
    """Return the grid of the largest cells that fit."""
    if not 1 <= max_size <= MAX_SIZE:
        raise UsageError("max_size is no size of a texture", got=max_size, expected=f"1 to {MAX_SIZE}")
    if not n_faces:
        raise UsageError("a mesh without faces has no surface to paint", got="0 faces", expected="at least 1")
    n_cells = -(-n_faces // 2)
    most = 0
    for steps in _STEPS:
        height, width = _Grid(steps, 0, 0).cell
        rows, columns = max_size // height, max_size // width
        if rows * columns >= n_cells:
            across = max(-(-n_cells // rows), min(columns, round((n_cells * height / width) ** 0.5) or 1))
            return _Grid(steps, -(-n_cells // across), across)
        most = 2 * rows * columns
    fix = "simplify the mesh, split it, or give a larger max_size"
    raise UsageError(
        f"too many faces for a texture of {max_size} x {max_size}", got=n_faces, expected=f"at most {most}", fix=fix
    )


def _in_order(mesh: Mesh, grid: _Grid) -> tuple[Int64[np.ndarray, " s"], Int64[np.ndarray, "c 2"]]:
    """Return the face of each half of a cell, the last one repeated, and row and column of the cells, along curves."""
    centers = mesh.vertices[mesh.faces].mean(1)
    low = centers.min(0)
    scale = (2**_BITS - 1) / max(float((centers - low).max()), 1e-30)
    order = np.argsort(_morton(np.nan_to_num((centers - low) * scale).astype(np.int64), _BITS), kind="stable")
    rest = 2 * grid.rows * grid.columns - len(order)
    cells = np.stack(np.divmod(np.arange(grid.rows * grid.columns), grid.columns), 1)
    return np.append(order, np.repeat(order[-1:], rest)), cells[np.argsort(_morton(cells, MAX_SIZE.bit_length()))]


def _morton(points: Int64[np.ndarray, "n d"], bits: int) -> Int64[np.ndarray, " n"]:
    """Return places along a Z-order curve: the bits of the coordinates in turns."""
    d = points.shape[1]
    code = np.zeros(len(points), np.int64)
    for bit in range(bits):
        for axis in range(d):
            code |= ((points[:, axis] >> bit) & 1) << (d * bit + axis)
    return code


def _turned(faces: np.ndarray, values: Float32[np.ndarray, "v 5"], steps: int) -> _Turned:
    """Turn each face so that its values leave 0..1 least where they go on past the edge across the right angle."""
    corners = values[faces]
    beyond = []
    for first in range(3):
        a, b, c = (corners[:, (first + k) % 3] for k in range(3))
        ends = np.stack([c + (b - a) / steps, b + (c - a) / steps])
        beyond.append(np.abs(ends - ends.clip(0, 1)).max((0, 2)))
    order = (np.argmin(beyond, 0)[:, None] + np.arange(3)) % 3
    return _Turned(np.take_along_axis(faces.astype(np.int64), order, 1), order)


def _texel_weights(grid: _Grid) -> Float32[np.ndarray, "t 6"]:
    """Return the weights of the six corners of a cell in its texels."""
    height, width = grid.cell
    y, x = np.mgrid[:height, :width]
    first = x + y <= grid.steps + 3
    legs = np.where(first, (x - 1, y - 1), (width - 2 - x, height - 2 - y)).clip(0, grid.steps) / grid.steps
    own = np.stack([1 - legs.sum(0), *legs], -1)
    both = np.concatenate([own * first[..., None], own * ~first[..., None]], -1)
    return both.reshape(-1, 6).astype(np.float32)


def _painted(
    corners: Float32[np.ndarray, "c 6 5"], cells: Int64[np.ndarray, "c 2"], grid: _Grid
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]:
    """Return the textures of base colour and of roughness and metallic."""
    height, width = grid.cell
    shape = (grid.rows, height, grid.columns, width, 3)
    color, surface = np.empty(shape, np.uint8), np.full(shape, 255, np.uint8)
    weights = _texel_weights(grid)
    for start in range(0, len(cells), _CELLS_AT_ONCE):
        part = slice(start, start + _CELLS_AT_ONCE)
        row, column = cells[part].T
        texels = (weights @ corners[part]).clip(0, 1).reshape(-1, height, width, 5)
        color[row, :, column] = _bytes(srgb_from_linear(texels[..., :3].astype(np.float64)))
        surface[row, :, column, :, 1:] = _bytes(texels[..., 3:])
    whole = (grid.rows * height, grid.columns * width, 3)
    return color.reshape(whole), surface.reshape(whole)


def _bytes(values: np.ndarray) -> UInt8[np.ndarray, "..."]:
    rounded: UInt8[np.ndarray, "..."] = np.rint(values * 255).astype(np.uint8)
    return rounded


def _corner_uvs(cells: Int64[np.ndarray, "c 2"], grid: _Grid) -> Float32[np.ndarray, "s 3 2"]:
    """Return where the corners of the halves of all cells are."""
    height, width = grid.cell
    first = np.array([[1, 1], [1 + grid.steps, 1], [1, 1 + grid.steps]])
    halves = np.stack([first, (width - 1, height - 1) - first]) + 0.5
    size = np.array([width, height])
    texels = (cells[:, None, None, ::-1] * size + halves).reshape(-1, 3, 2)
    uvs: Float32[np.ndarray, "s 3 2"] = (texels / (size * (grid.columns, grid.rows))).astype(np.float32)
    return uvs
