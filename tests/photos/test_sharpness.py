"""Blur measured on generated textures that were blurred by a known amount."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from recon3d.photos.sharpness import clearly_blurred, edge_blur_px, reduced_grey


def _grey(picture: Image.Image, sigma: Any = 0.0) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(reduced_grey(picture, 1024), sigma), np.float32)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5, 4.0])
def test_a_blurred_edge_measures_its_own_blur(sigma: float) -> None:
    step = np.zeros((64, 96), np.float32)
    step[:, 48:] = 200
    step[32:, :] += 50
    assert edge_blur_px(np.asarray(ndimage.gaussian_filter(step, sigma), np.float32)) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("cells", [6, 12, 25])
@pytest.mark.parametrize("seed", [0, 1])
def test_blur_grows_with_the_filter_whatever_the_texture(pictures: ModuleType, cells: int, seed: int) -> None:
    picture = pictures.texture(640, 480, seed=seed, cells=cells)
    blurs = [edge_blur_px(_grey(picture, sigma)) for sigma in (0.0, 1.0, 2.0, 3.0)]
    assert blurs == sorted(blurs)
    assert blurs[2:] == pytest.approx([2.0, 3.0], rel=0.1)


def test_motion_along_any_direction_counts(pictures: ModuleType) -> None:
    sharp = _grey(pictures.texture(640, 480))
    across = ndimage.uniform_filter1d(sharp, 9, axis=1)
    down = ndimage.uniform_filter1d(sharp, 9, axis=0)
    diagonal = np.mean([np.roll(sharp, (k, k), (0, 1)) for k in range(-3, 4)], axis=0).astype(np.float32)
    for moved in (across, down, diagonal):
        assert edge_blur_px(moved) > 2.5 * edge_blur_px(sharp)


def test_contrast_and_brightness_do_not_count(pictures: ModuleType) -> None:
    grey = _grey(pictures.texture(640, 480), 1.0)
    assert edge_blur_px(grey * np.float32(0.25) + 40) == pytest.approx(edge_blur_px(grey), rel=1e-3)


def test_pictures_without_edges_are_as_blurred_as_can_be() -> None:
    assert edge_blur_px(np.full((64, 64), 7, np.float32)) == 20.0
    assert edge_blur_px(np.zeros((3, 3), np.float32)) == 20.0


@pytest.mark.parametrize("n_blurred", [1, 5])
def test_only_the_blurred_photos_of_a_capture_are_named(pictures: ModuleType, n_blurred: int) -> None:
    """Five of twelve: the capture's standard holds although nearly half of it is blurred."""
    cells = [8, 10, 12, 15, 18, 20, 8, 10, 12, 15, 18, 20]
    sigmas = [1.5] * n_blurred + [0.0] * (12 - n_blurred)
    textures = [pictures.texture(512, 384, seed=seed, cells=count) for seed, count in enumerate(cells)]
    blurs = [edge_blur_px(_grey(picture, sigma)) for picture, sigma in zip(textures, sigmas, strict=True)]
    assert clearly_blurred(blurs) == [sigma > 0 for sigma in sigmas]


def test_a_soft_lens_is_not_blur_and_a_few_photos_are_no_trouble() -> None:
    assert clearly_blurred([1.1, 1.2, 1.15, 1.4]) == [False] * 4
    assert clearly_blurred([2.0]) == [False]
    assert clearly_blurred([]) == []


def test_reduction_averages_and_never_enlarges(pictures: ModuleType) -> None:
    checkers = Image.fromarray(np.uint8(255) * (np.indices((512, 512)).sum(0) % 2).astype(np.uint8)).convert("RGB")
    assert np.abs(reduced_grey(checkers, 128) - 127.5).max() < 1.5
    assert reduced_grey(pictures.texture(320, 240), 1024).shape == (240, 320)
