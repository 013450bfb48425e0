"""SPZ: layouts built by hand, what quantisation costs, and bombs that do not go off."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.splat_ply import SplatArrays
from recon3d.formats.spz import MAX_POINTS, parse_spz, read_spz, write_spz
from recon3d.formats.spz_fields import decode_quats_v3, encode_quats_v3, fitting_bits

FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def header(n: int, version: int = 3, degree: int = 0, bits: int = 12, flags: int = 0, reserved: int = 0) -> bytes:
    return b"NGSP" + struct.pack("<IIBBBB", version, n, degree, bits, flags, reserved)


def spz(payload: bytes, **changes: int) -> bytes:
    return gzip.compress(header(1, **changes) + payload)


def fixed(*values: int) -> bytes:
    return b"".join(struct.pack("<i", value)[:3] for value in values)


ROTATION = struct.pack("<I", 3 << 30)  # the largest is w: no rotation
ONE = fixed(4096, -6144, 1) + bytes([128]) + bytes([255, 0, 128]) + bytes([160, 0, 255]) + ROTATION


def random_splats(n: int, k: int, seed: int = 0, extent: float = 5.0) -> SplatArrays:
    generator = np.random.default_rng(seed)

    def normal(size: tuple[int, ...], scale: float = 1.0, centre: float = 0.0) -> np.ndarray:
        return generator.normal(centre, scale, size).astype(np.float32)

    means, sh = normal((n, 3), extent), np.clip(normal((n, k, 3), 0.25), -0.9, 0.9)
    return SplatArrays(means, normal((n, 4)), np.clip(normal((n, 3), 2, -4), -9.9, 5.9), normal((n,), 2), sh)


def rotations(quats: np.ndarray) -> np.ndarray:
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def angles_deg(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    chord = np.minimum(*(np.linalg.norm(rotations(first) - sign * rotations(second), axis=1) for sign in (1, -1)))
    return np.degrees(4 * np.arcsin(chord / 2))


def test_a_file_made_by_hand() -> None:
    splats = parse_spz(spz(ONE))
    assert splats.means.tolist() == [[1.0, -1.5, 1 / 4096]]
    assert splats.opacity_logits[0] == pytest.approx(np.log(128 / 127))
    assert splats.sh[0, 0] == pytest.approx([0.5 / 0.15, -0.5 / 0.15, (128 / 255 - 0.5) / 0.15])
    assert splats.log_scales.tolist() == [[0.0, -10.0, 255 / 16 - 10]]
    assert splats.quats.tolist() == [[1, 0, 0, 0]] and splats.colour_space == "srgb"


def test_the_three_smallest_components() -> None:
    """x, y, z, w in this order from the highest bits on; y = 0.6 is the largest of (0.5, 0.6, -0.5, 0.374)."""
    code = round(0.5 * 511 * 2**0.5)
    word = 1 << 30 | code << 20 | (512 | code) << 10 | round(0.14**0.5 * 511 * 2**0.5)
    quat = parse_spz(spz(ONE[:-4] + struct.pack("<I", word))).quats[0]
    assert quat == pytest.approx([0.14**0.5, 0.5, 0.6, -0.5], abs=2e-3)


def test_version_2_stores_x_y_z() -> None:
    raw = bytes(round(127.5 + 127.5 * value) for value in (0.5, -0.5, 0.1))
    quat = parse_spz(spz(ONE[:-4] + raw, version=2)).quats[0]
    assert quat == pytest.approx([0.49**0.5, 0.5, -0.5, 0.1], abs=8e-3)


def test_higher_coefficients_are_stored_with_the_colours_fastest() -> None:
    harmonics = bytes([128 + 8 * index for index in range(9)])
    sh = parse_spz(spz(ONE + harmonics, degree=1)).sh[0]
    assert sh[1:].tolist() == (np.arange(9).reshape(3, 3) / 16).tolist()


def test_the_writer_makes_the_same_file_as_by_hand(tmp_path: Path) -> None:
    """Farthest coordinate 2000, so that 12 bits are left, as Niantic's writer always takes."""
    splats = SplatArrays(
        means=np.array([[2000, -1.5, 1 / 4096]], np.float32),
        quats=np.array([[-2, 0, 0, 0]], np.float32),
        log_scales=np.array([[0, -20, 9]], np.float32),
        opacity_logits=np.array([np.log(128 / 127)], np.float32),
        sh=np.array([[[4, -4, 0.01], [0.02, 0.04, -0.03], [1, -1, 0], [-9, 9, 0.5]]], np.float32),
    )
    write_spz(tmp_path / "a.spz", splats, sh_bits=(5, 4))
    data = (tmp_path / "a.spz").read_bytes()
    # 5 bits: buckets 8 wide, around 0.02 * 128 = 2.56, 0.04 * 128 = 5.12 and -3.84
    harmonics = bytes([128, 136, 128, 255, 0, 128, 0, 255, 192])
    expected = header(1, degree=1) + fixed(2000 * 4096, -6144, 1) + ONE[9:] + harmonics
    assert gzip.decompress(data) == expected
    assert data[4:8] == bytes(4)  # no time of day
    assert parse_spz(data).means[0, 0] == 2000


