"""Decoding: modes, orientation, colour profiles, caps, damage."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image, ImageCms, features

from recon3d.core.errors import DependencyError, FormatError, InputError
from recon3d.photos.colour import alpha_mask
from recon3d.photos.decode import open_upright, read_mask, read_upright

CAP = 10_000_000
RGB = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:160:4, 0:240:4], 100), axis=-1).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".ppm"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(RGB).save(tmp_path / f"a{suffix}")
    assert np.array_equal(read_upright(tmp_path / f"a{suffix}", CAP), RGB)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".heic"])
def test_lossy_formats_keep_the_picture(tmp_path: Path, suffix: str) -> None:
    if suffix == ".heic":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(Image.fromarray(SMOOTH)).save(tmp_path / "a.heic", quality=90)
    elif suffix == ".avif" and not features.check("avif"):
        pytest.skip("Pillow writes AVIF from version 11.3 on")
    else:
        Image.fromarray(SMOOTH).save(tmp_path / f"a{suffix}", quality=95)
    read = read_upright(tmp_path / f"a{suffix}", CAP)
    assert np.abs(read.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(SMOOTH).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.save(path)
    assert np.array_equal(read_upright(path, CAP), np.asarray(picture.convert("RGB")))


def test_sixteen_bits_become_eight_with_both_ends_kept(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        read = read_upright(tmp_path / name, CAP)
        assert read.min() == 0 and read.max() == 255
        assert np.abs(read[..., 0] - values / 257.0).max() <= 0.5


def _png_48_bit(pixels: np.ndarray) -> bytes:
    """A 16-bit RGB PNG; Pillow reads these but does not write them."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_png_48_bit(RGB.astype(np.uint16) * 257))
    assert np.array_equal(read_upright(tmp_path / "a.png", CAP), RGB)


def test_floating_point_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 60), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(FormatError, match="32 bits"):
        read_upright(tmp_path / "a.tif", CAP)


def test_transparent_pixels_lie_over_white_and_make_a_mask(tmp_path: Path) -> None:
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:, :20], alpha[:, 20:30] = 0, 64
    Image.fromarray(np.dstack([RGB, alpha])).save(tmp_path / "a.png")
    read = read_upright(tmp_path / "a.png", CAP)
    assert (read[:, :20] == 255).all() and np.array_equal(read[:, 30:], RGB[:, 30:])
    with open_upright(tmp_path / "a.png", CAP) as image:
        mask = alpha_mask(image)
    assert mask is not None and np.array_equal(mask, alpha >= 128)


