"""What the tests of trainings share."""

from __future__ import annotations

import torch

TINY = "da3-tiny"


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Tell whether two sets of tensors have the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
