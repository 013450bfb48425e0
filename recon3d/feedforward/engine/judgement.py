"""How far the photos' own features confirm the cameras that a network predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64

from recon3d.sfm.types import Mapped, Pair
from recon3d.sfm.verify_evidence import MatchEvidence, match_evidence
from recon3d.sfm.verify_options import Drop

Grade = Literal["good", "rough", "contradicted", "unconfirmed"]

GOOD, LOOSE = 0.01, 0.05  # of the longer side of a photo
GOOD_OF_MOTION, LOOSE_OF_MOTION = 0.25, 0.5  # of how far the matches of a pair moved; random lines reach a third
FLOOR_PX = 2.0
ENOUGH_GOOD, ENOUGH_LOOSE = 0.8, 0.5  # of the matches
MIN_MATCHES = 30
CONFIRMING = 15  # matches that agree at least coarsely, for a photo among others that are confirmed
FLAT_SHARE = 0.95


@dataclass(frozen=True)
class Judgement:
    """What the matches say about predicted cameras.

    Args:
        grade: ``good`` and ``rough`` cameras agree with the matches closely or coarsely; ``contradicted`` ones do not;
            ``unconfirmed`` ones have too few matches to tell.
        text: the same in a plain sentence with its numbers.
        drop: photos that their own matches contradict, or do not confirm where they do the others.
        numbers: JSON-ready.
    """

    grade: Grade
    text: str
    drop: tuple[Drop, ...]
    numbers: Mapping[str, Any]


def judge(mapped: Mapped, pairs: Sequence[Pair]) -> Judgement:
    """Judge cameras by the epipolar distances of verified matches.

    A match agrees when its distance from the epipolar line is below 1 % of the photo's longer side, coarsely when it is
    below 5 %; but where the matches of a pair moved little, below a quarter, or a half, of that motion, because in such
    a pair all cameras would agree. Matches whose rays meet behind a camera disagree.

    Args:
        mapped: the cameras.
        pairs: verified pairs of the capture.
    """
    evidence = match_evidence(mapped, pairs)
    if len(evidence) < MIN_MATCHES:
        text = f"only {len(evidence)} feature matches between the photos: nothing confirms the cameras"
        return Judgement("unconfirmed", text, (), {"n_matches": len(evidence), "n_pairs": len(evidence.pairs)})
    good, loose = _agreeing(mapped, evidence)
    side = _sides(mapped, evidence)
    off = float(np.median(evidence.epipolar_px / side))
    flat = sum(pair.n_homography for pair in evidence.pairs) / sum(len(pair.matches) for pair in evidence.pairs)
    numbers = {
        "n_matches": len(evidence),
        "n_pairs": len(evidence.pairs),
        "epipolar_px": round(float(np.median(evidence.epipolar_px)), 3),
        "epipolar_share_of_side": round(off, 5),
        "good_share": round(float(good.mean()), 4),
        "loose_share": round(float(loose.mean()), 4),
        "homography_share": round(flat, 4),
    }
    wrong, alone = _drop(mapped, evidence, loose)
    grade = _grade(float(good.mean()), float(loose.mean()), len(wrong), len(mapped.photo))
    if grade == "good" and flat > FLAT_SHARE:
        grade = "unconfirmed"
    if len(wrong) + len(alone) > len(mapped.photo) / 2:  # too few are confirmed to measure the others by them
        alone = []
        grade = "unconfirmed" if grade in ("good", "rough") else grade
    drop = () if grade == "contradicted" else tuple(sorted(wrong + alone, key=lambda one: one.photo))
    return Judgement(grade, _text(grade, numbers), drop, numbers)


def _grade(good: float, loose: float, n_dropped: int, n_photos: int) -> Grade:
    if loose < ENOUGH_LOOSE or n_dropped > n_photos / 2:
        return "contradicted"
    return "good" if good >= ENOUGH_GOOD else "rough"


def _text(grade: Grade, numbers: Mapping[str, Any]) -> str:
    pairs = "one pair" if numbers["n_pairs"] == 1 else f"{numbers['n_pairs']} pairs"
    measured = (
        f"{100 * numbers['good_share']:.0f} % of {numbers['n_matches']:,} feature matches in {pairs} of photos agree"
        f" with the predicted cameras, {100 * numbers['loose_share']:.0f} % coarsely (median distance"
        f" {numbers['epipolar_px']:.1f} px, {100 * numbers['epipolar_share_of_side']:.1f} % of the photo)"
    )
    flat = 100 * numbers["homography_share"]
    verdicts: dict[Grade, str] = {
        "good": "the cameras are good",
        "rough": "the cameras are rough: use them for an overview, not for measuring",
        "contradicted": "the photos contradict the cameras",
        "unconfirmed": "too few of the photos are confirmed"
        if flat <= 100 * FLAT_SHARE
        else f"but {flat:.0f} % of the matches show no parallax, so nothing confirms the distances",
    }
    return f"{measured}; {verdicts[grade]}"


def _agreeing(mapped: Mapped, evidence: MatchEvidence) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Return which matches agree, and which at least coarsely."""
    side, motion = _sides(mapped, evidence), _motion(evidence)
    behind = evidence.behind & (evidence.shift_px > FLOOR_PX)
    agreeing = []
    for share, of_motion in ((GOOD, GOOD_OF_MOTION), (LOOSE, LOOSE_OF_MOTION)):
        limit = np.maximum(np.minimum(share * side, of_motion * motion), FLOOR_PX)
        agreeing.append((evidence.epipolar_px <= limit) & ~behind)
    return agreeing[0], agreeing[1]


def _sides(mapped: Mapped, evidence: MatchEvidence) -> Float64[np.ndarray, " m"]:
    sides = np.maximum(mapped.cameras.width, mapped.cameras.height).astype(np.float64)
    return np.asarray(sides[evidence.view].mean(axis=1))


def _motion(evidence: MatchEvidence) -> Float64[np.ndarray, " m"]:
    """Return how far the matches of each pair moved, their median, for each match."""
    length = np.linalg.norm(evidence.xy[:, 1] - evidence.xy[:, 0], axis=1)
    median = [np.median(length[evidence.pair == pair]) for pair in range(len(evidence.pairs))]
    return np.asarray(np.array(median, np.float64)[evidence.pair])


def _drop(mapped: Mapped, evidence: MatchEvidence, loose: Bool[np.ndarray, " m"]) -> tuple[list[Drop], list[Drop]]:
    """Return the photos whose matches disagree, and those with too few that agree."""
    wrong, alone = [], []
    for row, photo in enumerate(mapped.photo.tolist()):
        mine = loose[(evidence.view == row).any(axis=1)]
        if len(mine) >= MIN_MATCHES and mine.mean() < ENOUGH_LOOSE / 2:
            share = 100 * mine.mean()
            wrong.append(Drop(photo, f"its matches contradict the network's camera: {share:.0f} % agree"))
        elif mine.sum() < CONFIRMING:
            alone.append(Drop(photo, f"only {mine.sum()} matches with other photos confirm the network's camera"))
    return wrong, alone
