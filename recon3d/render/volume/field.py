"""What volume rendering asks of a scene: anything that answers at points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field as default

from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.volume.compositing import Weights, weights_from_alpha, weights_from_density
from recon3d.render.volume.neus import neus_alpha
from recon3d.render.volume.options import VolumeOptions
from recon3d.render.volume.packed import PackedSamples


@dataclass(frozen=True, eq=False)
class FieldValues:
    """What a field answers at points: one of ``density``, ``alpha`` and ``sdf``, and what is to be seen there.

    Args:
        rgb: colours, any number of channels, ``[m,c]``; None = only opacity and depth are wanted.
        density: per length, not negative, ``[m]``.
        alpha: opacity of the sample, ``[m]``.
        sdf: signed distance, positive outside, ``[m]``.
        gradient: of the signed distance in the world, ``[m,3]``; belongs to ``sdf``.
        inv_s: sharpness of the surface; belongs to ``sdf``.
        features: anything else to be summed along the rays, by name, ``[m,k]``.

    Raises:
        UsageError: there is none or more than one of the three.
        ShapeError: the tensors do not agree.
    """

    rgb: Float[Tensor, "m c"] | None = None
    density: Float[Tensor, " m"] | None = None
    alpha: Float[Tensor, " m"] | None = None
    sdf: Float[Tensor, " m"] | None = None
    gradient: Float[Tensor, "m 3"] | None = None
    inv_s: Float[Tensor, ""] | float | None = None
    features: Mapping[str, Float[Tensor, "m _k"]] = default(default_factory=dict)

    def __post_init__(self) -> None:
        given = [name for name in ("density", "alpha", "sdf") if getattr(self, name) is not None]
        if len(given) != 1:
            raise UsageError("a field answers with one of density, alpha and sdf", got=given or "none")
        if self.sdf is not None and (self.gradient is None or self.inv_s is None):
            raise UsageError("a signed distance wants its gradient and inv_s beside it")
        n = len(getattr(self, given[0]))
        for name, value in {"rgb": self.rgb, "gradient": self.gradient, **self.features}.items():
            if value is not None and (value.ndim != 2 or len(value) != n):
                raise ShapeError(f"{name} is given per point", got=list(value.shape), expected=[n, "any"])

    def __len__(self) -> int:
        return len(next(value for value in (self.density, self.alpha, self.sdf) if value is not None))

    def weights(self, samples: PackedSamples, directions: Float[Tensor, "s 3"], options: VolumeOptions) -> Weights:
        """Return the weights of samples at which the field gave this answer.

        Args:
            samples: the intervals.
            directions: of their rays.
            options: how signed distances become opacities.
        """
        if self.density is not None:
            return weights_from_density(self.density, samples.deltas, samples.packing)
        if self.alpha is not None:
            return weights_from_alpha(self.alpha, samples.packing)
        if self.sdf is None or self.gradient is None or self.inv_s is None:
            raise UsageError("this answer was not constructed")
        surface = self.sdf, self.gradient, directions, samples.deltas, self.inv_s
        alphas = neus_alpha(*surface, cos_anneal=options.cos_anneal, eps=options.eps)
        return weights_from_alpha(alphas, samples.packing, leak=options.leak)


Field = Callable[[Float[Tensor, "m 3"], Float[Tensor, "m 3"]], FieldValues]
