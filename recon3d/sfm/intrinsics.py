"""Intrinsics: which photos share a camera, what is known of it beforehand, and whether the photos agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.photos import Photo
from recon3d.render.cameras import Cameras
from recon3d.sfm.bundle import (
    CAUCHY_SIGMAS,
    Priors,
    Problem,
    adjust,
    cauchy_weights,
    cost,
    linearise,
    make_layout,
    normal_equations,
)

# One standard deviation of what lenses and cameras usually are.
FOCAL_EXIF = 0.03  # the tag is an integer of about 30 mm, and focus breathing adds to it
FOCAL_UNKNOWN = 1.0
CENTRE = 0.01  # of the long side
CENTRE_CROP = 0.25
RADIAL = (0.1, 0.03)
# When the photos overrule what was assumed.
OVERRULE_SIGMAS = 5.0
CROP_SHIFT = 0.06  # of the long side: no lens is this badly centred
FOCAL_SPLIT = 0.05  # photos whose focal lengths differ by more than this cannot share a camera
SPLIT_SIGMAS = 10.0
# Share of the robust cost that a further lens parameter must save before it is freed. Residuals of one photo are
# correlated, so that a plain significance test always frees everything.
LENS_PHOTOS = 5  # fewer photos explain themselves by any lens
CENTRE_GAIN = 0.01
RADIAL2_GAIN = 0.02


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


@dataclass(frozen=True, eq=False)
class Assumptions:
    """What is taken as known of each camera group before its photos are adjusted.

    Args:
        size: width and height, ``[g,2]``.
        focal_px: focal length by EXIF, NaN where unknown or overruled, ``[g]``.
        cropped: groups whose principal point may lie far from the centre, ``[g]``.
        free_centre: estimate the principal point of all groups, with a prior at the image centre.
        free_radial2: estimate the second radial coefficient of all groups.
        calibration: known ``fx fy cx cy k1 k2 p1 p2``; everything is fixed at it.
    """

    size: Float64[np.ndarray, "g 2"]
    focal_px: Float64[np.ndarray, " g"]
    cropped: Bool[np.ndarray, " g"]
    free_centre: bool = False
    free_radial2: bool = False
    calibration: Float64[np.ndarray, "8"] | None = None

    @property
    def long_side(self) -> Float64[np.ndarray, " g"]:
        """Long side of each group's photos in pixels."""
        longest: Float64[np.ndarray, " g"] = self.size.max(axis=1)
        return longest


def assume(
    cameras: Cameras,
    group: Int64[np.ndarray, " n"],
    focal_px: Float64[np.ndarray, " n"],
    calibration: Float64[np.ndarray, "8"] | None = None,
) -> Assumptions:
    """Return the assumptions at the start: EXIF is right, nothing is cropped, lenses are simple.

    Args:
        cameras: the cameras; their sizes matter.
        group: group of each camera, 0, 1, ... without gaps.
        focal_px: focal length by EXIF, NaN where unknown, ``[n]``.
        calibration: known intrinsics.
    """
    _, firsts = np.unique(group, return_index=True)
    size = np.stack([cameras.width, cameras.height], 1)[firsts].astype(np.float64)
    return Assumptions(size, focal_px[firsts], np.zeros(len(firsts), bool), calibration=calibration)


def make_priors(assumed: Assumptions) -> Priors:
    """Return the priors of log f, log fy/fx, cx, cy, k1, k2, p1, p2 of each group that the assumptions amount to."""
    n = len(assumed.size)
    mean, sigma = np.zeros((n, 8)), np.zeros((n, 8))
    if assumed.calibration is not None:
        fx, fy = assumed.calibration[:2]
        mean[:] = np.concatenate([[np.log(fx), np.log(fy / fx)], assumed.calibration[2:]])
        return Priors(mean, sigma)
    known = np.isfinite(assumed.focal_px)
    mean[:, 0] = np.log(np.where(known, assumed.focal_px, 1.2 * assumed.long_side))
    sigma[:, 0] = np.where(known, FOCAL_EXIF, FOCAL_UNKNOWN)
    mean[:, 2:4] = assumed.size / 2
    centre = np.where(assumed.cropped, CENTRE_CROP, CENTRE if assumed.free_centre else 0.0)
    sigma[:, 2:4] = (centre * assumed.long_side)[:, None]
    sigma[:, 4], sigma[:, 5] = RADIAL[0], RADIAL[1] if assumed.free_radial2 else 0.0
    return Priors(mean, sigma)


