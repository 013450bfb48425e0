"""What networks should answer: relative to the first camera, in the unit of the scene."""

from __future__ import annotations

import math

import pytest
import torch
from facing_views import facing
from torch.nn.functional import grid_sample

from recon3d.feedforward.pose_encoding import decode_cameras, inverted, unproject
from recon3d.feedforward.scenes import TrueViews
from recon3d.feedforward.training.augmentation import augmented, mirrored, reordered
from recon3d.feedforward.training.targets import nearest_cells, targets_of


def test_the_unit_is_the_mean_distance_of_the_points_from_the_first_camera() -> None:
    depth = torch.full((1, 2, 2), 2.0)
    depth[0, 0, 0] = 0.0  # sky
    found = targets_of(facing(depth, [[0, 0, 0]]))
    ray = math.sqrt(1 + 0.25**2 + 0.25**2)  # pixel centres lie a quarter of the width from the middle
    torch.testing.assert_close(found.unit, torch.tensor([2.0 * ray]))
    torch.testing.assert_close(found.depth_z[0, 0, 1], torch.full((2,), 1.0 / ray))
    assert found.mask.sum() == 3


def test_a_horizon_does_not_make_everything_else_small() -> None:
    depth = torch.full((1, 10, 10), 2.0)
    depth[0, 0, 0] = 1e6
    assert targets_of(facing(depth, [[0, 0, 0]])).unit.item() < 2.5


def test_the_first_camera_is_the_world() -> None:
    found = targets_of(facing(torch.full((2, 4, 4), 3.0), [[1, 2, 3], [2, 2, 3]]))
    torch.testing.assert_close(found.cam_from_world[0, 0], torch.eye(4)[:3])
    torch.testing.assert_close(found.cam_from_world[0, 1, :, 3] * found.unit, torch.tensor([-1.0, 0, 0]))


def test_scenes_without_a_surface_have_a_unit() -> None:
    found = targets_of(facing(torch.zeros(1, 4, 4), [[0, 0, 0]]))
    assert found.unit.isfinite().all() and found.depth_z.isfinite().all() and not found.mask.any()


def test_targets_do_not_change_when_the_world_is_scaled_and_moved(views: TrueViews) -> None:
    moved = views.cam_from_world.clone()
    moved[..., :3, 3] *= 3.0
    shift = torch.eye(4)
    shift[:3, 3] = torch.tensor([5.0, -2, 1])
    other = TrueViews(
        images=views.images, cam_from_world=moved @ shift, K=views.K, depth_z=3 * views.depth_z, normals=views.normals
    )
    one, two = targets_of(views), targets_of(other)
    torch.testing.assert_close(one.cam_from_world, two.cam_from_world, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.depth_z, two.depth_z, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(two.unit, 3 * one.unit, atol=1e-4, rtol=1e-4)


def test_encodings_decode_to_the_cameras(views: TrueViews) -> None:
    truth = targets_of(views)
    pose, _ = decode_cameras(truth.encoding(), (28, 42))
    torch.testing.assert_close(inverted(pose), truth.cam_from_world, atol=1e-5, rtol=1e-4)


def test_rays_end_at_the_points(views: TrueViews) -> None:
    truth = targets_of(views)
    rays = truth.rays(28, 42)
    ends = rays[..., 3:] + truth.depth_z[..., None] * rays[..., :3]
    points = unproject(truth.depth_z, truth.K, truth.cam_from_world)
    torch.testing.assert_close(ends, points, atol=1e-4, rtol=1e-4)


def test_the_middle_ray_of_any_grid_looks_through_the_same_place(views: TrueViews) -> None:
    truth = targets_of(views)
    whole, coarse = truth.rays(1, 1)[..., 0, 0, :], truth.rays(3, 3)[..., 1, 1, :]
    torch.testing.assert_close(whole, coarse, atol=1e-5, rtol=1e-5)


def test_cells_lie_in_their_pixels() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    assert nearest_cells(maps, 3, 4).equal(maps)
    assert nearest_cells(maps, 1, 2)[0, 0].tolist() == [[5.0, 7.0]]
    assert nearest_cells(maps, 6, 8)[0, 0, :2, :2].eq(0).all()


def colour_error(views: TrueViews) -> float:
    """Return the mean difference between the second photos and what the first ones show at the same points."""
    truth = targets_of(views)
    points = unproject(truth.depth_z, truth.K, truth.cam_from_world)[:, 1]  # in the first camera
    seen = torch.einsum("bij,bhwj->bhwi", truth.K[:, 0], points)
    h, w = points.shape[1:3]
    at = seen[..., :2] / seen[..., 2:] / torch.tensor([w / 2, h / 2]) - 1
    there = grid_sample(views.images[:, 0], at, align_corners=False).movedim(1, -1)
    depth = grid_sample(truth.depth_z[:, :1], at, align_corners=False, mode="nearest")[:, 0]
    inside = (at.abs() < 1).all(-1) & truth.mask[:, 1] & ((depth - seen[..., 2]).abs() < 0.05 * depth)
    return float((there - views.images[:, 1].movedim(1, -1)).abs()[inside].mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_changed_scenes_still_fit_their_truth(views: TrueViews, seed: int) -> None:
    changed = augmented(views, torch.Generator().manual_seed(seed), brightness=0.0, recolour=1.0)
    wrong = TrueViews(
        images=changed.images.flip(-1),
        cam_from_world=changed.cam_from_world,
        K=changed.K,
        depth_z=changed.depth_z,
        normals=changed.normals,
    )
    assert colour_error(changed) < 1.1 * colour_error(views)
    assert colour_error(wrong) > 1.3 * colour_error(changed)


def test_two_mirrors_give_the_scene_back(views: TrueViews) -> None:
    every = torch.ones(2, dtype=torch.bool)
    once = mirrored(views, every)
    assert not torch.equal(once.images, views.images)
    twice = mirrored(once, every)
    for name in ("images", "cam_from_world", "K", "depth_z", "normals"):
        torch.testing.assert_close(getattr(twice, name), getattr(views, name), atol=1e-5, rtol=0)
    assert mirrored(views, ~every).images.equal(views.images)


def test_another_order_moves_everything_together(views: TrueViews) -> None:
    order = torch.tensor([[2, 0, 1], [0, 1, 2]])
    found = reordered(views, order)
    assert found.images[0, 0].equal(views.images[0, 2]) and found.depth_z[0, 1].equal(views.depth_z[0, 0])
    assert found.K[1].equal(views.K[1]) and found.cam_from_world[0, 2].equal(views.cam_from_world[0, 1])


def test_the_same_generator_gives_the_same_change(views: TrueViews) -> None:
    one, two = (augmented(views, torch.Generator().manual_seed(4), recolour=0.5) for _ in range(2))
    assert one.images.equal(two.images) and one.cam_from_world.equal(two.cam_from_world)
    assert not one.images.equal(augmented(views, torch.Generator().manual_seed(5), recolour=0.5).images)
