from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.volume import trilinear


def case(seed: int, shape: tuple[int, ...] = (2, 3, 4, 5, 6), n: int = 9, spread: float = 1.4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    volume = torch.randn(*shape, generator=generator, dtype=torch.float64)
    points = (torch.rand(shape[0], n, 3, generator=generator, dtype=torch.float64) * 2 - 1) * spread
    return volume, points


@pytest.mark.parametrize("align_corners", [True, False])
@given(
    seed=st.integers(0, 10_000),
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    spread=st.sampled_from([0.9, 1.5, 40.0]),
)
def test_values_and_first_gradients_of_torch(
    align_corners: bool, seed: int, sides: tuple[int, int, int], spread: float
) -> None:
    """grid_sample with zeros outside, whose second derivative raises an error."""
    volume, points = (value.requires_grad_() for value in case(seed, (2, 2, *sides), spread=spread))
    got = trilinear(volume, points, align_corners=align_corners)
    want = torch.nn.functional.grid_sample(
        volume, points[:, :, None, None], align_corners=align_corners, padding_mode="zeros"
    )[..., 0, 0].mT
    assert torch.allclose(got, want, atol=1e-12)
    by = torch.randn(got.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ours = torch.autograd.grad((got * by).sum(), (volume, points))
    theirs = torch.autograd.grad((want * by).sum(), (volume, points))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


def test_gradients_twice() -> None:
    leaves = [value.requires_grad_() for value in case(1, (1, 2, 3, 3, 2), 5)]
    assert torch.autograd.gradcheck(trilinear, leaves)
    assert torch.autograd.gradgradcheck(trilinear, leaves)


def test_a_linear_field_is_exact_and_so_is_its_slope() -> None:
    sizes = torch.tensor([6, 5, 4]).double()  # x, y, z
    slope = torch.tensor([0.7, -1.3, 2.1]).double()
    z, y, x = torch.meshgrid(*(torch.arange(n).double() for n in (4, 5, 6)), indexing="ij")
    volume = (torch.stack([x, y, z], -1) @ slope)[None, None]
    points = case(2, spread=1.0)[1][:1].requires_grad_()
    got = trilinear(volume, points)
    assert torch.allclose(got[..., 0], (0.5 * (points + 1) * (sizes - 1)) @ slope, atol=1e-12)
    (gradient,) = torch.autograd.grad(got.sum(), points)
    assert torch.allclose(gradient, (slope * (sizes - 1) / 2).expand_as(gradient), atol=1e-12)


def test_outside_it_fades_to_zero_within_a_cell() -> None:
    volume = torch.ones(1, 1, 3, 3, 3).double()  # nodes at -1, 0, 1
    x = torch.tensor([1.0, 1.25, 1.5, 2.0, 2.1, -1.25, -3.0, 1e9, -1e9]).double()
    points = torch.stack([x, 0 * x, 0 * x], -1)[None]
    want = torch.tensor([1.0, 0.75, 0.5, 0.0, 0.0, 0.75, 0.0, 0.0, 0.0]).double()
    assert torch.allclose(trilinear(volume, points)[0, :, 0], want)


def test_the_last_axis_is_x() -> None:
    volume = torch.zeros(1, 1, 2, 3, 4)
    volume[0, 0, 1, 2, 0] = 1.0
    assert float(trilinear(volume, torch.tensor([[[-1.0, 1.0, 1.0]]]))) == 1.0


def test_an_eikonal_loss_can_be_fitted() -> None:
    """The second derivative in use: values at the nodes whose slope becomes one everywhere."""
    generator = torch.Generator().manual_seed(0)
    volume = (torch.randn(1, 1, 4, 4, 4, generator=generator) * 0.1).requires_grad_()
    optimizer = torch.optim.Adam([volume], lr=0.05)

    def loss() -> Tensor:
        points = (torch.rand(1, 200, 3, generator=generator) * 1.8 - 0.9).requires_grad_()
        (slope,) = torch.autograd.grad(trilinear(volume, points).sum(), points, create_graph=True)
        return (slope.norm(dim=-1) - 1).square().mean()

    first = float(loss().detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < 0.1 * first


def test_no_point() -> None:
    volume, points = case(0)
    assert trilinear(volume, points[:, :0]).shape == (2, 0, 3)


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_arguments_are_refused() -> None:
    volume, points = case(0)
    with pytest.raises(ShapeError, match="volume"):
        trilinear(volume[0], points)
    with pytest.raises(ShapeError, match="points"):
        trilinear(volume, points[:1])
    with pytest.raises(UsageError, match="points has another type"):
        trilinear(volume, points.float())
    with pytest.raises(UsageError, match="no node"):
        trilinear(volume[..., :0], points)
