"""Cameras: projection against OpenCV's formulas by hand, poses, similarities and lenses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from random_scenes import random_cameras, unchecked

from recon3d.core.errors import ShapeError
from recon3d.render.cameras import Cameras, distort, undistort


def one(distortion: list[float] | None = None) -> Cameras:
    """A camera at (0, 0, -5) that looks along +z."""
    pose = np.eye(4)[None]
    pose[0, 2, 3] = 5
    K = np.array([[[100.0, 0, 32], [0, 200, 24], [0, 0, 1]]])
    return Cameras(pose, K, np.array([64]), np.array([48]), None if distortion is None else np.array([distortion]))


def project(cameras: Cameras, *points: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return cameras.project(np.array(points, np.float64), np.zeros(len(points), np.int64))


def test_projection_by_hand() -> None:
    xy, depth = project(one(), [1, 2, 0], [0, 0, 5])
    assert xy.tolist() == [[32 + 100 * 0.2, 24 + 200 * 0.4], [32, 24]]
    assert depth.tolist() == [5, 10]


def test_points_behind_have_no_pixel_but_a_depth() -> None:
    xy, depth = project(one(), [0, 0, -6], [1, 1, -5])
    assert np.isnan(xy).all() and depth.tolist() == [-1, 0]


def test_distortion_by_hand() -> None:
    x, y, k1, k2, p1, p2 = 0.2, -0.4, 0.1, -0.05, 0.01, -0.02
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2 * r2
    expected = [
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    ]
    xy, _ = project(one([k1, k2, p1, p2]), [5 * x, 5 * y, 0])
    np.testing.assert_allclose(xy, [[32 + 100 * expected[0], 24 + 200 * expected[1]]], rtol=1e-14)


@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=2), st.lists(st.floats(-0.03, 0.03), min_size=4, max_size=4))
def test_undistort_inverts_distort(point: list[float], lens: list[float]) -> None:
    normalized, coefficients = np.array([point]), np.array([lens])
    np.testing.assert_allclose(undistort(distort(normalized, coefficients), coefficients), normalized, atol=1e-11)


def test_undistort_inverts_wide_lenses() -> None:
    points = np.stack(np.meshgrid(np.linspace(-0.6, 0.6, 31), np.linspace(-0.6, 0.6, 31)), -1).reshape(-1, 2)
    for lens in ([-0.3, 0.0, 0.0, 0.0], [-0.35, 0.12, 0.002, -0.001], [0.6, 0.3, 0.01, 0.01]):
        coefficients = np.tile(np.array(lens), (len(points), 1))
        np.testing.assert_allclose(undistort(distort(points, coefficients), coefficients), points, atol=1e-12)


def test_points_beyond_the_fold_have_no_inverse() -> None:
    # r (1 - r^2/3) reaches 2/3 at r = 1 and turns back
    lens = np.tile(np.array([-1 / 3, 0, 0, 0]), (4, 1))
    result = undistort(np.array([[0.6, 0.0], [0.0, -0.7], [2.0, 0.0], [np.nan, 0.0]]), lens)
    np.testing.assert_allclose(np.isnan(result), [[False] * 2, [True] * 2, [True] * 2, [True] * 2])
    np.testing.assert_allclose(distort(result[:1], lens[:1]), [[0.6, 0]], atol=1e-12)


def test_undistorting_nothing() -> None:
    assert undistort(np.zeros((0, 2)), np.zeros((0, 4))).shape == (0, 2)


def test_centers_and_inverse_poses() -> None:
    cameras = random_cameras(1)
    inverse = np.linalg.inv(cameras.cam_from_world)
    np.testing.assert_allclose(cameras.world_from_cam, inverse, atol=1e-14)
    np.testing.assert_allclose(cameras.centers, inverse[:, :3, 3], atol=1e-14)
    assert one().centers.tolist() == [[0, 0, -5]]


@pytest.mark.parametrize("index", [slice(1, 3), np.array([2, 0]), np.array([True, False, True, False])])
def test_selection(index: slice | np.ndarray) -> None:
    cameras = random_cameras(2)
    part = cameras[index]
    assert len(part) == 2
    for name in ("cam_from_world", "K", "width", "height", "distortion"):
        assert np.array_equal(getattr(part, name), getattr(cameras, name)[index])
    assert cameras.pinhole()[index].distortion is None


def test_a_similarity_moves_world_and_cameras_together() -> None:
    cameras = random_cameras(3)
    similarity = np.array([[0.0, -3, 0, 1], [3, 0, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])
    points = np.random.default_rng(0).normal(size=(4, 3)) * 0.3
    moved = cameras.transformed(similarity)
    before, depth_before = cameras.project(points, np.arange(4))
    after, depth_after = moved.project(points @ similarity[:3, :3].T + similarity[:3, 3], np.arange(4))
    np.testing.assert_allclose(after, before, atol=1e-9)
    np.testing.assert_allclose(depth_after, 3 * depth_before)
    np.testing.assert_allclose(np.linalg.det(moved.cam_from_world[:, :3, :3]), 1)
    assert moved.cam_from_world[:, 3].tolist() == [[0, 0, 0, 1]] * 4


def test_scaling_an_image_scales_two_rows_of_k() -> None:
    small = replace(one([0.1, 0, 0, 0]), K=one().K * np.array([[[0.5], [0.5], [1.0]]]))
    xy, _ = project(one([0.1, 0, 0, 0]), [1, 2, 0])
    np.testing.assert_allclose(project(small, [1, 2, 0])[0], xy / 2)


def test_shapes_must_agree() -> None:
    cameras = random_cameras(4)
    changes = {"K": cameras.K[1:], "width": cameras.width[1:], "distortion": np.zeros((3, 4))}
    for name, value in changes.items():
        with pytest.raises(ShapeError, match=rf"Cameras\.{name} has the wrong shape"):
            unchecked(Cameras, **{**vars(cameras), name: value})


def test_tensors_are_float32_copies_of_the_fields() -> None:
    import torch

    cameras = random_cameras(5)
    tensors = cameras.torch()
    assert tensors["K"].dtype == torch.float32 and tensors["width"].dtype == torch.int64
    np.testing.assert_array_equal(tensors["K"].numpy(), cameras.K.astype(np.float32))
    assert "distortion" in tensors and "distortion" not in cameras.pinhole().torch()


def test_another_size_keeps_the_field_of_view() -> None:
    K = np.array([[[500.0, 0, 320], [0, 510.0, 200], [0, 0, 1]]])
    cameras = Cameras(np.eye(4)[None], K, np.array([641]), np.array([400]))
    small = cameras.limited(200)
    assert (small.width[0], small.height[0]) == (200, 125)
    np.testing.assert_allclose(small.K[0, 0] / 200, K[0, 0] / 641)
    np.testing.assert_allclose(small.K[0, 1] / 125, K[0, 1] / 400)
    back = small.resized(cameras.width, cameras.height)
    np.testing.assert_allclose(back.K, K, rtol=1e-14)
    assert cameras.limited(1000).K.tobytes() == K.tobytes()
