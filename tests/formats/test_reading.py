"""The byte cursor never reads past the end and never believes a count."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from recon3d.core.errors import FormatError
from recon3d.core.files import read_capped
from recon3d.formats.reading import ByteReader

COUNT = struct.Struct("<Q")


def test_reads_in_order_and_ends() -> None:
    reader = ByteReader(b"\x02\x00ab\x00" + struct.pack("<2f", 1.5, 2.5), "f")
    assert reader.unpack(struct.Struct("<H"), "n") == (2,)
    assert reader.text(10, "name") == "ab"
    assert reader.array(np.dtype("<f4"), 2, "values").tolist() == [1.5, 2.5]
    assert reader.remaining == 0
    reader.finish()


def test_running_past_the_end_names_file_and_part() -> None:
    with pytest.raises(FormatError, match=r"photo\.bin: a header is cut off; got: 3 bytes after byte 0"):
        ByteReader(b"abc", "photo.bin").take(4, "a header")


@pytest.mark.parametrize("count", [4, 2**32, 2**63, 2**64 - 1])
def test_a_count_must_fit_into_the_rest(count: int) -> None:
    reader = ByteReader(COUNT.pack(count) + bytes(15), "f")
    with pytest.raises(FormatError, match="impossible number of items"):
        reader.count(COUNT, 5, "items")


def test_a_count_that_just_fits() -> None:
    assert ByteReader(COUNT.pack(3) + bytes(15), "f").count(COUNT, 5, "items") == 3


def test_an_array_larger_than_the_file_is_refused_before_it_exists() -> None:
    with pytest.raises(FormatError, match="cut off"):
        ByteReader(bytes(100), "f").array(np.dtype("<f8"), 10**15, "values")


def test_names_need_an_end() -> None:
    with pytest.raises(FormatError, match="has no end"):
        ByteReader(b"abcdef\0", "f").text(5, "name")
    assert ByteReader(b"abcde\0", "f").text(5, "name") == "abcde"


def test_names_keep_bytes_that_are_not_utf8() -> None:
    raw = b"\xff\xfe.jpg"
    assert ByteReader(raw + b"\0", "f").text(20, "name").encode("utf-8", "surrogateescape") == raw


def test_bytes_left_over() -> None:
    with pytest.raises(FormatError, match="2 bytes too many"):
        ByteReader(b"ab", "f").finish()


def test_a_large_cap_reserves_no_memory(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"abc")
    tracemalloc.start()
    assert read_capped(tmp_path / "small", 1 << 40) == b"abc"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_cap_itself_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"abc")
    assert read_capped(tmp_path / "small", 3) == b"abc"
    with pytest.raises(FormatError, match="too large"):
        read_capped(tmp_path / "small", 2)
