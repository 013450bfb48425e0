"""Products of rows with a weight matrix, whichever library computes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from recon3d.core.linear import linear


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(0, 3, 2), (1, 128, 5), (999, 64, 33), (2000, 96, 1)])
@pytest.mark.parametrize("biased", [False, True])
def test_the_product_and_its_gradients_are_those_of_torch(rows: int, inputs: int, outputs: int, biased: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    given = [x, weight, bias] if biased else [x, weight]
    found = []
    for function in (linear, F.linear):
        leaves = [one.clone().requires_grad_() for one in given]
        out = function(*leaves)
        out.square().sum().backward()
        found.append((out.detach(), *(one.grad for one in leaves)))
    for ours, theirs in zip(*found, strict=True):
        scale = max([1.0, *theirs.abs().flatten().tolist()])
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * scale)


def test_rows_that_are_a_view_and_half_precision() -> None:
    x, weight = torch.randn(128, 700).T, torch.randn(8, 128)  # the rows do not lie in order
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight), rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear(x, weight), F.linear(x, weight))
    assert torch.equal(linear(x.bfloat16(), weight.bfloat16()), F.linear(x.bfloat16(), weight.bfloat16()))


def test_gradients_in_double_precision() -> None:
    leaves = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 3), (2, 3), (2,))]
    assert gradcheck(linear, leaves)
