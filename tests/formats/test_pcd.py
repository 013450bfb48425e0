"""PCD: all encodings and types come back; headers and bodies that do not fit are refused."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.lzf import lzf_expand
from recon3d.formats.pcd import ENCODINGS, parse_pcd, read_pcd, write_pcd
from recon3d.formats.pcd_colour import pack_rgb, unpack_rgb
from recon3d.formats.pcd_header import KINDS

HEAD = b"VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA ascii\n"
BODY = b"1 2 3\n4 5 nan\n"


def fields(n: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {axis: rng.normal(size=n).astype(np.float32) for axis in "xyz"}
    for kind in KINDS:
        limits = np.iinfo(kind) if kind[0] in "iu" else None
        ends = [limits.min, limits.max] if limits else [-1 / 3, 1e30]
        made[kind] = np.array((ends * n)[:n], kind)
    return made | {"histogram": rng.random((n, 5)).astype(np.float32)}


@pytest.mark.parametrize("height", [1, 3])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_type_comes_back(tmp_path: Path, encoding: str, height: int) -> None:
    here, view = fields(), (1.0, 2.0, 3.0, 0.5, 0.5, 0.5, -0.5)
    write_pcd(tmp_path / "a.pcd", here, encoding=encoding, height=height, viewpoint=view)
    back = read_pcd(tmp_path / "a.pcd")
    assert (back.width, back.height, back.viewpoint) == (6 // height, height, view)
    assert list(back.fields) == list(here)
    for name, values in here.items():
        assert back.fields[name].dtype == values.dtype
        np.testing.assert_array_equal(back.fields[name], values)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_empty_cloud_comes_back(tmp_path: Path, encoding: str) -> None:
    write_pcd(tmp_path / "a.pcd", fields(0), encoding=encoding)
    back = read_pcd(tmp_path / "a.pcd")
    assert back.width == 0 and back.fields["histogram"].shape == (0, 5)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_missing_positions_come_back(tmp_path: Path, encoding: str) -> None:
    write_pcd(tmp_path / "a.pcd", {"x": np.array([np.nan, np.inf, -np.inf, 1], np.float32)}, encoding=encoding)
    np.testing.assert_array_equal(read_pcd(tmp_path / "a.pcd").fields["x"], [np.nan, np.inf, -np.inf, 1])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cut_off_points(tmp_path: Path, encoding: str) -> None:
    write_pcd(tmp_path / "a.pcd", fields(), encoding=encoding)
    data = (tmp_path / "a.pcd").read_bytes()
    for lost in (40, 200):
        with pytest.raises(FormatError, match="scan"):
            parse_pcd(data[:-lost], "scan")


def test_files_of_other_programs() -> None:
    old = HEAD.replace(b"FIELDS", b"COLUMNS").replace(b"COUNT 1 1 1\n", b"").replace(b"\n", b"\r\n")
    back = parse_pcd(b"# comment\r\n" + old + b"1 2 3\r\n\r\n4 5 nan")
    np.testing.assert_array_equal(back.fields["z"], np.array([3, np.nan], np.float32))
    without_points = HEAD.replace(b"POINTS 2\n", b"")
    assert parse_pcd(without_points + BODY).width == 2
    without_width = HEAD.replace(b"WIDTH 2\n", b"").replace(b"HEIGHT 1\n", b"")
    assert parse_pcd(without_width + BODY).width == 2


def test_padding_is_skipped() -> None:
    head = b"FIELDS x _ y _\nSIZE 4 1 4 1\nTYPE F U F U\nCOUNT 1 4 1 3\nWIDTH 2\nHEIGHT 1\nDATA "
    rows = np.zeros(2, [("x", "<f4"), ("a", "u1", 4), ("y", "<f4"), ("b", "u1", 3)])
    rows["x"], rows["y"] = [1, 2], [3, 4]
    texts = b"1 0 0 0 0 3 0 0 0\n2 0 0 0 0 4 0 0 0\n"
    for back in (parse_pcd(head + b"binary\n" + rows.tobytes()), parse_pcd(head + b"ascii\n" + texts)):
        assert list(back.fields) == ["x", "y"]
        assert back.fields["x"].tolist() == [1, 2] and back.fields["y"].tolist() == [3, 4]


def test_padding_at_the_end_of_a_binary_file_is_left() -> None:
    head = HEAD.replace(b"ascii", b"binary")
    assert parse_pcd(head + np.arange(6, dtype="<f4").tobytes() + bytes(4000)).fields["y"].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"VERSION", b"VERSIO", "bad line"),
        (b"WIDTH 2", b"WIDTH 2\nWIDTH 2", "bad line"),
        (b"WIDTH 2", b"WIDTH 3", "POINTS is not WIDTH times HEIGHT"),
        (b"WIDTH 2", b"WIDTH -2", "WIDTH"),
        (b"WIDTH 2", b"WIDTH 2 2", "wrong WIDTH"),
        (b"HEIGHT 1", b"HEIGHT 0", "HEIGHT"),
        (b"SIZE 4 4 4", b"SIZE 4 4", "differ in length"),
        (b"SIZE 4 4 4", b"SIZE 4 4 3", "unusable fields"),
        (b"TYPE F F F", b"TYPE F F C", "unusable fields"),
        (b"FIELDS x y z", b"FIELDS x y x", "unusable fields"),
        (b"FIELDS x y z", b"FIELDS _ _ _", "unusable fields"),
        (b"COUNT 1 1 1", b"COUNT 1 1 0", "COUNT"),
        (b"HEIGHT 1", b"HEIGHT 1\nVIEWPOINT 0 0 0", "wrong VIEWPOINT"),
        (b"ascii", b"zip", "unknown DATA"),
        (b"DATA ascii", b"", "not a PCD file"),
        (b"4 5 nan", b"4 50000", "wrong rows"),
        (b"4 5 nan", b"4 5 six", "not numbers"),
        (b"4 5 nan", b"4 5 6_0", "not numbers"),
        (b"4 5 nan", b"4 5 6\n7 8 9", "wrong rows"),
        (b"4 5 nan", b"", "impossible number of points"),
        (b"1 2 3\n4 5 nan", b"1 2 30000000000000", "cut off"),
    ],
)
def test_damaged_text(old: bytes, new: bytes, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_pcd((HEAD + BODY).replace(old, new))


@pytest.mark.parametrize("kind", ["u1", "i2", "u8"])
def test_integers_out_of_range(kind: str) -> None:
    head = f"FIELDS n\nSIZE {kind[1]}\nTYPE {kind[0].upper()}\nWIDTH 1\nHEIGHT 1\nDATA ascii\n".encode()
    assert parse_pcd(head + b"7\n").fields["n"].tolist() == [7]
    for number in (b"99999999999999999999999", b"1.5"):
        with pytest.raises(FormatError, match=f"not numbers of the type {kind}"):
            parse_pcd(head + number + b"\n")


def test_a_compressed_body_of_another_size(tmp_path: Path) -> None:
    write_pcd(tmp_path / "a.pcd", {"x": np.zeros(100, np.float32)})
    data = (tmp_path / "a.pcd").read_bytes().replace(b"100", b"101")
    with pytest.raises(FormatError, match="another size"):
        parse_pcd(data)


@pytest.mark.parametrize(
    "unfit",
    [
        {"a b": np.zeros(2, np.float32)},
        {"_": np.zeros(2, np.float32)},
        {"é": np.zeros(2, np.float32)},
        {"x": np.zeros(2, np.float16)},
        {"x": np.zeros(2, bool)},
        {"x": np.zeros(2, np.float32), "y": np.zeros(3, np.float32)},
        {"x": np.zeros((2, 0), np.float32)},
        {"x": np.zeros((2, 2, 2), np.float32)},
        {},
    ],
)
def test_what_cannot_be_written(tmp_path: Path, unfit: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError):
        write_pcd(tmp_path / "a.pcd", unfit)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"encoding": "zip"}, {"height": 4}, {"height": 0}, {"viewpoint": (0.0,)}])
def test_unfit_options(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        write_pcd(tmp_path / "a.pcd", fields(), **options)  # type: ignore[arg-type]


def test_a_file_longer_than_allowed(tmp_path: Path) -> None:
    write_pcd(tmp_path / "a.pcd", fields())
    with pytest.raises(InputError):
        read_pcd(tmp_path / "a.pcd", max_bytes=10)


def test_colours_are_packed_as_in_the_point_cloud_library() -> None:
    rgb = np.array([[255, 0, 0], [1, 2, 3]], np.uint8)
    packed = pack_rgb(rgb)
    assert packed.tolist() == [0xFF0000, 0x010203]
    for form in (packed, packed.view(np.float32), packed.view(np.int32), packed | np.uint32(0xFF000000)):
        np.testing.assert_array_equal(unpack_rgb(form), rgb)
    with pytest.raises(UsageError, match="four bytes"):
        unpack_rgb(np.zeros(2, np.uint8))


CODES = st.sampled_from(KINDS)


@settings(max_examples=40)
@given(st.integers(0, 999), st.lists(st.tuples(CODES, st.integers(1, 3)), min_size=1, max_size=5), st.integers(0, 20))
def test_tables_of_any_types_come_back(seed: int, columns: list[tuple[str, int]], n: int) -> None:
    rng = np.random.default_rng(seed)
    here = {}
    for number, (code, count) in enumerate(columns):
        drawn = rng.integers(0, 256, (n, count * int(code[1])), dtype=np.uint8).view(f"<{code}")
        plain = np.nan_to_num(drawn, nan=0.0) if code[0] == "f" else drawn
        here[f"f{number}"] = plain.reshape(n, count) if count > 1 else plain.reshape(n)
    with tempfile.TemporaryDirectory() as folder:
        for encoding in ENCODINGS:
            write_pcd(Path(folder) / "a.pcd", here, encoding=encoding)
            back = read_pcd(Path(folder) / "a.pcd").fields
            for name, values in here.items():
                assert back[name].shape == values.shape and back[name].dtype == values.dtype
                np.testing.assert_array_equal(back[name], values)


def test_binary_records_are_packed_one_after_the_other(tmp_path: Path) -> None:
    here = {"x": np.array([1.5, 2.5], np.float32), "ring": np.array([7, 8], np.uint16), "t": np.array([0.25, 0.5])}
    write_pcd(tmp_path / "a.pcd", here, encoding="binary")
    data = (tmp_path / "a.pcd").read_bytes()
    assert data.endswith(b"DATA binary\n" + struct.pack("<fHdfHd", 1.5, 7, 0.25, 2.5, 8, 0.5))


def test_compressed_bodies_are_columns_behind_two_sizes(tmp_path: Path) -> None:
    here = {"x": np.array([1.5, 2.5], np.float32), "ring": np.array([7, 8], np.uint16)}
    write_pcd(tmp_path / "a.pcd", here)
    body = (tmp_path / "a.pcd").read_bytes().split(b"DATA binary_compressed\n")[1]
    packed, expanded = struct.unpack_from("<II", body)
    assert packed == len(body) - 8 and expanded == 12
    assert lzf_expand(body[8:], 12) == struct.pack("<ffHH", 1.5, 2.5, 7, 8)


def test_a_header_names_its_fields_in_order(tmp_path: Path) -> None:
    write_pcd(tmp_path / "a.pcd", fields(6), encoding="ascii", height=2)
    lines = (tmp_path / "a.pcd").read_text().splitlines()
    table = {line.split()[0]: line.split()[1:] for line in lines[1:11]}
    assert table["FIELDS"] == list(fields()) and table["WIDTH"] == ["3"] and table["HEIGHT"] == ["2"]
    assert table["SIZE"] == [str(values.dtype.itemsize) for values in fields().values()]
    assert table["TYPE"] == [values.dtype.kind.upper() for values in fields().values()]
    assert table["COUNT"] == ["1"] * (len(fields()) - 1) + ["5"] and table["POINTS"] == ["6"]
    assert len(lines) == 11 + 6 and len(lines[-1].split()) == sum(map(int, table["COUNT"]))


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("gap", [b" ", b"  ", b"\t"])
def test_white_space_of_other_systems(ending: bytes, gap: bytes) -> None:
    data = (HEAD + BODY).replace(b" ", gap).replace(b"\n", ending)
    back = parse_pcd(data)
    np.testing.assert_array_equal(np.stack([back.fields[axis] for axis in "xyz"], 1), [[1, 2, 3], [4, 5, np.nan]])


@settings(max_examples=40)
@given(st.integers(0, 2**24 - 1))
def test_every_colour_comes_back(word: int) -> None:
    rgb = np.array([[word >> 16, word >> 8 & 255, word & 255]], np.uint8)
    packed = pack_rgb(rgb)
    assert np.array_equal(unpack_rgb(packed), rgb)
    assert np.array_equal(unpack_rgb(packed.view(np.float32)), rgb)
