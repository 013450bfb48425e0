from __future__ import annotations

import pytest
import torch
from torch import nn

from recon3d.core.errors import ShapeError
from recon3d.feedforward.layers.checks import check_images, dtype_of


def test_good_batches_pass() -> None:
    check_images(torch.zeros(1, 2, 3, 28, 42), 14)
    check_images(torch.zeros(1, 1, 3, 14, 14), 14)


@pytest.mark.parametrize(
    "shape", [(1, 2, 3, 28, 40), (1, 2, 3, 27, 42), (2, 3, 28, 28), (1, 2, 4, 28, 28), (1, 0, 3, 28, 28)]
)
def test_others_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=f"got: \\[{shape[0]}, .* multiples of 14"):
        check_images(torch.zeros(shape), 14)


def test_the_type_is_that_of_the_parameters() -> None:
    assert dtype_of(nn.Linear(2, 2).double()) == torch.float64
    assert dtype_of(nn.Identity()) == torch.float32


def test_eight_bit_weights_do_not_count() -> None:
    module = nn.Module()
    module.weight = nn.Parameter(torch.zeros(2, dtype=torch.float8_e4m3fn), requires_grad=False)
    assert dtype_of(module) == torch.float32
