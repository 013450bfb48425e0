"""Held-out photos as a measure: masks, colour fits, backgrounds, and inputs that no measure may be taken from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import ShapeError, UsageError
from recon3d.evaluation.novel_views import psnr, ssim
from recon3d.render.gaussians import Gaussians
from recon3d.splats.evaluate import render_view, view_errors
from recon3d.splats.targets import make_targets, resize, resize_mask, scale_cameras
from recon3d.splats.types import SplatInputs

from .conftest import SIZE, coloured_blobs, ring

CPU = torch.device("cpu")
seeds = st.integers(0, 10_000)


def pair(seed: int = 0, size: tuple[int, int] = (40, 56)) -> tuple[np.ndarray, np.ndarray]:
    """A rendered view and a photo that is like it."""
    random = np.random.default_rng(seed)
    photo = random.integers(0, 256, (*size, 3), np.uint8)
    return np.clip(photo / 255 + random.normal(0, 0.05, (*size, 3)), 0, 1), photo


@settings(max_examples=4)
@given(seeds)
def test_a_mask_of_everything_is_no_mask(seed: int) -> None:
    rendered, photo = pair(seed)
    whole, masked = view_errors("k", rendered, photo), view_errors("k", rendered, photo, np.ones((40, 56), np.uint8))
    for name in ("psnr", "ssim", "psnr_fit", "ssim_fit"):
        assert getattr(masked, name) == pytest.approx(getattr(whole, name), rel=1e-5), name


@settings(max_examples=4)
@given(seeds)
def test_what_is_masked_cannot_be_seen_in_the_errors(seed: int) -> None:
    rendered, photo = pair(seed)
    mask = (np.random.default_rng(seed).random((40, 56)) < 0.7).astype(np.uint8)
    junk, other = rendered.copy(), photo.copy()
    junk[mask == 0] = np.random.default_rng(1).random((int((mask == 0).sum()), 3))
    one = view_errors("k", rendered, photo, mask)
    assert view_errors("k", junk, photo, 200 * mask) == one
    other[mask == 0] = 255 - other[mask == 0]
    assert view_errors("k", rendered, other, mask).psnr == one.psnr


def test_the_masked_psnr_is_that_of_the_pixels_that_count() -> None:
    rendered, photo = pair()
    mask = np.zeros((40, 56), np.uint8)
    mask[10:30, 15:40] = 7
    cut = (slice(10, 30), slice(15, 40))
    assert view_errors("k", rendered, photo, mask).psnr == pytest.approx(psnr(rendered[cut], photo[cut] / 255))


@pytest.mark.parametrize("border", [True, False])
def test_without_a_pixel_to_compare_there_is_no_number(border: bool) -> None:
    rendered, photo = pair()
    mask = np.zeros((40, 56), np.uint8)
    mask[:, :3] = border  # no window of SSIM lies around these
    found = view_errors("k", rendered, photo, mask)
    assert np.isnan([found.psnr, found.ssim, found.psnr_fit, found.ssim_fit]).all()
    assert found.to_json()["psnr"] is None


def test_equal_images_are_perfect() -> None:
    _, photo = pair()
    for mask in (None, np.ones((40, 56), np.uint8)):
        found = view_errors("k", photo / 255, photo, mask)
        assert found.psnr == np.inf and found.ssim == pytest.approx(1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("gain", [0.5, 0.8, 1.0])
def test_the_fit_takes_the_exposure_away_and_nothing_else(gain: float, masked: bool) -> None:
    rendered, _ = pair()
    photo = np.rint(255 * (gain * rendered + 0.05 * (1 - gain))).astype(np.uint8)
    found = view_errors("k", rendered, photo, np.ones((40, 56), np.uint8) if masked else None)
    assert found.psnr_fit is not None and found.psnr_fit > 50
    assert found.psnr == pytest.approx(psnr(rendered, photo / 255))
    assert found.ssim == pytest.approx(ssim(rendered, photo / 255), abs=1e-6)
    if gain < 1:
        assert found.psnr < found.psnr_fit - 15


@settings(max_examples=5)
@given(seeds)
def test_the_fit_never_makes_it_worse(seed: int) -> None:
    found = view_errors("k", *pair(seed))
    assert found.psnr_fit is not None and found.psnr_fit >= found.psnr - 1e-3


@pytest.mark.parametrize(("background", "level"), [("black", 0.0), ("white", 1.0)])
def test_no_gaussian_shows_the_background(background: str, level: float) -> None:
    seen = render_view(coloured_blobs()[:0], ring(2), 1, antialiased=True, background=background)
    assert seen.shape == (SIZE, SIZE, 3) and seen.dtype == np.float64 and (seen == level).all()


def test_views_have_the_size_of_their_camera_and_stay_between_0_and_1() -> None:
    cameras = ring(2).resized(np.array([48, 20]), np.array([48, 30]))
    bright = replace(coloured_blobs(), sh=torch.full((60, 1, 3), 50.0))
    assert render_view(bright, cameras, 1, antialiased=False).shape == (30, 20, 3)
    assert render_view(bright, cameras, 0, antialiased=False).max() == 1


def test_nothing_nearer_than_the_near_plane_is_drawn() -> None:
    one = Gaussians(
        torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), -2.0), torch.ones(1), torch.ones(1, 1, 3)
    )
    seen = [render_view(one, ring(1), 0, antialiased=True, near=near).max() for near in (3.9, 4.1)]
    assert seen[0] > 0.1 and seen[1] == 0


@pytest.mark.parametrize("shrink", [0.25, 1 / 3, 0.5])
def test_the_mean_colour_stays_when_a_photo_shrinks(shrink: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8)
    assert np.abs(resize(image, shrink).mean((0, 1)) - image.mean((0, 1))).max() < 1.0
    assert resize(image, 1e-6).shape == (1, 1, 3)


@given(seeds)
def test_a_mask_shrinks_to_the_majority(seed: int) -> None:
    mask = (np.random.default_rng(seed).random((8, 12)) < 0.5).astype(np.uint8) * 3
    share = (mask != 0).reshape(4, 2, 6, 2).mean((1, 3))
    assert (resize_mask(mask, 0.5) == (share > 0.5)).all()
    assert set(np.unique(resize_mask(mask, 1.0))) <= {0, 1}


@given(st.integers(5, 200), st.integers(5, 200))
def test_rays_through_the_corners_stay_when_cameras_shrink(height: int, width: int) -> None:
    small = scale_cameras(ring(1), [(height, width)])
    corners = np.array([[0, 0, 1.0], [SIZE, SIZE, 1]]), np.array([[0, 0, 1.0], [width, height, 1]])
    rays = [at @ np.linalg.inv(K).T for at, K in zip(corners, (ring(1).K[0], small.K[0]), strict=True)]
    np.testing.assert_allclose(rays[0], rays[1], atol=1e-12)


def test_targets_keep_poses_sizes_and_which_pixels_count(tiny: SplatInputs) -> None:
    masks = [None] * 8 + [np.ones((SIZE, SIZE), np.uint8)]
    found = make_targets(tiny.images, masks, tiny.cameras, 0.5, CPU)
    assert len(found) == 9 and [one.mask is None for one in found] == [True] * 8 + [False]
    for one, pose in zip(found, tiny.cameras.cam_from_world, strict=True):
        np.testing.assert_allclose(one.cam_from_world, pose, atol=1e-6)
        assert one.image.shape == (SIZE // 2, SIZE // 2, 3) and one.n_pixels == SIZE**2 // 4
        other = torch.eye(4)
        assert torch.equal(one.camera(other).cam_from_world[0], other)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["points", "poses", "intrinsics"])
def test_numbers_that_are_not_finite_are_refused(tiny: SplatInputs, what: str, bad: float) -> None:
    points, cameras = tiny.points_xyz.copy(), tiny.cameras
    pose, K = cameras.cam_from_world.copy(), cameras.K.copy()
    {"points": points[3], "poses": pose[2, 0], "intrinsics": K[8, 0]}[what][:1] = bad
    with pytest.raises(UsageError, match=what):
        replace(tiny, points_xyz=points, cameras=replace(cameras, cam_from_world=pose, K=K))


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("field", ["images", "masks", "points_rgb", "normals"])
def test_one_entry_too_few_is_refused(tiny: SplatInputs, field: str) -> None:
    full = replace(tiny, masks=(None,) * 9, normals=np.zeros_like(tiny.points_xyz))
    with pytest.raises(ShapeError, match="disagree"):
        replace(full, **{field: getattr(full, field)[:-1]})
