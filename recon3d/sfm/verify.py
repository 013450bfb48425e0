"""Which model of the cameras can be trusted: candidates of both mappers are judged, compared and chosen or refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from recon3d.sfm.types import Mapped, Pair
from recon3d.sfm.verify_compare import disagreement_deg
from recon3d.sfm.verify_options import Drop, Verdict, VerifyOptions
from recon3d.sfm.verify_score import FLAT_SHARE, Score, kept_model, score_model
from recon3d.sfm.verify_sigma import lens_priors

__all__ = ["Drop", "Verdict", "VerifyOptions", "verify"]

SAME_FIT = 0.01  # fits that differ by less are equal: the model with more points wins
OTHER_MODEL_OVERLAP = 1 / 3
CONFIRMING_SHARE = 2 / 3  # of the photos of a weak model must be in the model that confirms it


def verify(
    candidates: Sequence[Mapped],
    pairs: Sequence[Pair],
    n_photos: int,
    options: VerifyOptions | None = None,
    focal_px: Float64[np.ndarray, " photos"] | None = None,
    calibrated: bool = False,
) -> Verdict:
    """Judge the models of all mappers and choose the best that can be trusted.

    Each candidate is judged alone: do all matches agree with it, is there parallax, would a camera that only turns
    explain them, do the photos determine the poses? The best must then not be contradicted by a sound model of the
    other mapper.

    Args:
        candidates: models of the incremental and the global mapper, best after a bundle adjustment.
        pairs: verified pairs of the capture.
        n_photos: photos of the capture.
        options: the limits; None = defaults.
        focal_px: focal length of each photo by EXIF, NaN where unknown, ``[n_photos]``; None = all unknown. It decides
            over captures of two photos, which do not determine a focal length.
        calibrated: the intrinsics were given and are exact.

    Returns:
        The verdict; nothing is raised.
    """
    options = options or VerifyOptions()
    scores = [
        score_model(mapped, pairs, lens_priors(mapped, focal_px, calibrated), options)
        for mapped in candidates
        if len(mapped.photo) > 1
    ]
    ranked = sorted(scores, key=_rank, reverse=True)
    metrics = {"candidates": [score.numbers | {"against": list(score.against)} for score in ranked]}
    if not ranked:
        return Verdict(None, False, (_no_model(pairs, n_photos),), (), (), (), metrics)
    best = ranked[0]
    if best.against:
        return Verdict(best.mapped, False, best.against, (), best.drop, (), metrics)
    refused, warnings, compared = _corroborate(best, ranked, options)
    others = _other_models(best, ranked)
    warnings += _remarks(best, others, n_photos)
    return Verdict(best.mapped, not refused, refused, warnings, best.drop, others, metrics | compared)


def _rank(score: Score) -> tuple[bool, int, float, int]:
    step = np.log1p(SAME_FIT)
    return (
        not score.against,
        len(score.kept),
        round(float(np.log(max(score.fit, 1.0))) / step),
        len(score.mapped.points),
    )


def _no_model(pairs: Sequence[Pair], n_photos: int) -> str:
    """Return why there is no candidate at all."""
    if not pairs:
        return f"no two of the {n_photos} photos show enough of the same things (no pair has 15 matches that fit)"
    matches = sum(len(pair.matches) for pair in pairs)
    share = sum(pair.n_homography for pair in pairs) / max(matches, 1)
    start = f"no model of the cameras was found from {matches} matches in {len(pairs)} photo pairs"
    if share > FLAT_SHARE:
        return f"{start}: {100 * share:.0f} % of them show no parallax (the camera only turned, or the scene is flat)"
    return f"{start}: the photos overlap too little or their viewpoints differ too much"


def _corroborate(
    best: Score, ranked: Sequence[Score], options: VerifyOptions
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, float | int]]:
    """Compare the best model with the sound models of the other mapper."""
    consistent = best.numbers["consistent_share"]
    weak = consistent < options.sure_consistent
    off = {}
    for rival in ranked:
        common = len(np.intersect1d(rival.kept, best.kept))
        unsound = rival.against or (not weak and rival.numbers["consistent_share"] < options.sure_consistent)
        if rival.mapped.mapper != best.mapped.mapper and not unsound and common >= 2:
            off[common] = float(np.median(disagreement_deg(kept_model(best), kept_model(rival))))
    common = max(off, default=0)
    if weak and common < CONFIRMING_SHARE * len(best.kept):
        reason = (
            f"only {100 * consistent:.0f} % of the matches agree with the cameras, and no second model confirms them"
        )
        return (reason,), (), {}
    if not off:
        return (), (), {}
    compared = {"disagreement_deg": round(off[common], 3), "disagreement_photos": common}
    text = f"two independent mappings of {common} photos disagree by {off[common]:.1f} degrees (median relative pose)"
    if off[common] > options.max_disagreement_deg:
        return (f"{text}, limit {options.max_disagreement_deg:g}",), (), compared
    return (), ((text,) if off[common] > 0.5 * options.max_disagreement_deg else ()), compared


def _other_models(best: Score, ranked: Sequence[Score]) -> tuple[tuple[int, ...], ...]:
    """Return the photos of further sound models that share few photos with those before them."""
    taken, found = set(best.kept.tolist()), []
    for score in ranked:
        photos = set(score.kept.tolist())
        if score.against or len(photos & taken) > OTHER_MODEL_OVERLAP * len(photos):
            continue
        found.append(tuple(sorted(photos)))
        taken |= photos
    return tuple(found)


def _remarks(best: Score, others: Sequence[Sequence[int]], n_photos: int) -> tuple[str, ...]:
    numbers, remarks = best.numbers, []
    if others:
        sizes = " and ".join(str(len(other)) for other in others)
        remarks.append(
            f"the photos fall into {1 + len(others)} models: one of {len(best.kept)} photos is used, {sizes} are not"
        )
    if len(best.kept) < 0.5 * n_photos:
        remarks.append(f"only {len(best.kept)} of {n_photos} photos could be placed")
    if numbers["homography_share"] > FLAT_SHARE:
        share = 100 * numbers["homography_share"]
        remarks.append(
            f"the scene is nearly flat ({share:.0f} % of the matches fit one plane): depth and focal length are weak"
        )
    if len(best.kept) == 2:
        remarks.append("two photos only: nothing checks the model beyond its own matches")
    return tuple(remarks)
