"""A solid between what was seen of an object and its visual hull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32
from scipy.spatial.distance import cdist

from recon3d.dense.mesh_cleanup import into_hull
from recon3d.dense.tsdf_blocks import Lattice
from recon3d.dense.tsdf_close import Box, continue_field
from recon3d.dense.visual_hull import Grid, Silhouettes, hull_field
from recon3d.render.mesh.normals import vertex_normals

BYTES_PER_VOXEL = 8
_MARGIN_PX = 0.3
_RIM_PX = 2.0
_REACH = 16.0
_COARSE = 48
_ROOM = 1.0
_FACING = 0.2  # cosine
_CHUNK = 1 << 14


@dataclass(frozen=True, eq=False)
class Hull:
    """The visual hull of an object in the points of a box.

    Args:
        outside: distance from the hull in truncations, positive outside, between -1 and 1, ``[x,y,z]``.
        margin: how far outside the hull a surface that was seen is kept, in truncations.
        rim: how far inside the hull a surface is drawn towards it, in truncations; up to half as far, all the way.
        reach: number of voxels around what was seen in which the surface goes on smoothly.
    """

    outside: Float32[np.ndarray, "x y z"]
    margin: float
    rim: float
    reach: float = _REACH

    @classmethod
    def of(cls, silhouettes: Silhouettes, box: Box, lattice: Lattice, pixel: float) -> Hull:
        """Return the visual hull in a box.

        Args:
            silhouettes: of the object.
            box: where the solid lies.
            lattice: of its voxels.
            pixel: width of a pixel at the surface, in world units.
        """
        grid = Grid(np.array(lattice.origin) + lattice.voxel * box.low, lattice.voxel, box.size)
        unit = pixel / lattice.truncation
        return cls(hull_field(silhouettes, grid, lattice.truncation), _MARGIN_PX * unit, _RIM_PX * unit)

    def fill(
        self, field: Float32[np.ndarray, "x y z"], fixed: Bool[np.ndarray, "x y z"]
    ) -> Float32[np.ndarray, "x y z"]:
        """Return the field with what is not fixed filled up to the hull, and everything beside the hull empty.

        Continued is what was seen minus the distance from the hull, and that fades: near what was seen the surface goes
        on smoothly, far from it the solid is the hull. Outlines are sharper than stereo, which sees the highlights of
        a glossy body behind its surface: what lies within a pixel or so of the hull is moved onto it.

        Args:
            field: values, ``[x,y,z]``; those that are not fixed do not matter.
            fixed: which values were seen, ``[x,y,z]``.
        """
        outside = self.outside
        for axis in range(3):
            for end in (0, -1):
                np.moveaxis(outside, axis, 0)[end] = 1.0
        np.maximum(field, outside - np.float32(self.margin), out=field)
        field -= outside
        field[~fixed] = 0.0
        fixed |= outside > 0
        solid = outside + continue_field(field, fixed, 0.0, self.reach)
        solid -= np.float32(0.5 * self.rim) * np.clip(1 + outside / np.float32(self.rim), 0, 1)
        return np.asarray(np.maximum(solid, outside))


def flattened(
    vertices: Float64[np.ndarray, "v 3"],
    faces: Int32[np.ndarray, "f 3"],
    seen: Float64[np.ndarray, "s 3"],
    centers: Float64[np.ndarray, "n 3"],
) -> Float64[np.ndarray, "v 3"]:
    """Return vertices with what faces no camera moved into the convex hull of all else, ``[v,3]``.

    Below an object that stands, the visual hull is a cone that no photo looks at; so its underside becomes flat.

    Args:
        vertices: of a solid, ``[v,3]``.
        faces: counter-clockwise seen from outside, ``[f,3]``.
        seen: further points that were measured, ``[s,3]``.
        centers: camera centres, ``[n,3]``.
    """
    if not len(faces):
        return vertices
    normals = vertex_normals(vertices, faces).astype(np.float64)
    facing = np.zeros(len(vertices), np.bool_)
    for first in range(0, len(vertices), _CHUNK):
        v, n = vertices[first : first + _CHUNK], normals[first : first + _CHUNK]
        towards = n @ centers.T - (n * v).sum(axis=1, keepdims=True)
        facing[first : first + _CHUNK] = (towards > _FACING * cdist(v, centers)).any(axis=1)
    return into_hull(vertices, np.concatenate([seen, vertices[facing]]))


def hull_box(silhouettes: Silhouettes, seen: Float64[np.ndarray, "v 3"], lattice: Lattice) -> Box:
    """Return the box of a surface and of the hull around it, as far as that reaches a length further.

    Args:
        silhouettes: of the object.
        seen: vertices of the surface in voxels of the lattice, ``[v,3]``.
        lattice: of the voxels.
    """
    low, high = seen.min(axis=0), seen.max(axis=0)
    room = _ROOM * (high - low).max()
    spacing = float((high - low + 2 * room).max()) / _COARSE * lattice.voxel
    corner = np.array(lattice.origin) + lattice.voxel * (low - room)
    size = np.ceil((high - low + 2 * room) * lattice.voxel / spacing).astype(np.int64) + 1
    near = hull_field(silhouettes, Grid(corner, spacing, size), 2 * spacing) < 0.5
    at = np.argwhere(near) * (spacing / lattice.voxel) + low - room
    return Box.around(np.concatenate([seen, at]), lattice)
