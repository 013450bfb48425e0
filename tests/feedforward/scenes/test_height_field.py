from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon3d.feedforward.scenes import height_field

EXTENT = 10.0


def heights() -> Tensor:
    x = torch.linspace(-EXTENT, EXTENT, 61)
    return (0.6 * torch.sin(0.8 * x)[None, :] * torch.cos(0.5 * x)[:, None])[None]


def exact_height(grid: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bilinear height in float64."""
    n = len(grid)
    u, v = (np.clip((value + EXTENT) / (2 * EXTENT) * (n - 1), 0, n - 1.0001) for value in (x, y))
    i, j = v.astype(int), u.astype(int)
    a, b = v - i, u - j
    above = grid[i, j] * (1 - b) + grid[i, j + 1] * b
    below = grid[i + 1, j] * (1 - b) + grid[i + 1, j + 1] * b
    return above * (1 - a) + below * a


@pytest.fixture
def rays() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    origins = torch.tensor([0.5, -8.0, 3.0])[None, :, None].expand(1, 3, 80)
    targets = torch.rand(1, 3, 80, generator=rng) * torch.tensor([12.0, 12.0, 1.0])[:, None] - 6.0
    return origins, targets - origins


def test_hits_lie_on_the_field_and_nothing_before_them_is_below(rays: tuple[Tensor, Tensor]) -> None:
    t = height_field.distance(heights(), EXTENT, *rays)[0].double().numpy()
    o, d = (value[0].double().numpy() for value in rays)
    grid, hit = heights()[0].double().numpy(), np.isfinite(t)
    assert hit.mean() > 0.9
    for share in np.linspace(0.02, 0.995, 60):
        x, y, z = (o + share * t * d)[:, hit]
        assert (z - exact_height(grid, x, y)).min() > -2e-3
    x, y, z = (o + t * d)[:, hit]
    np.testing.assert_allclose(z, exact_height(grid, x, y), atol=3e-4)


def test_rays_that_go_up_miss(rays: tuple[Tensor, Tensor]) -> None:
    origins, directions = rays
    up = directions.clone()
    up[:, 2] = up[:, 2].abs()
    assert torch.isinf(height_field.distance(heights(), EXTENT, origins, up)).all()


def test_a_hill_stands_in_the_light_only_on_its_far_side() -> None:
    x = torch.linspace(-EXTENT, EXTENT, 61)
    hill = (2.0 * torch.exp(-0.5 * x[None, :] ** 2).expand(61, 61))[None]
    points = torch.tensor([[-3.0, 0.0, 0.1], [3.0, 0.0, 0.1]]).T[None]
    sun = torch.nn.functional.normalize(torch.tensor([1.0, 0.0, 0.3]), dim=0)[None, :, None]
    assert height_field.is_blocked(hill, EXTENT, points, sun).tolist() == [[True, False]]


def test_normals_of_a_slope() -> None:
    x = torch.linspace(-EXTENT, EXTENT, 61)
    slope = (0.5 * x[None, :].expand(61, 61))[None]
    normals = height_field.normals(slope, EXTENT, torch.tensor([1.0, 2.0, 0.5])[None, :, None])
    torch.testing.assert_close(normals[0, :, 0], torch.tensor([-0.5, 0.0, 1.0]) / 1.25**0.5)
