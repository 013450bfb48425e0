"""Learning rates of the fields, for short optimisations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log

import torch
from jaxtyping import Float
from torch import Tensor

FEW_ITERATIONS = 500


def rates_for(iterations: int) -> Rates:
    """Return the rates for a number of iterations.

    Few iterations need large steps; many find a better end with small ones. The rates fall with the third root of the
    number of iterations; at the thirty thousand of Kerbl et al. (2023) they are about twice theirs.
    """
    return Rates().scaled(min(1.0, (FEW_ITERATIONS / iterations) ** (1 / 3)))


@dataclass(frozen=True)
class Rates:
    """Learning rates at the start and what becomes of them, in the frame of the optimisation.

    They hold for ``FEW_ITERATIONS``; see :func:`rates_for`.

    Args:
        means: of the centres.
        means_end: of the centres at the end; between them it falls by a constant factor per iteration.
        quats: of the rotations.
        log_scales: of the logarithms of the scales.
        opacity_logits: of the opacities.
        sh0: of the mean colours.
        sh_rest: of what depends on the direction, as a share of ``sh0``.
        end: all but those of the centres fall to this share over the last part of the plan.
        end_from: where that part begins, as a share of the plan.
        colours: of the exposures.
        poses: of the camera motions.
    """

    means: float = 1.2e-3
    means_end: float = 2.4e-5
    quats: float = 8e-3
    log_scales: float = 4e-2
    opacity_logits: float = 0.2
    sh0: float = 2e-2
    sh_rest: float = 0.1
    end: float = 0.1
    end_from: float = 0.5
    colours: float = 3e-3
    poses: float = 1e-4

    def scaled(self, factor: float) -> Rates:
        """Return the rates of the Gaussians times a factor; those of exposures and poses stay."""
        names = ("means", "means_end", "quats", "log_scales", "opacity_logits", "sh0")
        return replace(self, **{name: factor * getattr(self, name) for name in names})

    def fade(self, progress: float) -> float:
        """Return the factor on all rates but those of the centres."""
        late = max(0.0, (progress - self.end_from) / (1 - self.end_from))
        return exp(log(self.end) * min(late, 1.0))

    def means_at(self, progress: float) -> float:
        """Return the rate of the centres."""
        return exp(log(self.means) * (1 - progress) + log(self.means_end) * progress)

    def columns(self, progress: float, n_sh: int, scale: float, device: torch.device) -> dict[str, Float[Tensor, " c"]]:
        """Return a rate for each number of a Gaussian, by field.

        Args:
            progress: how much of the plan is done, 0 to 1.
            n_sh: how many coefficients of the spherical harmonics there are.
            scale: factor on all rates; failures lower it.
            device: where the Gaussians live.
        """
        fade = self.fade(progress) * scale
        sh = [self.sh0 * fade] * 3 + [self.sh0 * self.sh_rest * fade] * (3 * (n_sh - 1))
        values = {
            "means": [self.means_at(progress) * scale] * 3,
            "quats": [self.quats * fade] * 4,
            "log_scales": [self.log_scales * fade] * 3,
            "opacity_logits": [self.opacity_logits * fade],
            "sh": sh,
        }
        return {name: torch.tensor(rates, dtype=torch.float32, device=device) for name, rates in values.items()}
