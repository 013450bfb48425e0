"""KITTI: rows of points, labels per point, calibrations and objects."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.kitti import parse_kitti_points, read_kitti_points, write_kitti_points
from recon3d.formats.kitti_semantic import (
    parse_point_labels,
    parse_semantic_kitti,
    read_point_labels,
    read_semantic_kitti,
    write_point_labels,
    write_semantic_kitti,
)
from recon3d.formats.kitti_text import (
    KittiCalibration,
    KittiObject,
    parse_kitti_calibration,
    parse_kitti_objects,
    read_kitti_calibration,
    read_kitti_objects,
    write_kitti_calibration,
    write_kitti_objects,
)

OBJECT = KittiObject(
    kind="Car",
    truncated=0.25,
    occluded=1,
    alpha=-1.57,
    box_2d=(614.24, 181.78, 727.31, 284.77),
    size_hwl=(1.57, 1.73, 4.15),
    location=(1.0, 1.75, 13.22),
    rotation_y=1 / 3,
)
LINE = b"Car 0.00 0 -1.57 614.24 181.78 727.31 284.77 1.57 1.73 4.15 1.00 1.75 13.22 -1.62"


@pytest.mark.parametrize("n_columns", [3, 4, 5, 6])
def test_rows_come_back(tmp_path: Path, n_columns: int) -> None:
    rows = np.random.default_rng(0).normal(size=(7, n_columns)).astype(np.float32)
    write_kitti_points(tmp_path / "a.bin", rows)
    back = read_kitti_points(tmp_path / "a.bin", n_columns)
    np.testing.assert_array_equal(back, rows)
    assert (tmp_path / "a.bin").stat().st_size == rows.size * 4


def test_no_row_is_a_scan() -> None:
    assert parse_kitti_points(b"").shape == (0, 4)


def test_the_other_width_is_named() -> None:
    with pytest.raises(FormatError, match="5 or 7 columns would fit"):
        parse_kitti_points(bytes(4 * 5 * 7))
    with pytest.raises(FormatError, match="cut off"):
        parse_kitti_points(bytes(13))


def test_scans_have_three_columns(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        parse_kitti_points(bytes(16), 2)
    with pytest.raises(UsageError):
        write_kitti_points(tmp_path / "a.bin", np.zeros((2, 2)))
    assert not list(tmp_path.iterdir())


def test_labels_and_instances_come_back(tmp_path: Path) -> None:
    label, instance = np.array([0, 10, 65535]), np.array([0, 7, 65535])
    write_semantic_kitti(tmp_path / "a.label", label, instance)
    back = read_semantic_kitti(tmp_path / "a.label")
    np.testing.assert_array_equal(back, [label, instance])
    assert parse_semantic_kitti(b"\x0a\0\x02\0") == (np.array([10]), np.array([2]))
    write_semantic_kitti(tmp_path / "a.label", label)
    assert read_semantic_kitti(tmp_path / "a.label")[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "i8"])
def test_plain_labels_come_back(tmp_path: Path, dtype: str) -> None:
    limits = np.iinfo(dtype)
    labels = np.array([limits.min, 5, limits.max], np.int64)
    write_point_labels(tmp_path / "a.bin", labels, dtype)
    np.testing.assert_array_equal(read_point_labels(tmp_path / "a.bin", dtype), labels)
    if limits.bits < 64:
        with pytest.raises(UsageError, match="does not fit"):
            write_point_labels(tmp_path / "a.bin", labels + 1, dtype)


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    for label, instance in [([65536], [0]), ([0], [-1])]:
        with pytest.raises(UsageError):
            write_semantic_kitti(tmp_path / "a.label", np.array(label), np.array(instance))
    with pytest.raises(UsageError, match="no type of labels"):
        write_point_labels(tmp_path / "a.bin", np.zeros(2, int), "f4")
    with pytest.raises(UsageError, match="no type of labels"):
        parse_point_labels(b"", "f4")
    with pytest.raises(FormatError, match="a multiple of 4"):
        parse_semantic_kitti(bytes(5))
    assert not list(tmp_path.iterdir())


def calibration() -> KittiCalibration:
    turn = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, -0.3]], np.float64)  # x right, y down, z forward
    camera = np.array([[700, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]], np.float64)
    return KittiCalibration({"P2": camera, "R0_rect": np.eye(3), "Tr_velo_to_cam": turn})


def test_calibrations_come_back(tmp_path: Path) -> None:
    here = calibration()
    here.matrices["P2"][0, 3] = 1 / 3
    write_kitti_calibration(tmp_path / "a.txt", here)
    back = read_kitti_calibration(tmp_path / "a.txt")
    assert list(back.matrices) == list(here.matrices)
    for key, matrix in here.matrices.items():
        np.testing.assert_array_equal(back.matrices[key], matrix)


def test_a_point_ahead_is_seen_in_the_middle() -> None:
    pixels, depth = calibration().project(np.array([[10.3, 0, 0], [10.3, -1, 1], [-5, 0, 0]]))
    np.testing.assert_allclose(depth, [10, 10, -5.3])
    np.testing.assert_allclose(pixels[:2], [[600, 180], [670, 110]])
    np.testing.assert_allclose(calibration().cam_from_velo @ [1, 2, 3, 1], [-2, -3, 0.7, 1])


def calibration_text() -> bytes:
    numbers = " ".join(map(str, range(12)))
    return f"calib_time: 09-Jan-2012\nP2: {numbers}\nR0_rect: {numbers[:17]}\nTr_velo_to_cam: {numbers}\n\n".encode()


def test_lines_of_others_are_skipped() -> None:
    assert sorted(parse_kitti_calibration(calibration_text()).matrices) == ["P2", "R0_rect", "Tr_velo_to_cam"]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"P2", b"P9", "not a KITTI calibration"),
        (b"R0_rect", b"P2", "wrong matrix P2"),
        (b"P2: 0", b"P2: 0 0", "wrong matrix P2"),
        (b"P2: 0", b"P2: nan", "not a finite number"),
        (b"P2: 0", b"P2: zero", "not a number"),
    ],
)
def test_damaged_calibrations(old: bytes, new: bytes, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_kitti_calibration(calibration_text().replace(old, new))


def test_a_matrix_of_another_shape_is_not_written(tmp_path: Path) -> None:
    for key, matrix in {"P2": np.eye(3), "P7": np.eye(3)}.items():
        with pytest.raises(UsageError, match=key):
            write_kitti_calibration(tmp_path / "a.txt", KittiCalibration({key: matrix}))


def test_objects_come_back(tmp_path: Path) -> None:
    here = [OBJECT, replace(OBJECT, kind="DontCare", occluded=-1, score=0.123456789)]
    write_kitti_objects(tmp_path / "a.txt", here)
    assert read_kitti_objects(tmp_path / "a.txt") == here
    write_kitti_objects(tmp_path / "a.txt", [])
    assert read_kitti_objects(tmp_path / "a.txt") == []


def test_numbers_of_two_digits_look_as_in_kitti(tmp_path: Path) -> None:
    objects = parse_kitti_objects(LINE + b"\r\n\n" + LINE + b" 0.90")
    assert [each.score for each in objects] == [None, 0.9]
    write_kitti_objects(tmp_path / "a.txt", objects)
    assert (tmp_path / "a.txt").read_bytes() == LINE + b"\n" + LINE + b" 0.90\n"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b" -1.62", b"", "wrong number of words"),
        (b" -1.62", b" -1.62 1 2", "wrong number of words"),
        (b"0.00 0", b"0.00 4", "not an integer in -1..3"),
        (b"0.00 0", b"0.00 0.5", "not an integer"),
        (b"13.22", b"inf", "not a finite number"),
        (b"13.22", b"far", "line 1: not a number"),
    ],
)
def test_damaged_objects(old: bytes, new: bytes, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_kitti_objects(LINE.replace(old, new))


@pytest.mark.parametrize("kind", ["", "two words", "line\nbreak"])
def test_kinds_are_one_word(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="one word"):
        write_kitti_objects(tmp_path / "a.txt", [replace(OBJECT, kind=kind)])


NUMBERS = st.floats(-1e4, 1e4)


@settings(max_examples=40)
@given(
    st.sampled_from(["Car", "Van", "Person_sitting", "DontCare"]),
    st.integers(-1, 3),
    st.tuples(*[NUMBERS] * 13),
    st.none() | st.floats(-10, 10),
)
def test_any_object_comes_back(kind: str, occluded: int, numbers: tuple[float, ...], score: float | None) -> None:
    here = KittiObject(
        kind=kind,
        truncated=numbers[0],
        occluded=occluded,
        alpha=numbers[1],
        box_2d=numbers[2:6],  # type: ignore[arg-type]
        size_hwl=numbers[6:9],  # type: ignore[arg-type]
        location=numbers[9:12],  # type: ignore[arg-type]
        rotation_y=numbers[12],
        score=score,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_kitti_objects(Path(folder) / "a.txt", [here, here])
        assert read_kitti_objects(Path(folder) / "a.txt") == [here, here]


def test_words_of_a_line_are_in_the_order_of_the_benchmark() -> None:
    (one,) = parse_kitti_objects(LINE + b" 0.75")
    assert (one.kind, one.truncated, one.occluded, one.alpha) == ("Car", 0.0, 0, -1.57)
    assert one.box_2d == (614.24, 181.78, 727.31, 284.77) and one.size_hwl == (1.57, 1.73, 4.15)
    assert one.location == (1.0, 1.75, 13.22) and (one.rotation_y, one.score) == (-1.62, 0.75)


@settings(max_examples=30)
@given(st.integers(0, 999))
def test_projection_is_that_of_the_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = calibration()
    made.matrices["R0_rect"][:] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    made.matrices["Tr_velo_to_cam"][:, 3] = rng.normal(size=3)
    point = rng.normal(0, 5, 3) + np.array([20, 0, 0])
    rectified = made.matrices["R0_rect"] @ (made.matrices["Tr_velo_to_cam"] @ [*point, 1])
    u, v, w = made.matrices["P2"] @ [*rectified, 1]
    pixels, depth = made.project(point[None])
    np.testing.assert_allclose(pixels[0], (u / w, v / w))
    np.testing.assert_allclose(depth, w)
    np.testing.assert_allclose((made.cam_from_velo @ [*point, 1])[:3], rectified)


@settings(max_examples=30)
@given(st.integers(0, 999), st.integers(3, 8), st.integers(0, 30))
def test_scans_are_rows_of_little_endian_floats(seed: int, n_columns: int, n: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, n_columns)).astype(np.float32)
    data = b"".join(struct.pack(f"<{n_columns}f", *row) for row in rows.tolist())
    back = parse_kitti_points(data, n_columns)
    assert back.dtype == np.float32 and back.tobytes() == rows.tobytes()


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)), max_size=20))
def test_labels_are_the_lower_and_instances_the_upper_half_of_a_word(pairs: list[tuple[int, int]]) -> None:
    data = b"".join(struct.pack("<HH", label, instance) for label, instance in pairs)
    labels, instances = parse_semantic_kitti(data)
    assert labels.tolist() == [label for label, _ in pairs]
    assert instances.tolist() == [instance for _, instance in pairs]
