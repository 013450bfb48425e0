"""Intrinsics: which photos share a camera, what is known of it beforehand, and whether the photos agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.photos import Photo
from recon3d.render.cameras import Cameras
from recon3d.sfm.bundle import (
    CAUCHY_SIGMAS,
    Adjusted,
    Priors,
    adjust,
    cauchy_weights,
    linearise,
    make_layout,
    make_problem,
    normal_equations,
)
from recon3d.sfm.types import Mapped

# One standard deviation of what lenses and cameras usually are.
FOCAL_EXIF = 0.03  # the tag is an integer of about 30 mm, and focus breathing adds to it
FOCAL_UNKNOWN = 1.0
ASPECT = 0.001  # square pixels
CENTRE = 0.01  # of the long side
CENTRE_CROP = 0.25
RADIAL = (0.1, 0.03)
TANGENTIAL = 0.001
# When the photos overrule what was assumed.
OVERRULE_SIGMAS = 5.0
CROP_SHIFT = 0.04  # of the long side: no lens is this badly centred
FOCAL_SPREAD = 0.01


def group_photos(photos: Sequence[Photo], mode: str) -> Int64[np.ndarray, " n"]:
    """Number the cameras: photos of one size share one unless EXIF names different cameras, lenses or focal lengths.

    A photo without EXIF joins the photos of its size when those agree among themselves.

    Args:
        photos: the photos.
        mode: ``auto``, ``shared`` (by size alone) or ``per-photo``.

    Returns:
        Group of each photo, numbered in the order of first appearance, ``[n]``.
    """
    if mode == "per-photo":
        return np.arange(len(photos))
    sizes = [(photo.width, photo.height) for photo in photos]
    tags = [_exif_key(photo) if mode == "auto" else None for photo in photos]
    keys = []
    for size, tag in zip(sizes, tags, strict=True):
        known = {other for other_size, other in zip(sizes, tags, strict=True) if other_size == size and other}
        keys.append((size, tag if tag or len(known) != 1 else known.pop()))
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _exif_key(photo: Photo) -> tuple[object, ...] | None:
    exif = photo.exif
    known = (exif.make, exif.model, exif.lens, exif.focal_mm, exif.focal_35mm, photo.exif_conflict)
    return known if any(known) else None


def make_priors(
    cameras: Cameras,
    group: Int64[np.ndarray, " n"],
    focal_px: Float64[np.ndarray, " n"],
    cropped: Bool[np.ndarray, " n"],
    principal_point: str,
) -> Priors:
    """Return the priors of each camera group.

    Args:
        cameras: the cameras; their sizes matter.
        group: group of each camera, 0, 1, ... without gaps.
        focal_px: focal length by EXIF, NaN where unknown, ``[n]``.
        cropped: photos whose principal point may lie far from the centre, ``[n]``.
        principal_point: ``auto`` (prior), ``fixed`` at the centre or ``free`` without a prior.
    """
    _, firsts = np.unique(group, return_index=True)
    size = np.stack([cameras.width, cameras.height], 1)[firsts].astype(np.float64)
    long_side = size.max(axis=1)
    mean, sigma = np.zeros((len(firsts), 8)), np.zeros((len(firsts), 8))
    known = np.isfinite(focal_px[firsts])
    mean[:, 0] = np.log(np.where(known, focal_px[firsts], 1.2 * long_side))
    sigma[:, 0] = np.where(known, FOCAL_EXIF, FOCAL_UNKNOWN)
    mean[:, 2:4] = size / 2
    centre = {"auto": np.where(cropped[firsts], CENTRE_CROP, CENTRE), "fixed": 0.0, "free": np.inf}[principal_point]
    sigma[:, 2:4] = (centre * long_side)[:, None]
    sigma[:, (1, 4, 5, 6, 7)] = (ASPECT, *RADIAL, TANGENTIAL, TANGENTIAL)
    return Priors(mean, sigma)



def posterior_sigma(mapped: Mapped, adjusted: Adjusted, priors: Priors) -> Float64[np.ndarray, "g 8"]:
    """Return one standard deviation of the intrinsics after the adjustment, 0 where fixed, ``[g,8]``."""
    problem = adjusted.problem
    at, layout = linearise(problem), make_layout(problem, priors)
    weight = cauchy_weights(at.residual, CAUCHY_SIGMAS * adjusted.sigma_px) / adjusted.sigma_px**2
    normal = normal_equations(problem, at, weight, priors, layout, damping=1e-9)
    n_poses = 6 * len(problem.pose)
    covariance = np.linalg.pinv(normal.reduced, hermitian=True)
    sigma = np.zeros_like(priors.sigma)
    sigma[priors.sigma > 0] = np.sqrt(np.maximum(np.diag(covariance)[n_poses:], 0.0))
    return sigma
