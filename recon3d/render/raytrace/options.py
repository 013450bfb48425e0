"""How paths are traced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recon3d.core.errors import UsageError


@dataclass(frozen=True)
class PathOptions:
    """Options of :func:`recon3d.render.raytrace.path_trace`.

    Args:
        spp: samples per pixel.
        max_depth: most segments of a path: 1 = the environment as the camera sees it, 2 = also light that falls on
            what is seen, 3 = also light that was reflected once more, and so on.
        russian_roulette_depth: from this many segments on, paths that carry little light are ended at random, without
            bias; None = never.
        pixel_filter: ``center``, all rays through the centres of pixels; ``box``, anywhere in the pixel.
        background: what pixels show beside the objects: the ``environment`` or ``black``.
        samples_per_pass: after so many samples per pixel there is something to show.
        paths_at_once: size of a batch; no bit of the result depends on it.
        seed: of the random numbers.

    Raises:
        UsageError: a number is out of its range.
    """

    spp: int = 64
    max_depth: int = 6
    russian_roulette_depth: int | None = 4
    pixel_filter: Literal["center", "box"] = "box"
    background: Literal["environment", "black"] = "environment"
    samples_per_pass: int = 16
    paths_at_once: int = 1 << 15
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("spp", "max_depth", "samples_per_pass", "paths_at_once"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be positive", got=getattr(self, name))
        if self.russian_roulette_depth is not None and self.russian_roulette_depth < 1:
            raise UsageError("russian_roulette_depth must be positive", got=self.russian_roulette_depth)
        if self.seed < 0:
            raise UsageError("the seed must not be negative", got=self.seed)
