"""LZF: what is packed comes back, streams of other programs are read, damaged ones are refused."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError
from recon3d.formats.lzf import lzf_expand, lzf_pack


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_come_back(data: bytes) -> None:
    packed = lzf_pack(data)
    assert lzf_expand(packed, len(data)) == data
    assert len(packed) <= len(data) + len(data) // 32 + 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 400)), max_size=6))
def test_repeated_bytes_come_back(parts: list[tuple[bytes, int]]) -> None:
    data = b"".join(part * times for part, times in parts)
    assert lzf_expand(lzf_pack(data), len(data)) == data


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200))
def test_no_stream_harms_the_reader(packed: bytes, n_bytes: int) -> None:
    with contextlib.suppress(FormatError):
        assert len(lzf_expand(packed, n_bytes)) == n_bytes


@pytest.mark.parametrize("length", [0, 1, 2, 3, 31, 32, 33, 64, 65])
def test_lengths_around_the_runs_of_literals(length: int) -> None:
    data = np.random.default_rng(0).integers(0, 256, length).astype(np.uint8).tobytes()
    packed = lzf_pack(data)
    assert len(packed) == length + -(-length // 32)  # nothing repeats: one control byte for each 32
    assert lzf_expand(packed, length) == data


def test_repetition_is_packed() -> None:
    assert len(lzf_pack(b"a" * 2640)) < 40  # matches of at most 264 bytes, three bytes each


def test_matches_reach_8192_bytes_back_and_no_further() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 8192).astype(np.uint8).tobytes()
    near, far = noise + noise[:200], b"abcdefgh" + noise + b"abcdefgh"
    assert len(lzf_pack(near)) < len(noise) + len(noise) // 32 + 20
    for data in (near, far):
        assert lzf_expand(lzf_pack(data), len(data)) == data


def test_known_streams() -> None:
    assert lzf_expand(b"\x02abc", 3) == b"abc"
    assert lzf_expand(b"\x00a\x20\x00", 4) == b"aaaa"  # three bytes from one back
    assert lzf_expand(b"\x01ab\xe0\x01\x01", 12) == b"abababababab"  # the long form: 7 + 1 + 2 bytes
    assert lzf_expand(b"", 0) == b""


@pytest.mark.parametrize(
    ("packed", "n_bytes"),
    [
        (b"\x05abc", 6),  # literals cut off
        (b"\x02abc", 2),  # longer than said
        (b"\x02abc", 4),  # shorter than said
        (b"\x20\x00", 3),  # reaches before the start
        (b"\x00a\x20", 4),  # no offset
        (b"\x00a\xe0", 10),  # no length
        (b"\x00a\xe0\x01", 11),  # no offset behind the length
        (b"\x00a\x20\x00", 3),
    ],
)
def test_damaged_streams(packed: bytes, n_bytes: int) -> None:
    with pytest.raises(FormatError, match="scan: damaged LZF data"):
        lzf_expand(packed, n_bytes, "scan")


def test_no_memory_is_taken_for_an_impossible_length() -> None:
    with pytest.raises(FormatError, match="cannot pack so much"):
        lzf_expand(b"\x02abc", 1 << 50)


def by_the_book(packed: bytes) -> bytes:
    """The format in plain Python: runs of literals, and copies of three bytes or more from what came before."""
    out, at = bytearray(), 0
    while at < len(packed):
        control, at = packed[at], at + 1
        if control < 32:
            out += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length, at = length + packed[at], at + 1
        start = len(out) - ((control & 31) << 8) - packed[at] - 1
        at += 1
        for step in range(length + 2):
            out.append(out[start + step])
    return bytes(out)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.integers(1, 90)), max_size=8))
def test_what_is_packed_is_read_by_another_reader(parts: list[tuple[bytes, int]]) -> None:
    data = b"".join(part * times for part, times in parts)
    assert by_the_book(lzf_pack(data)) == data


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(1, 4), st.integers(0, 9000))
def test_columns_of_a_cloud_come_back(seed: int, kinds: int, n: int) -> None:
    """Few different values, as labels and rings have them: long and far matches."""
    data = np.random.default_rng(seed).integers(0, kinds, n).astype(np.float32).tobytes()
    packed = lzf_pack(data)
    assert lzf_expand(packed, len(data)) == data == by_the_book(packed)
    assert n < 100 or len(packed) < 0.6 * len(data)


@settings(max_examples=40)
@given(st.binary(min_size=1, max_size=200), st.integers(1, 50))
def test_another_length_is_damage(data: bytes, more: int) -> None:
    packed = lzf_pack(data)
    for wrong in (len(data) + more, max(len(data) - more, 0)):
        with pytest.raises(FormatError):
            lzf_expand(packed, wrong)


@pytest.mark.parametrize("length", [3, 8, 9, 10, 263, 264, 265, 528, 529])
def test_lengths_around_the_forms_of_a_match(length: int) -> None:
    data = b"xyz" + b"a" * length + b"end"
    assert by_the_book(lzf_pack(data)) == data == lzf_expand(lzf_pack(data), len(data))
