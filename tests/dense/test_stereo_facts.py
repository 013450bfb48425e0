"""Stereo through its public functions: what must not change a depth, what must, and where there is none."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from stereo_scene import BallAndWall

from recon3d.dense.stereo import estimate_depth, stereo_cameras
from recon3d.dense.stereo_options import StereoOptions
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras
from recon3d.scene import Points

SMALL = BallAndWall(n_views=3)
WALL = BallAndWall(n_views=3, wall_only=True)
MIDDLE = 1


@lru_cache(maxsize=4)
def solved(scene: BallAndWall) -> tuple[DepthMap, ...]:
    return tuple(estimate_depth(scene.photos(), scene.cameras(), scene.points()))


def ordered(points: Points, order: np.ndarray, n: int) -> Points:
    """Points of photos that come in another order; those of photos that are gone lose their observations."""
    number = np.full(n, -1)
    number[order] = np.arange(len(order))
    kept = np.flatnonzero(number[points.obs_view] >= 0)
    return replace(
        points,
        obs_view=number[points.obs_view[kept]].astype(np.int32),
        obs_point=points.obs_point[kept],
        obs_xy=points.obs_xy[kept],
    )


def off(found: DepthMap, wanted: np.ndarray) -> np.ndarray:
    """Relative error where both have a depth."""
    both = (found.depth_z > 0) & (wanted > 0)
    return np.asarray(np.abs(found.depth_z[both] / wanted[both] - 1))


def same_surface(found: DepthMap, other: DepthMap) -> None:
    assert abs(found.coverage - other.coverage) < 0.08
    assert np.median(off(found, other.depth_z)) < 0.002


def run(cameras: Cameras, points: Points, photos: list[np.ndarray] | None = None, **options: object) -> list[DepthMap]:
    return estimate_depth(photos or SMALL.photos(), cameras, points, replace(StereoOptions(), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("view", [0, 1, 2])
def test_every_photo_of_a_plane_finds_it(view: int) -> None:
    found = solved(WALL)[view]
    assert found.coverage > 0.45
    assert np.median(off(found, WALL.depth(view))) < 0.002
    assert np.quantile(off(found, WALL.depth(view)), 0.95) < 0.02
    has = found.depth_z > 0
    assert found.normal_cam is not None
    cosine = (found.normal_cam[has] * WALL.normals(view)[has]).sum(-1)
    assert np.median(cosine) > 0.98


def test_normals_look_at_the_camera_and_have_length_one() -> None:
    for found in solved(SMALL):
        has, normal = found.depth_z > 0, found.normal_cam
        assert normal is not None and (normal[~has] == 0).all()
        y, x = np.mgrid[:72, :96] + 0.5
        K = SMALL.cameras().K[0]
        rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1)
        assert ((normal * rays).sum(-1)[has] < 0).all()


@pytest.mark.parametrize("scale", [0.02, 30.0])
def test_depth_and_sigma_follow_the_scale_of_the_world(scale: float) -> None:
    scaled = SMALL.cameras().transformed(np.diag([scale, scale, scale, 1]))
    found = run(scaled, replace(SMALL.points(), xyz=scale * SMALL.points().xyz))[MIDDLE]
    usual = solved(SMALL)[MIDDLE]
    same_surface(DepthMap(found.depth_z / np.float32(scale), found.sigma), usual)
    ratio = np.median(found.sigma[found.depth_z > 0]) / np.median(usual.sigma[usual.depth_z > 0])
    assert ratio == pytest.approx(scale, rel=0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gauge_of_the_world_does_not_matter(seed: int) -> None:
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = Rotation.random(random_state=seed).as_matrix(), (5, -3, 9)
    points = SMALL.points()
    found = run(SMALL.cameras().transformed(move), replace(points, xyz=points.xyz @ move[:3, :3].T + move[:3, 3]))
    same_surface(found[MIDDLE], solved(SMALL)[MIDDLE])


def test_the_order_of_the_photos_does_not_matter() -> None:
    order = np.array([2, 0, 1])
    photos, points = SMALL.photos(), ordered(SMALL.points(), order, 3)
    found = run(SMALL.cameras()[order], points, [photos[i] for i in order])
    for at, view in enumerate(order):
        same_surface(found[at], solved(SMALL)[view])


@pytest.mark.parametrize(("gain", "offset"), [(0.7, 0.0), (1.0, 25.0), (0.8, 20.0)])
def test_the_exposure_of_a_photo_does_not_matter(gain: float, offset: float) -> None:
    photos = SMALL.photos()
    photos[0] = np.clip(np.rint(gain * photos[0].astype(float) + offset), 0, 255).astype(np.uint8)
    found = run(SMALL.cameras(), SMALL.points(), photos)
    assert np.median(off(found[MIDDLE], SMALL.depth(MIDDLE))) < 0.003 and found[MIDDLE].coverage > 0.35


def test_a_photo_of_something_else_confirms_nothing() -> None:
    photos = SMALL.photos()
    photos[0] = np.random.default_rng(0).integers(0, 256, photos[0].shape, np.uint8)
    found = run(SMALL.cameras(), SMALL.points(), photos)
    assert found[0].coverage < 0.02
    assert found[MIDDLE].coverage < 0.3  # both neighbours must confirm


def test_one_photo_has_no_depth() -> None:
    points = ordered(SMALL.points(), np.array([1]), 3)
    found = run(SMALL.cameras()[1:2], points, SMALL.photos()[1:2])
    assert len(found) == 1 and found[0].coverage == 0 and found[0].depth_z.shape == (72, 96)
    assert found[0].normal_cam is not None and not found[0].normal_cam.any() and not found[0].sigma.any()


def test_photos_that_share_no_points_have_no_depth() -> None:
    points = SMALL.points()
    split = points.obs_point % 3 == points.obs_view  # each point is seen by one photo alone
    points = replace(
        points, obs_view=points.obs_view[split], obs_point=points.obs_point[split], obs_xy=points.obs_xy[split]
    )
    assert [one.coverage for one in run(SMALL.cameras(), points)] == [0, 0, 0]


def test_who_may_not_help_still_has_a_depth_and_changes_no_other() -> None:
    helpers = np.array([True, True, False])
    spoilt = SMALL.photos()
    spoilt[2] = 255 - spoilt[2][:, ::-1]
    one, other = (
        estimate_depth(photos, SMALL.cameras(), SMALL.points(), may_help=helpers) for photos in (SMALL.photos(), spoilt)
    )
    for view in (0, 1):
        assert one[view].depth_z.tobytes() == other[view].depth_z.tobytes()
    assert one[2].coverage > 0.4 and np.median(off(one[2], SMALL.depth(2))) < 0.005


@pytest.mark.parametrize("rows", [slice(0, 30), slice(40, 72)])
def test_a_mask_takes_pixels_and_leaves_the_others(rows: slice) -> None:
    mask = np.ones((72, 96), bool)
    mask[rows] = False
    found = estimate_depth(SMALL.photos(), SMALL.cameras(), SMALL.points(), masks=[None, mask, None])
    assert (found[MIDDLE].depth_z[~mask] == 0).all() and (found[MIDDLE].sigma[~mask] == 0).all()
    assert (found[MIDDLE].depth_z[mask] > 0).mean() > 0.2
    assert np.median(off(found[MIDDLE], SMALL.depth(MIDDLE))) < 0.003
    nothing = estimate_depth(SMALL.photos(), SMALL.cameras(), SMALL.points(), masks=[np.zeros((72, 96), bool)] * 3)
    assert [one.coverage for one in nothing] == [0, 0, 0]


def test_stricter_demands_leave_fewer_and_better_depths() -> None:
    usual = run(SMALL.cameras(), SMALL.points(), max_cost=0.7, max_reprojection_px=2.0)[MIDDLE]
    strict = run(SMALL.cameras(), SMALL.points(), max_cost=0.1, max_reprojection_px=0.5)[MIDDLE]
    assert 0 < strict.coverage < usual.coverage
    assert np.quantile(off(strict, SMALL.depth(MIDDLE)), 0.95) <= np.quantile(off(usual, SMALL.depth(MIDDLE)), 0.95)


@pytest.mark.parametrize("least", [1, 200, 5000])
def test_regions_smaller_than_asked_for_are_gone(least: int) -> None:
    found = run(SMALL.cameras(), SMALL.points(), min_region_px=least)[MIDDLE]
    assert found.coverage == 0 or np.count_nonzero(found.depth_z) >= least
    assert (found.coverage == 0) == (least > 4900)


def test_a_wider_base_makes_sigma_smaller() -> None:
    """The same error in pixels is less depth where the rays cross at a larger angle."""
    narrow, wide = (BallAndWall(n_views=3, wall_only=True, step_deg=step, noise=3.0) for step in (2.0, 10.0))
    sigma = [np.median(one.sigma[one.depth_z > 0]) for one in (solved(narrow)[MIDDLE], solved(wide)[MIDDLE])]
    assert sigma[1] < 0.85 * sigma[0]


@pytest.mark.parametrize("noise", [3.0, 10.0])
def test_sigma_promises_no_more_than_holds(noise: float) -> None:
    scene = BallAndWall(n_views=3, wall_only=True, noise=noise)
    found = solved(scene)[MIDDLE]
    has = found.depth_z > 0
    score = np.abs(found.depth_z[has] - scene.depth(MIDDLE)[has]) / found.sigma[has]
    assert (score < 1).mean() > 0.5 and (score < 3).mean() > 0.9
    assert np.median(score) > 0.05  # nor is it a number without meaning


def test_inputs_stay_as_they_were() -> None:
    photos, cameras, points = SMALL.photos(), SMALL.cameras(), SMALL.points()
    copies = [photo.copy() for photo in photos], cameras.cam_from_world.copy(), points.xyz.copy()
    estimate_depth(photos, cameras, points)
    assert all((a == b).all() for a, b in zip(photos, copies[0], strict=True))
    assert (cameras.cam_from_world == copies[1]).all() and (points.xyz == copies[2]).all()


@pytest.mark.parametrize("largest", [48, 96, 1000])
def test_cameras_of_the_maps_have_the_size_of_the_maps(largest: int) -> None:
    options = StereoOptions(max_image_size=largest)
    cameras = stereo_cameras(SMALL.cameras(), options)
    assert cameras.width.max() == min(largest, 96)
    for found, w, h in zip(
        run(SMALL.cameras(), SMALL.points(), max_image_size=largest), cameras.width, cameras.height, strict=True
    ):
        assert found.depth_z.shape == found.sigma.shape == (h, w)


@pytest.mark.parametrize("n", [2, 4])
def test_photos_of_different_sizes_work_together(n: int) -> None:
    """Every second photo is half as large."""
    scene = BallAndWall(n_views=n, width=128, height=96, wall_only=True)
    cameras, photos = scene.cameras(), scene.photos()
    small = np.arange(n) % 2 == 1
    width, height = np.where(small, 64, 128), np.where(small, 48, 96)
    photos = [
        p.reshape(48, 2, 64, 2, 3).mean((1, 3)).round().astype(np.uint8) if s else p
        for p, s in zip(photos, small, strict=True)
    ]
    found = estimate_depth(photos, cameras.resized(width, height), scene.points())
    assert found[0].depth_z.shape == (96, 128) and found[1].depth_z.shape == (48, 64)
    assert found[0].coverage > 0.3 and np.median(off(found[0], scene.depth(0))) < 0.006
