"""Radiance HDR: files built by hand in every coding, the writer's round trip, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.hdr import decode_rgbe, encode_rgbe, parse_hdr, read_hdr, write_hdr

HEADER = b"#?RADIANCE\nGAMMA=1\nPRIMARIES=0 0 0 0 0 0 0 0\n#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n"
GREY = bytes([128, 128, 128, 129])  # 1.0


def file(size: bytes, body: bytes, header: bytes = HEADER) -> bytes:
    return header + size + b"\n" + body


def random_rgb(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.random((height, width, 3)) * 10.0 ** random.uniform(-4, 4, (height, width, 1))).astype(np.float32)


def test_values_are_mantissa_times_a_power_of_two() -> None:
    pixels = np.array([[[128, 64, 255, 129], [1, 2, 3, 0], [255, 0, 1, 136], [1, 1, 1, 1]]], np.uint8)
    expected = [[1, 0.5, 255 / 128], [0, 0, 0], [255, 0, 1], [2.0**-135] * 3]
    np.testing.assert_array_equal(decode_rgbe(pixels)[0], np.array(expected, np.float32))


@pytest.mark.parametrize("size", [(3, 8), (2, 7), (5, 300), (1, 1)], ids=str)
def test_round_trip_keeps_eight_bits_of_the_largest_channel(tmp_path: Path, size: tuple[int, int]) -> None:
    rgb = random_rgb(*size)
    rgb[0, 0] = 0
    write_hdr(tmp_path / "a.hdr", rgb)
    back = read_hdr(tmp_path / "a.hdr")
    assert back.shape == rgb.shape and back.dtype == np.float32
    assert (np.abs(back - rgb) <= rgb.max(-1, keepdims=True) * (0.5 / 128 + 1e-6)).all()
    write_hdr(tmp_path / "b.hdr", back)
    assert (tmp_path / "a.hdr").read_bytes() == (tmp_path / "b.hdr").read_bytes()


def test_flat_lines_become_smaller(tmp_path: Path) -> None:
    write_hdr(tmp_path / "a.hdr", np.full((16, 1000, 3), 0.25, np.float32))
    assert (tmp_path / "a.hdr").stat().st_size < 16 * 80


def test_a_mantissa_that_rounds_up_to_256_takes_the_next_exponent() -> None:
    rgb = np.array([[[np.nextafter(np.float32(1), np.float32(0)), 0.5, 0]]], np.float32)
    np.testing.assert_array_equal(encode_rgbe(rgb)[0, 0], [128, 64, 0, 129])


def test_the_old_coding_repeats_the_pixel_before_and_shifts_chained_counts() -> None:
    other = bytes([10, 20, 30, 136])
    body = GREY + bytes([1, 1, 1, 2]) + bytes([1, 1, 1, 1]) + other  # 1 + 2 + 256 + 1 pixels
    image = parse_hdr(file(b"-Y 1 +X 260", body))
    assert (image[0, :259] == 1).all()
    np.testing.assert_array_equal(image[0, 259], [10, 20, 30])


def test_a_flat_line_that_begins_like_a_coded_one_of_another_width() -> None:
    body = bytes([2, 2, 7, 7]) + GREY * 8
    assert parse_hdr(file(b"-Y 1 +X 9", body)).shape == (1, 9, 3)


def test_channel_runs_copy_and_repeat() -> None:
    red, rest = bytes([3, 1, 2, 3, 128 + 5, 9]), bytes([128 + 8, 0]) * 2
    image = parse_hdr(file(b"-Y 1 +X 8", bytes([2, 2, 0, 8]) + red + rest + bytes([128 + 8, 136])))
    np.testing.assert_array_equal(image[0, :, 0], [1, 2, 3, 9, 9, 9, 9, 9])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (b"-Y 2 +X 3", [[0, 1, 2], [3, 4, 5]]),
        (b"+Y 2 +X 3", [[3, 4, 5], [0, 1, 2]]),
        (b"-Y 2 -X 3", [[2, 1, 0], [5, 4, 3]]),
        (b"+X 3 -Y 2", [[0, 2, 4], [1, 3, 5]]),
        (b"-X 3 +Y 2", [[5, 3, 1], [4, 2, 0]]),
    ],
)
def test_every_order_of_rows_and_columns(size: bytes, expected: list[list[int]]) -> None:
    body = b"".join(bytes([value, 0, 0, 136]) for value in range(6))
    np.testing.assert_array_equal(parse_hdr(file(size, body))[..., 0], expected)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no end"),
        (b"P6\n1 1\n", "no Radiance"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n\n-Y 1 +X 1\n", "unknown format"),
        (file(b"-Y 1 -Y 1", GREY), "line of the size"),
        (file(b"-Y 1", GREY), "line of the size"),
        (file(b"-Y 0 +X 4", GREY), "impossible size"),
        (file(b"-Y 900000000 +X 900000000", GREY), "impossible size"),
        (file(b"-Y 20000 +X 5000", GREY), "impossible size"),
        (file(b"-Y 1 +X 2", GREY), "line 0 is damaged"),
        (file(b"-Y 2 +X 1", GREY), "line 1 is damaged"),
        (file(b"-Y 1 +X 4", bytes([1, 1, 1, 3]) * 4), "line 0 is damaged"),
        (file(b"-Y 1 +X 8", bytes([2, 2, 0, 8, 128 + 9, 0]) + b"\0" * 40), "line 0 is damaged"),
        (file(b"-Y 1 +X 8", bytes([2, 2, 0, 8, 0, 0]) + b"\0" * 40), "line 0 is damaged"),
    ],
)
def test_damaged_files_are_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_hdr(data, "probe.hdr")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.integers(0, 255), st.integers(0, 400))
def test_any_changed_byte_and_any_cut_is_read_or_refused(place: int, value: int, cut: int) -> None:
    path_free = bytearray(HEADER + b"-Y 4 +X 16\n")
    for row in encode_rgbe(random_rgb(4, 16)):
        path_free += bytes([2, 2, 0, 16]) + b"".join(bytes([16]) + row[:, c].tobytes() for c in range(4))
    if place < len(path_free):
        path_free[place] = value
    try:
        image = parse_hdr(bytes(path_free[: max(cut, place)]))
    except FormatError:
        return
    assert np.isfinite(image).all() and (image >= 0).all()


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_the_writer_refuses_what_is_no_radiance(tmp_path: Path, value: float) -> None:
    rgb = np.ones((2, 2, 3), np.float32)
    rgb[1, 1, 2] = value
    with pytest.raises(UsageError, match="HDR holds radiance"):
        write_hdr(tmp_path / "a.hdr", rgb)
    assert list(tmp_path.iterdir()) == []
