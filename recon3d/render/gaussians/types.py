"""3D Gaussians and what their projection and rasterisation return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon3d.core.errors import ShapeError

ColourSpace = Literal["srgb", "linear"]
Bounds = Literal["tight", "gsplat"]
FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


@dataclass(frozen=True, eq=False)
class Gaussians:
    """A set of 3D Gaussians in the parametrisation that is optimised.

    Args:
        means: centres in the world, ``[g,3]``.
        quats: rotations (w, x, y, z) of the principal axes, ``[g,4]``; normalised where they are used.
        log_scales: natural logarithms of the standard deviations along the axes in world units, ``[g,3]``.
        opacity_logits: opacities before the sigmoid, ``[g]``.
        sh: spherical-harmonics coefficients of the colour, ``[g,k,3]`` with k = 1, 4, 9 or 16 (degree 0 to 3).
        colour_space: what the colours are: display-referred sRGB or linear.

    Raises:
        ShapeError: the tensors do not agree.
    """

    means: Float[Tensor, "g 3"]
    quats: Float[Tensor, "g 4"]
    log_scales: Float[Tensor, "g 3"]
    opacity_logits: Float[Tensor, " g"]
    sh: Float[Tensor, "g k 3"]
    colour_space: ColourSpace = "srgb"

    def __post_init__(self) -> None:
        g, k = len(self.means), self.sh.shape[1] if self.sh.ndim == 3 else 0
        wanted = {"means": (g, 3), "quats": (g, 4), "log_scales": (g, 3), "opacity_logits": (g,), "sh": (g, k, 3)}
        for name, shape in wanted.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ShapeError(
                    f"Gaussians.{name} has the wrong shape", got=tuple(getattr(self, name).shape), expected=shape
                )
        if k not in (1, 4, 9, 16):
            raise ShapeError("Gaussians.sh has the wrong number of coefficients", got=k, expected="1, 4, 9 or 16")

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: Tensor | slice) -> Gaussians:
        """Return the Gaussians selected by a slice, an index tensor or a mask."""
        return self._map(lambda value: value[index])

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return {1: 0, 4: 1, 9: 2, 16: 3}[self.sh.shape[1]]

    @property
    def scales(self) -> Float[Tensor, "g 3"]:
        """Standard deviations along the axes in world units, ``[g,3]``."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Float[Tensor, " g"]:
        """Opacities between 0 and 1, ``[g]``."""
        return self.opacity_logits.sigmoid()

    def to(self, device: torch.device | str) -> Gaussians:
        """Return the Gaussians on another device."""
        return self._map(lambda value: value.to(device))

    def detach(self) -> Gaussians:
        """Return the Gaussians without their history of gradients."""
        return self._map(lambda value: value.detach())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Gaussians:
        means, quats, log_scales, opacity_logits, sh = (change(getattr(self, name)) for name in FIELDS)
        return Gaussians(means, quats, log_scales, opacity_logits, sh, self.colour_space)


@dataclass(frozen=True, eq=False)
class Projection:
    """Gaussians seen by one camera; invisible ones have radius 0 and zeros elsewhere.

    Args:
        means2d: projected centres in pixels, ``[g,2]``.
        depths: depths of the centres along camera z, ``[g]``.
        conics: inverses of the projected covariances in 1/px^2, upper triangles xx xy yy, ``[g,3]``.
        compensations: factors on the opacity that undo the widening by ``eps2d``, ``[g]``.
        radii: half sizes of the boxes outside which a Gaussian is not drawn, in whole pixels along x and y, ``[g,2]``;
            0 = not visible.
    """

    means2d: Float[Tensor, "g 2"]
    depths: Float[Tensor, " g"]
    conics: Float[Tensor, "g 3"]
    compensations: Float[Tensor, " g"]
    radii: Int[Tensor, "g 2"]


@dataclass(frozen=True, eq=False)
class Rasterization:
    """What the cameras see.

    Args:
        image: blended colours or features over the background, ``[n,h,w,c]``.
        alpha: coverage between 0 and 1, ``[n,h,w]``.
        depth_expected: blend-weighted mean depth along camera z in world units, ``[n,h,w]``; 0 where nothing is seen.
        depth_median: depth of the Gaussian at which the transmittance falls to one half, ``[n,h,w]``; 0 where it stays
            above. No gradient.
        projections: the Gaussians as each camera sees them; after ``backward()``, ``means2d.grad`` of each holds the
            gradient that densification rules look at.
    """

    image: Float[Tensor, "n h w c"]
    alpha: Float[Tensor, "n h w"]
    depth_expected: Float[Tensor, "n h w"]
    depth_median: Float[Tensor, "n h w"]
    projections: tuple[Projection, ...]
