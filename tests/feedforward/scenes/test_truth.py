"""The truth of generated views agrees with itself from one view to the next, and with the pictures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recon3d.feedforward.scenes import SceneOptions, TrueViews, generate_views

KINDS = ("room", "table", "facade", "terrain")


@pytest.fixture(scope="module", params=KINDS)
def views(request: pytest.FixtureRequest) -> TrueViews:
    options = SceneOptions(height=48, width=64, kinds=(request.param,), rays_per_pixel=1)
    return generate_views(11, 3, options, n_views=2)


def points_world(views: TrueViews, view: int) -> Tensor:
    """Return the surface points of the pixels, ``[b,h,w,3]``."""
    depth, K, pose = views.depth_z[:, view], views.K[:, view], views.cam_from_world[:, view]
    y, x = torch.meshgrid(torch.arange(depth.shape[1]) + 0.5, torch.arange(depth.shape[2]) + 0.5, indexing="ij")
    homogeneous = torch.stack([x, y, torch.ones_like(x)], -1).double()
    in_camera = torch.einsum("bij,hwj->bhwi", K.double().inverse(), homogeneous) * depth[..., None]
    world_from_cam = pose.double().inverse()
    return torch.einsum("bij,bhwj->bhwi", world_from_cam[:, :3, :3], in_camera) + world_from_cam[:, None, None, :3, 3]


def seen_from(views: TrueViews, points: Tensor, view: int) -> tuple[Tensor, Tensor]:
    """Return depths of points in a view, and pixels."""
    pose, K = views.cam_from_world[:, view].double(), views.K[:, view].double()
    in_camera = torch.einsum("bij,bhwj->bhwi", pose[:, :3, :3], points) + pose[:, None, None, :3, 3]
    projected = torch.einsum("bij,bhwj->bhwi", K, in_camera)
    return in_camera[..., 2], projected[..., :2] / projected[..., 2:].clamp(min=1e-6)


def test_a_point_has_the_same_depth_in_another_view(views: TrueViews) -> None:
    height, width = views.depth_z.shape[2:]
    depth, pixels = seen_from(views, points_world(views, 0), 1)
    size = pixels.new_tensor([width, height])
    inside = ((pixels > 1) & (pixels < size - 1)).all(-1) & (depth > 0) & (views.depth_z[:, 0] > 0)
    grid = (pixels / size * 2 - 1).float()
    # Depth is not linear in the pixels, but its inverse is, on every plane.
    inverse = torch.where(views.depth_z[:, 1:2] > 0, 1.0 / views.depth_z[:, 1:2].clamp(min=1e-6), 0.0)
    other = F.grid_sample(inverse, grid, align_corners=False)[:, 0]
    ratio = (depth * other)[inside]
    assert len(ratio) > 1500
    assert ((ratio - 1).abs() < 0.01).float().mean() > 0.35
    # Nothing that one view shows may float in front of what the other one shows, except for interpolation at edges.
    assert (ratio < 0.97).float().mean() < 0.06


def test_normals_follow_from_neighbouring_depths(views: TrueViews) -> None:
    points = points_world(views, 0)
    right, down = points[:, 1:-1, 2:] - points[:, 1:-1, :-2], points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    crossed = F.normalize(torch.cross(down, right, dim=-1), dim=-1).float()
    given, found = views.normals[:, 0, 1:-1, 1:-1], views.depth_z[:, 0, 1:-1, 1:-1] > 0
    agreement = (crossed * given).sum(-1)[found]
    assert (agreement > 0.95).float().mean() > 0.6


def test_normals_face_the_camera(views: TrueViews) -> None:
    for view in range(2):
        centre = views.cam_from_world[:, view].double().inverse()[:, None, None, :3, 3]
        towards = F.normalize(centre - points_world(views, view), dim=-1).float()
        facing = (towards * views.normals[:, view]).sum(-1)[views.depth_z[:, view] > 0]
        assert facing.min() > -1e-3


def test_cameras_are_rigid_and_upright(views: TrueViews) -> None:
    rotations = views.cam_from_world[..., :3, :3]
    torch.testing.assert_close(rotations @ rotations.transpose(-1, -2), torch.eye(3).expand_as(rotations))
    assert (torch.linalg.det(rotations) > 0).all()
    assert (rotations[..., 1, 2] < -0.2).all()  # down in the image is down in the world


def test_photos_show_something(views: TrueViews) -> None:
    spread = views.images.flatten(2).std(-1)
    assert spread.min() > 0.02
    assert 0.1 < views.images.mean() < 0.9
    assert (views.depth_z > 0).float().mean((2, 3)).min() > 0.3
