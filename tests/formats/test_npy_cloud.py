"""npy and npz: arrays come back; objects, bombs and damage are refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.npy_cloud import parse_npy, parse_npz, read_npy, read_npz, write_npy, write_npz

RECORDS = np.array([(1.5, 2), (2.5, 3)], [("x", "<f4"), ("label", "<i8")])
ARRAYS = [
    np.arange(12.0).reshape(4, 3),
    np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3)),
    np.arange(4, dtype=">i2"),
    np.zeros((0, 3)),
    np.array(3.0),
    RECORDS,
]


def npy(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize("array", ARRAYS)
def test_arrays_come_back(tmp_path: Path, array: np.ndarray) -> None:
    write_npy(tmp_path / "a.npy", array)
    back = read_npy(tmp_path / "a.npy")
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_versions_of_the_header(version: tuple[int, int]) -> None:
    np.testing.assert_array_equal(parse_npy(npy(ARRAYS[0], version=version)), ARRAYS[0])


def test_archives_come_back(tmp_path: Path) -> None:
    here = {f"a{number}": array for number, array in enumerate(ARRAYS)}
    write_npz(tmp_path / "a.npz", here)
    back = read_npz(tmp_path / "a.npz")
    assert list(back) == list(here)
    for name, array in here.items():
        np.testing.assert_array_equal(back[name], array)
    first = (tmp_path / "a.npz").read_bytes()
    write_npz(tmp_path / "a.npz", here)
    assert (tmp_path / "a.npz").read_bytes() == first


def test_archives_of_numpy_are_read(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", xyz=ARRAYS[0])
        np.testing.assert_array_equal(read_npz(tmp_path / "a.npz")["xyz"], ARRAYS[0])


def test_objects_are_neither_read_nor_written(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}], object)
    with pytest.raises(FormatError, match="plain numbers"):
        parse_npy(npy(objects, allow_pickle=True))
    with pytest.raises(UsageError, match="Python objects"):
        write_npy(tmp_path / "a.npy", objects)
    with pytest.raises(UsageError, match="Python objects"):
        write_npz(tmp_path / "a.npz", {"a": objects})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(4, 3)", b"(4, 4)"),
        (b"(4, 3)", b"(3, 3)"),
        (b"(4, 3)", b"(-4,3)"),
        (b"(4, 3)", b"(True)"),
        (b"(4, 3)", b"(4, 3 "),
        (b"(4, 3)", b"(4,'a)"),
        (b"'<f8'", b"'<f3'"),
        (b"'<f8'", b"'<V0'"),
        (b"'descr'", b"'descs'"),
        (b"\x93NUMPY", b"\x93NUMPI"),
        (b"NUMPY\x01", b"NUMPY\x09"),
    ],
)
def test_damaged_headers(old: bytes, new: bytes) -> None:
    with pytest.raises(FormatError, match="scan"):
        parse_npy(npy(ARRAYS[0]).replace(old, new), "scan")


@pytest.mark.parametrize("kept", [0, 5, 9, 60, 130, -1])
def test_cut_off_arrays(kept: int) -> None:
    with pytest.raises(FormatError):
        parse_npy(npy(ARRAYS[0])[:kept])


def test_too_many_axes() -> None:
    with pytest.raises(FormatError, match="does not fit"):
        parse_npy(npy(np.zeros((1,) * 9)))


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return stream.getvalue()


def test_impossible_archives() -> None:
    with pytest.raises(FormatError, match="impossible npz file"):
        parse_npz(archive({f"{number}": b"" for number in range(1001)}))
    with pytest.raises(FormatError, match="impossible npz file"):
        parse_npz(archive({"a.npy": npy(np.zeros(1000))}), max_bytes=4000)
    with pytest.raises(FormatError, match="txt is not an npy file"):
        parse_npz(archive({"a.txt": b"words"}), "scan")


@pytest.mark.parametrize("kept", [0, 10, 100, -10])
def test_cut_off_archives(kept: int) -> None:
    with pytest.raises(FormatError, match="is not an npz file"):
        parse_npz(archive({"a.npy": npy(ARRAYS[0])})[:kept])


def test_a_damaged_member() -> None:
    data = bytearray(archive({"a.npy": npy(np.random.default_rng(0).random(50))}))
    data[100] ^= 255
    with pytest.raises(FormatError, match="is not an npz file"):
        parse_npz(bytes(data))


def test_a_member_that_is_longer_than_it_says() -> None:
    data = archive({"a.npy": npy(np.zeros(100))})
    (size,) = {zipfile.ZipFile(io.BytesIO(data)).infolist()[0].file_size}
    with pytest.raises(FormatError):
        parse_npz(data.replace(size.to_bytes(4, "little"), (size - 8).to_bytes(4, "little")))


def test_files_longer_than_allowed(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", ARRAYS[0])
    with pytest.raises(InputError):
        read_npy(tmp_path / "a.npy", max_bytes=20)


@settings(max_examples=40)
@given(
    st.integers(0, 999),
    st.sampled_from(["<f4", ">f8", "<i2", "u1", "?", "<u8", "<f2"]),
    st.lists(st.integers(0, 4), max_size=3),
    st.booleans(),
)
def test_arrays_of_any_kind_come_back(seed: int, kind: str, shape: list[int], in_columns: bool) -> None:
    drawn = np.random.default_rng(seed).integers(0, 2, shape).astype(kind)
    array = np.asfortranarray(drawn) if in_columns else drawn
    back = parse_npy(npy(array))
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_gives_an_array_or_an_error(place: int, value: int) -> None:
    data = bytearray(npy(ARRAYS[0]))
    data[place % len(data)] = value
    try:
        array = parse_npy(bytes(data), "scan")
    except FormatError as error:
        assert "scan" in str(error)
    else:
        assert array.nbytes == 96


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_of_an_archive_gives_arrays_or_an_error(place: int, value: int) -> None:
    data = bytearray(archive({"a.npy": npy(ARRAYS[0]), "b.npy": npy(ARRAYS[2])}))
    data[place % len(data)] = value
    try:
        arrays = parse_npz(bytes(data), "scan")
    except FormatError as error:
        assert "scan" in str(error)
    else:
        assert sum(array.nbytes for array in arrays.values()) <= 96 + 8
