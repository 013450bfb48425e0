"""PLY in all three encodings, and nothing but FormatError for what is not PLY."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.ply import parse_ply, read_ply, write_ply

CODES = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")
HEADER = """ply
format {order} 1.0
comment made by hand
obj_info ignored
element vertex 3
property float x
property uchar red
property double sigma
element face 2
property list uchar int vertex_indices
property short part
end_header
"""
X, RED, SIGMA, FACES, PART = [0.5, -1.25, 3], [1, 2, 255], [0.1, 1e-300, -7], [[0, 1, 2], [2, 1, 0]], [-5, 7]


def file_bytes(order: str) -> bytes:
    header = HEADER.format(order=order).encode()
    if order == "ascii":
        vertices = "".join(f"{x} {r} {s!r}\n" for x, r, s in zip(X, RED, SIGMA, strict=True))
        return header + vertices.encode() + b"3 0 1 2 -5\n3 2 1 0 7\n"
    sign = "<" if order == "binary_little_endian" else ">"
    vertex = np.dtype([("x", sign + "f4"), ("r", "u1"), ("s", sign + "f8")])
    face = np.dtype([("n", "u1"), ("v", sign + "i4", 3), ("p", sign + "i2")])
    faces = [(3, f, p) for f, p in zip(FACES, PART, strict=True)]
    table = np.array(list(zip(X, RED, SIGMA, strict=True)), vertex)
    return header + table.tobytes() + np.array(faces, face).tobytes()


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_all_encodings_hold_the_same(order: str) -> None:
    ply = parse_ply(file_bytes(order))
    assert ply.vertices["x"].tolist() == X and ply.vertices["x"].dtype == np.float32
    assert ply.vertices["red"].tolist() == RED and ply.vertices["red"].dtype == np.uint8
    assert ply.vertices["sigma"].tolist() == SIGMA and ply.vertices["sigma"].dtype == np.float64
    assert ply.elements["face"]["part"].tolist() == PART
    assert ply.triangles().tolist() == FACES
    assert ply.comments == ("made by hand",)


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_every_truncation_is_refused(order: str) -> None:
    data = file_bytes(order)
    for length in range(len(data) - 2):  # the last line end of ascii may be absent
        with pytest.raises(FormatError):
            parse_ply(data[:length])


def test_text_files_may_end_without_a_line_end_and_use_crlf() -> None:
    data = file_bytes("ascii")
    assert parse_ply(data[:-1]).triangles().tolist() == FACES
    assert parse_ply(data.replace(b"\n", b"\r\n")).vertices["red"].tolist() == RED


@settings(max_examples=30)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 5))
    names = data.draw(st.lists(st.sampled_from(["xyz", "abc", "f_dc_0", "scale_1"]), min_size=1, unique=True))
    columns = {name: data.draw(arrays(np.dtype(data.draw(st.sampled_from(CODES))), n)) for name in names}
    path = tmp_path_factory.mktemp("ply") / "a.ply"
    write_ply(path, columns)
    back = read_ply(path).vertices
    assert list(back) == names
    for name in names:
        assert back[name].dtype == columns[name].dtype and back[name].tobytes() == columns[name].tobytes()


def test_triangles_and_comments_are_written(tmp_path: Path) -> None:
    triangles = np.array([[0, 1, 2], [2, 1, 3]], np.int32)
    write_ply(tmp_path / "a.ply", {"x": np.zeros(4, np.float32)}, triangles, ["one\ntwo"])
    ply = read_ply(tmp_path / "a.ply")
    assert ply.triangles().tolist() == triangles.tolist() and ply.comments == ("one two",)


def test_a_gaussian_splat_file_reads(tmp_path: Path) -> None:
    names = [*"xyz", "nx", "ny", "nz", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(45))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    table = np.random.default_rng(0).normal(size=(62, 10)).astype(np.float32)
    write_ply(tmp_path / "splats.ply", dict(zip(names, table, strict=True)))
    back = read_ply(tmp_path / "splats.ply").vertices
    assert len(back) == 62 and np.array_equal(np.stack(list(back.values())), table)


def test_faces_of_several_sizes_are_kept() -> None:
    data = header("element face 3", "property list uchar uint vertex_index") + b"3 0 1 2\n0\n4 0 1 2 3\n"
    faces = parse_ply(data).lists["face"]["vertex_index"]
    assert faces.offsets.tolist() == [0, 3, 3, 7] and faces.values.tolist() == [0, 1, 2, 0, 1, 2, 3]
    with pytest.raises(FormatError, match="not triangles"):
        parse_ply(data).triangles()


def header(*lines: str, order: str = "ascii") -> bytes:
    return "\n".join(["ply", f"format {order} 1.0", *lines, "end_header", ""]).encode()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not a PLY file"),
        (b"plyx\nend_header\n", "not a PLY file"),
        (b"ply\n" + b"comment a\n" * 10_000 + b"format ascii 1.0\nend_header\n", "no end_header"),
        (b"ply\nend_header\n", "names no format"),
        (header(order="binary_middle_endian"), "bad line"),
        (header("format ascii 1.0"), "bad line"),
        (header("property float x"), "bad line"),
        (header("element vertex 1", "element vertex 1"), "bad line"),
        (header("element vertex -1"), "bad number"),
        (header("element vertex 1", "property half x"), "bad property"),
        (header("element vertex 1", "property"), "bad property"),
        (header("element vertex 1", "property list float int x"), "bad property"),
        (header("element vertex 1", "property float x", "property int x"), "twice"),
        (header("element vertex 1"), "impossible number"),
        (header("element vertex 999999999999", "property float x"), "impossible number"),
        (header("element vertex 999999999999", "property float x", order="binary_big_endian"), "impossible number"),
        (header("element vertex 1", "property float x") + b"1 2\n", "wrong number of values"),
        (header("element vertex 1", "property float x") + b"1_0\n", "not numbers"),
        (header("element vertex 1", "property float x") + b"one\n", "not numbers"),
        (header("element vertex 1", "property uchar x") + b"256\n", "does not fit"),
        (header("element vertex 1", "property uchar x") + b"1.5\n", "does not fit"),
        (header("element vertex 1", "property int x") + b"nan\n", "does not fit"),
        (header("element vertex 2", "property int x") + b"100000\n", "cut off"),
        (header("element vertex 1", "property int x") + b"1\n2\n", "after the last element"),
        (header("element f 1", "property list char int x", order="binary_little_endian") + b"\xff", "negative"),
        (header("element f 1", "property list uint int x", order="binary_little_endian") + b"\xff" * 8, "cut off"),
        (header("element f 1", "property list uint int x") + b"4000000000 1\n", "wrong number of values"),
        (header("element f 1", "property uchar x", order="binary_little_endian") + b"ab", "1 bytes too many"),
    ],
)
def test_bad_files(data: bytes, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_ply(data, "points.ply")


def test_faces_past_the_vertices() -> None:
    with pytest.raises(FormatError, match="past its vertices"):
        parse_ply(file_bytes("ascii").replace(b"3 0 1 2 -5", b"3 0 1 3 -5")).triangles()


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"x": np.zeros((2, 2))},
        {"x": np.zeros(2), "y": np.zeros(3)},
        {"a b": np.zeros(2)},
        {"x": np.zeros(2, np.int64)},
    ],
)
def test_what_ply_cannot_hold(tmp_path: Path, columns: dict[str, np.ndarray]) -> None:
    with pytest.raises((UsageError, TypeCheckError)):  # the latter from the run-time checks of the tests
        write_ply(tmp_path / "a.ply", columns)
    assert not list(tmp_path.iterdir())


def test_absent_and_too_large(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_ply(tmp_path / "absent.ply")
    write_ply(tmp_path / "a.ply", {"x": np.zeros(100)})
    with pytest.raises(FormatError, match="too large"):
        read_ply(tmp_path / "a.ply", max_bytes=100)
