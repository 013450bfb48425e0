"""E57 files: written and read again through pye57, damaged ones, and what happens without it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from recon3d.core.errors import DependencyError, FormatError, InputError, UsageError
from recon3d.formats.e57 import E57Scan, read_e57, write_e57

XYZ = np.random.default_rng(0).uniform((-20, 3, -2), (40, 90, 8), (300, 3))


@pytest.fixture
def pye57() -> object:
    return pytest.importorskip("pye57")


def quarter_turn(x: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[:2, :2] = [[0, -1], [1, 0]]
    pose[0, 3] = x
    return pose


# --- without the package ---


def test_the_package_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pye57", None)
    with pytest.raises(DependencyError, match=r"E57 files need pye57.*recon3d\[e57\]"):
        write_e57(tmp_path / "a.e57", XYZ)
    assert not list(tmp_path.iterdir())


def test_what_is_no_e57_file_is_told_before_the_package_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pye57", None)
    path = tmp_path / "a.e57"
    for data in (b"", b"ASTM", b"PLY\n" * 40):
        path.write_bytes(data)
        with pytest.raises(FormatError, match="is not an E57 file"):
            read_e57(path)
    path.write_bytes(b"ASTM-E57" + bytes(100))
    with pytest.raises(FormatError, match="damaged E57 header"):
        read_e57(path)
    with pytest.raises(InputError):
        read_e57(tmp_path / "nothing.e57")


def test_positions_of_a_scan_follow_its_pose() -> None:
    fields = {name: XYZ[:, axis] for axis, name in enumerate(("cartesianX", "cartesianY", "cartesianZ"))}
    scan = E57Scan("a", fields, quarter_turn(10.0))
    assert np.array_equal(scan.xyz_scan, XYZ)
    assert np.allclose(scan.xyz, np.stack([10 - XYZ[:, 1], XYZ[:, 0], XYZ[:, 2]], 1))


def test_spherical_positions_are_ranges_azimuths_and_elevations() -> None:
    fields = {
        "sphericalRange": np.array([2.0, 2.0, 2.0]),
        "sphericalAzimuth": np.array([0.0, np.pi / 2, 0.3]),
        "sphericalElevation": np.array([0.0, 0.0, np.pi / 2]),
    }
    scan = E57Scan("a", fields, np.eye(4))
    assert np.allclose(scan.xyz, [[2, 0, 0], [0, 2, 0], [0, 0, 2]], atol=1e-12)


# --- with it ---


@pytest.mark.usefixtures("pye57")
@pytest.mark.parametrize("origin", [0.0, 450_000.0])
def test_positions_come_back_wherever_they_are(tmp_path: Path, origin: float) -> None:
    xyz = XYZ + np.array([origin, -origin, 0])
    write_e57(tmp_path / "a.e57", xyz)
    (scan,) = read_e57(tmp_path / "a.e57")
    assert np.abs(scan.xyz - xyz).max() < 1e-5
    assert scan.name == "scan" and set(scan.fields) == {"cartesianX", "cartesianY", "cartesianZ"}


@pytest.mark.usefixtures("pye57")
def test_intensities_and_colours_come_back(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (300, 3)).astype(np.uint8)
    intensity = np.linspace(0, 1, 300, dtype=np.float32)
    write_e57(tmp_path / "a.e57", XYZ, intensity=intensity, rgb=rgb, name="kitchen")
    (scan,) = read_e57(tmp_path / "a.e57")
    assert scan.name == "kitchen"
    assert np.allclose(scan.fields["intensity"], intensity, atol=1e-6)
    for channel, name in enumerate(("colorRed", "colorGreen", "colorBlue")):
        assert np.array_equal(scan.fields[name], rgb[:, channel])


@pytest.mark.usefixtures("pye57")
@pytest.mark.parametrize("n", [1, 2, 5000])
def test_numbers_of_points(tmp_path: Path, n: int) -> None:
    xyz = np.random.default_rng(n).normal(size=(n, 3))
    write_e57(tmp_path / "a.e57", xyz)
    (scan,) = read_e57(tmp_path / "a.e57")
    assert np.abs(scan.xyz - xyz).max() < 1e-6


@pytest.mark.usefixtures("pye57")
def test_points_that_cannot_be_written(tmp_path: Path) -> None:
    for xyz in (np.zeros((0, 3)), np.array([[0, 0, np.nan]]), np.array([[np.inf, 0, 0]])):
        with pytest.raises(UsageError, match="finite positions, at least one"):
            write_e57(tmp_path / "a.e57", xyz)
    assert not list(tmp_path.iterdir())


def test_several_scans_keep_their_poses_and_lose_invalid_points(tmp_path: Path, pye57: object) -> None:
    path = tmp_path / "two.e57"
    invalid = (np.arange(300) % 3 == 0).astype(np.uint8)
    data = {name: XYZ[:, axis].copy() for axis, name in enumerate(("cartesianX", "cartesianY", "cartesianZ"))}
    turn = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    with pye57.E57(str(path), mode="w") as file:  # type: ignore[attr-defined]
        file.write_scan_raw(data | {"cartesianInvalidState": invalid}, name="first")
        file.write_scan_raw(data, name="second", rotation=turn, translation=np.array([10.0, 0, 0]))
    first, second = read_e57(path)
    assert (first.name, second.name) == ("first", "second")
    assert np.abs(first.xyz - XYZ[invalid == 0]).max() < 1e-5
    assert np.allclose(second.world_from_scan, quarter_turn(10.0), atol=1e-9)
    assert np.abs(second.xyz - np.stack([10 - XYZ[:, 1], XYZ[:, 0], XYZ[:, 2]], 1)).max() < 1e-5
    assert np.abs(second.xyz_scan - XYZ).max() < 1e-5


@pytest.mark.usefixtures("pye57")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_damaged(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.e57"
    write_e57(path, XYZ)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(FormatError, match="damaged E57"):
        read_e57(path)


@pytest.mark.usefixtures("pye57")
@pytest.mark.parametrize("place", [60, 1100, 3000])
def test_flipped_bytes_are_found_by_the_checksum_or_change_nothing(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a.e57"
    write_e57(path, XYZ)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 0x5A
    path.write_bytes(data)
    try:
        scans = read_e57(path)
    except FormatError as error:
        assert str(path) in str(error)
    else:
        assert all(np.isfinite(scan.xyz).all() for scan in scans)


@pytest.mark.usefixtures("pye57")
def test_files_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.e57"
    write_e57(path, XYZ)
    with pytest.raises(InputError):
        read_e57(path, max_bytes=path.stat().st_size - 1)
    assert len(read_e57(path, max_bytes=path.stat().st_size)) == 1


@pytest.mark.usefixtures("pye57")
def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.e57"
    for xyz in (XYZ, XYZ[:5]):
        write_e57(path, xyz)
    assert len(read_e57(path)[0].xyz) == 5 and list(tmp_path.iterdir()) == [path]
