"""The window of a sparse convolution: kernel size, stride, padding and dilation, along three axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recon3d.core.errors import UsageError

Triple = tuple[int, int, int]


def triple(value: int | Sequence[int], name: str = "a size") -> Triple:
    """Return three integers: one repeated, or the three given.

    Raises:
        UsageError: they are not one or three integers.
    """
    values = [value] * 3 if isinstance(value, int) else [int(one) for one in value]
    if len(values) != 3:
        raise UsageError(f"{name} is one integer or three", got=values)
    return values[0], values[1], values[2]


@dataclass(frozen=True)
class Window:
    """Which inputs an output sees: site q sees ``q * stride - padding + k * dilation`` for every k of the kernel.

    Args:
        kernel: its size along each axis.
        stride: of the outputs.
        padding: in front of the first input.
        dilation: distance of neighbouring kernel entries.

    Raises:
        UsageError: a size, stride or dilation is not positive, or a padding is negative.
    """

    kernel: Triple
    stride: Triple = (1, 1, 1)
    padding: Triple = (0, 0, 0)
    dilation: Triple = (1, 1, 1)

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation", "padding"):
            value = getattr(self, name)
            if min(value) < (0 if name == "padding" else 1):
                raise UsageError(f"the {name} of a sparse convolution is too small", got=value)

    @classmethod
    def centred(cls, kernel: Triple, dilation: Triple = (1, 1, 1)) -> Window:
        """Return the window of a submanifold convolution, whose padding follows from its kernel."""
        half = [size // 2 * step for size, step in zip(kernel, dilation, strict=True)]
        return cls(kernel, padding=(half[0], half[1], half[2]), dilation=dilation)

    @property
    def volume(self) -> int:
        """Number of kernel entries."""
        return self.kernel[0] * self.kernel[1] * self.kernel[2]

    def output_shape(self, shape: Triple) -> Triple:
        """Return the spatial shape of the outputs; an axis that is shorter than the kernel has none (0)."""
        spans = [step * (size - 1) + 1 for size, step in zip(self.kernel, self.dilation, strict=True)]
        found = [
            max(0, (n + 2 * pad - span) // stride + 1)
            for n, pad, span, stride in zip(shape, self.padding, spans, self.stride, strict=True)
        ]
        return found[0], found[1], found[2]
