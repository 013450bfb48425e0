"""The Gaussians under optimisation with the moments of their optimiser."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from recon3d.render.gaussians.types import FIELDS, Gaussians
from recon3d.splats.adam import Moments, is_finite
from recon3d.splats.mcmc import Moves, split

MAX_OPACITY = 0.999


class Model:
    """The fields of a set of Gaussians as parameters.

    Args:
        gaussians: the set to start from.
    """

    def __init__(self, gaussians: Gaussians) -> None:
        self.values = {name: getattr(gaussians, name).detach().clone().requires_grad_() for name in FIELDS}
        self.moments = {name: Moments.of(value) for name, value in self.values.items()}

    def __len__(self) -> int:
        return len(self.values["means"])

    def gaussians(self) -> Gaussians:
        """Return the set; its tensors are the parameters themselves."""
        return Gaussians(*(self.values[name] for name in FIELDS))

    def gradients(self) -> dict[str, Float[Tensor, "..."]] | None:
        """Return the gradients by field and forget them; None where one is absent or not finite."""
        grads = {}
        for name, value in self.values.items():
            if value.grad is None or not is_finite(value.grad):
                return None
            grads[name], value.grad = value.grad, None
        return grads

    def update(self, grads: dict[str, Float[Tensor, "..."]], rates: dict[str, Float[Tensor, " c"]]) -> None:
        """Take one step of the optimiser; ``rates`` holds a learning rate for each number of a row, by field."""
        for name, grad in grads.items():
            self.moments[name].update(self.values[name], grad, rates[name])

    def raise_sh_degree(self, degree: int) -> None:
        """Add zero coefficients up to a degree."""
        old = self.values["sh"].detach()
        k = (degree + 1) ** 2
        if k <= old.shape[1]:
            return
        new = old.new_zeros((len(old), k, 3))
        new[:, : old.shape[1]] = old
        self.values["sh"] = new.requires_grad_()
        self.moments["sh"].widen(new.detach())

    def move(self, moves: Moves) -> None:
        """Split and move Gaussians as planned: opacities and scales are corrected, so that the picture stays."""
        device = self.values["means"].device
        source, changed, copies = (
            torch.as_tensor(part, device=device) for part in (moves.source, moves.changed, moves.copies)
        )
        many = copies > 1
        old = {name: value.detach().clone() for name, value in self.values.items()}
        opacity, factor = split(torch.sigmoid(old["opacity_logits"][many]), copies[many])
        old["opacity_logits"][many] = torch.logit(opacity.clamp(0.005, MAX_OPACITY))
        old["log_scales"][many] += factor.log()[:, None]
        for name, value in old.items():
            self.values[name] = value[source].requires_grad_()
            self.moments[name].select(source, changed)

    def arrays(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Return a copy of everything as arrays."""
        found: dict[str, Shaped[np.ndarray, "..."]] = {}
        for name, value in self.values.items():
            moments = self.moments[name]
            parts = {"value": value.detach(), "mean": moments.mean, "square": moments.square}
            found |= {f"{name}.{part}": tensor.cpu().numpy().copy() for part, tensor in parts.items()}
            found[f"{name}.steps"] = np.array([moments.steps], np.int64)
        return found

    def restore(self, arrays: dict[str, Shaped[np.ndarray, "..."]]) -> None:
        """Take everything from arrays."""
        device = self.values["means"].device
        for name in FIELDS:
            value, mean, square = (
                torch.tensor(arrays[f"{name}.{part}"], device=device) for part in ("value", "mean", "square")
            )
            self.values[name] = value.requires_grad_()
            self.moments[name] = Moments(mean, square, int(arrays[f"{name}.steps"][0]))
