"""Where Gaussians start: spacing, normals, the cells that no point explains, and who can be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.spatial.distance import cdist

from recon3d.formats.quaternions import rotation_from_quaternion
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import rasterize
from recon3d.splats.coverage import CELLS, FREE_SHARE, covering_points, seen_somewhere
from recon3d.splats.init import MAX_DISTANCE, initial_gaussians, point_spacing, scattered_points, usable_points

from .conftest import ring

SIZE = 96
seeds = st.integers(0, 10_000)


def lifted(camera: Cameras, pixels: np.ndarray, depth: float | np.ndarray) -> np.ndarray:
    """Points at pixels and depths of the first camera."""
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ np.linalg.inv(camera.K[0]).T
    pose = camera.world_from_cam[0]
    return np.asarray((rays * np.reshape(depth, (-1, 1))) @ pose[:3, :3].T + pose[:3, 3])


def wall_points(camera: Cameras, n: int = 3000, seed: int = 0) -> np.ndarray:
    return lifted(camera, np.random.default_rng(seed).uniform(0, SIZE, (n, 2)), 4.0)


def grey(level: int = 90) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), level, np.uint8)


@settings(max_examples=20)
@given(seeds, st.integers(2, 40))
def test_spacing_is_the_root_mean_square_to_the_three_nearest(seed: int, n: int) -> None:
    xyz = np.random.default_rng(seed).normal(size=(n, 3))
    nearest = np.sort(cdist(xyz, xyz), axis=1)[:, 1:4]
    np.testing.assert_allclose(point_spacing(xyz), np.sqrt((nearest**2).mean(1)), rtol=1e-9)


def test_spacing_is_scaled_with_the_points_and_blind_to_their_order() -> None:
    xyz = np.random.default_rng(0).normal(size=(50, 3))
    order = np.random.default_rng(1).permutation(50)
    np.testing.assert_allclose(point_spacing(7 * xyz[order] + 3), 7 * point_spacing(xyz)[order], rtol=1e-9)
    assert point_spacing(np.zeros((9, 3))).tolist() == [0.0] * 9


@given(seeds)
def test_the_axes_of_a_disc_are_a_rotation(seed: int) -> None:
    random = np.random.default_rng(seed)
    normals = np.concatenate([np.eye(3), -np.eye(3), random.normal(size=(4, 3))])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    found = initial_gaussians(random.normal(size=(10, 3)), np.zeros((10, 3), np.uint8), normals, (1e-3, 10.0))
    axes = rotation_from_quaternion(found.quats.double().numpy())
    np.testing.assert_allclose(axes @ axes.transpose(0, 2, 1), np.tile(np.eye(3), (10, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(axes), 1, atol=1e-5)
    np.testing.assert_allclose(axes[:, :, 2], normals, atol=1e-5)


@pytest.mark.parametrize("bad", [np.zeros(3), np.full(3, np.nan), np.array([0.1, 0, 0])])
def test_what_is_no_normal_makes_a_round_gaussian(bad: np.ndarray) -> None:
    xyz = np.random.default_rng(0).normal(size=(3, 3))
    found = initial_gaussians(xyz, np.zeros((3, 3), np.uint8), np.tile(bad, (3, 1)), (1e-3, 10.0))
    round_ones = initial_gaussians(xyz, np.zeros((3, 3), np.uint8), None, (1e-3, 10.0))
    assert torch.equal(found.log_scales, round_ones.log_scales) and torch.equal(found.quats, round_ones.quats)


def test_a_first_picture_shows_the_colours_of_the_points() -> None:
    camera = ring(1, SIZE)
    xyz = wall_points(camera)
    rgb = np.where(xyz[:, :1] < 0, [[200, 40, 90]], [[20, 160, 240]]).astype(np.uint8)
    with torch.no_grad():
        seen = rasterize(initial_gaussians(xyz, rgb, None, (1e-3, 1.0)), camera)
    colour = (seen.image[0] / seen.alpha[0, ..., None].clamp(min=1e-3)).numpy() * 255
    for columns, wanted in ((slice(10, 40), [200, 40, 90]), (slice(56, 86), [20, 160, 240])):
        np.testing.assert_allclose(colour[10:-10, columns].mean((0, 1)), wanted, atol=3)


@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_points_count_up_to_a_distance(factor: float) -> None:
    assert usable_points(np.array([[0.0, factor * MAX_DISTANCE, 0]])).tolist() == [factor < 1]


@given(seeds, st.integers(0, 60))
def test_scattered_points_fall_on_the_pixel_whose_colour_they_have(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    images = tuple(random.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for _ in range(2))
    cameras = ring(2, SIZE)
    xyz, rgb = scattered_points(cameras, images, n, np.random.default_rng(seed))
    assert xyz.shape == (n, 3) and rgb.shape == (n, 3)
    hits = np.zeros(n, bool)
    for view in range(2):
        pixels, depth = cameras.project(xyz, np.full(n, view))
        inside = (pixels > 0).all(1) & (pixels < SIZE).all(1) & (depth > 0.49) & (depth < 2.01)
        column, row = np.clip(np.nan_to_num(pixels), 0, SIZE - 1).astype(int).T
        hits |= inside & (images[view][row, column] == rgb).all(1)
    assert hits.mean() > 0.95 if n else True  # a pixel's border may round to the next one


def test_a_photo_that_points_explain_needs_no_more() -> None:
    camera = ring(1, SIZE)
    found, rgb = covering_points(camera, [grey()], [None], wall_points(camera, 20_000), 0, np.random.default_rng(0))
    assert len(found) == len(rgb) == 0


@pytest.mark.parametrize("hole", [1, 3, 8])
def test_one_point_per_empty_cell(hole: int) -> None:
    camera, cell = ring(1, SIZE), SIZE / CELLS
    xyz = wall_points(camera, 20_000)
    pixels, _ = camera.project(xyz, np.zeros(len(xyz), np.int64))
    low, high = 8 * cell, (8 + hole) * cell
    empty = ((pixels >= low) & (pixels < high)).all(1)
    found, rgb = covering_points(camera, [grey(77)], [None], xyz[~empty], 0, np.random.default_rng(0))
    at, depth = camera.project(found, np.zeros(len(found), np.int64))
    assert len(found) == hole**2 and (rgb == 77).all()
    assert ((at >= low - 1e-9) & (at < high + 1e-9)).all()
    assert (depth >= 4 * FREE_SHARE).all() and depth.max() < 6  # at its neighbours' depth or behind


def test_what_one_photo_covered_the_next_leaves_alone() -> None:
    cameras = Cameras(*(np.repeat(getattr(ring(1, SIZE), n), 2, 0) for n in ("cam_from_world", "K", "width", "height")))
    anchor = lifted(cameras, np.array([[2.0, 2.0]]), 4.0)
    one, _ = covering_points(cameras[:1], [grey()], [None], anchor, 0, np.random.default_rng(0))
    two, _ = covering_points(cameras, [grey(), grey()], [None, None], anchor, 0, np.random.default_rng(0))
    assert len(one) == CELLS**2 - 1
    assert len(one) <= len(two) < 1.1 * len(one)


def test_nothing_is_put_in_front_of_what_another_photo_sees() -> None:
    """A point close to the near camera suggests small depths beside it; there they would hide the far camera's wall."""
    near, far = ring(1, SIZE), ring(1, SIZE)
    far.cam_from_world[0, 2, 3] += 6  # the same axis, from further back
    names = ("cam_from_world", "K", "width", "height")
    cameras = Cameras(*(np.concatenate([getattr(near, n), getattr(far, n)]) for n in names))
    grid = np.stack(np.meshgrid(np.arange(40, 57), np.arange(40, 57)), -1).reshape(-1, 2) + 0.5
    wall, anchor = lifted(far, grid, 7.5), lifted(near, np.array([[2.0, 2.0]]), 0.5)
    images, masks = [grey(), grey(0)], [None, None]  # the far photo shows nothing else
    found, _ = covering_points(cameras, images, masks, np.concatenate([wall, anchor]), 0, np.random.default_rng(0))
    alone, _ = covering_points(near, images[:1], masks[:1], np.concatenate([wall, anchor]), 0, np.random.default_rng(0))
    depth, free = (cameras.project(xyz, np.ones(len(xyz), np.int64))[1] for xyz in (found, alone))
    assert len(found) > 20 and (depth > 7.5 * FREE_SHARE).all() and (free < 7.0).any()


