"""SIFT: pixel origin, scaling, masks, colours, and the worker task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from recon3d.core.workers import TaskFailure, WorkerOptions, run_tasks
from recon3d.sfm.features import at_keypoints, extract_task, sift
from recon3d.sfm.matching import match_descriptors

HEIGHT, WIDTH = 240, 320


def texture(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """Smooth coloured noise of several scales."""
    rng, out = np.random.default_rng(seed), np.zeros((height, width, 3))
    for size in (8, 16, 40):
        coarse = rng.integers(0, 256, (height // size + 2, width // size + 2, 3)).astype(np.uint8)
        out += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float64) / 3
    return out.round().astype(np.uint8)


@pytest.fixture(scope="module")
def found() -> tuple[np.ndarray, np.ndarray]:
    return sift(texture(), 3200, 2000, False)


def matched(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, ...]:
    pairs = match_descriptors(first[1], second[1])
    return first[0][pairs[:, 0]].astype(np.float64), second[0][pairs[:, 1]].astype(np.float64)


def test_keypoints_lie_in_the_photo_and_descriptors_are_root_normalised(found: tuple[np.ndarray, np.ndarray]) -> None:
    xy, descriptors = found
    assert len(xy) == len(descriptors) > 300
    assert xy.dtype == np.float32 and descriptors.dtype == np.uint8 and xy.flags.c_contiguous
    assert (xy >= 0).all() and (xy <= [WIDTH, HEIGHT]).all()
    length = np.linalg.norm(descriptors.astype(np.float64), axis=1)
    np.testing.assert_allclose(length, 512, rtol=0.03)


def test_same_bits_twice(found: tuple[np.ndarray, np.ndarray]) -> None:
    for first, second in zip(found, sift(texture(), 3200, 2000, False), strict=True):
        np.testing.assert_array_equal(first, second)


def test_centre_of_the_first_pixel_is_one_half() -> None:
    """A blob about (32.25, 30.5), whose pixel centres stand at half numbers."""
    y, x = np.mgrid[0:64, 0:64] + 0.5
    blob = 255 * np.exp(-((x - 32.25) ** 2 + (y - 30.5) ** 2) / (2 * 4.0**2))
    xy, _ = sift(np.repeat(blob.round().astype(np.uint8)[..., None], 3, axis=2), 3200, 10, False)
    assert len(xy) > 0
    np.testing.assert_allclose(xy, np.tile([32.25, 30.5], (len(xy), 1)), atol=0.05)


def test_turned_photo_mirrors_its_keypoints(found: tuple[np.ndarray, np.ndarray]) -> None:
    """Exact only when the origin is the outer corner: otherwise the sum would be one pixel short."""
    turned = sift(np.ascontiguousarray(texture()[::-1, ::-1]), 3200, 2000, False)
    here, there = matched(found, turned)
    assert len(here) > 250
    np.testing.assert_allclose(np.median(here + there, axis=0), [WIDTH, HEIGHT], atol=0.01)


def test_keypoints_follow_a_shift(found: tuple[np.ndarray, np.ndarray]) -> None:
    here, there = matched(found, sift(np.roll(texture(), (11, 23), axis=(0, 1)), 3200, 2000, False))
    assert len(here) > 200
    np.testing.assert_allclose(np.median(there - here, axis=0), [23, 11], atol=0.01)


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (WIDTH - 1, HEIGHT), (333, 211)])
def test_smaller_search_size_maps_back_to_full_pixels(size: tuple[int, int]) -> None:
    image = texture(size[1], size[0])
    full, small = sift(image, 3200, 2000, False), sift(image, 200, 2000, False)
    here, there = matched(full, small)
    assert len(here) > 100 and not np.array_equal(here, there)
    assert np.abs((there - here).mean(axis=0)).max() < 0.2
    assert np.abs(np.median(there - here, axis=0)).max() < 0.1
    assert there.max() > 200, "not in pixels of the small image"


def test_larger_search_size_changes_nothing(found: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(sift(texture(), WIDTH, 2000, False)[0], found[0])


def test_bound_on_features_is_exact_and_keeps_the_largest() -> None:
    everything = sift(texture(), 3200, 4000, False)
    for most in (64, 80, 200):
        xy, descriptors = sift(texture(), 3200, most, False)
        assert len(xy) == len(descriptors) == most < len(everything[0])
        # Largest first: a tighter bound keeps the head of the list.
        np.testing.assert_array_equal(xy, everything[0][:most])
        np.testing.assert_array_equal(descriptors, everything[1][:most])


def test_bound_on_rich_features_is_exact() -> None:
    xy, descriptors = sift(texture(), 3200, 70, True)
    assert len(xy) == len(descriptors) == 70


def test_rich_settings_find_more_where_contrast_is_low() -> None:
    faint = (120 + 0.14 * texture().astype(np.float64)).round().astype(np.uint8)
    plain, rich = (len(sift(faint, 3200, 4000, rich)[0]) for rich in (False, True))
    assert rich > 1.5 * plain


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("shape", [(40, 60), (1, 1), (3, 200), (15, 15), (16, 16)])
def test_photos_without_texture_have_no_features(shape: tuple[int, int], rich: bool) -> None:
    xy, descriptors = sift(np.full((*shape, 3), 90, np.uint8), 100, 100, rich)
    assert xy.shape == (0, 2) and descriptors.shape == (0, 128)
    assert xy.dtype == np.float32 and descriptors.dtype == np.uint8


def test_photos_of_a_few_pixels_do_not_crash_the_extractor() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (15, 300, 3)).astype(np.uint8)
    for image in (noise, noise.transpose(1, 0, 2).copy(), noise[:8, :8]):
        for rich in (False, True):
            assert len(sift(image, 3200, 100, rich)[0]) == 0
    wide = np.random.default_rng(0).integers(0, 256, (20, 400, 3)).astype(np.uint8)
    assert len(sift(wide, 400, 100, True)[0]) > 0
    assert len(sift(wide, 200, 100, True)[0]) == 0, "ten pixels high when scaled down"


@given(st.floats(0.0, 8.0, width=32), st.floats(0.0, 5.0, width=32))
def test_pixel_under_a_keypoint(x: float, y: float) -> None:
    image = np.arange(5 * 8).reshape(5, 8)
    (value,) = at_keypoints(image, np.array([[x, y]], np.float32))
    assert value == image[min(int(y), 4), min(int(x), 7)]


def test_pixels_of_colours_and_masks_keep_their_kind() -> None:
    xy = np.array([[0.5, 0.5], [7.999, 4.999], [8.0, 5.0]], np.float32)
    assert at_keypoints(np.zeros((5, 8, 3), np.uint8), xy).shape == (3, 3)
    mask = np.zeros((5, 8), bool)
    mask[4, 7] = True
    assert at_keypoints(mask, xy).tolist() == [False, True, True]
    assert at_keypoints(np.zeros((5, 8, 3), np.uint8), xy[:0]).shape == (0, 3)


# ---------------------------------------------------------------- task


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    Image.fromarray(texture()).save(tmp_path / "photo.png")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, : WIDTH // 2] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return {
        "photo": str(tmp_path / "photo.png"),
        "mask": None,
        "target": str(tmp_path / "features.npz"),
        "max_image_size": 3200,
        "max_features": 2000,
        "max_pixels": 10_000_000,
        "rich": False,
    }


def test_task_writes_keypoints_descriptors_and_colours(
    task: dict[str, Any], found: tuple[np.ndarray, np.ndarray]
) -> None:
    assert extract_task(**task) == {"n_features": len(found[0])}
    with np.load(task["target"], allow_pickle=False) as data:
        assert set(data) == {"xy", "descriptors", "rgb"}
        np.testing.assert_array_equal(data["xy"], found[0])
        np.testing.assert_array_equal(data["descriptors"], found[1])
        column, row = np.minimum(found[0].astype(int), [WIDTH - 1, HEIGHT - 1]).T
        np.testing.assert_array_equal(data["rgb"], texture()[row, column])


def test_masked_pixels_have_no_features(
    task: dict[str, Any], found: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    count = extract_task(**{**task, "mask": str(tmp_path / "mask.png")})["n_features"]
    with np.load(task["target"], allow_pickle=False) as data:
        assert len(data["xy"]) == len(data["rgb"]) == len(data["descriptors"]) == count
        kept = found[0][:, 0] < WIDTH // 2
        assert 0 < count < len(kept)
        np.testing.assert_array_equal(data["xy"], found[0][kept])
        np.testing.assert_array_equal(data["descriptors"], found[1][kept])


def test_keypoints_belong_to_the_upright_photo(task: dict[str, Any], tmp_path: Path) -> None:
    """A photo stored on its side: orientation 6 turns it clockwise for display."""
    image = Image.fromarray(texture())
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.png", exif=exif)
    extract_task(**task)
    upright = sift(texture(), 3200, 2000, False)
    with np.load(task["target"], allow_pickle=False) as data:
        np.testing.assert_array_equal(data["xy"], upright[0])


def test_workers_agree_and_a_bad_photo_fails_alone(task: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    tasks = [
        {**task, "target": str(tmp_path / "a.npz")},
        {**task, "photo": str(tmp_path / "broken.png"), "target": str(tmp_path / "b.npz")},
        {**task, "max_pixels": 100, "target": str(tmp_path / "c.npz")},
        {**task, "target": str(tmp_path / "d.npz")},
    ]
    done = run_tasks("recon3d.sfm.features:extract_task", tasks, WorkerOptions(n_workers=1))
    assert done[0] == done[3] == extract_task(**task)
    assert isinstance(done[1], TaskFailure) and isinstance(done[2], TaskFailure)
    assert done[1].error in ("FormatError", "InputError") and "100" in done[2].reason
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "d.npz").read_bytes() == Path(task["target"]).read_bytes()
    assert not list(tmp_path.glob("[bc].npz")) and not list(tmp_path.glob(".*"))