def test_the_same_input_gives_the_same_bytes_and_antialiasing_is_a_flag(tmp_path: Path) -> None:
    splats = random_splats(20, 9)
    for name in ("a", "b"):
        write_spz(tmp_path / name, splats, antialiased=True)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes() and gzip.decompress(data)[14] == 1
    assert len(read_spz(tmp_path / "a")) == 20


@settings(max_examples=40)
@given(
    st.integers(1, 30),
    st.sampled_from([1, 4, 9, 16]),
    st.floats(1e-3, 1e5),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.integers(0, 2**32),
)
def test_every_field_stays_within_its_quantisation(
    tmp_path_factory: pytest.TempPathFactory, n: int, k: int, extent: float, bits: tuple[int, int], seed: int
) -> None:
    splats = random_splats(n, k, seed, extent)
    path = tmp_path_factory.mktemp("spz") / "a.spz"
    write_spz(path, splats, sh_bits=bits)
    back = read_spz(path)
    farthest = float(np.abs(splats.means).max())
    step = max(2.0**-24, farthest / 2**22)  # all 24 bits are used, down to steps of 2^-24
    assert np.abs(back.means - splats.means).max() <= step / 2 + farthest * 1e-7
    assert np.abs(back.log_scales - splats.log_scales).max() <= 1 / 32 + 1e-5
    opacities = [1 / (1 + np.exp(-each.opacity_logits.astype(float))) for each in (back, splats)]
    assert np.abs(opacities[0] - opacities[1]).max() <= 0.5 / 255 + 1e-6
    assert np.abs(back.sh[:, 0] - splats.sh[:, 0]).max() <= 1 / 76.5 + 1e-5
    assert np.abs(back.sh[:, 1:4] - splats.sh[:, 1:4]).max(initial=0) <= 2.0 ** -bits[0] + 2**-8 + 1e-5
    assert np.abs(back.sh[:, 4:] - splats.sh[:, 4:]).max(initial=0) <= 2.0 ** -bits[1] + 2**-8 + 1e-5
    assert angles_deg(back.quats, splats.quats).max() < 0.35


@settings(max_examples=25)
@given(st.integers(0, 20), st.sampled_from([1, 4, 16]), st.integers(0, 2**32))
def test_writing_what_was_read_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, n: int, k: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("spz")
    write_spz(folder / "a.spz", random_splats(n, k, seed, 2000.0))
    write_spz(folder / "b.spz", read_spz(folder / "a.spz"))
    first, second = read_spz(folder / "a.spz"), read_spz(folder / "b.spz")
    for name in FIELDS[2:]:
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert np.array_equal(first.means, second.means)
    assert np.allclose(first.quats, second.quats, atol=2e-3)


@settings(max_examples=60)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.just(4))))
def test_any_rotation_bytes_give_unit_quaternions_that_survive(raw: np.ndarray) -> None:
    quats = decode_quats_v3(raw)
    assert np.allclose(np.linalg.norm(quats, axis=1), 1, atol=1e-6)
    again = decode_quats_v3(np.frombuffer(encode_quats_v3(quats), np.uint8).reshape(-1, 4))
    assert angles_deg(quats, again).max() < 0.35


