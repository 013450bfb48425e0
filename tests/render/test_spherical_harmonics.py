from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.gaussians.options import GaussianBackend
from recon3d.render.spherical_harmonics import spherical_harmonics

VARIANTS: list[tuple[GaussianBackend, torch.dtype]] = [
    ("torch", torch.float64),
    ("torch", torch.float32),
    ("numba", torch.float32),
]
every_variant = pytest.mark.parametrize(("backend", "dtype"), VARIANTS)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_variant
def test_degree_zero_does_not_depend_on_the_direction(backend: GaussianBackend, dtype: torch.dtype) -> None:
    coefficients = random(7, 1, 3).to(dtype)
    colours = spherical_harmonics(random(7, 3, seed=1).to(dtype), coefficients, 0, backend=backend)
    assert torch.allclose(colours, coefficients[:, 0] / math.sqrt(4 * math.pi))


@every_variant
@pytest.mark.parametrize(("axis", "index", "sign"), [(0, 3, -1), (1, 1, -1), (2, 2, 1)])
def test_degree_one_is_linear_along_the_axes(
    backend: GaussianBackend, dtype: torch.dtype, axis: int, index: int, sign: int
) -> None:
    """3DGS has the signs of the Condon-Shortley phase: -y, z, -x."""
    direction = torch.zeros(1, 3, dtype=dtype)
    direction[0, axis] = 1
    coefficients = torch.zeros(1, 4, 3, dtype=dtype)
    coefficients[0, index] = 1
    value = spherical_harmonics(direction, coefficients, 1, backend=backend)
    assert torch.allclose(value, torch.full_like(value, sign * math.sqrt(3 / (4 * math.pi))))


@every_variant
@given(length=st.floats(1e-3, 1e3), degree=st.integers(0, 3))
def test_lengths_do_not_matter(backend: GaussianBackend, dtype: torch.dtype, length: float, degree: int) -> None:
    directions, coefficients = random(5, 3).to(dtype), random(5, 16, 3, seed=2).to(dtype)
    one = spherical_harmonics(directions, coefficients, degree, backend=backend)
    other = spherical_harmonics(length * directions, coefficients, degree, backend=backend)
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@every_variant
@pytest.mark.parametrize("degree", range(4))
def test_opposite_directions_have_the_parity_of_the_degree(
    backend: GaussianBackend, dtype: torch.dtype, degree: int
) -> None:
    directions, coefficients = random(5, 3).to(dtype), random(5, 16, 3, seed=3).to(dtype)
    coefficients[:, : degree**2] = 0
    ahead = spherical_harmonics(directions, coefficients, degree, backend=backend)
    behind = spherical_harmonics(-directions, coefficients, degree, backend=backend)
    assert torch.allclose(behind, (-1) ** degree * ahead, atol=1e-5)


@every_variant
def test_coefficients_beyond_the_degree_are_not_looked_at(backend: GaussianBackend, dtype: torch.dtype) -> None:
    directions, coefficients = random(5, 3).to(dtype), random(5, 16, 3, seed=4).to(dtype).requires_grad_()
    colours = spherical_harmonics(directions, coefficients, 1, backend=backend)
    assert torch.allclose(colours, spherical_harmonics(directions, coefficients[:, :4], 1, backend=backend))
    colours.sum().backward()
    assert coefficients.grad is not None
    assert coefficients.grad[:, :4].all() and not coefficients.grad[:, 4:].any()


@every_variant
def test_no_directions_and_no_direction(backend: GaussianBackend, dtype: torch.dtype) -> None:
    """An empty batch is fine, and a vector of length zero gives finite colours and gradients."""
    empty = torch.zeros(0, 3, dtype=dtype)
    assert spherical_harmonics(empty, torch.zeros(0, 4, 3, dtype=dtype), 1, backend=backend).shape == (0, 3)
    nowhere = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    colours = spherical_harmonics(nowhere, random(1, 16, 3).to(dtype), 3, backend=backend)
    colours.sum().backward()
    assert nowhere.grad is not None
    assert colours.isfinite().all() and nowhere.grad.isfinite().all()


@pytest.mark.parametrize("degree", [-1, 4])
def test_other_degrees_are_refused(degree: int) -> None:
    with pytest.raises(UsageError, match=f"no spherical harmonics of this degree; got: {degree}; expected: 0 to 3"):
        spherical_harmonics(random(2, 3), random(2, 25, 3), degree)
