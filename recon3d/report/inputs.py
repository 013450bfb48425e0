"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recon3d.scene import Scene, View


@dataclass(frozen=True)
class PairSummary:
    """How well two photos match.

    Args:
        first: key of the first photo.
        second: key of the second photo.
        n_matches: matches before geometric verification.
        n_inliers: matches that agree with one two-view geometry.
        median_triangulation_deg: median angle between the rays of the inlier matches; NaN = unknown.
    """

    first: str
    second: str
    n_matches: int
    n_inliers: int
    median_triangulation_deg: float = float("nan")


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Everything that one report shows.

    Args:
        title: name of the capture.
        views: every input photo, sorted by key, whatever became of it.
        scene: the reconstruction; None where it was refused.
        verdict: the result in one or two plain sentences; empty = made from ``views`` and ``scene``.
        thumbnails: small JPEG files (about 320 px wide) by key; photos without one get a placeholder.
        pairs: matched pairs of photos.
        timings: wall time of every stage in seconds, in the order of the stages.
        settings: resolved options, JSON-ready.
        warnings: sentences in plain words.
        provenance: versions and the like, JSON-ready; added to that of the scene.
    """

    title: str
    views: Sequence[View]
    scene: Scene | None = None
    verdict: str = ""
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    pairs: Sequence[PairSummary] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
