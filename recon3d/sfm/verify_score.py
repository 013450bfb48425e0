"""Judgement of one model on its own: its numbers, the photos that it should lose, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.sfm.bundle import Priors
from recon3d.sfm.types import Mapped, Pair
from recon3d.sfm.verify_compare import restricted
from recon3d.sfm.verify_evidence import MatchEvidence, match_evidence, rotation_share
from recon3d.sfm.verify_options import Drop, VerifyOptions
from recon3d.sfm.verify_pairs import contradicted
from recon3d.sfm.verify_sigma import pair_sigma_deg

PHOTO_SIGMA_FACTOR = 2.5  # one photo may be this much worse determined than the model as a whole
KNOWN_FOCAL_SIGMA = 0.5  # of log f
KNOWN_FOCAL_RANGE = 1.35  # factor on the focal length that a rotating camera may use when EXIF told it
UNKNOWN_FOCAL_RANGE = 3.0
FOCAL_LIMITS = (0.2, 20.0)  # of the long side: fisheye lenses and telescopes lie outside
FLAT_SHARE = 0.9  # of the matches on one plane per pair
FLAT_SIGMA = 1 / 3  # of the usual limit, where the lens is unknown too: the covariance sees only one explanation
FLAT_PHOTOS = {True: 3, False: 4}  # a plane has two explanations in two photos; a lens needs more (Triggs, ECCV 1998)
MIN_SPREAD = 1e-3  # camera positions relative to the distance of the points
FRONT_PX = 4.0  # rays closer than this in pixels meet behind a camera by mere noise


@dataclass(frozen=True, eq=False)
class Score:
    """One candidate and what was found about it.

    Args:
        mapped: the candidate.
        kept: photos of it that its own evidence supports, ``[k]`` photo indices.
        drop: the others, with reasons.
        against: what speaks against the model, in plain words; empty when it stands on its own.
        fit: agreement with the matches of each pair of kept photos (truncated quadratic, at most one per match),
            comparable between candidates.
        numbers: JSON-ready.
    """

    mapped: Mapped
    kept: Int64[np.ndarray, " k"]
    drop: tuple[Drop, ...]
    against: tuple[str, ...]
    fit: dict[tuple[int, int], float]
    numbers: dict[str, Any]


def score_model(mapped: Mapped, pairs: Sequence[Pair], priors: Priors, options: VerifyOptions) -> Score:
    """Judge one candidate.

    Args:
        mapped: the candidate.
        pairs: verified pairs of the capture.
        priors: what is known of the candidate's lenses.
        options: the limits.
    """
    broken = _broken(mapped)
    if broken:
        return Score(
            mapped, np.zeros(0, np.int64), (), broken, {}, {"mapper": mapped.mapper, "n_photos": len(mapped.photo)}
        )
    evidence = match_evidence(mapped, pairs)
    agrees = (evidence.epipolar_px < options.tolerance_px) & ~_behind(evidence)
    agrees &= ~contradicted(mapped, evidence)[evidence.pair]
    sigma = pair_sigma_deg(mapped, priors)
    known = priors.sigma[:, 0] < KNOWN_FOCAL_SIGMA
    keep, drop = _judge_photos(mapped, evidence, agrees, sigma, known, options)
    inside = keep[evidence.view].all(axis=1)
    numbers = _numbers(mapped, evidence, agrees, inside, sigma[np.ix_(keep, keep)], options)
    kept_pairs = [pair for pair in evidence.pairs if {pair.first, pair.second} <= set(mapped.photo[keep].tolist())]
    focal_known = bool(known.all())
    reach = KNOWN_FOCAL_RANGE if focal_known else UNKNOWN_FOCAL_RANGE
    share, factor = rotation_share(mapped, kept_pairs, options.tolerance_px, reach)
    numbers |= {
        "rotation_share": round(share, 4),
        "rotation_focal_factor": round(factor, 3),
        "focal_known": focal_known,
    }
    residual = np.minimum(evidence.epipolar_px[inside] / options.tolerance_px, 1.0)
    residual[_behind(evidence)[inside]] = 1.0
    total = np.bincount(evidence.pair[inside], 1.0 - residual**2, minlength=len(evidence.pairs))
    fit = {(pair.first, pair.second): float(value) for pair, value in zip(evidence.pairs, total, strict=True) if value}
    numbers["fit"] = round(float(total.sum()), 1)
    return Score(mapped, mapped.photo[keep], drop, _against(numbers, options), fit, numbers)


def _broken(mapped: Mapped) -> tuple[str, ...]:
    """Return why the arrays of a model are no cameras at all."""
    poses = mapped.cameras.cam_from_world
    if not (np.isfinite(poses).all() and np.isfinite(mapped.cameras.K).all() and np.isfinite(mapped.points.xyz).all()):
        return ("the model holds numbers that are not finite",)
    determinant = np.linalg.det(poses[:, :3, :3])
    if (np.abs(determinant - 1.0) > 1e-3).any():
        n = int((determinant < 0).sum())
        return (f"{n} of {len(poses)} cameras are mirrored or distorted (determinant {determinant.min():.3f})",)
    long_side = np.maximum(mapped.cameras.width, mapped.cameras.height)
    ratio = mapped.cameras.K[:, 0, 0] / long_side
    if ratio.min() < FOCAL_LIMITS[0] or ratio.max() > FOCAL_LIMITS[1]:
        worst = ratio.min() if ratio.min() < FOCAL_LIMITS[0] else ratio.max()
        return (f"a focal length came out as {worst:.2f} times the long side of the photo, which no usual lens has",)
    return ()


def _behind(evidence: MatchEvidence) -> Bool[np.ndarray, " m"]:
    return evidence.behind & (evidence.shift_px > FRONT_PX)


def _judge_photos(
    mapped: Mapped,
    evidence: MatchEvidence,
    agrees: Bool[np.ndarray, " m"],
    sigma: Float64[np.ndarray, "n n"],
    focal_known: Bool[np.ndarray, " g"],
    options: VerifyOptions,
) -> tuple[Bool[np.ndarray, " n"], tuple[Drop, ...]]:
    """Drop photos one after the other, the worst first, until all that stay are supported."""
    keep, drop = np.ones(len(mapped.photo), bool), []
    own_lens = _lone_unknown_lenses(mapped, focal_known)
    while keep.sum() > 1:
        share, support = _support(evidence, agrees, keep, options)
        own_sigma = np.full(len(keep), np.inf)
        for row in np.flatnonzero(keep):
            others = keep.copy()
            others[row] = False
            own_sigma[row] = np.median(sigma[row, others])
        limit = PHOTO_SIGMA_FACTOR * options.max_sigma_deg
        badness = np.max([0.5 / np.maximum(share, 1e-9), options.min_support / np.maximum(support, 1e-9)], axis=0)
        lens = np.where(own_lens, options.min_support / np.maximum(_fixed_points(mapped, keep), 1e-9), 0.0)
        badness = np.where(keep, np.max([badness, lens, own_sigma / limit], axis=0), 0.0)
        worst = int(np.argmax(badness))
        if badness[worst] <= 1.0 or keep.sum() == 2:
            break
        keep[worst] = False
        reason = _drop_reason(share[worst], support[worst], own_sigma[worst], options)
        drop.append(Drop(int(mapped.photo[worst]), reason))
    return keep, tuple(sorted(drop, key=lambda item: item.photo))


def _drop_reason(agrees: float, support: float, sigma: float, options: VerifyOptions) -> str:
    if agrees < 0.5:
        return f"only {100 * agrees:.0f} % of its matches agree with its pose (50 % needed)"
    if support < options.min_support:
        return f"only {support:.0f} matches with depth tie it to the model ({options.min_support} needed)"
    limit = PHOTO_SIGMA_FACTOR * options.max_sigma_deg
    if sigma > limit:
        return f"its pose is uncertain by {min(sigma, 180.0):.1f} degrees (limit {limit:.1f})"
    return f"its unknown lens rests on fewer than {options.min_support} points that two other photos see"


def _lone_unknown_lenses(mapped: Mapped, focal_known: Bool[np.ndarray, " g"]) -> Bool[np.ndarray, " n"]:
    """Return the photos whose lens no other photo of the model shares and no EXIF tells."""
    _, group, count = np.unique(mapped.camera_group, return_inverse=True, return_counts=True)
    return np.asarray((count[group] == 1) & ~focal_known[group])


def _fixed_points(mapped: Mapped, keep: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return how many points each photo sees that at least two other kept photos see, ``[n]``."""
    points = mapped.points
    track = np.bincount(points.obs_point[keep[points.obs_view]], minlength=len(points))
    long = track[points.obs_point] >= 3
    return np.bincount(points.obs_view[long], minlength=len(keep)).astype(np.float64)


