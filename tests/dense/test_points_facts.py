"""Dense points: each pixel's agreement against a statement in numpy, the weighted mean, and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from depth_truth import around, cameras_at, look_at, render, sphere, wall
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from recon3d.dense.points_agreement import add_agreement
from recon3d.dense.points_fusion import DensePoints, PointOptions, fuse_points
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras

SIZE = 40
Maps = list[tuple[DepthMap, np.ndarray]]
LIMITS = np.array([0.01, 2.0, 1.5], np.float32)


def facing(n: int = 3, spread: float = 0.6) -> Cameras:
    return cameras_at([look_at((x, 0, -3), (x / 2, 0, 0), (0, -1, 0)) for x in np.linspace(-spread, spread, n)], SIZE)


@pytest.fixture(scope="module")
def ball() -> tuple[Maps, Cameras]:
    cameras = cameras_at(around(12), SIZE)
    return render(cameras, [sphere((0, 0, 0), 1)], 0.01), cameras


@pytest.fixture(scope="module")
def ball_points(ball: tuple[Maps, Cameras]) -> DensePoints:
    return fuse_points(*ball)


def kernel_input(maps: Maps, cameras: Cameras, index: int) -> tuple[np.ndarray, ...]:
    depth, rgb = maps[index]
    z = depth.depth_z
    with np.errstate(divide="ignore"):
        inverse = np.where(z > 0, 1 / z, 0).astype(np.float32)
        weight = np.where(z > 0, 1 / depth.sigma**2, 0).astype(np.float32)
    K = cameras.K[index]
    return inverse, weight, np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], np.float32), rgb


def asked(maps: Maps, cameras: Cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the kernel says about the first map by the second."""
    total, count = np.zeros((SIZE, SIZE, 5), np.float32), np.zeros((SIZE, SIZE), np.uint8)
    match = np.full((SIZE, SIZE), -1, np.int32)
    mine, theirs = kernel_input(maps, cameras, 0), kernel_input(maps, cameras, 1)
    pose = (cameras.cam_from_world[1] @ np.linalg.inv(cameras.cam_from_world[0])).astype(np.float32)
    add_agreement(mine[:3], theirs, pose, LIMITS, (0, SIZE), (total, count, match))
    return total, count, match


