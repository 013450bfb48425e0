"""A few surface points of one photo, on a fixed grid of its pixels, by which two runs about it are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.sequence.sim3 import moved_cameras, moved_points, scale_of

_FLOOR = 0.01  # relative sigma below which a depth is not trusted more


@dataclass(frozen=True, eq=False, kw_only=True)
class Samples:
    """Points of one photo in one frame of reference.

    Two runs of a network about the same photo give samples of the same pixels, row by row.

    Args:
        cam_from_world: pose of the photo, ``[4,4]``.
        points_world: surface points, ``[p,3]``.
        depth_z: of them in the photo, ``[p]``.
        pixels: x, y of them in the photo's map, ``[p,2]``.
        precision: inverse variance of the relative depth; 0 = no surface that can be used, ``[p]``.
        size: height and width of the map they were taken from, in pixels.
    """

    cam_from_world: Float64[np.ndarray, "4 4"]
    points_world: Float64[np.ndarray, "p 3"]
    depth_z: Float64[np.ndarray, " p"]
    pixels: Float64[np.ndarray, "p 2"]
    precision: Float64[np.ndarray, " p"]
    size: tuple[int, int]

    @property
    def median_depth(self) -> float:
        """Middle of the usable depths; of all where none is usable."""
        usable = self.precision > 0
        return float(np.median(self.depth_z[usable] if usable.any() else self.depth_z))

    def moved(self, target_from_source: Float64[np.ndarray, "4 4"]) -> Samples:
        """Return the samples in another frame of reference."""
        return replace(
            self,
            cam_from_world=moved_cameras(target_from_source, self.cam_from_world),
            points_world=moved_points(target_from_source, self.points_world),
            depth_z=self.depth_z * scale_of(target_from_source),
        )


def sampled(estimates: ViewEstimates, row: int, n_points: int) -> Samples:
    """Return points of one photo.

    Args:
        estimates: of a network.
        row: of the photo in them.
        n_points: how many there may be.
    """
    depth = estimates.depth_z[row]
    step = max(1, int(np.ceil(np.sqrt(depth.size / n_points))))
    at = np.s_[step // 2 :: step, step // 2 :: step]
    v, u = (axis[at].ravel() + 0.5 for axis in np.indices(depth.shape, np.float64))
    z, sigma = (one[at].ravel().astype(np.float64) for one in (depth, estimates.sigma[row]))
    usable = estimates.valid[row][at].ravel() & (z > 0) & (sigma > 0)
    rays = np.linalg.solve(estimates.K[row], np.stack([u, v, np.ones_like(u)])).T
    world_from_cam = np.linalg.inv(estimates.cam_from_world[row])
    relative = np.divide(sigma, z, out=np.ones_like(z), where=usable)
    return Samples(
        cam_from_world=estimates.cam_from_world[row],
        points_world=moved_points(world_from_cam, rays * z[:, None]),
        depth_z=z,
        pixels=np.stack([u, v], -1),
        precision=np.where(usable, 1.0 / (relative**2 + _FLOOR**2), 0.0),
        size=(depth.shape[0], depth.shape[1]),
    )
