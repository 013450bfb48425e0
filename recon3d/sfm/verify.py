"""Which model of the cameras can be trusted: candidates of both mappers are judged, compared and chosen or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64

from recon3d.sfm.bundle import Priors
from recon3d.sfm.types import Mapped, Pair
from recon3d.sfm.verify_compare import disagreement_deg
from recon3d.sfm.verify_options import Drop, Verdict, VerifyOptions
from recon3d.sfm.verify_reversal import try_reversal
from recon3d.sfm.verify_score import FLAT_SHARE, Score, kept_model, score_model
from recon3d.sfm.verify_sigma import lens_priors

Doubts = tuple[tuple[str, ...], tuple[str, ...], dict[str, float | int]]

__all__ = ["Drop", "Verdict", "VerifyOptions", "verify"]

MAX_REVERSAL_PHOTOS = 12  # more photos see a scene from enough directions
TWIN_APART_DEG = 10.0
TWIN_FIT = 1.8  # a mirrored model with residuals below this multiple is a serious alternative
RIVAL_FIT = 0.9  # a model that explains less of the matches between common photos is no rival
SAME_FIT = 0.01  # fits that differ by less are equal: the model with more points wins
OTHER_MODEL_OVERLAP = 1 / 3
RIVAL_SHARE = 1 / 2  # of the photos of a model that a model must hold to speak against it
CONFIRMING_SHARE = 2 / 3  # of the photos of a weak model must be in the model that confirms it


def verify(
    candidates: Sequence[Mapped],
    pairs: Sequence[Pair],
    n_photos: int,
    options: VerifyOptions | None = None,
    focal_px: Float64[np.ndarray, " photos"] | None = None,
    calibrated: bool = False,
    posed: bool = False,
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
        posed: the poses were given; then no second mapping has to confirm a model that some matches contradict.

    Returns:
        The verdict; nothing is raised.
    """
    options = options or VerifyOptions()

    def priors_of(mapped: Mapped) -> Priors:
        return lens_priors(mapped, focal_px, calibrated)

    scores = [score_model(model, pairs, priors_of(model), options) for model in candidates if len(model.photo) > 1]
    ranked = sorted(scores, key=_rank, reverse=True)
    metrics = {"candidates": [score.numbers | {"against": list(score.against)} for score in ranked]}
    if not ranked:
        return Verdict(None, False, (_no_model(pairs, n_photos),), (), (), (), metrics)
    tried = []
    for best in [score for score in ranked if not score.against] or ranked[:1]:
        refused, warnings, numbers = _doubts(best, ranked, options, priors_of, posed)
        others = () if refused else _other_models(best, ranked)
        warnings = () if refused else warnings + _remarks(best, others, n_photos)
        tried.append(Verdict(best.mapped, not refused, refused, warnings, best.drop, others, metrics | numbers))
        if not refused:
            return tried[-1]
        if "disagreement_deg" in numbers:  # a smaller model says nothing about which of the two is right
            break
    return tried[0]


def _doubts(
    best: Score,
    ranked: Sequence[Score],
    options: VerifyOptions,
    priors_of: Callable[[Mapped], Priors],
    posed: bool,
) -> Doubts:
    """Return why a model is refused, remarks, and numbers: what speaks against it, other mapper, mirrored twin."""
    if best.against:
        return best.against, (), {}
    refused, warnings, numbers = _corroborate(best, ranked, options, posed)
    if refused or len(best.kept) > MAX_REVERSAL_PHOTOS:
        return refused, warnings, numbers
    kept = kept_model(best)
    twin = try_reversal(kept, priors_of(kept))
    numbers |= {"twin_sigma_ratio": round(twin.twin_px / twin.own_px, 3), "twin_apart_deg": round(twin.apart_deg, 2)}
    if twin.apart_deg > TWIN_APART_DEG and twin.twin_px < TWIN_FIT * twin.own_px:
        text = (
            f"ambiguous: a mirrored model, {twin.apart_deg:.0f} degrees away, explains the photos nearly as well"
            f" ({twin.twin_px:.2f} px instead of {twin.own_px:.2f} px); photos from more directions are needed"
        )
        return (text,), (), {key: numbers[key] for key in numbers if key.startswith("twin")}
    return (), warnings, numbers


def _rank(score: Score) -> tuple[bool, int, float, int]:
    step = np.log1p(SAME_FIT)
    return (
        not score.against,
        len(score.kept),
        round(float(np.log(max(sum(score.fit.values()), 1.0))) / step),
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


def _corroborate(best: Score, ranked: Sequence[Score], options: VerifyOptions, posed: bool) -> Doubts:
    """Compare the best model with the sound models of the other mapper."""
    consistent = best.numbers["consistent_share"]
    weak = consistent < options.sure_consistent
    enough = max(2.0, RIVAL_SHARE * len(best.kept))
    rivals = [rival for rival in ranked if rival.mapped.mapper != best.mapped.mapper and not rival.against]
    rivals = [rival for rival in rivals if weak or rival.numbers["consistent_share"] >= options.sure_consistent]
    rivals = [rival for rival in rivals if _n_common(rival, best) >= enough and _explains(rival, best)]
    common = max((_n_common(rival, best) for rival in rivals), default=0)
    if weak and common < CONFIRMING_SHARE * len(best.kept):
        text = f"only {100 * consistent:.0f} % of the matches agree with the cameras"
        return ((), (text,), {}) if posed else ((f"{text}, and no second model confirms them",), (), {})
    if not rivals:
        return (), (), {}
    rival = max(rivals, key=lambda score: _n_common(score, best))
    off = float(np.median(disagreement_deg(kept_model(best), kept_model(rival))))
    compared = {"disagreement_deg": round(off, 3), "disagreement_photos": common}
    text = f"two independent mappings of {common} photos disagree by {off:.1f} degrees (median relative pose)"
    if off > options.max_disagreement_deg:
        return (f"{text}, limit {options.max_disagreement_deg:g}",), (), compared
    return (), ((text,) if off > 0.5 * options.max_disagreement_deg else ()), compared


def _n_common(one: Score, other: Score) -> int:
    return len(np.intersect1d(one.kept, other.kept))


def _explains(rival: Score, best: Score) -> bool:
    """Return whether a rival explains the matches between common photos nearly as well as the best model."""
    common = set(np.intersect1d(rival.kept, best.kept).tolist())
    inside = [pair for pair in best.fit.keys() | rival.fit.keys() if common.issuperset(pair)]
    return sum(rival.fit.get(p, 0.0) for p in inside) >= RIVAL_FIT * sum(best.fit.get(p, 0.0) for p in inside)


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
