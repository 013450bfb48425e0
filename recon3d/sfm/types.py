"""What the stages of structure from motion hand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.render.cameras import Cameras
from recon3d.scene import Points

MapperName = Literal["incremental", "global", "known", "network"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Verified matches between photos ``first < second`` (indices into the sorted list of usable photos).

    Args:
        first: index of the first photo.
        second: index of the second photo.
        matches: keypoint indices of the inlier matches, ``[m,2]``.
        xy: matched pixels in both upright photos, ``[m,2,2]`` (match, photo, x/y).
        n_putative: matches before geometric verification.
        n_homography: how many of the inlier matches one homography explains within the same threshold.
        config: COLMAP's name of the two-view configuration ("CALIBRATED", "PLANAR", "PANORAMIC", ...).
    """

    first: int
    second: int
    matches: Int64[np.ndarray, "m 2"]
    xy: Float64[np.ndarray, "m 2 2"]
    n_putative: int
    n_homography: int
    config: str


@dataclass(frozen=True, eq=False)
class Mapped:
    """One connected model as a mapper returned it.

    Args:
        mapper: which mapper made it.
        photo: index of the photo behind each camera, ascending, ``[n]``.
        cameras: the cameras, with distortion.
        camera_group: cameras with equal numbers share intrinsics, ``[n]``.
        points: points with tracks; ``obs_view`` counts in ``cameras``.
    """

    mapper: MapperName
    photo: Int64[np.ndarray, " n"]
    cameras: Cameras
    camera_group: Int64[np.ndarray, " n"]
    points: Points
