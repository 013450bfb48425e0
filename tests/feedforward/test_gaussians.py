from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny_networks import DPT, alive

from recon3d.feedforward.da3.config import GaussianOptions
from recon3d.feedforward.da3.gaussians import GaussianHead, sh_rotation, world_gaussians, world_quaternions
from recon3d.feedforward.pose_encoding import inverted, matrix_from_quaternion
from recon3d.render.gaussians.reference import bases

OPTIONS = GaussianOptions()
H, W = 3, 4
K = torch.tensor([[[[5.0, 0, 2.0], [0, 6.0, 1.5], [0, 0, 1]]]], dtype=torch.float64)


def turn(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(random_state=seed).as_matrix())


def pose(seed: int = 0) -> torch.Tensor:
    return torch.cat([turn(seed), torch.tensor([[0.2], [-0.4], [1.0]], dtype=torch.float64)], -1)[None, None]


def raw(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 1, H, W, 37, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ALPHA = torch.full((1, 1, H, W), 0.4, dtype=torch.float64)
DEPTH = torch.full((1, 1, H, W), 2.0, dtype=torch.float64)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rotated_harmonics_are_the_rotated_function(degree: int) -> None:
    R, random = turn(1), torch.Generator().manual_seed(2)
    coefficients = torch.randn((degree + 1) ** 2, generator=random, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(9, 3, generator=random, dtype=torch.float64), dim=-1)
    rotated = sh_rotation(R, degree) @ coefficients
    assert torch.allclose(bases(directions @ R.T, degree) @ rotated, bases(directions, degree) @ coefficients)


def test_rotations_of_harmonics_form_a_group_and_keep_bands_apart() -> None:
    a, b = turn(1), turn(2)
    assert torch.allclose(sh_rotation(a @ b, 2), sh_rotation(a, 2) @ sh_rotation(b, 2))
    assert torch.allclose(
        sh_rotation(torch.eye(3, dtype=torch.float64), 2), torch.eye(9, dtype=torch.float64), atol=1e-12
    )
    matrix = sh_rotation(a, 2)
    assert torch.allclose(matrix @ matrix.T, torch.eye(9, dtype=torch.float64), atol=1e-12)
    assert matrix[1:4, 4:].abs().max() < 1e-12 and matrix[0, 1:].abs().max() < 1e-12


def test_means_lie_on_the_ray_at_the_distance() -> None:
    numbers = raw()
    numbers[..., :2] = 0.0
    found = world_gaussians(numbers, ALPHA, DEPTH, pose(), K, OPTIONS)
    in_camera = found.means[0] @ pose()[0, 0, :, :3].T + pose()[0, 0, :, 3]
    distance = (DEPTH[0, 0] + numbers[0, 0, ..., -1]).flatten()
    assert torch.allclose(in_camera.norm(dim=-1), distance.abs())
    pixels = in_camera @ K[0, 0].T
    pixels = (pixels[:, :2] / pixels[:, 2:]).reshape(H, W, 2)
    assert torch.allclose(pixels[..., 0], (torch.arange(W, dtype=torch.float64) + 0.5).expand(H, W))
    assert torch.allclose(pixels[..., 1], (torch.arange(H, dtype=torch.float64) + 0.5)[:, None].expand(H, W))


def test_offsets_move_the_pixel() -> None:
    numbers = raw()
    numbers[..., :2] = torch.tensor([1.0, 0.0])
    moved = world_gaussians(numbers, ALPHA, DEPTH, pose(), K, OPTIONS).means.reshape(H, W, 3)
    numbers[..., :2] = 0.0
    numbers[..., -1] = numbers[..., -1].roll(1, -1)
    still = world_gaussians(numbers, ALPHA, DEPTH, pose(), K, OPTIONS).means.reshape(H, W, 3)
    assert torch.allclose(moved[:, :-1], still[:, 1:])


def test_scales_follow_depth_and_pixel_size_between_their_limits() -> None:
    numbers = raw()
    numbers[..., -1] = 0.0
    pixel = 0.1 * (1 / 5.0 + 1 / 6.0)
    for value, scale in ((-1e3, OPTIONS.scale_min), (1e3, OPTIONS.scale_max), (0.0, 15.000005)):
        numbers[..., 2:5] = value
        found = world_gaussians(numbers, ALPHA, DEPTH, pose(), K, OPTIONS).scales
        assert torch.allclose(found, torch.full_like(found, scale * 2.0 * pixel))


def test_opacities_come_as_they_are() -> None:
    assert torch.equal(world_gaussians(raw(), ALPHA, DEPTH, pose(), K, OPTIONS).opacities, ALPHA.flatten(1))


def test_higher_bands_are_damped() -> None:
    found = world_gaussians(raw(), ALPHA, DEPTH, torch.eye(3, 4, dtype=torch.float64)[None, None], K, OPTIONS).sh
    given = raw()[..., 9:36].reshape(1, -1, 3, 9)
    ratio = found / given
    for band, factor in ((slice(0, 1), 1.0), (slice(1, 4), 0.1 * 0.25), (slice(4, 9), 0.1 * 0.25**2)):
        assert torch.allclose(ratio[..., band], torch.full_like(ratio[..., band], factor))


def test_quaternions_are_turned_with_the_camera() -> None:
    numbers = torch.tensor([[0.3, -0.5, 0.7, 0.2]], dtype=torch.float64)  # y z w x
    found = world_quaternions(numbers, turn(4))
    in_camera = matrix_from_quaternion(torch.tensor([[0.2, 0.3, -0.5, 0.7]], dtype=torch.float64))
    assert torch.allclose(matrix_from_quaternion(found), turn(4) @ in_camera)
    assert (found[..., 3] >= 0).all() and torch.allclose(found.norm(dim=-1), torch.ones(1, dtype=torch.float64))


def test_everything_is_differentiable() -> None:
    numbers = raw()[:, :, :1, :2].requires_grad_()
    leaves = numbers, DEPTH[:, :, :1, :2].clone().requires_grad_(), pose().requires_grad_()

    def parts(numbers: torch.Tensor, depth: torch.Tensor, camera: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rigid = inverted(inverted(camera))
        found = world_gaussians(numbers, ALPHA[:, :, :1, :2], depth, rigid, K, OPTIONS)
        return found.means, found.scales, found.quats, found.sh

    assert torch.autograd.gradcheck(lambda *some: parts(*some, pose()), leaves[:2], fast_mode=True)
    sum(part.sum() for part in parts(*leaves)).backward()
    assert all(leaf.grad is not None and torch.isfinite(leaf.grad).all() for leaf in leaves)


@torch.no_grad()
def test_the_head_also_sees_the_photo(generator: torch.Generator) -> None:
    head = GaussianHead(replace(DPT, output_dim=38, token_norm=False))
    alive(head)
    taps = [torch.randn(2, 6, 32, generator=generator) for _ in range(4)]
    images = torch.rand(2, 3, 28, 42, generator=generator)
    numbers, opacities = head(taps, images)
    assert numbers.shape == (2, 28, 42, 37) and opacities.shape == (2, 28, 42)
    assert ((opacities > 0) & (opacities < 1)).all()
    assert not torch.allclose(head(taps, images.flip(-1))[0], numbers, atol=1e-3)
