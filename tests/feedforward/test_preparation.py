from __future__ import annotations

import numpy as np
import pytest
import torch

from recon3d.core.errors import InputError
from recon3d.feedforward.preparation import Placement, Sheet, batch, check_photos

K = np.array([[100.0, 0, 32.0], [0, 90.0, 24.0], [0, 0, 1.0]])


def image(height: int = 4, width: int = 6, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_intrinsics_follow_a_resize_and_a_crop() -> None:
    placement = Placement().resized(0.5, 2.0).shifted(-3.0, 1.0)
    moved = placement.to_network(K)
    assert moved.tolist() == [[50.0, 0, 13.0], [0, 180.0, 49.0], [0, 0, 1.0]]
    np.testing.assert_allclose(placement.to_photo(moved), K)


def test_steps_apply_one_after_another() -> None:
    first_shifted = Placement().shifted(4, 6).resized(0.5, 0.5)
    first_resized = Placement().resized(0.5, 0.5).shifted(4, 6)
    point = np.array([10.0, 20.0, 1.0])
    assert (first_shifted.matrix @ point).tolist() == [7.0, 13.0, 1.0]
    assert (first_resized.matrix @ point).tolist() == [9.0, 16.0, 1.0]


def test_padding_puts_the_odd_pixel_at_the_bottom_and_the_right() -> None:
    sheet = Sheet(image()).padded(7, 9, 255)
    assert sheet.placement == Placement(offset_x=1, offset_y=1)
    assert (sheet.pixels[1:5, 1:7] == image()).all()
    border = sheet.pixels.copy()
    border[1:5, 1:7] = 255
    assert (border == 255).all()


def test_cropping_takes_the_middle_and_never_pads() -> None:
    sheet = Sheet(image(9, 6)).cropped(4, 20)
    assert (sheet.pixels == image(9, 6)[2:6]).all()
    assert sheet.placement == Placement(offset_y=-2)


def test_a_resize_changes_the_scales() -> None:
    sheet = Sheet(image()).replaced(image(8, 9))
    assert sheet.placement == Placement(1.5, 2.0)


def test_a_batch_holds_values_of_0_to_1() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    found = batch([Sheet(black), Sheet(white)])
    assert found.images.shape == (2, 3, 2, 2)
    assert torch.equal(found.images[0], torch.zeros(3, 2, 2)) and torch.equal(found.images[1], torch.ones(3, 2, 2))
    assert found.placements == (Placement(), Placement())


def test_no_photo_is_an_error() -> None:
    with pytest.raises(InputError, match="there is no photo"):
        check_photos([])


@pytest.mark.parametrize(
    "bad", [image(channels=1), image()[..., 0], image().astype(np.uint16), image().astype(np.float32), image(0, 5)]
)
def test_what_is_no_image_is_named(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"photo 1 is no image; got: \[.*uint8 \[h,w,3\]"):
        check_photos([image(), bad])


def test_rgb_and_rgba_pass() -> None:
    check_photos([image(), image(channels=4)])
