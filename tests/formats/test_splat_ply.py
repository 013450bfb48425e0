"""3DGS PLY: the layout that the ecosystem expects, byte by byte, and nothing but FormatError for anything else."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jaxtyping import TypeCheckError

from recon3d.core.errors import FormatError, ShapeError
from recon3d.formats.ply import read_ply, write_ply
from recon3d.formats.splat_ply import SplatArrays, parse_splat_ply, read_splat_ply, write_splat_ply

FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def random_splats(n: int, k: int, seed: int = 0) -> SplatArrays:
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return generator.normal(size=shape).astype(np.float32)

    return SplatArrays(normal(n, 3), normal(n, 4), normal(n, 3) - 4, normal(n), normal(n, k, 3))


def names(n_rest: int, normals: bool = True) -> list[str]:
    found = ["x", "y", "z", *(["nx", "ny", "nz"] if normals else []), "f_dc_0", "f_dc_1", "f_dc_2"]
    found += [f"f_rest_{index}" for index in range(n_rest)]
    return [*found, "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def file_bytes(properties: list[str], rows: list[list[float]], more: str = "") -> bytes:
    header = f"ply\nformat binary_little_endian 1.0\n{more}element vertex {len(rows)}\n"
    header += "".join(f"property float {name}\n" for name in properties) + "end_header\n"
    return header.encode() + b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)


def by_hand(n_rest: int = 9) -> tuple[list[str], list[float]]:
    """One Gaussian whose numbers say where they belong."""
    row = [1.0, 2, 3, 0, 0, 0, 0.1, 0.2, 0.3, *(100.0 + index for index in range(n_rest)), -1, -2, -3, -4, 1, 0, 0.5, 0]
    return names(n_rest), row


@settings(max_examples=25)
@given(st.integers(0, 6), st.sampled_from([1, 4, 9, 16]), st.sampled_from(["srgb", "linear"]), st.integers(0, 2**32))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, n: int, k: int, colour_space: str, seed: int
) -> None:
    made = random_splats(n, k, seed)
    splats = SplatArrays(*(getattr(made, name) for name in FIELDS), colour_space=colour_space)
    path = tmp_path_factory.mktemp("splats") / "a.ply"
    write_splat_ply(path, splats)
    back = read_splat_ply(path)
    assert len(back) == n and back.sh_degree == {1: 0, 4: 1, 9: 2, 16: 3}[k] and back.colour_space == colour_space
    for name in FIELDS:
        assert getattr(back, name).dtype == np.float32
        assert getattr(back, name).tobytes() == getattr(splats, name).tobytes()


def test_the_writer_makes_the_bytes_that_viewers_expect(tmp_path: Path) -> None:
    properties, row = by_hand()
    splats = SplatArrays(
        means=np.array([[1, 2, 3]], np.float32),
        quats=np.array([[1, 0, 0.5, 0]], np.float32),
        log_scales=np.array([[-2, -3, -4]], np.float32),
        opacity_logits=np.array([-1], np.float32),
        sh=np.array([[[0.1, 0.2, 0.3], [100, 103, 106], [101, 104, 107], [102, 105, 108]]], np.float32),
    )
    write_splat_ply(tmp_path / "a.ply", splats)
    assert (tmp_path / "a.ply").read_bytes() == file_bytes(properties, [row])


def test_higher_coefficients_are_stored_by_channel() -> None:
    splats = parse_splat_ply(file_bytes(*(lambda p, r: (p, [r]))(*by_hand())))
    assert splats.sh[0, 1:, 0].tolist() == [100, 101, 102]
    assert splats.sh[0, 1:, 2].tolist() == [106, 107, 108]
    assert splats.quats[0].tolist() == [1, 0, 0.5, 0] and splats.opacity_logits[0] == -1
    assert splats.log_scales[0].tolist() == [-2, -3, -4] and splats.means[0].tolist() == [1, 2, 3]


def test_order_normals_types_and_further_properties_do_not_matter(tmp_path: Path) -> None:
    splats = random_splats(5, 4)
    write_splat_ply(tmp_path / "a.ply", splats)
    columns = dict(read_ply(tmp_path / "a.ply").vertices)
    for name in ("nx", "ny", "nz"):
        del columns[name]
    columns["x"] = columns["x"].astype(np.float64)
    columns["label"] = np.arange(5, dtype=np.uint8)
    write_ply(tmp_path / "b.ply", dict(reversed(columns.items())), np.zeros((1, 3), np.int32), ["by another program"])
    back = read_splat_ply(tmp_path / "b.ply")
    assert all(np.array_equal(getattr(back, name), getattr(splats, name)) for name in FIELDS)


def test_infinite_opacities_of_other_converters_are_next_to_zero_and_one() -> None:
    properties, row = by_hand(0)
    at = properties.index("opacity")
    rows = [[*row[:at], value, *row[at + 1 :]] for value in (np.inf, -np.inf, 20.0)]
    logits = parse_splat_ply(file_bytes(properties, rows)).opacity_logits
    assert logits[2] == 20 and logits[0] == -logits[1]
    assert 1 / (1 + np.exp(-logits[0].astype(float))) == pytest.approx(1 - 1e-6, abs=1e-7)


@pytest.mark.parametrize("n_rest", [1, 3, 8, 10, 23, 44, 46, 72])
def test_wrong_numbers_of_coefficients_are_refused(n_rest: int) -> None:
    with pytest.raises(FormatError, match="wrong number of f_rest"):
        parse_splat_ply(file_bytes(names(n_rest), []))


@pytest.mark.parametrize("missing", ["x", "f_dc_1", "opacity", "scale_2", "rot_3"])
def test_missing_properties_are_named(missing: str) -> None:
    properties = [name for name in names(0) if name != missing]
    with pytest.raises(FormatError, match=f"no property '{missing}'"):
        parse_splat_ply(file_bytes(properties, [[1.0] * len(properties)]))


def test_a_gap_in_the_numbering_is_refused() -> None:
    properties = [name.replace("f_rest_8", "f_rest_9") for name in names(9)]
    with pytest.raises(FormatError, match="no property 'f_rest_8'"):
        parse_splat_ply(file_bytes(properties, [[1.0] * len(properties)]))


def test_compressed_ply_says_what_to_do() -> None:
    with pytest.raises(FormatError, match="uncompressed"):
        parse_splat_ply(file_bytes(["packed_position"], [[1.0]]))


@pytest.mark.parametrize("name", ["z", "f_dc_0", "f_rest_4", "scale_1", "rot_0"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(name: str, value: float) -> None:
    properties, row = by_hand()
    bad = [*row]
    bad[properties.index(name)] = value
    with pytest.raises(FormatError, match="not finite; got: 1 of 2 Gaussians, the first is number 1"):
        parse_splat_ply(file_bytes(properties, [row, bad]))


def test_an_opacity_that_is_no_number_is_refused() -> None:
    properties, row = by_hand()
    row[properties.index("opacity")] = np.nan
    with pytest.raises(FormatError, match="opacity_logits"):
        parse_splat_ply(file_bytes(properties, [row]))


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30])
def test_quaternions_without_a_direction_in_float32_are_refused(value: float) -> None:
    properties, row = by_hand()
    with pytest.raises(FormatError, match="no quaternion"):
        parse_splat_ply(file_bytes(properties, [[*row[:-4], value, 0, 0, 0]]))


def test_every_truncation_is_refused() -> None:
    properties, row = by_hand()
    data = file_bytes(properties, [row])
    for length in range(0, len(data), 7):
        with pytest.raises(FormatError):
            parse_splat_ply(data[:length])


def test_what_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    splats = random_splats(3, 1)
    splats.means[1, 2] = np.nan
    with pytest.raises(FormatError, match="not finite"):
        write_splat_ply(tmp_path / "a.ply", splats)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_shape_checks")
def test_arrays_that_do_not_agree() -> None:
    made = random_splats(3, 4)
    with pytest.raises(ShapeError, match="quats has the wrong shape"):
        SplatArrays(made.means, made.quats[:2], made.log_scales, made.opacity_logits, made.sh)
    with pytest.raises(ShapeError, match="number of coefficients"):
        SplatArrays(made.means, made.quats, made.log_scales, made.opacity_logits, made.sh[:, :3])


def test_only_float32_is_taken() -> None:
    made = random_splats(3, 1)
    with pytest.raises(TypeCheckError):
        SplatArrays(made.means.astype(np.float64), made.quats, made.log_scales, made.opacity_logits, made.sh)
