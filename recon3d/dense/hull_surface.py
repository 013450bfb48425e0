"""The surface of the visual hull, and points of it that tell stereo what to match and where to look.

Sparse points are few on an object of one colour. Its outlines bound it all the same: every photo that faces a place of
the hull may show the object there, a little behind.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int32

from recon3d.dense.tsdf_close import surface_of_field
from recon3d.dense.visual_hull import Grid, Silhouette, Silhouettes, hull_field
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.normals import vertex_normals
from recon3d.render.raytrace import Bvh
from recon3d.scene import Points

_LEAST_OUTLINES = 3  # fewer bound nothing
_COARSE, _FINE = 48, 96  # points along the longest side
_ROOM = 1.2
_N_POINTS = 4000
_FACING = 0.2  # cosine


def hull_surface(silhouettes: Silhouettes) -> tuple[Float64[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"]]:
    """Return vertices of the visual hull in the world, ``[v,3]``, and faces, ``[f,3]``; none where it is empty.

    Args:
        silhouettes: of the object. Where no photo bounds the hull, it ends at the length of the object.
    """
    if len(silhouettes) < _LEAST_OUTLINES:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    middle, radius = _ball_around(list(silhouettes))
    low, high = middle - radius, middle + radius
    for n in (_COARSE, _FINE):
        spacing = float((high - low).max()) / (n - 1)
        grid = Grid(low, spacing, np.ceil((high - low) / spacing).astype(np.int64) + 1)
        field = hull_field(silhouettes, grid, 2 * spacing)
        at = np.argwhere(field < 0.5)  # half of two spacings
        if not len(at):
            return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
        low, high = (grid.corner + spacing * end for end in (at.min(axis=0) - 2, at.max(axis=0) + 2))
    for axis in range(3):
        for end in (0, -1):
            np.moveaxis(field, axis, 0)[end] = 1.0
    vertices, faces = surface_of_field(field)
    return grid.corner + spacing * vertices, faces


def with_hull_points(points: Points, cameras: Cameras, silhouettes: Silhouettes) -> Points:
    """Return sparse points and further ones on the visual hull, in the photos that face them and see them.

    Args:
        points: of the scene.
        cameras: pinhole cameras that the observations belong to.
        silhouettes: of the object.
    """
    vertices, faces = hull_surface(silhouettes)
    if not len(faces):
        return points
    rows = np.unique(np.linspace(0, len(vertices) - 1, _N_POINTS).astype(np.int64))
    xyz, normals = vertices[rows], vertex_normals(vertices, faces)[rows].astype(np.float64)
    point, view = np.nonzero(_visible(Bvh(vertices, faces), xyz, normals, cameras))
    xy, _ = cameras.project(xyz[point], view)
    inside = (xy > 0).all(1) & (xy[:, 0] < cameras.width[view]) & (xy[:, 1] < cameras.height[view])
    n, first = len(xyz), len(points)
    return Points(
        xyz=np.concatenate([points.xyz, xyz]),
        rgb=np.concatenate([points.rgb, np.zeros((n, 3), np.uint8)]),
        error_px=np.concatenate([points.error_px, np.zeros(n)]),
        sigma=np.concatenate([points.sigma, np.full(n, np.nan)]),
        obs_point=np.concatenate([points.obs_point, first + point[inside]]).astype(np.int32),
        obs_view=np.concatenate([points.obs_view, view[inside]]).astype(np.int32),
        obs_xy=np.concatenate([points.obs_xy, xy[inside]]),
    )


def _visible(
    tree: Bvh, xyz: Float64[np.ndarray, "p 3"], normals: Float64[np.ndarray, "p 3"], cameras: Cameras
) -> Bool[np.ndarray, "p n"]:
    """Return which points of a surface every camera sees, ``[p,n]``."""
    ways = cameras.centers[None] - xyz[:, None]
    distance = np.linalg.norm(ways, axis=-1)
    facing = np.einsum("pnk,pk->pn", ways, normals) > _FACING * distance
    ahead = np.einsum("pnk,nk->pn", ways, cameras.cam_from_world[:, 2, :3]) < 0
    seen = facing & ahead
    point, view = np.nonzero(seen)
    lift = 1e-3 * float(np.ptp(xyz, axis=0).max())
    seen[point, view] = ~tree.any_hit(xyz[point] + lift * normals[point], ways[point, view], t_max=1.0)
    return np.asarray(seen)


def _ball_around(outlines: list[Silhouette]) -> tuple[Float64[np.ndarray, " 3"], float]:
    """Return a ball that holds the object: where the rays through the middles of its outlines meet."""
    centers, ways, sizes = [], [], []
    for one in outlines:
        rows, columns = np.nonzero(one.outside_px < 0)
        corners = np.array([[columns.min(), rows.min()], [columns.max() + 1.0, rows.max() + 1.0]])
        slopes = (corners - one.lens[2:]) / one.lens[:2]
        rotation = one.cam_from_world[:3, :3]
        way = rotation.T @ np.append(slopes.mean(axis=0), 1.0)
        centers.append(-rotation.T @ one.cam_from_world[:3, 3])
        ways.append(way / np.linalg.norm(way))
        sizes.append(float(np.linalg.norm(slopes[1] - slopes[0]) / 2))
    at, along = np.array(centers), np.array(ways)
    across = np.eye(3) - along[:, :, None] * along[:, None, :]
    middle = np.linalg.lstsq(across.sum(axis=0), np.einsum("nij,nj->i", across, at), rcond=None)[0]
    return middle, _ROOM * float((np.array(sizes) * np.linalg.norm(middle - at, axis=1)).max())