def posterior_sigma(problem: Problem, sigma_px: float, priors: Priors) -> Float64[np.ndarray, "g 8"]:
    """Return one standard deviation of the intrinsics given photos and priors, 0 where fixed, ``[g,8]``."""
    at, layout = linearise(problem), make_layout(problem, priors)
    weight = cauchy_weights(at.residual, CAUCHY_SIGMAS * sigma_px) / sigma_px**2
    normal = normal_equations(problem, at, weight, priors, layout)
    covariance = np.linalg.pinv(normal.reduced, rcond=1e-12, hermitian=True)
    sigma = np.zeros_like(priors.sigma)
    sigma[priors.sigma > 0] = np.sqrt(np.maximum(np.diag(covariance)[6 * len(problem.pose) :], 0.0))
    return sigma


def find_crops(problem: Problem, assumed: Assumptions) -> Bool[np.ndarray, " g"]:
    """Return the groups whose principal point lies where only a crop puts it.

    The photos are adjusted with nearly free principal points; a group counts as cropped when its own lies more than
    CROP_SHIFT of the long side off the centre, and off by more than OVERRULE_SIGMAS of its uncertainty.

    Args:
        problem: an adjusted model.
        assumed: what it was adjusted with.
    """
    loose = make_priors(replace(assumed, cropped=np.ones_like(assumed.cropped)))
    result = adjust(problem, loose, tolerance=1e-4)
    shift = np.abs(result.problem.intrinsics[:, 2:4] - loose.mean[:, 2:4])
    sigma = posterior_sigma(result.problem, result.sigma_px, loose)[:, 2:4]
    far = (shift > CROP_SHIFT * assumed.long_side[:, None]) & (shift > OVERRULE_SIGMAS * sigma)
    cropped: Bool[np.ndarray, " g"] = far.any(axis=1)
    return cropped


def drop_overruled_focals(problem: Problem, assumed: Assumptions) -> Assumptions:
    """Return the assumptions without the EXIF focal lengths that the photos contradict."""
    off = np.abs(problem.intrinsics[:, 0] - np.log(assumed.focal_px))
    return replace(assumed, focal_px=np.where(off > 3.0 * FOCAL_EXIF, np.nan, assumed.focal_px))


def unshared_groups(problem: Problem) -> Bool[np.ndarray, " g"]:
    """Return the groups in which a photo of its own focal length, by far, contradicts the shared one (another zoom).

    Every photo gets a focal length of its own; all else that its group shares stays as it is.

    Args:
        problem: an adjusted model.
    """
    n, shared = len(problem.pose), problem.intrinsics[problem.group]
    sigma = np.zeros((n, 8))
    sigma[:, 0] = np.where(np.bincount(problem.group)[problem.group] > 1, 2 * FOCAL_SPLIT, 0.0)
    if not sigma.any():
        return np.zeros(len(problem.intrinsics), bool)
    priors = Priors(shared, sigma)
    alone = adjust(replace(problem, intrinsics=shared, group=np.arange(n)), priors, max_iterations=6, tolerance=1e-3)
    off = np.abs(alone.problem.intrinsics[:, 0] - shared[:, 0])
    own = posterior_sigma(alone.problem, alone.sigma_px, priors)[:, 0]
    far = (off > FOCAL_SPLIT) & (off > SPLIT_SIGMAS * own)
    found: Bool[np.ndarray, " g"] = np.bincount(problem.group[far], minlength=len(problem.intrinsics)) > 0
    return found


def choose_lens(problem: Problem, assumed: Assumptions) -> tuple[Assumptions, dict[str, float]]:
    """Free the second radial coefficient and the principal point where they explain the photos clearly better.

    Returns:
        The assumptions, and the share of the robust cost that each of the two saved.
    """
    gains: dict[str, float] = {}
    if len(problem.pose) < LENS_PHOTOS:
        return assumed, gains
    richer = replace(assumed, free_radial2=True)
    gains["free_radial2"] = _gain(problem, assumed, richer)
    if gains["free_radial2"] > RADIAL2_GAIN:
        assumed = richer
    richer = replace(assumed, free_centre=True)
    gains["free_centre"] = _gain(problem, assumed, richer)
    return (richer if gains["free_centre"] > CENTRE_GAIN else assumed), gains


def _gain(problem: Problem, simple: Assumptions, richer: Assumptions) -> float:
    """Return the share of the robust cost of the residuals that a richer lens model saves."""
    flat = np.full((len(problem.intrinsics), 8), np.inf)
    before = adjust(problem, make_priors(simple), tolerance=1e-4)
    after = adjust(before.problem, make_priors(richer), tolerance=1e-4)
    costs = [cost(a.problem, a.residual, before.sigma_px, Priors(flat, flat)) for a in (before, after)]
    return 1.0 - costs[1] / max(costs[0], 1e-300)