@pytest.mark.parametrize(("level", "background"), [(4, 0), (250, 255), (128, 128)])
def test_the_background_is_left_empty(level: int, background: int) -> None:
    camera = ring(1, SIZE)
    anchor = lifted(camera, np.array([[2.0, 2.0]]), 4.0)
    found, _ = covering_points(camera, [grey(level)], [None], anchor, background, np.random.default_rng(0))
    assert len(found) == 0
    found, _ = covering_points(camera, [grey(level)], [None], anchor, 255 - background // 2, np.random.default_rng(0))
    assert len(found) == (0 if abs(level - (255 - background // 2)) <= 10 else CELLS**2 - 1)


@pytest.mark.parametrize("size", [(50, 96), (96, 50), (31, 31)])
def test_photos_of_any_shape_are_covered(size: tuple[int, int]) -> None:
    camera = ring(1, SIZE)
    camera = camera.resized(np.array([size[1]]), np.array([size[0]]))
    anchor = lifted(camera, np.array([[2.0, 2.0]]), 4.0)
    image = np.full((*size, 3), 90, np.uint8)
    found, _ = covering_points(camera, [image], [None], anchor, 0, np.random.default_rng(0))
    pixels, depth = camera.project(found, np.zeros(len(found), np.int64))
    assert (depth > 0).all() and (pixels >= 0).all() and (pixels < size[::-1]).all()
    assert len(found) > 0.8 * CELLS**2 * min(size) / max(size)


@settings(max_examples=30)
@given(seeds, st.floats(0, 1))
def test_seen_means_in_some_image_with_its_margin(seed: int, margin: float) -> None:
    xyz, cameras = np.random.default_rng(seed).normal(size=(80, 3)) * 4, ring(3, SIZE)
    wanted = np.zeros(80, bool)
    for pose, K in zip(cameras.cam_from_world, cameras.K, strict=True):
        cam = xyz @ pose[:3, :3].T + pose[:3, 3]
        with np.errstate(all="ignore"):
            pixel = (cam @ K.T)[:, :2] / cam[:, 2:]
        wanted |= (cam[:, 2] > 0.5) & ((pixel >= -margin * SIZE) & (pixel < (1 + margin) * SIZE)).all(1)
    assert (seen_somewhere(cameras, xyz, 0.5, margin) == wanted).all()
    assert not (seen_somewhere(cameras, xyz, 0.5, 0.0) & ~wanted).any()  # a margin only adds


def test_no_camera_sees_nothing_and_no_point_is_seen() -> None:
    assert not seen_somewhere(ring(3)[:0], np.zeros((4, 3)), 0.1).any()
    assert len(seen_somewhere(ring(3), np.zeros((0, 3)), 0.1)) == 0
    still = replace(ring(2, SIZE), distortion=None)
    found, rgb = covering_points(still[:0], [], [], np.zeros((2, 3)), 0, np.random.default_rng(0))
    assert found.shape == rgb.shape == (0, 3)
