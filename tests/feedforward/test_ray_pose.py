from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from recon3d.feedforward.da3.ray_pose import RayCameras, cameras_from_rays, ql

ROWS, COLS = 10, 14


def truth(principal: tuple[float, float] = (1.0, 1.0)) -> RayCameras:
    """Two cameras."""
    rotation = torch.from_numpy(Rotation.from_rotvec([[0.2, -0.3, 0.1], [0.0, 0.5, -0.4]]).as_matrix()).float()
    centre = torch.tensor([[0.3, -0.2, 0.1], [-1.0, 0.4, 0.2]])
    pose = torch.cat([rotation, centre[..., None]], -1)[None]
    focal = torch.tensor([[[1.2, 1.5], [0.9, 1.1]]])
    return RayCameras(pose, focal, torch.tensor(principal).expand(1, 2, 2))


def rays_of(cameras: RayCameras, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays through the samples of a map, of random lengths, and confidences."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*((2 * torch.arange(n) + 1) / n - 1 for n in (ROWS, COLS)), indexing="ij")
    offset, focal = (one[:, :, None, None] for one in (cameras.principal - 1.0, cameras.focal))
    plane = (torch.stack([x, y], -1) - offset) / focal
    local = torch.cat([plane, torch.ones_like(plane[..., :1])], -1)
    directions = local @ cameras.world_from_cam[..., None, :, :3].mT
    lengths = torch.rand(1, 2, ROWS, COLS, 1, generator=random) + 0.5
    origins = cameras.world_from_cam[:, :, None, None, :, 3].expand_as(directions)
    confidence = 1.0 + torch.rand(1, 2, ROWS, COLS, generator=random)
    return torch.cat([directions * lengths, origins], -1), confidence


def error(found: RayCameras, want: RayCameras) -> float:
    pairs = ((getattr(one, name) for one in (found, want)) for name in ("world_from_cam", "focal", "principal"))
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("principal", [(1.0, 1.0), (1.2, 0.7)])
def test_exact_rays_give_exact_cameras(principal: tuple[float, float]) -> None:
    want = truth(principal)
    assert error(cameras_from_rays(*rays_of(want)), want) < 2e-6


def test_the_public_factorisation_needs_a_centred_principal_point() -> None:
    centred, moved = truth(), truth((1.2, 0.7))
    assert error(cameras_from_rays(*rays_of(centred), factorisation="ql"), centred) < 2e-6
    assert error(cameras_from_rays(*rays_of(moved), factorisation="ql"), moved) > 0.05


def test_a_tenth_of_wrong_rays_hardly_matters() -> None:
    want = truth()
    rays, confidence = rays_of(want)
    random = np.random.default_rng(0)
    wrong = torch.from_numpy(random.choice(ROWS * COLS, ROWS * COLS // 10, replace=False))
    rays.view(1, 2, -1, 6)[:, :, wrong] = torch.from_numpy(random.normal(size=(1, 2, len(wrong), 6))).float()
    confidence.view(1, 2, -1)[:, :, wrong] = 0.5
    assert error(cameras_from_rays(rays, confidence), want) < 0.03


def test_rays_in_the_image_plane_are_left_out() -> None:
    want = truth()
    rays, confidence = rays_of(want)
    rays[:, :, 0, 0, 2] = 0.0
    assert error(cameras_from_rays(rays, confidence), want) < 2e-6


def test_rays_that_point_backwards_are_the_same_lines() -> None:
    want = truth()
    rays, confidence = rays_of(want)
    rays[..., :3] = -rays[..., :3]
    found = cameras_from_rays(rays, confidence)
    assert torch.allclose(found.focal, want.focal, atol=1e-5)
    assert torch.allclose(torch.linalg.det(found.world_from_cam[..., :3]), torch.ones(1, 2), atol=1e-5)


def test_the_draw_follows_the_seed() -> None:
    want = truth()
    rays, confidence = rays_of(want)
    rays[..., :3] += 0.02 * torch.randn(rays[..., :3].shape, generator=torch.Generator().manual_seed(5))
    one, again, other = (cameras_from_rays(rays, confidence, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.world_from_cam, again.world_from_cam)
    assert error(one, other) < 0.05


def test_intrinsics_in_pixels() -> None:
    K = truth((1.2, 0.7)).K((20, 30))
    assert torch.allclose(K[0, 0], torch.tensor([[18.0, 0, 18.0], [0, 15.0, 7.0], [0, 0, 1.0]]), atol=1e-5)


def test_ql_factors_have_their_form() -> None:
    matrices = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q, lower = ql(matrices)
    assert torch.allclose(q @ lower, matrices)
    assert torch.allclose(q @ q.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3), atol=1e-12)
    assert torch.allclose(lower, lower.tril(), atol=1e-12)
    assert (lower.diagonal(dim1=-2, dim2=-1) > 0).all()


def test_a_map_of_four_samples_does_not_crash() -> None:
    rays, confidence = rays_of(truth())
    found = cameras_from_rays(rays[:, :, :2, :2], confidence[:, :, :2, :2])
    assert found.world_from_cam.shape == (1, 2, 3, 4)
