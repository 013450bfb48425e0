"""LAS and LAZ: every point format and extra bytes come back; what does not fit is refused."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.las import parse_las, read_las, write_las
from recon3d.formats.las_header import LasVlr
from recon3d.formats.las_points import N_FORMATS, LasExtra, dimension_names, extras_bytes, parse_extras

EXTRAS = [
    LasExtra("height", "<i2", 1, (0.5,), (10.0,)),
    LasExtra("normal", "<f4", 3),
    LasExtra("shift", "<u2", 2, None, (1.0, 2.0)),
    LasExtra("raw", "u1", 5),
]
POINTS_AT, FORMAT, RECORD, N_OLD, SCALE, N_NEW = 96, 104, 105, 107, 131, 247


def points(n: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(-4000, 4000, (n, 3)) / 1000 + [500_000, 5_400_000, 300]


def values(point_format: int, n: int = 7) -> dict[str, np.ndarray]:
    """Numbers that fit every dimension of a format, the flags among them."""
    rng = np.random.default_rng(1)
    floats = {"gps_time", "return_location", "wave_x", "wave_y", "wave_z"}
    names = [name for name in dimension_names(point_format) if name not in "XYZ"]
    return {name: rng.random(n).astype(np.float32) if name in floats else rng.integers(0, 2, n) for name in names}


def written(folder: Path, suffix: str = ".las", **options: object) -> bytes:
    path = folder / f"a{suffix}"
    write_las(path, points(), **options)  # type: ignore[arg-type]
    return path.read_bytes()


def patched(data: bytes, at: int, layout: str, value: float) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, at, value)
    return bytes(changed)


@pytest.mark.parametrize("point_format", range(N_FORMATS))
def test_every_point_format_comes_back(tmp_path: Path, point_format: int) -> None:
    here = values(point_format)
    write_las(tmp_path / "a.las", points(), here, point_format=point_format)
    back = read_las(tmp_path / "a.las")
    assert back.header.minor == (4 if point_format > 5 else 3 if point_format > 3 else 2)
    assert back.dimensions == dimension_names(point_format)
    np.testing.assert_allclose(back.xyz, points(), rtol=0, atol=1e-9)
    for name, numbers in here.items():
        np.testing.assert_array_equal(back.dimension(name), numbers)


@pytest.mark.parametrize("point_format", [0, 1, 2, 3, 6, 7, 8])
def test_every_compressed_format_comes_back(tmp_path: Path, point_format: int) -> None:
    pytest.importorskip("lazrs")
    more = {"raw": np.arange(35, dtype=np.uint8).reshape(7, 5)}
    here = values(point_format) | more
    write_las(tmp_path / "a.laz", points(), here, point_format=point_format, extras=EXTRAS[3:])
    back = read_las(tmp_path / "a.laz")
    assert back.header.compressed
    np.testing.assert_allclose(back.xyz, points(), rtol=0, atol=1e-9)
    for name, numbers in here.items():
        np.testing.assert_array_equal(back.dimension(name), numbers)


@pytest.mark.parametrize("point_format", [1, 6])
def test_compressed_files_of_several_chunks(tmp_path: Path, point_format: int) -> None:
    pytest.importorskip("lazrs")
    xyz = points(50_001) / 1000
    write_las(tmp_path / "a.laz", xyz, point_format=point_format)
    back = read_las(tmp_path / "a.laz")
    np.testing.assert_allclose(back.xyz, xyz, rtol=0, atol=5.1e-4)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_no_point(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("lazrs")
    write_las(tmp_path / f"a{suffix}", np.zeros((0, 3)))
    assert read_las(tmp_path / f"a{suffix}").xyz.shape == (0, 3)


def test_extra_bytes_come_back_scaled(tmp_path: Path) -> None:
    raw = {
        "height": np.arange(7, dtype=np.int16),
        "normal": np.ones((7, 3), np.float32),
        "shift": np.full((7, 2), 5, np.uint16),
        "raw": np.full((7, 5), 9, np.uint8),
    }
    back = parse_las(written(tmp_path, dimensions=raw, extras=EXTRAS))
    assert [each.name for each in back.extras] == list(raw)
    np.testing.assert_allclose(back.dimension("height"), np.arange(7) * 0.5 + 10)
    np.testing.assert_array_equal(back.dimension("shift"), np.tile([6.0, 7.0], (7, 1)))
    np.testing.assert_array_equal(back.dimension("normal"), raw["normal"])
    np.testing.assert_array_equal(back.dimension("raw"), raw["raw"])


@pytest.mark.parametrize("code", ["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_descriptors_come_back(code: str, count: int) -> None:
    here = (LasExtra("a", code, count, (2.0,) * count),)
    assert parse_extras(extras_bytes(here)) == here


def test_descriptors_without_a_name_get_one() -> None:
    blank = bytes(192)
    assert parse_extras(blank)[0].name == "extra_0"
    assert parse_extras(b"") == ()


@pytest.mark.parametrize(
    "extra", [LasExtra("a", "<f2"), LasExtra("a", "<f4", 4), LasExtra("", "u1"), LasExtra("a" * 33, "u1")]
)
def test_extra_bytes_that_las_has_not(extra: LasExtra) -> None:
    with pytest.raises(UsageError):
        extras_bytes([extra])


def test_damaged_descriptors() -> None:
    with pytest.raises(FormatError, match="damaged LAS extra bytes"):
        parse_extras(bytes(191))
    with pytest.raises(FormatError, match="unknown type"):
        parse_extras(b"\0\0\x1f" + bytes(189))


def test_descriptors_of_other_records_are_ignored(tmp_path: Path) -> None:
    stranger = LasVlr("LASF_Spec", 4, extras_bytes(EXTRAS))
    assert parse_las(written(tmp_path, vlrs=[stranger])).extras == ()


def test_an_extra_that_is_named_like_a_dimension(tmp_path: Path) -> None:
    data = written(tmp_path, extras=[LasExtra("intensitz", "<u2")]).replace(b"intensitz", b"intensity")
    assert parse_las(data).dimensions[-1] == "intensity_extra"


def test_records_come_back(tmp_path: Path) -> None:
    wkt = LasVlr("LASF_Projection", 2112, b"PROJCS[...]", "OGC WKT")
    header = parse_las(written(tmp_path, vlrs=[wkt])).header
    assert header.vlrs == (wkt,)
    assert header.vlr("LASF_Projection", 2112) == wkt.data
    assert header.vlr("LASF_Projection", 1) is None


def test_the_header_has_the_bounds_and_the_returns(tmp_path: Path) -> None:
    data = written(tmp_path, dimensions={"return_number": np.array([1, 1, 1, 2, 2, 3, 15])})
    bounds = np.array(struct.unpack_from("<6d", data, 179)).reshape(3, 2)
    np.testing.assert_allclose(bounds, np.stack([points().max(0), points().min(0)], 1), atol=1e-9)
    assert struct.unpack_from("<Q15Q", data, N_NEW) == (7, 3, 2, 1, *[0] * 11, 1)


@pytest.mark.parametrize(
    ("at", "layout", "value", "text"),
    [
        (0, "<B", 0, "not a LAS file"),
        (25, "<B", 5, "unknown LAS header"),
        (24, "<B", 2, "unknown LAS header"),
        (94, "<H", 100, "unknown LAS header"),
        (POINTS_AT, "<I", 375 - 1, "impossible start|impossible number"),
        (POINTS_AT, "<I", 10**9, "impossible start"),
        (100, "<I", 10**6, "impossible number of LAS records"),
        (FORMAT, "<B", 11, "no point format"),
        (RECORD, "<H", 3, "impossible LAS records"),
        (SCALE, "<d", float("nan"), "scale or offset"),
        (SCALE + 24, "<d", float("inf"), "scale or offset"),
        (N_NEW, "<Q", 8, "the points is cut off|the points"),
        (N_NEW, "<Q", 2**60, "the points"),
    ],
)
def test_damaged_headers(tmp_path: Path, at: int, layout: str, value: float, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_las(patched(written(tmp_path), at, layout, value))


@pytest.mark.parametrize("kept", [0, 3, 100, 230, 374, 380, 500])
@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_cut_off_files(tmp_path: Path, suffix: str, kept: int) -> None:
    pytest.importorskip("lazrs")
    data = written(tmp_path, suffix)
    with pytest.raises(FormatError):
        parse_las(data[: min(kept, len(data) - 30)])


@pytest.mark.parametrize("name", ["red", "nothing"])
def test_dimensions_that_a_format_has_not(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no such dimension"):
        written(tmp_path, dimensions={name: np.zeros(7, int)}, point_format=6)
    with pytest.raises(UsageError, match="no such dimension"):
        parse_las(written(tmp_path, point_format=6)).dimension(name)


@pytest.mark.parametrize(
    ("name", "number"),
    [("classification", 256), ("return_number", 16), ("intensity", -1), ("intensity", 0.5), ("scan_angle", 40000)],
)
def test_numbers_that_do_not_fit(tmp_path: Path, name: str, number: float) -> None:
    with pytest.raises(UsageError, match=f"cannot hold this {name}"):
        written(tmp_path, dimensions={name: np.full(7, number)})


def test_unfit_clouds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no point format"):
        write_las(tmp_path / "a.las", points(), point_format=11)
    with pytest.raises(UsageError, match="finite"):
        write_las(tmp_path / "a.las", np.full((2, 3), np.nan))
    with pytest.raises(UsageError, match="finite"):
        write_las(tmp_path / "a.las", points(), scale=0)
    with pytest.raises(UsageError, match="too large"):
        write_las(tmp_path / "a.las", np.array([[0.0, 0, 0], [1e8, 0, 0]]))
    with pytest.raises(UsageError, match="does not match"):
        write_las(tmp_path / "a.las", points(), {"user_data": np.zeros(7, int), "intensity": np.zeros(3, int)})
    assert not list(tmp_path.iterdir())


def layers_at(data: bytes) -> int:
    """Byte of the number of points in the first chunk of a file of point format 7."""
    (start,) = struct.unpack_from("<I", data, POINTS_AT)
    return int(start) + 8 + 36


@pytest.mark.parametrize(("shift", "value"), [(0, 0), (0, 8), (0, 2**32 - 1), (4, 2**31), (4 + 9 * 4, 2**32 - 1)])
def test_impossible_layers_are_refused_before_they_take_memory(tmp_path: Path, shift: int, value: int) -> None:
    pytest.importorskip("lazrs")
    data = written(tmp_path, ".laz")
    with pytest.raises(FormatError, match="impossible LAZ chunk"):
        parse_las(patched(data, layers_at(data) + shift, "<I", value))


def test_impossible_compressed_files(tmp_path: Path) -> None:
    pytest.importorskip("lazrs")
    data = written(tmp_path, ".laz")
    (start,) = struct.unpack_from("<I", data, POINTS_AT)
    (chunks,) = struct.unpack_from("<q", data, start)
    for changed, text in [
        (patched(data, N_NEW, "<Q", 10**9), "impossible LAZ file"),
        (data.replace(b"laszip encoded", b"laszip encodec"), "no LASzip record"),
        (patched(data, start, "<q", 10**9), "impossible place"),
        (patched(data, chunks + 4, "<I", 2**32 - 1), "impossible number of LAZ chunks"),
        (patched(data, N_NEW, "<Q", 60_000), "LAZ chunk"),
    ]:
        with pytest.raises(FormatError, match=text):
            parse_las(changed)


@pytest.mark.parametrize("point_format", [0, 3, 6, 7])
def test_coordinates_are_whole_steps_from_the_offset_of_the_header(tmp_path: Path, point_format: int) -> None:
    """Read by the specification: the offset of the points at byte 96, the record length at 105, scales from 131."""
    data = written(tmp_path, point_format=point_format)
    start, record = struct.unpack_from("<I", data, POINTS_AT)[0], struct.unpack_from("<H", data, RECORD)[0]
    scales, offsets = struct.unpack_from("<3d", data, SCALE), struct.unpack_from("<3d", data, SCALE + 24)
    assert data[:4] == b"LASF" and data[FORMAT] == point_format
    assert len(data) == start + 7 * record
    for row, point in enumerate(points()):
        steps = struct.unpack_from("<3i", data, start + row * record)
        np.testing.assert_allclose(np.array(steps) * scales + offsets, point, atol=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 999), st.sampled_from([1e-4, 0.001, 0.01, 0.5]), st.floats(-1e6, 1e6), st.integers(0, 30))
def test_positions_are_rounded_to_the_scale(seed: int, scale: float, far: float, n: int) -> None:
    xyz = np.random.default_rng(seed).normal(0, 50, (n, 3)) + far
    with tempfile.TemporaryDirectory() as folder:
        write_las(Path(folder) / "a.las", xyz, scale=scale)
        back = read_las(Path(folder) / "a.las").xyz
    assert back.shape == xyz.shape and np.abs(back - xyz).max(initial=0) <= 0.5 * scale + 1e-9


@settings(max_examples=30)
@given(st.integers(0, 999), st.integers(0, N_FORMATS - 1), st.integers(1, 20))
def test_dimensions_come_back_in_every_format(seed: int, point_format: int, n: int) -> None:
    names = set(dimension_names(point_format)) & {"intensity", "point_source_id", "user_data"}
    rng = np.random.default_rng(seed)
    here = {name: rng.integers(0, 256 if name == "user_data" else 65_536, n) for name in sorted(names)}
    with tempfile.TemporaryDirectory() as folder:
        write_las(Path(folder) / "a.las", np.zeros((n, 3)), here, point_format=point_format)
        back = read_las(Path(folder) / "a.las")
    assert names
    for name, numbers in here.items():
        np.testing.assert_array_equal(back.dimension(name), numbers)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_off_file_names_itself(tmp_path: Path, share: float) -> None:
    data = written(tmp_path)
    with pytest.raises(FormatError, match=r"scan\.las"):
        parse_las(data[: int(share * len(data))], "scan.las")


def test_the_bounds_of_the_header_hold_all_points(tmp_path: Path) -> None:
    data = written(tmp_path)
    bounds = np.array(struct.unpack_from("<6d", data, SCALE + 48)).reshape(3, 2)  # greatest, least
    np.testing.assert_allclose(bounds[:, 0], points().max(0), atol=1e-3)
    np.testing.assert_allclose(bounds[:, 1], points().min(0), atol=1e-3)
