from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon3d.core.errors import InputError
from recon3d.pipeline_photos import read_sized
from recon3d.render.cameras import Cameras


def camera(width: int, height: int, n: int = 1) -> Cameras:
    K = np.array([[[500.0, 0, width / 2], [0, 500.0, height / 2], [0, 0, 1]]]).repeat(n, 0)
    return Cameras(np.eye(4)[None].repeat(n, 0), K, np.full(n, width), np.full(n, height))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    x, y = np.meshgrid(np.arange(120), np.arange(80))
    Image.fromarray(np.stack([2 * x, 3 * y, x + y], -1).astype(np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_small_photo_stays_as_it_is(photo: Path) -> None:
    read = read_sized([photo], [None], camera(120, 80), 120, 10**6)
    assert (read.images[0] == np.asarray(Image.open(photo))).all()
    assert (read.cameras.K == camera(120, 80).K).all()
    assert read.masks == (None,)


def test_a_large_photo_is_averaged_and_its_camera_follows(photo: Path) -> None:
    """Pixels of a linear ramp keep their colours under the scaled camera: nothing is shifted."""
    read = read_sized([photo], [None], camera(120, 80), 60, 10**6)
    assert read.images[0].shape == (40, 60, 3)
    assert read.cameras.K[0].tolist() == [[250, 0, 30], [0, 250, 20], [0, 0, 1]]
    red = read.images[0][..., 0].astype(float)
    assert np.abs(red - 2 * (2 * (np.arange(60) + 0.5) - 0.5)).max() <= 1.0


def test_odd_sizes_scale_each_axis_exactly() -> None:
    sized = camera(1001, 333).limited(500)
    assert (sized.width[0], sized.height[0]) == (500, 166)
    assert sized.K[0, 0, 0] == pytest.approx(500 * 500 / 1001)
    assert sized.K[0, 1, 2] == pytest.approx(166 / 2)


def test_a_mask_shrinks_to_the_pixels_that_are_wholly_used(photo: Path, tmp_path: Path) -> None:
    mask = np.zeros((80, 120), np.uint8)
    mask[:, 61:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    read = read_sized([photo], [tmp_path / "mask.png"], camera(120, 80), 60, 10**6)
    assert read.masks[0] is not None
    assert read.masks[0].any(axis=0).tolist() == [False] * 31 + [True] * 29


def test_a_photo_of_another_size_is_refused(photo: Path) -> None:
    with pytest.raises(InputError, match=r"size of its camera; got: \(120, 80\); expected: \(121, 80\)"):
        read_sized([photo], [None], camera(121, 80), 200, 10**6)