def test_all_bytes_of_opacity_have_finite_logits_that_return(tmp_path: Path) -> None:
    n = 256
    blocks = [fixed(*([0] * 3 * n)), bytes(range(256)), bytes(3 * n), bytes(3 * n), ROTATION * n]
    splats = parse_spz(gzip.compress(header(n) + b"".join(blocks)))
    assert np.isfinite(splats.opacity_logits).all() and (np.diff(splats.opacity_logits) > 0).all()
    write_spz(tmp_path / "a.spz", splats)
    assert np.array_equal(read_spz(tmp_path / "a.spz").opacity_logits, splats.opacity_logits)


def test_more_bits_keep_more_of_the_harmonics(tmp_path: Path) -> None:
    splats = random_splats(200, 16)
    errors: list[float] = []
    for bits in [(5, 4), (8, 8)]:
        write_spz(tmp_path / "a.spz", splats, sh_bits=bits)
        errors.append(np.abs(read_spz(tmp_path / "a.spz").sh[:, 1:] - splats.sh[:, 1:]).max())
    assert errors[0] > 0.05 and errors[1] <= 1 / 256 + 1e-6


@pytest.mark.parametrize(("farthest", "bits"), [(0.0, 24), (0.4, 24), (1.0, 22), (2000.0, 12), (2048.0, 11), (8e6, 0)])
def test_fractional_bits_leave_room_for_the_farthest(farthest: float, bits: int) -> None:
    assert fitting_bits(np.array([[0, -farthest, 0]], np.float32), 24) == bits


def test_nothing_wraps_around(tmp_path: Path) -> None:
    splats = random_splats(4, 1)
    splats.means[:] = [[5000, 0, 0], [-5000, 1, 2], [3, 4, 5], [0, 0, 5000]]
    write_spz(tmp_path / "a.spz", splats)
    assert np.abs(read_spz(tmp_path / "a.spz").means - splats.means).max() <= 2**-11
    splats.means[0, 0] = 1e9
    with pytest.raises(UsageError, match="too far away"):
        write_spz(tmp_path / "b.spz", splats)


def test_linear_colours_and_bad_options_are_refused(tmp_path: Path) -> None:
    made = random_splats(2, 1)
    linear = SplatArrays(*(getattr(made, name) for name in FIELDS), colour_space="linear")
    with pytest.raises(UsageError, match="sRGB"):
        write_spz(tmp_path / "a.spz", linear)
    with pytest.raises(UsageError, match="1 to 8 bits"):
        write_spz(tmp_path / "a.spz", made, sh_bits=(9, 4))
    made.means[0] = np.nan
    with pytest.raises(FormatError, match="not finite"):
        write_spz(tmp_path / "a.spz", made)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is not an SPZ file"),
        (b"NGSP" + bytes(40), "version 4 is not read"),
        (b"ply\n", "expected: a gzip stream"),
        (gzip.compress(b""), "is not an SPZ file"),
        (gzip.compress(b"GNSP" + bytes(40)), "inside a gzip stream"),
        (spz(ONE, version=1), "unknown version of SPZ; got: 1"),
        (spz(ONE, version=4), "unknown version of SPZ; got: 4"),
        (spz(ONE, degree=4), "bad SPZ header"),
        (spz(ONE, bits=25), "bad SPZ header"),
        (spz(ONE, flags=2), "extensions are not read"),
        (spz(ONE, flags=4), "bad SPZ header"),
        (spz(ONE, reserved=1), "bad SPZ header"),
        (spz(ONE[:-1]), "declares; got: 19 bytes; expected: 20 bytes"),
        (spz(ONE + b"\0"), "declares; got: more bytes"),
        (spz(ONE, version=2), "declares; got: more bytes"),
        (spz(ONE) + b"more", "declares; got: more bytes"),
        (spz(ONE)[:-1], "declares"),
        (spz(ONE)[:-8] + bytes(8), "is not an SPZ file; got: Error -3"),
        (gzip.compress(header(MAX_POINTS + 1)), "too many Gaussians"),
        (gzip.compress(header(MAX_POINTS)), "impossible number"),
    ],
)
def test_bad_files(data: bytes, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_spz(data, "a.spz")


def test_every_truncation_is_refused() -> None:
    data = spz(ONE)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            parse_spz(data[:length])


@pytest.mark.parametrize("n", [1, 2_000])
def test_a_bomb_is_not_unpacked(n: int) -> None:
    """64 MB of zeros in 65 kB, behind a header that declares far less."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(header(n)) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(FormatError, match="more bytes"):
        parse_spz(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20
