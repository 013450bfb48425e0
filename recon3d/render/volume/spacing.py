"""Where samples stand between near and far: evenly in distance, disparity, root, logarithm, or a mixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.gaussians.checks import check_alike, check_shapes

SpacingKind = Literal["uniform", "disparity", "sqrt", "log", "piecewise"]
_Map = Callable[[Tensor], Tensor]


def _same(x: Tensor) -> Tensor:
    return x


def _half_near(x: Tensor) -> Tensor:
    """Half of the range for distances below one, half for disparities beyond."""
    return torch.where(x < 1.0, 0.5 * x, 1.0 - 0.5 / x.clamp(min=1.0))


def _half_near_inverse(s: Tensor) -> Tensor:
    return torch.where(s < 0.5, 2.0 * s, 0.5 / (1.0 - s.clamp(min=0.5)))


_MAPS: dict[str, tuple[_Map, _Map]] = {
    "uniform": (_same, _same),
    "disparity": (torch.reciprocal, torch.reciprocal),
    "sqrt": (torch.sqrt, torch.square),
    "log": (torch.log, torch.exp),
    "piecewise": (_half_near, _half_near_inverse),
}


@dataclass(frozen=True, eq=False)
class Spacing:
    """Distances between near and far as a function of ``s`` in 0..1; even steps of ``s`` are even in the kind's scale.

    Args:
        near: where each ray begins, ``[r]``; positive for ``disparity`` and ``log``, else not negative.
        far: where it ends, ``[r]``.
        kind: ``uniform``; ``disparity``, 1/t; ``sqrt``; ``log``; ``piecewise``, half the samples even up to a distance
            of one and half in disparity beyond.

    Raises:
        ShapeError: the tensors do not agree.
        UsageError: there is no such kind, a distance does not suit it, or far lies before near.
    """

    near: Float[Tensor, " r"]
    far: Float[Tensor, " r"]
    kind: SpacingKind = "uniform"

    def __post_init__(self) -> None:
        check_shapes({"near": (self.near, (None,)), "far": (self.far, (len(self.near),))})
        check_alike({"near": self.near, "far": self.far})
        if self.kind not in _MAPS:
            raise UsageError("samples have no such spacing", got=self.kind, expected=", ".join(_MAPS))
        if not bool((self.near <= self.far).all() and self.far.isfinite().all()):
            raise UsageError("far must be finite and not lie before near")
        positive = self.kind in ("disparity", "log")
        if not bool((self.near > 0).all() if positive else (self.near >= 0).all()):
            wanted = "positive" if positive else "not negative"
            raise UsageError(f"near must be {wanted} for {self.kind} spacing", got=float(self.near.min()))

    def distances(self, s: Float[Tensor, "r n"]) -> Float[Tensor, "r n"]:
        """Return distances along the rays at ``s`` in 0..1."""
        forward, inverse = _MAPS[self.kind]
        near, far = forward(self.near)[:, None], forward(self.far)[:, None]
        return inverse(s * far + (1.0 - s) * near)

    def fractions(self, t: Float[Tensor, "r n"]) -> Float[Tensor, "r n"]:
        """Return ``s`` of distances along the rays; zero where near is far."""
        forward, _ = _MAPS[self.kind]
        near, far = forward(self.near)[:, None], forward(self.far)[:, None]
        empty = far == near
        return torch.where(empty, 0.0, (forward(t) - near) / torch.where(empty, 1.0, far - near))
