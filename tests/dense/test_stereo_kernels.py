"""The parts of stereo one by one: pixel maps, normals, matching cost, first planes, confirmation, regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from stereo_scene import BallAndWall

from recon3d.dense.stereo_consistency import Agreement, confirm, confirmed_depth, remove_small_regions
from recon3d.dense.stereo_cost import N_SAMPLES, OUTSIDE, disagreement, load_window, make_window, view_cost
from recon3d.dense.stereo_geometry import halved_cameras, pixel_maps, plane_normals
from recon3d.dense.stereo_images import BORDER, Sources, grey_pyramid, halve, pack_sources, padded_reference
from recon3d.dense.stereo_initial import first_planes, upsampled_field
from recon3d.dense.stereo_patchmatch import hash32, parallax
from recon3d.dense.stereo_smooth import smooth
from recon3d.dense.stereo_views import ViewPlan

WALL = BallAndWall(n_views=3, wall_only=True)
VIEW = 1
f32 = np.float32


def true_planes(scene: BallAndWall, view: int) -> np.ndarray:
    """Inverse depth and its slopes; a wall is exactly a plane in inverse depth."""
    w = 1 / scene.depth(view)
    planes = np.stack([w, np.gradient(w, axis=1), np.gradient(w, axis=0)], -1)
    return np.asarray(planes, np.float32)


def one(*index: int) -> np.ndarray:
    return np.array(index, np.int64)


def maps_between(scene: BallAndWall, origin: int, target: int) -> np.ndarray:
    cameras = scene.cameras()
    return np.asarray(pixel_maps(cameras, one(origin), cameras, one(target))[0])


def follow(pixel_map: np.ndarray, x: float, y: float, w: float) -> np.ndarray:
    p = pixel_map[:9].reshape(3, 3) @ [x, y, 1] + w * pixel_map[9:]
    return np.asarray(p[:2] / p[2])


@given(st.integers(0, 95), st.integers(0, 71))
def test_pixel_maps_project_like_the_cameras(u: int, v: int) -> None:
    depth, points, _ = WALL.hit(VIEW)
    expected, _ = WALL.cameras().project(points[v, u][None], one(2))
    got = follow(maps_between(WALL, VIEW, 2), u + 0.5, v + 0.5, 1 / depth[v, u])
    np.testing.assert_allclose(got, expected[0], atol=2e-4)


def test_normals_of_the_true_planes_are_the_wall_s() -> None:
    got = plane_normals(true_planes(WALL, VIEW), WALL.cameras().K[VIEW])
    np.testing.assert_allclose(got, WALL.normals(VIEW), atol=2e-3)
    assert (plane_normals(np.zeros((4, 5, 3), np.float32), np.eye(3)) == 0).all()


def test_reduced_and_halved_cameras_see_the_same_points() -> None:
    cameras = WALL.cameras()
    point = np.array([[0.1, 0.2, 0.3]])
    pixel = cameras.project(point, one(0))[0]
    small = cameras.limited(48)
    assert (small.width[0], small.height[0]) == (48, 36)
    np.testing.assert_allclose(small.project(point, one(0))[0], pixel / 2)
    np.testing.assert_allclose(halved_cameras(cameras, 2).project(point, one(0))[0], pixel / 4)
    assert cameras.limited(1000).width[0] == 96


def test_pyramid_halves_until_the_shorter_side_is_small() -> None:
    image = np.random.default_rng(0).integers(0, 256, (250, 301, 3), np.uint8)
    assert [level.shape for level in grey_pyramid(image, 301, 250)] == [(250, 301), (125, 150), (62, 75)]
    assert grey_pyramid(image, 150, 125)[0].shape == (125, 150)
    assert halve(np.array([[0, 2, 9], [4, 7, 9]], np.uint8)).tolist() == [[3]]


def scene_sources(scene: BallAndWall, target: int) -> Sources:
    grey = grey_pyramid(scene.photos()[target], scene.width, scene.height)[0]
    cameras = scene.cameras()
    into, back = (
        pixel_maps(cameras, one(VIEW), cameras, one(target)),
        pixel_maps(cameras, one(target), cameras, one(VIEW)),
    )
    planes = true_planes(scene, target)
    field = np.concatenate([planes, np.full((*planes.shape[:2], 1), 0.1, np.float32)], -1)
    return pack_sources([grey], [field], np.concatenate([into, into, back], 1))


def cost_at(scene: BallAndWall, u: int, v: int, factor: float = 1.0, target: int = 2) -> float:
    packed, maps, _ = scene_sources(scene, target)
    window = make_window()
    reference = padded_reference(grey_pyramid(scene.photos()[VIEW], scene.width, scene.height)[0], None)
    variance = load_window(reference, u, v, window)
    plane = true_planes(scene, VIEW)[v, u] * f32(factor)
    return float(view_cost(packed, maps, 0, (f32(u + 0.5), f32(v + 0.5)), tuple(plane), window, variance))


def test_true_plane_costs_least() -> None:
    costs = [cost_at(WALL, 48, 36, factor) for factor in (0.9, 0.97, 1.0, 1.03, 1.1)]
    assert costs[2] < 0.02 and costs[2] == min(costs)
    assert costs[1] > 0.05 and costs[3] > 0.05


@given(gain=st.floats(0.5, 1.5), offset=st.floats(-20, 20))
def test_cost_ignores_exposure(gain: float, offset: float) -> None:
    window, bright = make_window(), make_window()
    grey = 60 + 25 * np.sin(np.arange(40)[:, None] * 0.9 + np.arange(40) ** 2 * 0.05)
    reference = padded_reference(np.rint(grey).astype(np.uint8), None)
    packed, maps, _ = pack_sources([np.rint(grey * gain + offset).clip(0, 255).astype(np.uint8)], [], identity_maps())
    variance = load_window(reference, 20, 20, window)
    cost = view_cost(packed, maps, 0, (f32(20.5), f32(20.5)), (f32(1), f32(0), f32(0)), window, variance)
    assert -1e-3 < cost < 0.06
    assert (bright[: 3 * N_SAMPLES] == window[: 3 * N_SAMPLES]).all()


def identity_maps() -> np.ndarray:
    """A neighbour at the same place: pixels stay where they are, whatever the depth."""
    here = np.concatenate([np.eye(3).ravel(), np.zeros(3)])
    return np.tile(here, 3)[None].astype(np.float32)


def test_views_that_do_not_see_the_window_cost_as_much_as_no_correlation() -> None:
    assert cost_at(WALL, 1, 36, 3.0) == OUTSIDE  # projects beside the photo


def test_window_weights_sum_to_one_and_ignore_masked_pixels() -> None:
    grey = np.random.default_rng(1).integers(0, 255, (30, 30)).astype(np.uint8)
    mask = np.ones((30, 30), bool)
    mask[:, 16:] = False
    reference, window = padded_reference(grey, mask), make_window()
    assert load_window(reference, 15, 15, window) > 0
    weight, right = window[3 * N_SAMPLES : 4 * N_SAMPLES], window[:N_SAMPLES] > 0
    assert abs(weight.sum() - 1) < 1e-5 and (weight[right] == 0).all() and (weight[~right] > 0).all()
    assert abs(window[4 * N_SAMPLES : 5 * N_SAMPLES].sum()) < 1e-3
    assert load_window(reference, 20, 15, window) == -1
    assert (reference[:BORDER] == -1).all()


def test_disagreement_is_zero_on_the_true_surface_and_a_pixel_beside_it() -> None:
    sources = scene_sources(WALL, 2)
    at, w = (f32(48.5), f32(36.5)), true_planes(WALL, VIEW)[36, 48, 0]
    off, found, cost = disagreement(*sources, 0, at, w)
    assert off < 0.01 and abs(found / w - 1) < 1e-3 and abs(cost - 0.1) < 1e-6
    moves = parallax(sources.maps, at, w)
    off, _, _ = disagreement(*sources, 0, at, w + f32(1 / moves))
    assert 0.7 < off < 1.3
    assert disagreement(*sources, 0, at, f32(-1.0)) == (np.inf, 0, np.inf)


def test_parallax_is_the_motion_per_inverse_depth() -> None:
    pixel_map, w = maps_between(WALL, VIEW, 2), 0.25
    moved = follow(pixel_map, 48.5, 36.5, w + 1e-3) - follow(pixel_map, 48.5, 36.5, w - 1e-3)
    maps = np.tile(pixel_map, 3)[None]
    assert abs(parallax(maps, (f32(48.5), f32(36.5)), f32(w)) / (np.linalg.norm(moved) / 2e-3) - 1) < 1e-3


def test_confirmation_counts_neighbours_that_agree() -> None:
    cameras, planes = WALL.cameras(), [true_planes(WALL, v) for v in range(3)]
    planes[2] = planes[2] * f32(1.1)  # a neighbour that is wrong
    fields = [np.concatenate([p, np.zeros((*p.shape[:2], 1), np.float32)], -1) for p in planes]
    here, others = one(VIEW, VIEW), one(0, 2)
    into, back = pixel_maps(cameras, here, cameras, others), pixel_maps(cameras, others, cameras, here)
    sources = pack_sources([], [fields[0], fields[2]], np.concatenate([into, into, back], 1))
    votes = confirm(fields[VIEW], sources, Agreement(f32(1.0), f32(0.01)))
    middle = votes[20:50, 30:66]
    assert (middle[..., 0] == 1).all()
    np.testing.assert_allclose(middle[..., 1], planes[VIEW][20:50, 30:66, 0], rtol=1e-3)
    depth, sigma = confirmed_depth(votes, np.zeros(votes.shape[:2], np.float32), votes[..., 0] > 0)
    np.testing.assert_allclose(depth[20:50, 30:66], WALL.depth(VIEW)[20:50, 30:66], rtol=1e-3)
    assert (sigma[20:50, 30:66] > 0).all() and (sigma[votes[..., 0] == 0] == 0).all()


def test_small_regions_go_and_large_ones_stay() -> None:
    depth = np.zeros((20, 30), np.float32)
    depth[2:10, 2:10] = 5.0
    depth[2:10, 10:12] = 8.0  # sixteen pixels behind a step
    depth[15, 15] = 5.0
    got = remove_small_regions(depth, 20, 0.02)
    assert (got[2:10, 2:10] == 5).all() and np.count_nonzero(got) == 64
    assert np.count_nonzero(remove_small_regions(depth, 16, 0.02)) == 80
    assert np.count_nonzero(remove_small_regions(depth, 1, 0.02)) == 81


def test_a_winding_region_is_one_region() -> None:
    depth = np.zeros((21, 21), np.float32)
    depth[::2], depth[1::4, 0], depth[3::4, -1] = 1.0, 1.0, 1.0
    assert np.count_nonzero(remove_small_regions(depth, 200, 0.02)) == np.count_nonzero(depth)


def test_first_planes_hold_the_sparse_surface() -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, [96, 72], (200, 2))
    w = 0.2 + 0.001 * xy[:, 0] - 0.0005 * xy[:, 1]
    plan = ViewPlan(np.array([0]), (2.0, 8.0), xy, 1 / w)
    candidates = first_planes(plan, 0.5, 36, 48, rng)
    u, v = np.arange(48) + 0.5, (np.arange(36) + 0.5)[:, None]
    fitted = candidates[2]
    np.testing.assert_allclose(fitted[..., 0], 0.2 + 0.002 * u - 0.001 * v, atol=1e-6)
    np.testing.assert_allclose(fitted[..., 1:], np.broadcast_to([0.002, -0.001], (36, 48, 2)), atol=1e-6)
    assert candidates[-1][..., 0].min() >= 1 / 8 and candidates[-1][..., 0].max() <= 1 / 2


@pytest.mark.parametrize("n_points", [1, 2, 5])
def test_first_planes_of_few_or_collinear_points(n_points: int) -> None:
    xy = np.stack([np.linspace(5, 60, n_points), np.full(n_points, 30.0)], 1)
    plan = ViewPlan(np.array([0]), (2.0, 8.0), xy, np.full(n_points, 4.0))
    candidates = first_planes(plan, 1.0, 36, 48, np.random.default_rng(0))
    assert np.isfinite(candidates).all()
    np.testing.assert_allclose(candidates[0][..., 0], 0.25)


@given(st.integers(5, 9), st.integers(5, 9))
def test_upsampling_continues_the_plane(height: int, width: int) -> None:
    u, v = np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]
    coarse = np.zeros((height, width, 4), np.float32)
    coarse[..., 0], coarse[..., 1], coarse[..., 2] = 0.3 + 0.004 * u - 0.002 * v, 0.004, -0.002
    fine = upsampled_field(coarse, 2 * height + 1, 2 * width)
    u, v = np.arange(2 * width) + 0.5, (np.arange(2 * height + 1) + 0.5)[:, None]
    np.testing.assert_allclose(fine[..., 0], 0.3 + 0.002 * u - 0.001 * v, atol=1e-6)


def test_smoothing_reduces_noise_on_a_plane_and_keeps_a_step() -> None:
    rng = np.random.default_rng(0)
    field = np.zeros((40, 60, 4), np.float32)
    truth = np.where(np.arange(60) < 30, 0.2, 0.3) * np.ones((40, 1))
    field[..., 0] = truth + 2e-4 * rng.standard_normal((40, 60))
    spread = np.full((40, 60), 1e-3, np.float32)
    got, _ = smooth(field, spread)
    assert (got[..., 0] - truth).std() < 0.4 * (field[..., 0] - truth).std()
    assert np.abs(got[..., 0] - truth).max() < 1e-3


def test_smoothing_follows_the_certain_and_leaves_holes() -> None:
    field = np.zeros((9, 9, 4), np.float32)
    field[..., 0], field[4, 4, 0], field[0, 0, 0] = 0.25, 0.2505, 0.0
    spread = np.full((9, 9), 3e-4, np.float32)
    spread[4, 4] = 3e-3
    got, deviation = smooth(field, spread)
    assert abs(got[4, 4, 0] - 0.25) < 5e-5 and deviation[4, 4] < 1e-3
    assert got[0, 0, 0] == 0


def test_hash_mixes_like_its_definition() -> None:
    def reference(x: int) -> int:
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
            x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
        return x

    for x in (0, 1, 2, 0x12345678, 0xFFFFFFFF):
        assert int(hash32(np.uint32(x))) == reference(x)
