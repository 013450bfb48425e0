"""Antialiasing: coverage, which edges count, parity with the oracle, and gradients of silhouettes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from small_meshes import HEIGHT, WIDTH, ball, grid, small_cameras, triangle_soup

from recon3d.core.errors import ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.mesh import antialias, interpolate, opposite_vertices, rasterize_mesh

BACKENDS = ["numba", "torch"]


def fan(n: int, size: float, turn: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """A regular polygon across the optical axis at a depth of one, around a corner in its middle."""
    angle = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n) + turn
    rim = torch.stack([angle.cos() * size, angle.sin() * size, torch.ones_like(angle)], 1)
    faces = [[i, (i + 1) % n, n] for i in range(n)]
    return torch.cat([rim, torch.tensor([[0.0, 0, 1]], dtype=torch.float64)]), torch.tensor(faces, dtype=torch.int32)


@pytest.mark.parametrize("n", [3, 4, 5, 9, 30])
def test_the_sum_of_coverage_is_the_area_and_so_is_its_gradient(n: int) -> None:
    vertices, faces = fan(n, 0.31)
    vertices.requires_grad_()
    cameras = small_cameras(1)
    seen = rasterize_mesh(vertices, faces, cameras)
    smooth = antialias(seen.mask.double()[..., None], seen, vertices, faces, cameras)
    area = 0.5 * n * math.sin(2 * math.pi / n) * 0.31**2 * 40 * 38
    assert float(smooth.detach().sum()) == pytest.approx(area, rel=0.01)
    (gradient,) = torch.autograd.grad(smooth.sum(), vertices)
    by_size = float((gradient[:, :2] * vertices.detach()[:, :2]).sum() / 0.31)
    assert by_size == pytest.approx(2 * area / 0.31, rel=0.1)  # not at the corners


def test_edges_within_a_surface_do_not_count() -> None:
    """A folded sheet and a ball: only the outline changes."""
    vertices, faces = grid(6, 0.9, 0)
    cameras = small_cameras(1)
    colours = torch.rand(len(vertices), 3, dtype=torch.float64)
    seen = rasterize_mesh(vertices * torch.tensor([3.0, 3, 1]), faces, cameras)
    image = interpolate(colours, faces, seen)
    assert seen.mask.all()
    assert torch.equal(antialias(image, seen, vertices * torch.tensor([3.0, 3, 1]), faces, cameras), image)
    vertices, faces = ball(6)
    vertices = vertices + torch.tensor([0.0, 0, 3])
    seen = rasterize_mesh(vertices, faces, cameras)
    image = torch.rand(1, HEIGHT, WIDTH, 1, dtype=torch.float64)
    changed = (antialias(image, seen, vertices, faces, cameras) != image)[0, ..., 0]
    outline = torch.nn.functional.max_pool2d(seen.mask[None].double(), 3, 1, 1) > -torch.nn.functional.max_pool2d(
        -seen.mask[None].double(), 3, 1, 1
    )
    assert changed.any() and not (changed & ~outline[0, 0]).any()


def test_a_nearer_face_parts_from_what_lies_behind_it() -> None:
    far = torch.tensor([[-9.0, -9, 4], [9, -9, 4], [0, 20, 4]], dtype=torch.float64)
    near = torch.tensor([[-9.0, -9, 2], [0.013, -9, 2], [0.013, 9, 2]], dtype=torch.float64)  # up to x = 20.26
    cameras, faces = small_cameras(1), torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int32)
    vertices = torch.cat([far, near])
    seen = rasterize_mesh(vertices, faces, cameras)
    image = (seen.face == 1).double()[..., None]
    smooth = antialias(image, seen, vertices, faces, cameras)[0, 15, :, 0]
    assert smooth[18:22].tolist() == pytest.approx([1, 1, 0.26, 0])
    moved = vertices + torch.tensor([0.015, 0, 0])  # up to 20.56: past the centre, most of the pixel is covered
    seen = rasterize_mesh(moved, faces, cameras)
    smooth = antialias((seen.face == 1).double()[..., None], seen, moved, faces, cameras)[0, 15, :, 0]
    assert smooth[18:22].tolist() == pytest.approx([1, 1, 0.56, 0])


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 3.0]))
def test_numba_does_what_the_oracle_does(seed: int, depth: float) -> None:
    start, faces = triangle_soup(seed, 30, 14, depth)
    found = []
    for backend in BACKENDS:
        cameras = small_cameras(2)
        vertices, poses = start.clone().requires_grad_(), cameras.cam_from_world.requires_grad_()
        seen = rasterize_mesh(vertices, faces, cameras)
        image = interpolate(start, faces, seen)
        smooth = antialias(image, seen, vertices, faces, cameras, backend=backend)  # type: ignore[arg-type]
        value = smooth.square().sum() + 0 * vertices.sum() + 0 * poses.sum()
        found.append([smooth, *torch.autograd.grad(value, [vertices, poses])])
    for ours, oracle in zip(*found, strict=True):
        assert torch.allclose(ours, oracle, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_differences() -> None:
    vertices, faces = triangle_soup(11, 12, 5)
    cameras = small_cameras(2)
    seen = rasterize_mesh(vertices, faces, cameras)
    image = torch.rand(2, HEIGHT, WIDTH, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def smooth(v: torch.Tensor, poses: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        return antialias(picture, seen, v, faces, CameraTensors(poses, cameras.K, WIDTH, HEIGHT))

    inputs = [each.clone().requires_grad_() for each in (vertices, cameras.cam_from_world, image)]
    assert not torch.equal(smooth(*inputs), image)
    assert torch.autograd.gradcheck(smooth, inputs, fast_mode=True)


def test_opposite_corners() -> None:
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [4, 5, 6]], dtype=torch.int32)
    assert opposite_vertices(faces, 7).tolist() == [[3, -1, -1], [-1, -1, 0], [-1, -1, -1]]
    three = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]], dtype=torch.int32)
    assert (opposite_vertices(three, 5) == -1).all()
    assert opposite_vertices(faces[:0], 0).shape == (0, 3)
    assert (opposite_vertices(ball(5)[1], 82) >= 0).all()


def test_edges_found_before_are_used_and_bits_do_not_depend_on_threads() -> None:
    vertices, faces = ball(8, dtype=torch.float32)
    vertices = vertices + torch.tensor([0.0, 0, 3])
    cameras = small_cameras(2, torch.float32, 3)
    found = []
    for count in (1, 3):
        leaf = vertices.clone().requires_grad_()
        with threads(count):
            seen = rasterize_mesh(leaf, faces, cameras)
            edges = opposite_vertices(faces, len(vertices)) if count == 3 else None
            smooth = antialias(seen.mask.float()[..., None], seen, leaf, faces, cameras, opposite=edges)
            smooth.square().sum().backward()
        found.append([smooth, leaf.grad])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.usefixtures("without_shape_checks")
def test_what_is_refused() -> None:
    vertices, faces = triangle_soup(0)
    cameras = small_cameras(1)
    seen = rasterize_mesh(vertices, faces, cameras)
    image: Any = torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.float64)
    with pytest.raises(ShapeError, match="image has the wrong shape"):
        antialias(image[0], seen, vertices, faces, cameras)
    with pytest.raises(UsageError, match="vertices has another type"):
        antialias(image.float(), seen, vertices, faces, cameras)
    with pytest.raises(ShapeError, match="the fragments name a face that is not there"):
        antialias(image, seen, vertices, faces[:1], cameras)
    with pytest.raises(ShapeError, match="opposite has the wrong shape"):
        antialias(image, seen, vertices, faces, cameras, opposite=faces[:1])
