"""PLY files that other programs wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon3d.formats.ply import read_ply, write_ply

pytestmark = pytest.mark.dataset


@pytest.fixture(scope="module")
def ply_files(datasets: Path) -> list[Path]:
    files = sorted(datasets.glob("photos/*/gt/*.ply"))
    if not files:
        pytest.skip(f"no photos/*/gt/*.ply below {datasets}")
    return files


def test_reference_points_read_as_their_header_says(ply_files: list[Path]) -> None:
    for path in ply_files:
        vertices = read_ply(path).vertices
        header = path.read_bytes()[:4096].split(b"end_header")[0].decode().split()
        assert len(vertices["x"]) == int(header[header.index("vertex") + 1])
        assert all(np.isfinite(vertices[axis]).all() for axis in "xyz")
        assert {vertices[axis].dtype for axis in "xyz"} == {np.dtype(np.float32)}


def test_copies_hold_the_same(ply_files: list[Path], tmp_path: Path) -> None:
    vertices = read_ply(ply_files[0]).vertices
    write_ply(tmp_path / "copy.ply", vertices)
    copy = read_ply(tmp_path / "copy.ply").vertices
    assert list(copy) == list(vertices)
    assert all(copy[name].tobytes() == vertices[name].tobytes() for name in copy)
