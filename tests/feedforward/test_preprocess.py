"""Preparing photos for both networks: sizes, colours, and where a corner of a checkerboard goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from recon3d.core.errors import InputError
from recon3d.feedforward.da3 import preprocess as da3
from recon3d.feedforward.preparation import Prepared
from recon3d.feedforward.vggt import preprocess as vggt


def image(height: int, width: int, channels: int = 3, value: int | None = None) -> np.ndarray:
    if value is not None:
        return np.full((height, width, channels), value, np.uint8)
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("mode", "height", "width", "expected"),
    [
        ("crop", 300, 400, (392, 518)),
        ("crop", 800, 400, (518, 518)),
        ("pad", 300, 400, (518, 518)),
        ("pad", 400, 300, (518, 518)),
        ("square", 300, 400, (518, 518)),
        ("crop", 2, 4000, (14, 518)),
    ],
)
def test_sizes_of_vggt(mode: str, height: int, width: int, expected: tuple[int, int]) -> None:
    found = vggt.prepare([image(height, width)], mode)  # type: ignore[arg-type]
    assert tuple(found.images.shape) == (1, 3, *expected)


@pytest.mark.parametrize(
    ("method", "height", "width", "expected"),
    [
        ("upper_bound_resize", 300, 400, (378, 504)),
        ("upper_bound_crop", 305, 400, (378, 504)),
        ("lower_bound_resize", 300, 400, (504, 672)),
        ("lower_bound_crop", 300, 400, (504, 672)),
        ("upper_bound_resize", 700, 700, (504, 504)),
        ("upper_bound_resize", 2, 4000, (14, 504)),
        ("upper_bound_crop", 2, 4000, (1, 504)),
    ],
)
def test_sizes_of_da3(method: str, height: int, width: int, expected: tuple[int, int]) -> None:
    found = da3.prepare([image(height, width)], method)  # type: ignore[arg-type]
    if expected[0] > 1:
        assert tuple(found.images.shape) == (1, 3, *expected)
    else:
        assert found.images.shape[2] < 14  # too flat to be cropped: the network refuses it by its shape


def test_halves_go_to_the_even_multiple_in_vggt_and_up_in_da3() -> None:
    assert [vggt._multiple(side) for side in (21, 35, 3)] == [28, 28, 14]
    assert [da3._nearest_multiple(side) for side in (21, 35, 3)] == [28, 42, 14]


def test_photos_of_several_shapes_share_a_batch() -> None:
    wide, tall = image(100, 200, value=0), image(200, 100, value=0)
    padded = vggt.prepare([wide, tall], size=140).images
    assert padded.shape == (2, 3, 140, 140)
    assert (padded[0, :, :35] == 1).all() and (padded[0, :, 35:105] == 0).all()
    cropped = da3.prepare([wide, tall], size=140)
    assert cropped.images.shape == (2, 3, 70, 70)
    assert [(one.offset_x, one.offset_y) for one in cropped.placements] == [(-35, 0), (0, -35)]


def test_transparent_parts_are_white_in_vggt() -> None:
    photo = image(28, 28, 4, value=0)
    assert (vggt.prepare([photo], size=28).images == 1).all()
    photo[..., 3] = 255
    assert (vggt.prepare([photo], size=28).images == 0).all()


def test_square_padding_is_black_and_pad_is_white() -> None:
    photo = image(14, 28, value=128)
    assert (vggt.prepare([photo], "square", size=28).images[0, :, 0] == 0).all()
    assert (vggt.prepare([photo], "pad", size=28).images[0, :, 0] == 1).all()


def test_only_da3_is_normalised_outside() -> None:
    grey = image(28, 28, value=128)
    assert torch.allclose(vggt.prepare([grey], size=28).images, torch.full((1, 3, 28, 28), 128 / 255))
    found = da3.prepare([grey], size=28).images[0, :, 0, 0]
    assert torch.allclose(found * torch.tensor(da3.STD) + torch.tensor(da3.MEAN), torch.full((3,), 128 / 255))


METHODS: list[Callable[[list[np.ndarray]], Prepared]] = [
    lambda photos: vggt.prepare(photos, "crop", size=140),
    lambda photos: vggt.prepare(photos, "pad", size=140),
    lambda photos: vggt.prepare(photos, "square", size=140),
    lambda photos: da3.prepare(photos, "upper_bound_resize", size=140),
    lambda photos: da3.prepare(photos, "upper_bound_crop", size=140),
    lambda photos: da3.prepare(photos, "lower_bound_resize", size=140),
    lambda photos: da3.prepare(photos, "lower_bound_crop", size=140),
]


@pytest.mark.parametrize("prepare", METHODS)
@pytest.mark.parametrize(("height", "width"), [(210, 300), (301, 207)])
def test_an_edge_of_the_photo_is_where_the_placement_says(
    prepare: Callable[[list[np.ndarray]], Prepared], height: int, width: int
) -> None:
    photo = np.zeros((height, width, 3), np.uint8)
    photo[: height // 2, : width // 2] = 255
    found = prepare([photo])
    corner = found.placements[0].matrix @ [width // 2, height // 2, 1.0]
    bright = found.images[0, 0] > found.images[0, 0, 70, 20:120].mean()
    x, y = (round(float(one)) for one in corner[:2])
    inner = bright[y - 20 : y + 20, x - 20 : x + 20].float()
    across, down = inner[:15].mean(0), inner[:, :15].mean(1)
    assert abs(float(across.sum()) - 20) <= 1 and abs(float(down.sum()) - 20) <= 1


@pytest.mark.parametrize("prepare", METHODS)
def test_bad_photos_are_refused(prepare: Callable[[list[np.ndarray]], Prepared]) -> None:
    with pytest.raises(InputError, match="there is no photo"):
        prepare([])
    with pytest.raises(InputError, match="photo 0 is no image"):
        prepare([np.zeros((20, 20), np.uint8)])