def test_opaque_pictures_make_no_mask(tmp_path: Path) -> None:
    Image.fromarray(RGB).convert("RGBA").save(tmp_path / "a.png")
    with open_upright(tmp_path / "a.png", CAP) as image:
        assert alpha_mask(image) is None


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {".jpg": {"quality": 95}, ".webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(SMOOTH).save(tmp_path / f"a{suffix}", exif=exif, **options)
    # EXIF 2.32, table of Orientation: where row 0 and column 0 of the stored picture lie in the upright one.
    expected = {1: SMOOTH, 2: SMOOTH[:, ::-1], 3: SMOOTH[::-1, ::-1], 4: SMOOTH[::-1]}
    turned = SMOOTH.swapaxes(0, 1)
    expected |= {5: turned, 6: turned[:, ::-1], 7: turned[::-1, ::-1], 8: turned[::-1]}
    read = read_upright(tmp_path / f"a{suffix}", CAP)
    assert read.shape == expected[orientation].shape
    assert np.abs(read.astype(int) - expected[orientation]).mean() < 2


def test_heic_orientation_is_applied_once(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(Image.fromarray(SMOOTH)).save(tmp_path / "a.heic", exif=exif.tobytes(), quality=90)
    read = read_upright(tmp_path / "a.heic", CAP)
    assert read.shape == (60, 40, 3)
    assert np.abs(read.astype(int) - SMOOTH.swapaxes(0, 1)[:, ::-1]).mean() < 4


def test_missing_heic_decoder_names_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(DependencyError, match=r"pip install 'recon3d\[heic\]'"):
        read_upright(tmp_path / "a.heic", CAP)


def test_damaged_heic_is_a_format_error(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    (tmp_path / "a.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))
    with pytest.raises(FormatError):
        read_upright(tmp_path / "a.heic", CAP)


def _profile(name: Any) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def test_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    """A Lab profile on RGB data cannot be used; an XYZ one swaps nothing; both end as sRGB instead of an error."""
    for name in ("sRGB", "LAB", "XYZ"):
        Image.fromarray(RGB).save(tmp_path / "a.png", icc_profile=_profile(name))
        assert read_upright(tmp_path / "a.png", CAP).shape == RGB.shape


def _linear_light_profile() -> bytes:
    """An sRGB profile whose three tone curves are replaced by the identity, as linear TIFF exports carry."""
    data = bytearray(_profile("sRGB"))
    (count,) = struct.unpack(">I", data[128:132])
    linear = b"curv" + bytes(8)  # no entries: identity
    for index in range(count):
        start = 132 + 12 * index
        tag, offset, size = struct.unpack(">4sII", data[start : start + 12])
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + len(linear)] = linear
            data[start + 8 : start + 12] = struct.pack(">I", len(linear))
        if tag == b"desc":
            data[offset : offset + size] = data[offset : offset + size].replace("sRGB".encode("utf-16-be"),
                                                                                "line".encode("utf-16-be"))  # fmt: skip
    return bytes(data)


def test_linear_profile_is_encoded_as_srgb(tmp_path: Path) -> None:
    grey = np.full((40, 60, 3), 55, np.uint8)  # 0.2157 linear is 0.5 in sRGB
    Image.fromarray(grey).save(tmp_path / "a.png", icc_profile=_linear_light_profile())
    assert abs(int(read_upright(tmp_path / "a.png", CAP)[0, 0, 0]) - 128) <= 2


def test_broken_profile_is_taken_as_srgb(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png", icc_profile=b"garbage" * 30)
    assert np.array_equal(read_upright(tmp_path / "a.png", CAP), RGB)
    assert "taken as sRGB" in caplog.text


def test_pixels_are_counted_before_decoding(tmp_path: Path) -> None:
    huge = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + huge + struct.pack(">I", zlib.crc32(b"IHDR" + huge))
    (tmp_path / "bomb.png").write_bytes(data + struct.pack(">I", 10) + b"IDAT" + bytes(14))
    with pytest.raises(FormatError, match=r"200000x200000 pixels.*at most 200000000"):
        read_upright(tmp_path / "bomb.png", 200_000_000)
    Image.fromarray(RGB).save(tmp_path / "a.png")
    read_upright(tmp_path / "a.png", 2400)
    with pytest.raises(FormatError, match="60x40"):
        read_upright(tmp_path / "a.png", 2399)


def test_pillows_own_limit_is_left_alone(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    Image.new("L", (2000, 100)).save(tmp_path / "a.png")
    read_upright(tmp_path / "a.png", CAP)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"These are my notes.\n", "text file"),
        (bytes(4000), "only zeros"),
        (b"GIF89a" + bytes(90), "GIF"),
        (b"%PDF-1.7" + bytes(90), "PDF"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "a.jpg"),
    ],
)
def test_what_is_no_photo_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(FormatError, match=message):
        read_upright(tmp_path / "a.jpg", CAP)


def test_folders_and_missing_files_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a regular file"):
        read_upright(tmp_path, CAP)
    with pytest.raises(InputError, match="No such file"):
        read_upright(tmp_path / "none.jpg", CAP)


def _encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"JPEG": {"quality": 90}, "progressive": {"quality": 90, "progressive": True}}
    Image.fromarray(RGB).save(buffer, "JPEG" if kind == "progressive" else kind, **options.get(kind, {}))
    return buffer.getvalue()


ENCODED = {kind: _encoded(kind) for kind in ("JPEG", "progressive", "PNG", "WEBP", "TIFF", "BMP")}


@pytest.mark.parametrize("kind", list(ENCODED))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.02, 0.95))
def test_a_truncated_file_is_never_half_decoded(tmp_path: Path, kind: str, share: float) -> None:
    data = ENCODED[kind]
    (tmp_path / "a.jpg").write_bytes(data[: int(share * len(data))])
    with pytest.raises(FormatError):
        read_upright(tmp_path / "a.jpg", CAP)


def test_a_copy_that_ends_in_zeros_is_truncated(tmp_path: Path) -> None:
    data = ENCODED["JPEG"]
    cut = len(data) // 2
    (tmp_path / "a.jpg").write_bytes(data[:cut] + bytes(5000))
    with pytest.raises(FormatError, match="truncated"):
        read_upright(tmp_path / "a.jpg", CAP)
    (tmp_path / "padded.jpg").write_bytes(data + bytes(5000))
    assert read_upright(tmp_path / "padded.jpg", CAP).shape == RGB.shape


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's remarks on damaged tags
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_mutated_files_decode_or_raise_one_error(tmp_path: Path, kind: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    data = bytearray(ENCODED[kind])
    for _ in range(int(generator.integers(1, 12))):
        data[int(generator.integers(len(data)) * generator.choice([0.05, 1.0]))] = int(generator.integers(256))
    (tmp_path / "a.jpg").write_bytes(bytes(data))
    with contextlib.suppress(FormatError):
        assert read_upright(tmp_path / "a.jpg", CAP).ndim == 3


def test_mask_white_means_use(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 5:50] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", 60, 40), mask > 0)
    Image.fromarray(mask > 0).save(tmp_path / "one_bit.png")
    assert np.array_equal(read_mask(tmp_path / "one_bit.png", 60, 40), mask > 0)


def test_mask_of_another_size_names_both(tmp_path: Path) -> None:
    Image.new("L", (30, 20)).save(tmp_path / "m.png")
    with pytest.raises(FormatError, match=r"m\.png.*30x20.*60x40"):
        read_mask(tmp_path / "m.png", 60, 40)
