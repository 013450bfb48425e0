"""Duplicates: copies are found, photos taken a moment later are not."""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recon3d.photos.duplicates import FINGERPRINT_SIDE, Fingerprint, find_duplicates
from recon3d.photos.sharpness import reduced_grey


def _print(key: str, picture: Image.Image, n_bytes: int = 1000, **fields: Any) -> Fingerprint:
    grey = np.rint(reduced_grey(picture.convert("RGB"), FINGERPRINT_SIDE)).astype(np.uint8)
    options: dict[str, Any] = {"sha256": key, "has_focal": False, **fields}
    return Fingerprint(key=key, grey=grey, size=picture.size, n_bytes=n_bytes, **options)


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _moved(picture: Image.Image, *affine: float) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photo(pictures: ModuleType) -> Image.Image:
    return _jpeg(pictures.texture(640, 480), 97)


@pytest.mark.parametrize("quality", [95, 70, 40, 25])
def test_recompressed_copies_are_found(photo: Image.Image, quality: int) -> None:
    prints = [_print("a.jpg", photo, 9000), _print("b.jpg", _jpeg(photo, quality), 4000)]
    assert find_duplicates(prints) == {"b.jpg": "a.jpg"}


@pytest.mark.parametrize("scale", [0.75, 0.5, 0.3])
@pytest.mark.parametrize("kernel", [Image.Resampling.LANCZOS, Image.Resampling.BILINEAR])
def test_resized_copies_are_found_and_the_larger_one_is_kept(
    photo: Image.Image, scale: float, kernel: Image.Resampling
) -> None:
    small = photo.resize((round(640 * scale), round(480 * scale)), kernel)
    assert find_duplicates([_print("a.jpg", _jpeg(small, 85)), _print("z.jpg", photo)]) == {"a.jpg": "z.jpg"}


@pytest.mark.parametrize("shift", [0.25, 0.5, 1.0, 3.0])
def test_a_moved_camera_is_no_copy(photo: Image.Image, shift: float) -> None:
    for moved in (_moved(photo, 1, 0, shift, 0, 1, 0), _moved(photo, 1, 0, 0, 0, 1, shift)):
        assert find_duplicates([_print("a.jpg", photo), _print("b.jpg", moved)]) == {}


def test_zoom_and_roll_about_the_centre_are_no_copy(photo: Image.Image) -> None:
    zoom = 1.001
    zoomed = _moved(photo, zoom, 0, 320 * (1 - zoom), 0, zoom, 240 * (1 - zoom))
    rolled = photo.rotate(0.06, Image.Resampling.BICUBIC)
    for other in (zoomed, rolled):
        assert find_duplicates([_print("a.jpg", photo), _print("b.jpg", other)]) == {}


def test_something_that_moved_in_front_of_a_still_camera_is_no_copy(photo: Image.Image, pictures: ModuleType) -> None:
    other = photo.copy()
    other.paste(pictures.texture(80, 60, seed=9), (300, 200))
    assert find_duplicates([_print("a.jpg", photo), _print("b.jpg", other)]) == {}


def test_another_exposure_and_a_crop_are_no_copies(photo: Image.Image) -> None:
    darker = Image.fromarray((np.asarray(photo) * 0.8).astype(np.uint8))
    crop = photo.crop((0, 0, 640, 400))
    assert find_duplicates([_print("a", photo), _print("b", darker), _print("c", crop)]) == {}


def test_equal_bytes_are_copies_even_without_texture() -> None:
    blank = Image.new("RGB", (320, 240), "grey")
    prints = [_print("b", blank, sha256="1"), _print("a", blank, sha256="1"), _print("c", blank, sha256="2")]
    assert find_duplicates(prints) == {"b": "a"}


def test_the_better_copy_wins_in_a_stated_order(photo: Image.Image) -> None:
    plain = {"n_bytes": 5000}
    assert find_duplicates([_print("a", photo, **plain), _print("b", photo, has_focal=True, n_bytes=10)]) == {"a": "b"}
    assert find_duplicates([_print("a", photo, 4000), _print("b", photo, 5000)]) == {"a": "b"}
    assert find_duplicates([_print("b", photo, **plain), _print("a", photo, **plain)]) == {"b": "a"}


def test_no_chain_of_small_motions_joins_photos(photo: Image.Image) -> None:
    """Each frame resembles the one before; every duplicate names a photo that is kept and that it resembles itself."""
    small = photo.resize((192, 144), Image.Resampling.BILINEAR)
    frames = [_print(f"{k:02d}", _moved(small, 1, 0, 0.03 * k, 0, 1, 0)) for k in range(8)]
    better_of = find_duplicates(frames)
    assert not set(better_of.values()) & set(better_of)
    assert all(int(key) - int(kept) <= 3 for key, kept in better_of.items())
    assert len(better_of) < 7


def test_order_of_the_input_does_not_matter(photo: Image.Image, pictures: ModuleType) -> None:
    prints = [_print("a", photo), _print("b", _jpeg(photo, 60), 400), _print("c", pictures.texture(640, 480, seed=5))]
    assert find_duplicates(prints) == find_duplicates(prints[::-1]) == {"b": "a"}
    assert find_duplicates([]) == {}