def stated(maps: Maps, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Which pixel of the second map agrees with each of the first, and how deep it lies for the first."""
    (one, _), (two, _) = maps
    K, there = cameras.K, cameras.cam_from_world[1] @ np.linalg.inv(cameras.cam_from_world[0])
    back, match, depth = np.linalg.inv(there), np.full((SIZE, SIZE), -1), np.zeros((SIZE, SIZE))
    for row, col in zip(*np.nonzero(one.depth_z), strict=True):
        point = there[:3, :3] @ (np.linalg.inv(K[0]) @ [col + 0.5, row + 0.5, 1] * one.depth_z[row, col]) + there[:3, 3]
        if point[2] <= 0:
            continue
        u, v = (K[1] @ point)[:2] / point[2]
        if not (0 <= u < SIZE and 0 <= v < SIZE) or two.depth_z[int(v), int(u)] == 0:
            continue
        z = two.depth_z[int(v), int(u)]
        sigma = np.hypot(one.sigma[row, col], two.sigma[int(v), int(u)])
        most = min(max(LIMITS[0] * point[2], LIMITS[1] * sigma), 3 * LIMITS[0] * point[2])
        seen = back[:3, :3] @ (np.linalg.inv(K[1]) @ [int(u) + 0.5, int(v) + 0.5, 1] * z) + back[:3, 3]
        off = (K[0] @ seen)[:2] / seen[2] - (col + 0.5, row + 0.5)
        if abs(z - point[2]) <= most and np.hypot(*off) <= LIMITS[2]:
            match[row, col], depth[row, col] = int(v) * SIZE + int(u), seen[2]
    return match, depth


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("sigma", [0.002, 0.02, 0.3])
def test_the_kernel_of_agreement_does_what_its_definition_says(sigma: float, seed: int) -> None:
    random, cameras = np.random.default_rng(seed), facing(2)
    maps = []
    for depth, rgb in render(cameras, [wall(0.3), sphere((0, 0, 0), 0.6)], sigma):
        noise = 1 + 0.015 * random.normal(size=(SIZE, SIZE)) * (random.random((SIZE, SIZE)) < 0.5)
        z = (depth.depth_z * noise * (random.random((SIZE, SIZE)) < 0.9)).astype(np.float32)
        maps.append((DepthMap(z, np.where(z > 0, depth.sigma, 0)), rgb))
    total, count, match = asked(maps, cameras)
    wanted, depth = stated(maps, cameras)
    same = match == wanted
    assert same.mean() > 0.99 and (match >= 0).sum() > 300  # a limit may be met by rounding alone
    both = same & (match >= 0)
    assert ((count == 1) == (match >= 0)).all() and (total[match < 0] == 0).all()
    weight = 1 / sigma**2
    np.testing.assert_allclose(total[both][:, 0], weight, rtol=1e-4)
    np.testing.assert_allclose(total[both][:, 1], weight * depth[both], rtol=1e-4)
    rgb = maps[1][1].reshape(-1, 3)[match[both]].astype(float)
    np.testing.assert_allclose(total[both][:, 2:], weight * rgb, rtol=1e-4)


@pytest.mark.parametrize("sigmas", [(0.01, 0.01, 0.01), (0.01, 0.02, 0.04)])
def test_depth_and_sigma_are_those_of_a_weighted_mean(sigmas: tuple[float, ...]) -> None:
    """Three photos from the same direction but for a hair, of walls at slightly different depth."""
    cameras, z = facing(3, 0.15), (0.0, 0.01, -0.01)
    maps = [render(cameras[i : i + 1], [wall(z[i])], sigmas[i])[0] for i in range(3)]
    found = fuse_points(maps, cameras, PointOptions(max_relative=0.02))
    weight = 1 / np.square(sigmas)
    middle = np.abs(found.xyz[:, :2]).max(1) < 0.8
    assert np.median(found.xyz[middle, 2]) == pytest.approx((weight * z).sum() / weight.sum(), abs=6e-4)
    assert np.median(found.sigma[middle]) == pytest.approx(1 / np.sqrt(weight.sum()), rel=0.02)


@pytest.mark.parametrize("unknown", [0.0, np.nan, -1.0])
def test_without_a_sigma_a_hundredth_of_the_depth_is_taken(unknown: float) -> None:
    cameras = facing()
    maps = [(DepthMap(d.depth_z, np.full_like(d.sigma, unknown)), rgb) for d, rgb in render(cameras, [wall(0.0)])]
    found = fuse_points(maps, cameras)
    assert np.median(found.sigma) == pytest.approx(0.03 / np.sqrt(3), rel=0.1)
    assert np.isfinite(found.xyz).all() and np.abs(found.xyz[:, 2]).max() < 3e-3


@pytest.mark.parametrize("gap", [0.15, 0.6])
def test_two_planes_stay_two(gap: float) -> None:
    cameras = facing()
    found = fuse_points(render(cameras, [wall(0.0, 0.6), wall(gap)], 0.001), cameras)
    front = np.abs(found.xyz[:, 2]) < gap / 2
    assert np.abs(found.xyz[front, 2]).max() < 0.01 and np.abs(found.xyz[~front, 2] - gap).max() < 0.01
    assert (np.abs(found.xyz[front, :2]).max(1) < 0.65).all() and front.sum() > 100 and (~front).sum() > 100
    assert (found.normals[:, 2] < -0.95).mean() > 0.9


@pytest.mark.parametrize(("scale", "seed"), [(0.01, 0), (1.0, 1), (40.0, 2)])
def test_points_follow_the_world(ball: tuple[Maps, Cameras], ball_points: DensePoints, scale: float, seed: int) -> None:
    to_new, turn = np.eye(4), Rotation.random(random_state=seed).as_matrix()
    to_new[:3, :3], to_new[:3, 3] = scale * turn, scale * np.array([3.0, -5, 1])
    maps = [(DepthMap(d.depth_z * np.float32(scale), d.sigma * np.float32(scale)), rgb) for d, rgb in ball[0]]
    found = fuse_points(maps, ball[1].transformed(to_new))
    back = (found.xyz - to_new[:3, 3]) / scale
    assert np.abs(np.linalg.norm(back, axis=1) - 1).max() < 0.02
    assert np.quantile((found.normals * back).sum(1), 0.02) > 0.8
    assert len(found) == pytest.approx(len(ball_points), rel=0.05)
    assert np.median(found.sigma) == pytest.approx(scale * np.median(ball_points.sigma), rel=0.02)


def test_the_order_of_the_photos_moves_points_less_than_a_pixel(
    ball: tuple[Maps, Cameras], ball_points: DensePoints
) -> None:
    order = np.random.default_rng(0).permutation(12)
    found = fuse_points([ball[0][i] for i in order], ball[1][order])
    assert len(found) == pytest.approx(len(ball_points), rel=0.05)
    assert np.quantile(cKDTree(ball_points.xyz).query(found.xyz)[0], 0.98) < 2 * 2.2 / ball[1].K[0, 0, 0]


@pytest.mark.parametrize("min_views", [1, 3])
def test_asking_for_more_views_never_adds_points(ball: tuple[Maps, Cameras], min_views: int) -> None:
    fewer, more = (fuse_points(*ball, PointOptions(min_views=n)) for n in (min_views + 1, min_views))
    assert len(fewer) <= len(more)
    assert (fewer.sigma <= 0.01 / np.sqrt(min_views + 1) * 1.0001).all()  # so many photos agree on each


def test_photos_without_overlap_give_no_points() -> None:
    cameras = cameras_at([look_at((x, 0, -3), (x, 0, 0), (0, -1, 0)) for x in (-30, 0, 30)], SIZE)
    assert len(fuse_points(render(cameras, [wall(0.0)], 0.01), cameras)) == 0


def test_masked_pixels_give_no_points() -> None:
    cameras, maps = facing(), []
    for depth, rgb in render(cameras, [wall(0.0)], 0.005):
        z = depth.depth_z.copy()
        z[:, : SIZE // 2] = 0
        maps.append((DepthMap(z, np.where(z > 0, depth.sigma, 0)), rgb))
    found = fuse_points(maps, cameras)
    pixels = [cameras.project(found.xyz.astype(float), np.full(len(found), i))[0] for i in range(3)]
    assert len(found) > 50
    assert min(p[:, 0].min() for p in pixels) > SIZE // 2 - 2.5  # a point returns to within 1.5 pixels


@pytest.mark.parametrize("factor", [2, 3])
def test_photos_of_another_size_change_nothing(
    ball: tuple[Maps, Cameras], ball_points: DensePoints, factor: int
) -> None:
    large = ball[1].resized(factor * ball[1].width, factor * ball[1].height)
    found = fuse_points(ball[0], large)
    assert len(found) == len(ball_points)
    np.testing.assert_allclose(found.xyz, ball_points.xyz, atol=1e-5)


@pytest.mark.parametrize("max_points", [20, 300, 1200])
def test_there_are_never_more_points_than_asked_for(max_points: int) -> None:
    cameras = facing()
    maps = render(cameras, [wall(0.0)], 0.01)
    found = fuse_points(maps, cameras, PointOptions(max_points=max_points))
    assert 0.2 * min(max_points, 1500) < len(found) <= max_points
    assert np.abs(found.xyz[:, 2]).max() < 3e-3  # means of points of a plane lie on it


def test_given_normals_are_taken_as_they_are() -> None:
    cameras = facing()
    tilted = np.array([0.6, 0.0, -0.8])
    maps = []
    for i, (depth, rgb) in enumerate(render(cameras, [wall(0.0)], 0.005)):
        normal = np.broadcast_to(cameras.cam_from_world[i, :3, :3] @ tilted, (SIZE, SIZE, 3)).astype(np.float32)
        maps.append((replace(depth, normal_cam=np.ascontiguousarray(normal)), rgb))
    found = fuse_points(maps, cameras)
    np.testing.assert_allclose(found.normals, np.broadcast_to(tilted, found.normals.shape), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found.normals, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -2.0])
def test_numbers_that_are_no_depth_are_no_points(ball: tuple[Maps, Cameras], bad: float) -> None:
    maps = []
    for depth, rgb in ball[0]:
        z = depth.depth_z.copy()
        z[::3, ::3] = bad
        maps.append((DepthMap(z, depth.sigma), rgb))
    found = fuse_points(maps, ball[1])
    assert len(found) > 100 and np.abs(np.linalg.norm(found.xyz, axis=1) - 1).max() < 0.03
    assert np.isfinite(found.sigma).all() and np.isfinite(found.normals).all()
