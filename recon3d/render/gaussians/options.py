"""Options of projection and rasterisation, and the names of the back ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from recon3d.core.errors import UsageError
from recon3d.render.gaussians.types import Bounds

GaussianBackend = Literal["auto", "numba", "gsplat", "torch"]
BACKENDS: tuple[GaussianBackend, ...] = get_args(GaussianBackend)


@dataclass(frozen=True)
class ProjectionOptions:
    """How Gaussians are projected.

    Args:
        eps2d: variance in px^2 added along both image axes, so that nothing falls between the pixels.
        near: Gaussians whose centre is not farther along camera z than this, in world units, are not drawn.
        far: nor are those that are not nearer than this.
        bounds: the boxes outside which a Gaussian is not drawn: ``tight`` ends where its own opacity falls below
            ``min_alpha``; ``gsplat`` ends at 3.33 standard deviations, whatever the opacity. The picture is the same.
        antialiased: the opacity that tight bounds look at is multiplied by the compensation.
        min_alpha: the opacity below which a Gaussian is skipped at a pixel, see :class:`RasterOptions`.

    Raises:
        UsageError: a value lies outside its range.
    """

    eps2d: float = 0.3
    near: float = 0.01
    far: float = 1e10
    bounds: Bounds = "tight"
    antialiased: bool = False
    min_alpha: float = 1.0 / 255.0

    def __post_init__(self) -> None:
        _require(self.eps2d >= 0.0, "eps2d", self.eps2d, "not negative")
        _require(0.0 < self.near < self.far, "near", self.near, "positive and below far")
        _require(self.bounds in ("tight", "gsplat"), "bounds", self.bounds, "tight or gsplat")
        _require(0.0 < self.min_alpha < 1.0, "min_alpha", self.min_alpha, "between 0 and 1")


@dataclass(frozen=True)
class RasterOptions:
    """How Gaussians are blended; the defaults are those of gsplat 1.5.3.

    Args:
        max_alpha: the opacity of a Gaussian at a pixel is cut to this; newer versions of gsplat use 0.99.
        min_alpha: a Gaussian whose opacity at a pixel is below this is skipped there.
        min_transmittance: a pixel is complete before the Gaussian that would let no more light through than this.
        tile_size: side of the square tiles in which the image is processed, in pixels.
        eps2d: variance in px^2 that projection adds along both image axes; TRELLIS uses 0.1.
        near: Gaussians whose centre is not farther along camera z than this, in world units, are not drawn.
        far: nor are those that are not nearer than this.

    Raises:
        UsageError: a value lies outside its range.
    """

    max_alpha: float = 0.999
    min_alpha: float = 1.0 / 255.0
    min_transmittance: float = 1e-4
    tile_size: int = 16
    eps2d: float = 0.3
    near: float = 0.01
    far: float = 1e10

    def __post_init__(self) -> None:
        _require(0.0 < self.min_alpha < self.max_alpha <= 1.0, "max_alpha", self.max_alpha, "in (min_alpha, 1]")
        _require(0.0 <= self.min_transmittance < 1.0, "min_transmittance", self.min_transmittance, "in [0, 1)")
        _require(1 <= self.tile_size <= 256, "tile_size", self.tile_size, "in 1..256")
        self.projection()

    def projection(self, bounds: Bounds = "tight", *, antialiased: bool = False) -> ProjectionOptions:
        """Return the options of the projection that belongs to this blending."""
        return ProjectionOptions(self.eps2d, self.near, self.far, bounds, antialiased, self.min_alpha)


def _require(good: bool, name: str, got: object, expected: str) -> None:
    if not good:
        raise UsageError(f"{name} is out of range", got=got, expected=expected)
