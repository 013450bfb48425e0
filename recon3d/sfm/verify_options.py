"""Limits of the verification, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recon3d.core.errors import UsageError
from recon3d.sfm.types import Mapped


@dataclass(frozen=True)
class VerifyOptions:
    """When a model of the cameras is trusted.

    Args:
        tolerance_px: a match agrees with a model up to this distance from its epipolar line, in pixels; the two-view
            geometries were accepted with the same distance.
        min_angle_deg: rays that meet at a smaller angle carry no depth.
        min_support: matches with depth that tie a photo to the others; fewer occur by chance between unrelated photos.
        min_consistent: share of all matches that must agree with the model and lie in front of both cameras.
        sure_consistent: below this share the other mapper must agree as well.
        min_parallax: share of the matches that must carry depth.
        max_rotation_share: share of the matches that a camera which only turns may explain.
        max_sigma_deg: largest standard deviation of the relative poses (median over pairs of photos), in degrees;
            three of them stay below 5 degrees.
        max_disagreement_deg: largest median difference of relative poses between the two mappers, in degrees.
    """

    tolerance_px: float = 4.0
    min_angle_deg: float = 1.5
    min_support: int = 30
    min_consistent: float = 0.8
    sure_consistent: float = 0.95
    min_parallax: float = 0.1
    max_rotation_share: float = 0.85
    max_sigma_deg: float = 1.6
    max_disagreement_deg: float = 3.0

    def __post_init__(self) -> None:
        for name in ("min_consistent", "sure_consistent", "min_parallax", "max_rotation_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} is not a share", got=getattr(self, name), expected="a number from 0 to 1")
        for name in ("tolerance_px", "min_angle_deg", "max_sigma_deg", "max_disagreement_deg"):
            if not getattr(self, name) > 0.0:
                raise UsageError(f"{name} is too small", got=getattr(self, name), expected="a positive number")


@dataclass(frozen=True)
class Drop:
    """A photo of the chosen model whose own pose is not trusted."""

    photo: int
    reason: str


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the verification found.

    Args:
        chosen: the best model; its dropped photos are still in it. None when there is none at all.
        trusted: whether ``chosen`` may be written.
        refused_because: why not, in plain words.
        warnings: what the user should know about a trusted model.
        drop: photos of ``chosen`` that must lose their pose.
        other_models: photo indices of further verified models, the largest first.
        metrics: the numbers behind the verdict, JSON-ready.
    """

    chosen: Mapped | None
    trusted: bool
    refused_because: tuple[str, ...]
    warnings: tuple[str, ...]
    drop: tuple[Drop, ...]
    other_models: tuple[tuple[int, ...], ...]
    metrics: Mapping[str, Any]
