from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.formats.quaternions import rotation_from_quaternion
from recon3d.render.cameras import Cameras
from recon3d.splats.coverage import covering_points, seen_somewhere
from recon3d.splats.init import (
    FLATNESS,
    SH0,
    START_OPACITY,
    initial_gaussians,
    point_spacing,
    scattered_points,
    usable_points,
)


def camera(size: int = 96) -> Cameras:
    K = np.array([[[size, 0, size / 2], [0, size, size / 2], [0, 0, 1.0]]])
    return Cameras(np.eye(4)[None], K, np.array([size]), np.array([size]))


def test_points_become_round_gaussians_of_their_colour_and_spacing() -> None:
    axis = np.arange(4) * 0.1
    xyz = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    rgb = np.random.default_rng(0).integers(1, 256, (64, 3)).astype(np.uint8)
    found = initial_gaussians(xyz, rgb, None, (1e-3, 1.0))
    assert torch.allclose(found.scales, torch.full((64, 3), 0.1), rtol=1e-5)
    assert torch.allclose(found.opacities, torch.full((64,), START_OPACITY))
    assert torch.allclose(found.sh[:, 0] * SH0 + 0.5, torch.from_numpy(rgb / 255).float(), atol=1e-6)
    black = initial_gaussians(xyz, np.zeros_like(rgb), None, (1e-3, 1.0))
    assert (black.sh[:, 0] * SH0 + 0.5 > 0).all()  # colours at the cut would never become brighter


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_normals_flatten_gaussians_along_themselves(seed: int) -> None:
    random = np.random.default_rng(seed)
    normals = random.normal(size=(5, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals[3] = np.nan
    found = initial_gaussians(random.normal(size=(5, 3)), np.zeros((5, 3), np.uint8), normals, (1e-3, 10.0))
    z = rotation_from_quaternion(found.quats.double().numpy())[:, :, 2]
    known = [0, 1, 2, 4]
    np.testing.assert_allclose(z[known], normals[known], atol=1e-5)
    ratio = (found.scales[:, 2] / found.scales[:, 0]).numpy()
    assert ratio[known] == pytest.approx(FLATNESS, rel=1e-4) and ratio[3] == pytest.approx(1.0, rel=1e-4)


def test_scales_are_limited_and_a_lonely_point_has_one() -> None:
    xyz = np.array([[0.0, 0, 0], [1e-9, 0, 0], [50, 0, 0]])
    scales = initial_gaussians(xyz, np.zeros((3, 3), np.uint8), None, (0.01, 0.2)).scales
    assert scales.min().item() >= 0.0099 and scales.max().item() <= 0.2001
    assert point_spacing(np.zeros((1, 3))).tolist() == [1.0] and len(point_spacing(np.zeros((0, 3)))) == 0
    assert len(initial_gaussians(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), None, (0.01, 0.2))) == 0


def test_points_that_are_nowhere_are_left_out() -> None:
    xyz = np.array([[0.0, 0, 0], [np.nan, 0, 0], [1e6, 0, 0], [0, np.inf, 0]])
    assert usable_points(xyz).tolist() == [True, False, False, False]


def test_scattered_points_are_seen_with_the_colour_of_their_pixel() -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    image[:, 48:, 0] = 200
    xyz, rgb = scattered_points(camera(), (image,), 200, np.random.default_rng(0))
    pixels, depth = camera().project(xyz, np.zeros(200, np.int64))
    assert (depth > 0.49).all() and (depth < 2.01).all()
    assert ((pixels[:, 0] >= 48) == (rgb[:, 0] == 200)).all()


def test_cells_without_points_are_covered_at_or_behind_their_neighbours() -> None:
    """Points explain the left half; the right half shows a plain wall."""
    random = np.random.default_rng(0)
    image = np.full((96, 96, 3), 90, np.uint8)
    pixel = random.uniform(0, [48, 96], (4000, 2))
    xyz = np.stack([(pixel[:, 0] - 48) / 96 * 3, (pixel[:, 1] - 48) / 96 * 3, np.full(4000, 3.0)], axis=1)
    found, rgb = covering_points(camera(), [image], [None], xyz, 0, random)
    pixels, depth = camera().project(found, np.zeros(len(found), np.int64))
    assert len(found) == 24 * 12 and (pixels[:, 0] >= 47.9).all()
    assert np.median(depth) == pytest.approx(3.2, rel=0.05) and (rgb == 90).all()


def test_cells_of_the_background_or_outside_the_mask_stay_empty() -> None:
    random = np.random.default_rng(0)
    image = np.full((96, 96, 3), 90, np.uint8)
    image[:48] = 3
    mask = np.ones((96, 96), np.uint8)
    mask[:, :48] = 0
    found, _ = covering_points(camera(), [image], [mask], np.array([[0.0, 0, 2]]), 0, random)
    pixels, _ = camera().project(found, np.zeros(len(found), np.int64))
    assert len(found) > 100 and (pixels > 46).all()
    none, _ = covering_points(camera(), [image], [None], np.zeros((0, 3)), 0, random)
    assert none.shape == (0, 3)


def test_what_no_photo_sees_is_known() -> None:
    xyz = np.array([[0.0, 0, 2], [0, 0, 0.05], [0, 0, -2], [0.9, 0, 2], [1.5, 0, 2], [9, 0, 2]])
    assert seen_somewhere(camera(), xyz, 0.1).tolist() == [True, False, False, True, True, False]
