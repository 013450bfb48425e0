"""Fake quantisation: values rounded to what a narrow format holds, with a scale per row, and gradients as if not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn.functional import pad

_FLOOR = 1e-8  # smallest largest value of a row: rows of zeros keep a finite scale


@dataclass(frozen=True)
class FloatFormat:
    """A float of eight bits.

    Args:
        dtype: the type that torch stores it in.
        maximum: largest finite value.
    """

    dtype: torch.dtype
    maximum: float

    def scales(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n 1"]:
        """Return the scale of each row: its largest magnitude, at least 1e-8, over the largest value of the format."""
        return x.abs().amax(-1, keepdim=True).clamp_(min=_FLOOR).div_(self.maximum)

    def quantised(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """Return each row rounded to values that the format holds times the scale of the row."""
        scales = self.scales(x)
        return self.encoded(x, scales).to(x.dtype).mul_(scales)

    def encoded(self, x: Float[Tensor, "*n c"], scales: Float[Tensor, "*n 1"]) -> Tensor:
        """Return the stored values ``x / scales``, rounded to nearest even."""
        return (x / scales).clamp_(-self.maximum, self.maximum).to(self.dtype)

    def table(self) -> Float32[Tensor, "256"]:
        """Return the values of all 256 bit patterns, infinity and NaN where the format has them."""
        return torch.arange(256, dtype=torch.uint8).view(self.dtype).float()


E4M3 = FloatFormat(torch.float8_e4m3fn, 448.0)
E5M2 = FloatFormat(torch.float8_e5m2, 57344.0)


@dataclass(frozen=True)
class IntegerFormat:
    """Symmetric integers: the largest magnitude of a row, or of a group within it, becomes the largest level.

    Args:
        bits: of a value; levels are -2^(bits-1) to 2^(bits-1) - 1.
        group: values that share a scale, fewer at the end of a row that it does not divide; None = the whole row.
    """

    bits: int
    group: int | None = None

    @property
    def top(self) -> int:
        """Largest level."""
        return (1 << (self.bits - 1)) - 1

    def scales(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n 1"]:
        """Return the scale of each row: its largest magnitude, at least 1e-8, over the largest level."""
        return x.abs().amax(-1, keepdim=True).clamp_(min=_FLOOR).div_(self.top)

    def encoded(self, x: Float[Tensor, "*n c"], scales: Float[Tensor, "*n 1"]) -> Float[Tensor, "*n c"]:
        """Return the levels of ``x / scales``, rounded to nearest even."""
        return (x / scales).round_().clamp_(-self.top - 1, self.top)

    def quantised(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """Return each row, or group, rounded to its levels."""
        width = x.shape[-1]
        group = min(self.group or width, width)
        rest = -width % group  # the last group of a row may be shorter
        parts = (pad(x, (0, rest)) if rest else x).reshape(*x.shape[:-1], -(-width // group), group)
        scales = self.scales(parts)
        return self.encoded(parts, scales).mul_(scales).flatten(-2)[..., :width]


Format = FloatFormat | IntegerFormat


def fake_quantise(x: Float[Tensor, "*n c"], to: Format = E4M3) -> Float[Tensor, "*n c"]:
    """Return ``x`` as a narrow format would hold it; the gradient passes straight through.

    Args:
        x: activations, one token a row, or weights, one output a row.
        to: the format.
    """
    found: Tensor = _StraightThrough.apply(x, to)  # type: ignore[no-untyped-call]
    return found


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, to: Format) -> Tensor:
        return to.quantised(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