def _support(
    evidence: MatchEvidence, agrees: Bool[np.ndarray, " m"], keep: Bool[np.ndarray, " n"], options: VerifyOptions
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return, per photo, the share of its matches that agree, and how many of its keypoints have a depth."""
    inside = keep[evidence.view].all(axis=1)
    good = inside & agrees
    deep = good & (evidence.angle_deg > options.min_angle_deg)
    n = len(keep)
    total, agreeing, support = np.zeros(n), np.zeros(n), np.zeros(n)
    for side in (0, 1):
        total += np.bincount(evidence.view[inside, side], minlength=n)
        agreeing += np.bincount(evidence.view[good, side], minlength=n)
    width = int(evidence.keypoint.max(initial=0)) + 1
    names = [evidence.view[deep, side] * width + evidence.keypoint[deep, side] for side in (0, 1)]
    support += np.bincount(np.unique(np.concatenate(names)) // width, minlength=n)
    return agreeing / np.maximum(total, 1), support


def _numbers(
    mapped: Mapped,
    evidence: MatchEvidence,
    agrees: Bool[np.ndarray, " m"],
    inside: Bool[np.ndarray, " m"],
    sigma: Float64[np.ndarray, "k k"],
    options: VerifyOptions,
) -> dict[str, Any]:
    m = max(int(inside.sum()), 1)
    behind = _behind(evidence) & inside
    good = inside & agrees
    upper = sigma[np.triu_indices(len(sigma), 1)]
    ratio = mapped.cameras.K[:, 0, 0] / np.maximum(mapped.cameras.width, mapped.cameras.height)
    used = [evidence.pairs[k] for k in np.unique(evidence.pair[inside])]
    homography = sum(pair.n_homography for pair in used) / max(sum(len(pair.matches) for pair in used), 1)
    return {
        "mapper": mapped.mapper,
        "n_photos": len(mapped.photo),
        "n_kept": len(sigma),
        "n_points": len(mapped.points),
        "n_matches": int(inside.sum()),
        "consistent_share": round(float(good.sum()) / m, 4),
        "consistent_before_drops_share": round(float(agrees.mean()) if len(agrees) else 0.0, 4),
        "parallax_share": round(float((good & (evidence.angle_deg > options.min_angle_deg)).sum()) / m, 4),
        "behind_share": round(float(behind.sum()) / m, 4),
        "homography_share": round(homography, 4),
        "points_behind_share": round(_points_behind(mapped), 4),
        "sigma_deg": _finite(float(np.median(upper)) if len(upper) else np.inf),
        "camera_spread": _finite(_spread(mapped)),
        "focal_over_long_side": [round(float(ratio.min()), 3), round(float(ratio.max()), 3)],
    }


def _finite(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _points_behind(mapped: Mapped) -> float:
    points = mapped.points
    if not len(points):
        return 0.0
    _, depth = mapped.cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
    return float((depth <= 0).mean())


def _spread(mapped: Mapped) -> float:
    """Return the rms distance of the cameras from their mean over the median distance to the points they see."""
    if not len(mapped.points):
        return 0.0
    centers, points = mapped.cameras.centers, mapped.points
    distance = np.median(np.linalg.norm(points.xyz[points.obs_point] - centers[points.obs_view], axis=1))
    return float(np.sqrt(((centers - centers.mean(axis=0)) ** 2).sum(axis=1).mean()) / max(float(distance), 1e-300))


def _against(numbers: dict[str, Any], options: VerifyOptions) -> tuple[str, ...]:
    """Return the reasons against a model, the most telling first."""
    percent = {key: 100 * numbers[key] for key in numbers if key.endswith("_share")}
    flat = numbers["homography_share"] > FLAT_SHARE
    consistent = min(numbers["consistent_share"], numbers["consistent_before_drops_share"])
    sigma, n_flat = numbers["sigma_deg"], FLAT_PHOTOS[numbers["focal_known"]]
    max_sigma = options.max_sigma_deg * (FLAT_SIGMA if flat and not numbers["focal_known"] else 1.0)
    found = [
        (
            2 * numbers["n_kept"] < numbers["n_photos"],
            f"only {numbers['n_kept']} of {numbers['n_photos']} cameras agree with the matches of their photos",
        ),
        (
            numbers["rotation_share"] > options.max_rotation_share,
            f"no parallax: a camera that only turns explains {percent['rotation_share']:.0f} % of the matches"
            f" (limit {100 * options.max_rotation_share:.0f} %); move between the photos",
        ),
        (
            numbers["parallax_share"] < options.min_parallax,
            f"too little parallax: {percent['parallax_share']:.1f} % of the matches have rays that meet at more than"
            f" {options.min_angle_deg:g} degrees ({100 * options.min_parallax:.0f} % needed)",
        ),
        (
            (numbers["camera_spread"] or 0.0) < MIN_SPREAD,
            f"collapsed: all cameras stand within {100 * (numbers['camera_spread'] or 0.0):.3f} % of the distance to"
            f" the scene",
        ),
        (
            consistent < options.min_consistent,
            f"only {100 * consistent:.0f} % of the matches agree with the cameras"
            f" ({100 * options.min_consistent:.0f} % needed)",
        ),
        (
            max(numbers["behind_share"], numbers["points_behind_share"]) > 1.0 - options.min_consistent,
            f"inside out or mirrored: {max(percent['behind_share'], percent['points_behind_share']):.0f} % of the"
            f" points lie behind a camera that sees them",
        ),
        (
            flat and numbers["n_kept"] < n_flat,
            f"{numbers['n_kept']} photos of a flat scene ({percent['homography_share']:.0f} % of the matches lie on one"
            f" plane) have several explanations: {n_flat} photos are needed",
        ),
        (
            sigma is None or sigma > max_sigma,
            f"the photos do not determine the cameras: their relative poses are uncertain by"
            f" {'more than 90' if sigma is None else format(min(sigma, 90.0), '.1f')} degrees"
            f" (limit {max_sigma:.2g}); add photos between these, or give the calibration",
        ),
    ]
    return tuple(text for wrong, text in found if wrong)


def kept_model(score: Score) -> Mapped:
    """Return the model of the kept photos only."""
    mapped = score.mapped
    return restricted(mapped, np.isin(mapped.photo, score.kept), np.ones(len(mapped.points), bool))
