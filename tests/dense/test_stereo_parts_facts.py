"""Lasting parts of stereo against direct statements: geometry, pyramids, confirmation, regions, plans."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from recon3d.dense.stereo_consistency import confirmed_depth, remove_small_regions
from recon3d.dense.stereo_geometry import halved_cameras, pixel_maps, plane_normals
from recon3d.dense.stereo_images import BORDER, grey_pyramid, halve, padded_reference
from recon3d.dense.stereo_initial import first_planes, upsampled_field
from recon3d.dense.stereo_smooth import smooth
from recon3d.dense.stereo_views import ViewPlan, plan_views
from recon3d.render.cameras import Cameras
from recon3d.scene import Points

seeds = st.integers(0, 10_000)
K = np.array([[90.0, 0, 31], [0, 80, 25], [0, 0, 1]])


def cameras(n: int, seed: int = 0) -> Cameras:
    """Cameras beside one another that look roughly along z."""
    random, poses = np.random.default_rng(seed), np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(0.05 * random.normal(size=(n, 3))).as_matrix()
    poses[:, :3, 3] = random.normal(size=(n, 3)) * 0.3 + (0, 0, 5)
    return Cameras(poses, np.tile(K, (n, 1, 1)), np.full(n, 64, np.int64), np.full(n, 48, np.int64))


@given(seeds, st.integers(0, 3), st.integers(0, 3))
def test_pixel_maps_go_there_and_back_at_any_scale(seed: int, here: int, there: int) -> None:
    random = np.random.default_rng(seed)
    one, other = halved_cameras(cameras(2, seed), here), halved_cameras(cameras(2, seed), there)
    first, second = np.array([0]), np.array([1])
    into, back = pixel_maps(one, first, other, second)[0], pixel_maps(other, second, one, first)[0]
    pixel, w = np.append(random.uniform([0, 0], [64, 48]) / 2**here, 1), random.uniform(0.1, 0.4)
    moved = into[:9].reshape(3, 3) @ pixel + w * into[9:]
    w_there = w / moved[2]
    again = back[:9].reshape(3, 3) @ (moved / moved[2]) + w_there * back[9:]
    np.testing.assert_allclose(again[:2] / again[2], pixel[:2], atol=2e-3)
    assert w_there / again[2] == pytest.approx(w, rel=1e-4)


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(1, 50))
def test_normals_are_those_of_the_plane_through_the_pixels(x: float, y: float, distance: float) -> None:
    normal = np.array([x, y, -1.0]) / np.sqrt(x * x + y * y + 1)
    u, v = np.meshgrid(np.arange(12) + 0.5, np.arange(9) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(K).T
    w = -(rays @ normal) / distance  # n . X = -distance
    slope = -(np.linalg.inv(K).T @ normal) / distance
    planes = np.stack([w, np.full_like(w, slope[0]), np.full_like(w, slope[1])], -1).astype(np.float32)
    found = plane_normals(planes, K)
    np.testing.assert_allclose(found[w > 0], np.broadcast_to(normal, found.shape)[w > 0], atol=2e-3)
    assert (found[w <= 0] == 0).all()


@given(st.integers(2, 9), st.integers(2, 9), seeds)
def test_halving_is_the_rounded_mean(height: int, width: int, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    even = grey[: height // 2 * 2, : width // 2 * 2].astype(float)
    mean = even.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    assert (halve(grey) == np.floor(mean + 0.5)).all()


@pytest.mark.parametrize("size", [(60, 60), (119, 300), (120, 121), (480, 640)])
def test_no_scale_of_a_pyramid_is_too_small(size: tuple[int, int]) -> None:
    levels = grey_pyramid(np.full((*size, 3), 77, np.uint8), size[1], size[0])
    assert levels[0].shape == size and all((level == 77).all() for level in levels)
    assert all(min(level.shape) >= 60 for level in levels[1:]) and min(levels[-1].shape) < 120


@given(seeds)
def test_a_padded_reference_holds_the_photo_and_nothing_else(seed: int) -> None:
    random = np.random.default_rng(seed)
    grey, mask = random.integers(0, 256, (7, 9), np.uint8), random.random((7, 9)) < 0.5
    inner = padded_reference(grey, mask)[BORDER:-BORDER, BORDER:-BORDER]
    assert (inner[mask] == grey[mask]).all() and (inner[~mask] == -1).all()
    whole = padded_reference(grey, None)
    assert (whole >= 0).sum() == grey.size and whole.shape == (7 + 2 * BORDER, 9 + 2 * BORDER)


@settings(max_examples=50)
@given(seeds, st.integers(1, 12))
def test_regions_of_one_depth_are_those_of_a_labelling(seed: int, least: int) -> None:
    depth = (np.random.default_rng(seed).random((13, 17)) < 0.55).astype(np.float32)
    labels, n = ndimage.label(depth)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    wanted = np.where((sizes[labels] >= least) & (labels > 0), depth, 0)
    assert (remove_small_regions(depth, least, 0.01) == wanted).all()


@pytest.mark.parametrize(("step", "joined"), [(0.009, True), (0.011, False)])
def test_regions_end_where_the_depth_steps(step: float, joined: bool) -> None:
    depth = np.ones((6, 10), np.float32)
    depth[:, 5:] = 1 + step
    kept = remove_small_regions(depth, 31, 0.01)
    assert (kept > 0).all() if joined else not kept.any()


@given(seeds)
def test_sigma_of_a_confirmed_depth_has_three_parts(seed: int) -> None:
    random = np.random.default_rng(seed)
    votes = random.uniform(0.1, 1, (5, 6, 4)).astype(np.float32)
    votes[..., 0] = random.integers(1, 5, (5, 6))
    spread, keep = random.random((5, 6)).astype(np.float32), random.random((5, 6)) < 0.7
    depth, sigma = confirmed_depth(votes, spread, keep)
    count, w, apart, pixel = np.moveaxis(votes.astype(float), -1, 0)
    variance = 4 * apart / count + (0.08 * spread) ** 2 + (0.08 * pixel) ** 2
    np.testing.assert_allclose(depth, np.where(keep, 1 / w, 0), rtol=1e-5)
    np.testing.assert_allclose(sigma, np.where(keep, np.sqrt(variance) / w**2, 0), rtol=1e-4)


def smoothed(field: np.ndarray, spread: np.ndarray, step: int, largest: float, share: float) -> tuple[np.ndarray, ...]:
    """One pass of the smoothing, written out."""
    result, deviation = field.astype(float).copy(), spread.astype(float).copy()
    height, width = spread.shape
    for v, u in product(range(height), range(width)):
        if field[v, u, 0] <= 0:
            continue
        cap = largest * field[v, u, 0]
        own, total, sums = min(share * spread[v, u], cap), 0.0, np.zeros(4)
        for j, i in product((-step, 0, step), repeat=2):
            if not (0 <= u + i < width and 0 <= v + j < height) or field[v + j, u + i, 0] <= 0:
                continue
            w, wu, wv = field[v + j, u + i, :3].astype(float)
            theirs = min(share * spread[v + j, u + i], cap)
            off = w - wu * i - wv * j - field[v, u, 0]
            both = own**2 + theirs**2
            weight = (both / (both + off**2)) ** 3 / theirs**2
            total += weight
            sums += weight * np.array([off, wu, wv, spread[v + j, u + i]])
        result[v, u, 0] += sums[0] / total
        result[v, u, 1:3], deviation[v, u] = sums[1:3] / total, sums[3] / total
    return result, deviation


@settings(max_examples=10)
@given(seeds, st.sampled_from([1, 2, 4]))
def test_smoothing_is_the_weighted_mean_that_it_says(seed: int, step: int) -> None:
    random = np.random.default_rng(seed)
    field = np.zeros((9, 8, 4), np.float32)
    field[..., 0] = 0.3 + 0.002 * random.normal(size=(9, 8))
    field[..., 1:3] = 1e-4 * random.normal(size=(9, 8, 2))
    field[random.random((9, 8)) < 0.2] = 0
    spread = random.uniform(1e-3, 2e-2, (9, 8)).astype(np.float32)
    found, deviation = smooth(field, spread, (step,))
    wanted, wanted_deviation = smoothed(field, spread, step, 0.01, 0.3)
    np.testing.assert_allclose(found[..., :3], wanted[..., :3], atol=2e-6)
    np.testing.assert_allclose(deviation, wanted_deviation, rtol=1e-3)


@given(st.floats(-1e-3, 1e-3), st.floats(-1e-3, 1e-3))
def test_smoothing_leaves_a_plane_as_it_is(slope_u: float, slope_v: float) -> None:
    u, v = np.meshgrid(np.arange(14), np.arange(11))
    field = np.zeros((11, 14, 4), np.float32)
    field[..., 0], field[..., 1], field[..., 2] = 0.4 + slope_u * u + slope_v * v, slope_u, slope_v
    found, _ = smooth(field, np.full((11, 14), 0.01, np.float32))
    np.testing.assert_allclose(found, field, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_finer_field_keeps_the_inverse_depth_at_shared_places(seed: int) -> None:
    random = np.random.default_rng(seed)
    coarse = np.zeros((6, 7, 4), np.float32)
    coarse[..., 0], coarse[..., 1:3] = random.uniform(0.2, 0.4, (6, 7)), 0.01 * random.normal(size=(6, 7, 2))
    fine = upsampled_field(coarse, 12, 14)
    quad = fine[..., 0].reshape(6, 2, 7, 2).mean((1, 3))  # four pixels around the coarse centre
    np.testing.assert_allclose(quad, coarse[..., 0], atol=1e-6)
    assert (fine[..., 1:3].reshape(6, 2, 7, 2, 2) == coarse[:, None, :, None, 1:3] / 2).all()


@given(seeds)
def test_first_guesses_lie_in_the_range_and_take_the_nearest_points(seed: int) -> None:
    random = np.random.default_rng(seed)
    xy, depth = random.uniform(0, [64, 48], (12, 2)), random.uniform(2, 8, 12)
    found = first_planes(ViewPlan(np.array([1]), (2.0, 8.0), xy, depth), 0.5, 24, 32, np.random.default_rng(0))
    u, v = np.meshgrid(np.arange(32) + 0.5, np.arange(24) + 0.5)
    distance = np.hypot(u[..., None] - xy[:, 0] / 2, v[..., None] - xy[:, 1] / 2)
    np.testing.assert_allclose(found[0][..., 0], 1 / depth[distance.argmin(-1)], rtol=1e-5)
    assert ((found[-1][..., 0] >= 1 / 8) & (found[-1][..., 0] <= 1 / 2)).all() and (found[-1][..., 1:] == 0).all()


def scene_points(n_views: int, n: int = 60, seed: int = 0) -> Points:
    random = np.random.default_rng(seed)
    point, view = (one.ravel().astype(np.int32) for one in np.meshgrid(np.arange(n), np.arange(n_views), indexing="ij"))
    nan = np.full(n, np.nan)
    return Points(
        random.uniform(-0.5, 0.5, (n, 3)),
        np.zeros((n, 3), np.uint8),
        np.zeros(n),
        nan,
        point,
        view,
        np.zeros((len(point), 2)),
    )


@pytest.mark.parametrize("n_sources", [1, 3, 20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_plans_name_other_photos_once_and_span_the_points(seed: int, n_sources: int) -> None:
    views = cameras(6, seed)
    for view, plan in enumerate(plan_views(views, scene_points(6, seed=seed), n_sources, 1.3)):
        assert view not in plan.sources and len(set(plan.sources.tolist())) == len(plan.sources) <= min(n_sources, 5)
        near, far = plan.depth_range
        assert 0 < near <= plan.depth_z.min() and far >= plan.depth_z.max()
        assert (plan.xy >= 0).all() and (plan.xy <= (64, 48)).all()


@pytest.mark.parametrize("scale", [1e-3, 500.0])
def test_plans_do_not_depend_on_the_scale(scale: float) -> None:
    views, points = cameras(6), scene_points(6)
    big = Points(*(scale * points.xyz if name == "xyz" else getattr(points, name) for name in points.__annotations__))
    plain, scaled = (
        plan_views(views, points, 3, 1.2),
        plan_views(views.transformed(np.diag([scale] * 3 + [1])), big, 3, 1.2),
    )
    for one, other in zip(plain, scaled, strict=True):
        assert one.sources.tolist() == other.sources.tolist()
        np.testing.assert_allclose(other.depth_range, scale * np.array(one.depth_range), rtol=1e-6)
