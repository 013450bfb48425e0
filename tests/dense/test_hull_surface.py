"""The surface of the visual hull, and what it tells stereo about an object of one colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from depth_truth import cameras_at, render, ring, sphere

from recon3d.dense.fuse import fuse_with_stats
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.hull_surface import hull_surface, with_hull_points
from recon3d.dense.stereo_options import StereoOptions
from recon3d.dense.stereo_work import prepare
from recon3d.dense.surface import is_surrounded
from recon3d.dense.types import DepthMap
from recon3d.dense.visual_hull import Silhouettes
from recon3d.render.cameras import Cameras
from recon3d.scene import Points

CENTRE, RADIUS = np.array([0.2, -0.1, 0.3]), 0.6
BALL = sphere(tuple(CENTRE), RADIUS)
NO_POINTS = Points(
    xyz=np.zeros((0, 3)),
    rgb=np.zeros((0, 3), np.uint8),
    error_px=np.zeros(0),
    sigma=np.zeros(0),
    obs_point=np.zeros(0, np.int32),
    obs_view=np.zeros(0, np.int32),
    obs_xy=np.zeros((0, 2)),
)
Views = tuple[list[tuple[DepthMap, np.ndarray]], Cameras, list[np.ndarray]]


def views_of(places: Sequence[Sequence[float]], size: int = 64) -> Views:
    cameras = cameras_at([*places], size)
    found = render(cameras, [BALL])
    return found, cameras, [depth.depth_z > 0 for depth, _ in found]


@pytest.fixture(scope="module")
def ball() -> Views:
    return views_of([*ring(10, 3.0, 0.3), *ring(6, 2.6, 1.9)])


def silhouettes(views: Views) -> Silhouettes:
    return Silhouettes(views[2], views[1])


def test_the_hull_of_a_ball_is_the_ball_where_cameras_went_round_it(ball: Views) -> None:
    vertices, faces = hull_surface(silhouettes(ball))
    away = vertices - CENTRE
    level = np.abs(away[:, 2]) < 0.3 * RADIUS
    assert np.median(np.linalg.norm(away[level], axis=1)) == pytest.approx(RADIUS, rel=0.03)
    corners = vertices[faces]
    outwards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((outwards * (corners.mean(1) - CENTRE)).sum(1) > 0).mean() > 0.98


def test_the_hull_is_closed(ball: Views) -> None:
    _, faces = hull_surface(silhouettes(ball))
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_two_outlines_bound_nothing(ball: Views) -> None:
    _, cameras, masks = ball
    few = Silhouettes([*masks[:2], *([None] * (len(masks) - 2))], cameras)
    vertices, faces = hull_surface(few)
    assert len(vertices) == len(faces) == 0
    assert with_hull_points(NO_POINTS, cameras, few) is NO_POINTS


def test_points_of_the_hull_are_seen_only_by_cameras_in_front_of_them(ball: Views) -> None:
    found, cameras, _ = ball
    points = with_hull_points(NO_POINTS, cameras, silhouettes(ball))
    assert len(points) > 1000
    xyz, view = points.xyz[points.obs_point], points.obs_view.astype(np.int64)
    towards = cameras.centers[view] - xyz
    # Its edges do not face as the ball does.
    assert np.quantile(((xyz - CENTRE) * towards).sum(1), 0.02) > 0
    xy, depth_z = cameras.project(xyz, view)
    np.testing.assert_allclose(points.obs_xy, xy)
    column, row = np.floor(xy).astype(int).T
    true = np.stack([depth.depth_z for depth, _ in found])[view, row.clip(0, 63), column.clip(0, 63)]
    on = true > 0
    assert on.mean() > 0.9
    # The hull lies in front of the surface, but for the width of a pixel or two.
    assert np.quantile(depth_z[on] - true[on], 0.99) < 0.1


def test_sparse_points_come_first_and_keep_their_observations(ball: Views) -> None:
    _, cameras, _ = ball
    known = Points(
        xyz=CENTRE[None] + [0, 0, RADIUS],
        rgb=np.full((1, 3), 7, np.uint8),
        error_px=np.ones(1),
        sigma=np.ones(1),
        obs_point=np.zeros(2, np.int32),
        obs_view=np.array([3, 4], np.int32),
        obs_xy=np.ones((2, 2)),
    )
    points = with_hull_points(known, cameras, silhouettes(ball))
    np.testing.assert_array_equal(points.xyz[0], known.xyz[0])
    np.testing.assert_array_equal(points.obs_view[:2], [3, 4])
    assert (np.diff(points.obs_point) >= 0).all()
    assert points.obs_point[2:].min() >= 1


def test_stereo_without_any_sparse_point_has_neighbours_and_a_range_from_the_outlines(ball: Views) -> None:
    found, cameras, masks = ball
    images = [rgb for _, rgb in found]
    plain = prepare(images, cameras, NO_POINTS, StereoOptions(), None)
    assert not any(len(plan.sources) for plan in plain.plans)
    outlined = prepare(images, cameras, NO_POINTS, StereoOptions(), masks)
    for plan, (depth, _) in zip(outlined.plans, found, strict=True):
        assert len(plan.sources) == StereoOptions.n_sources
        true = depth.depth_z[depth.depth_z > 0]
        assert plan.depth_range[0] < true.min() < true.max() < plan.depth_range[1]


def test_an_object_with_outlines_is_closed_even_if_little_of_it_was_seen(ball: Views) -> None:
    found, cameras, masks = ball
    front = []
    for (depth, rgb), centre in zip(found, cameras.centers, strict=True):
        near = depth.depth_z if centre[0] > 1 else np.zeros_like(depth.depth_z)
        front.append((DepthMap(near, depth.sigma), rgb))
    options = FusionOptions(voxel_size=0.06)
    assert not fuse_with_stats(front, cameras, options)[1].closed
    mesh, stats = fuse_with_stats(front, cameras, options, masks=masks)
    assert stats.closed
    level = np.abs(mesh.vertices[:, 2] - CENTRE[2]) < 0.1
    assert np.linalg.norm(mesh.vertices[level] - CENTRE, axis=1).min() > 0.85 * RADIUS


def test_outlines_from_one_side_close_nothing() -> None:
    found, cameras, masks = views_of(ring(12, 3.0, 0.3)[:4])
    assert not fuse_with_stats(found, cameras, FusionOptions(voxel_size=0.06), masks=masks)[1].closed


def test_surrounded_means_outside_and_without_a_large_gap() -> None:
    box = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    circle = np.linalg.inv(np.array(ring(12, 3.0, 0.3)))[:, :3, 3]
    assert is_surrounded(box, circle)
    assert not is_surrounded(box, circle[:7])
    assert not is_surrounded(5 * box, circle)
    assert not is_surrounded(box[:0], circle)
    assert not is_surrounded(box, circle[:2])


@pytest.mark.parametrize(("inwards_px", "kept_px"), [(0.8, 0.0), (6.0, 6.0)])
def test_what_lies_a_pixel_inside_the_hull_is_moved_onto_it(inwards_px: float, kept_px: float) -> None:
    _, cameras, masks = views_of([*ring(10, 3.0, 0.3), *ring(6, 2.6, 1.9)], size=96)
    pixel = 3.0 / float(cameras.K[0, 0, 0])
    small = render(cameras, [sphere(tuple(CENTRE), RADIUS - inwards_px * pixel)])
    mesh = fuse_with_stats(small, cameras, FusionOptions(voxel_size=0.03), masks=masks)[0]
    away = mesh.vertices - CENTRE
    level = np.abs(away[:, 2]) < 0.2 * RADIUS
    off = (RADIUS - np.linalg.norm(away[level], axis=1)) / pixel
    assert np.median(off) == pytest.approx(kept_px, abs=0.4)
