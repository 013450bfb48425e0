"""How much of what one photo shows another one shows too, by their geometry and by their looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from PIL import Image

from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.preparation import Placement
from recon3d.feedforward.sequence.samples import Samples
from recon3d.feedforward.sequence.sim3 import moved_points

_LEAST = 30  # points that a correlation needs


@dataclass(frozen=True, eq=False)
class Sight:
    """Points of one photo in another one.

    Args:
        pixels: x, y where they fall, in pixels of the other's map, ``[p,2]``.
        agree: which of them the other photo shows at the same depth, ``[p]``.
        share: of the usable points, how many that is.
    """

    pixels: Float64[np.ndarray, "p 2"]
    agree: Bool[np.ndarray, " p"]
    share: float


def sight(points: Samples, estimates: ViewEstimates, row: int, delta: float) -> Sight:
    """Return which points of one photo another one shows.

    Args:
        points: of the first photo, in the frame of reference of the estimates.
        estimates: of the other photo.
        row: of the other photo in them.
        delta: largest difference of the depths, as a share of them.
    """
    seen = moved_points(estimates.cam_from_world[row], points.points_world)
    front = (seen[:, 2] > 0) & (points.precision > 0)
    z = np.where(front, seen[:, 2], 1.0)
    pixels = (seen @ estimates.K[row].T)[:, :2] / z[:, None]
    height, width = estimates.depth_z.shape[1:]
    inside = front & (pixels >= 0).all(1) & (pixels < [width, height]).all(1)
    column, line = np.where(inside[:, None], pixels, 0.0).astype(np.int64).T
    depth, valid = estimates.depth_z[row][line, column], estimates.valid[row][line, column]
    agree = inside & valid & (np.abs(depth - z) <= delta * z)
    return Sight(pixels, agree, float(agree.sum() / max(int((points.precision > 0).sum()), 1)))


@dataclass(frozen=True, eq=False)
class Look:
    """A photo and where it lies in the network's image.

    Args:
        photo: ``[h,w,3]``.
        placement: of it.
    """

    photo: UInt8[np.ndarray, "_ _ 3"]
    placement: Placement

    def grey(self, pixels: Float64[np.ndarray, "p 2"]) -> Float64[np.ndarray, " p"]:
        """Return the brightness around points of the network's image, averaged over about one of its pixels."""
        place = self.placement
        factor = max(1, int(1 / max(place.scale_x, place.scale_y)))
        small = np.asarray(Image.fromarray(self.photo).convert("L").reduce(factor), np.float64)
        at = (pixels - [place.offset_x, place.offset_y]) / [place.scale_x, place.scale_y] / factor
        column, line = np.clip(np.floor(at), 0, [small.shape[1] - 1, small.shape[0] - 1]).astype(np.int64).T
        return np.asarray(small[line, column])


def whole(photo: UInt8[np.ndarray, "_ _ 3"], estimates: ViewEstimates, row: int) -> Look:
    """Return a photo with its placement; without one, the network's image shows all of it.

    Args:
        photo: upright.
        estimates: of it.
        row: of it in them.
    """
    height, width = estimates.depth_z.shape[1:]
    if estimates.placements:
        return Look(photo, estimates.placements[row])
    return Look(photo, Placement(width / photo.shape[1], height / photo.shape[0]))


def look_alike(
    points: Samples, seen: Sight, first: Look, second: Look, *, least_contrast: float = 1e-9
) -> float | None:
    """Return the correlation of the brightness of common points in two photos, -1..1; None where it says nothing.

    Args:
        points: of the first photo.
        seen: where they fall in the second.
        first: the one photo.
        second: the other.
        least_contrast: standard deviation of the brightness that both photos must have there, in grey levels.
    """
    if seen.agree.sum() < _LEAST:
        return None
    a, b = first.grey(points.pixels[seen.agree]), second.grey(seen.pixels[seen.agree])
    return float(np.corrcoef(a, b)[0, 1]) if min(a.std(), b.std()) >= least_contrast else None
