"""PIZ compression of OpenEXR: a round trip through an encoder made of loops, the limits, and damaged blocks."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from piz_files import piz_block, piz_file

from recon3d.core.errors import FormatError
from recon3d.formats.exr import parse_exr
from recon3d.formats.exr_piz import unpack_piz


def smooth(height: int, width: int, dtype: type, seed: int = 0) -> np.ndarray:
    source = np.random.default_rng(seed)
    image = np.cumsum(source.integers(-2, 3, (height, width)), 1) + np.arange(height)[:, None]
    return (image / 8 if dtype != np.uint32 else image + 1000).astype(dtype)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 1), (2, 2), (7, 13), (40, 31), (64, 16)], ids=str)
def test_every_size_and_type_is_read_as_it_was(size: tuple[int, int]) -> None:
    made = {"A": smooth(*size, np.float16), "B": smooth(*size, np.float32, 1), "C": smooth(*size, np.uint32, 2)}
    back = parse_exr(piz_file(made))
    assert list(back) == ["A", "B", "C"]
    for name, image in made.items():
        np.testing.assert_array_equal(back[name], image.astype(np.float32), name)


@pytest.mark.parametrize("n_words", [3, (1 << 14) - 1, 1 << 14, (1 << 14) + 1])
def test_few_words_and_more_than_14_bits_take_both_transforms(n_words: int) -> None:
    source = np.random.default_rng(0)
    words = np.sort(source.choice(65536, n_words, replace=False)).astype(np.uint16)
    plane = words[source.integers(0, n_words, (32, max(2, n_words // 32 + 1)))]
    plane.reshape(-1)[:n_words] = words
    block = piz_block([plane.view(np.float16)])
    assert unpack_piz(block, 32, plane.shape[1], [1]) == plane.astype("<u2").tobytes()


def test_codes_of_several_lengths_put_the_long_ones_first() -> None:
    """Lengths 1, 2, 2 for the symbols 0, 1 and the repetition: codes 1, 00 and 01."""
    table = int("000001000010000010" + "000000", 2).to_bytes(3, "big")
    bits = "1000100000010"  # 0 1 then 1 twice more
    codes = int(bits.ljust(16, "0"), 2).to_bytes(2, "big")
    body = struct.pack("<IIIII", 0, 2, 3, len(bits), 0) + table + codes
    block = struct.pack("<HHB", 0, 0, 0b1000) + struct.pack("<i", len(body)) + body  # the words 0 and 3
    assert np.frombuffer(unpack_piz(block, 1, 4, [1]), "<u2").tolist() == [0, 3, 3, 3]


def test_a_black_block_has_an_empty_bitmap() -> None:
    black = np.zeros((32, 50), np.float16)
    block = piz_block([black])
    assert struct.unpack_from("<HH", block) == (8191, 0) and len(block) < 60
    assert unpack_piz(block, 32, 50, [1]) == black.tobytes()


IMAGE = {"Y": smooth(40, 9, np.float16)}
FILE = piz_file(IMAGE)


def test_every_truncation_is_refused() -> None:
    for length in range(0, len(FILE), 5):
        with pytest.raises(FormatError):
            parse_exr(FILE[:length])


BLOCK = piz_block([smooth(32, 30, np.float16)])
CODES = 4 + struct.unpack_from("<H", BLOCK, 2)[0] - struct.unpack_from("<H", BLOCK)[0] + 1


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (2, struct.pack("<H", 9000), "bad bitmap"),
        (CODES, struct.pack("<i", 19), "bytes of codes"),
        (CODES, struct.pack("<i", -1), "bytes of codes"),
        (CODES, struct.pack("<i", 1 << 30), "bytes of codes"),
        (CODES + 4, struct.pack("<I", 70_000), "symbols"),
        (CODES + 8, struct.pack("<I", 65_537), "symbols"),
        (CODES + 16, struct.pack("<I", 1 << 31), "table of codes"),
        (CODES + 16, struct.pack("<I", 100), "bad codes"),
    ],
)
def test_damaged_blocks_say_why(place: int, value: bytes, words: str) -> None:
    block = BLOCK[:place] + value + BLOCK[place + len(value) :]
    with pytest.raises(ValueError, match=words):
        unpack_piz(block, 32, 30, [1])


@settings(max_examples=200)
@given(st.integers(0, len(FILE) - 1), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(place: int, value: int) -> None:
    data = bytearray(FILE)
    data[place] = value
    with contextlib.suppress(FormatError):
        parse_exr(bytes(data))
