"""What a user may choose about multi-view stereo."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d.core.errors import UsageError

MAX_SOURCES = 32


@dataclass(frozen=True)
class StereoOptions:
    """Options of multi-view stereo.

    Args:
        max_image_size: longer side of the photos in pixels; larger photos are reduced before matching.
        n_sources: how many neighbouring photos each photo is matched against.
        n_best: how many of them judge a depth; those that suit it best do, so that the others may be occluded.
        n_iterations: sweeps at the coarsest scale.
        consistency_weight: cost of one pixel of disagreement with what was found for the neighbours.
        min_consistent: neighbours that must confirm a depth; with fewer neighbours, all of them.
        max_reprojection_px: largest forward-backward error of a confirmed depth in pixels.
        max_depth_error: largest relative depth difference of a confirmed depth.
        max_cost: largest matching cost (1 - correlation) of a depth that is kept.
        min_region_px: connected regions with fewer pixels are removed.
        depth_margin: factor that widens the depth range of the sparse points on both sides.
        seed: of the random guesses.
    """

    max_image_size: int = 1280
    n_sources: int = 5
    n_best: int = 3
    n_iterations: int = 4
    consistency_weight: float = 0.1
    min_consistent: int = 2
    max_reprojection_px: float = 2.0
    max_depth_error: float = 0.02
    max_cost: float = 0.7
    min_region_px: int = 60
    depth_margin: float = 1.35
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_image_size", "n_sources", "n_best", "n_iterations", "min_consistent"):
            if getattr(self, name) < 1:
                raise UsageError(f"StereoOptions.{name} must be positive", got=getattr(self, name))
        if self.n_sources > MAX_SOURCES:
            raise UsageError("StereoOptions.n_sources is too large", got=self.n_sources, expected=f"<= {MAX_SOURCES}")
        if self.depth_margin < 1:
            raise UsageError("StereoOptions.depth_margin must be at least 1", got=self.depth_margin)
