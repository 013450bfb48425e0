"""Meshes in files by their ending."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.ply import read_ply, write_ply
from recon3d.render.mesh import Mesh, load_mesh, save_mesh


def random_mesh(seed: int, with_normals: bool = True, with_rgb: bool = True) -> Mesh:
    generator = np.random.default_rng(seed)
    v = int(generator.integers(3, 30))
    normals = generator.normal(size=(v, 3)).astype(np.float32)
    return Mesh(
        vertices=generator.normal(size=(v, 3)).astype(np.float32),
        faces=generator.integers(0, v, (int(generator.integers(1, 20)), 3)).astype(np.int32),
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True) if with_normals else None,
        rgb=generator.integers(0, 256, (v, 3)).astype(np.uint8) if with_rgb else None,
    )


@settings(max_examples=40)
@given(st.sampled_from(["a.glb", "a.PLY"]), st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_both_kinds_hold_everything(
    tmp_path_factory: pytest.TempPathFactory, name: str, with_normals: bool, with_rgb: bool, seed: int
) -> None:
    mesh = random_mesh(seed, with_normals, with_rgb)
    path = tmp_path_factory.mktemp("mesh") / name
    save_mesh(path, mesh)
    back = load_mesh(path)
    for field in ("vertices", "faces", "normals", "rgb"):
        got, expected = getattr(back, field), getattr(mesh, field)
        assert (got is None) == (expected is None) and (got is None or np.array_equal(got, expected)), field


def test_ply_is_in_world_axes_with_srgb_bytes(tmp_path: Path) -> None:
    mesh = random_mesh(0)
    save_mesh(tmp_path / "a.ply", mesh)
    ply = read_ply(tmp_path / "a.ply")
    assert list(ply.vertices) == ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue"]
    assert np.array_equal(ply.vertices["z"], mesh.vertices[:, 2]) and ply.vertices["red"].dtype == np.uint8
    assert np.array_equal(ply.triangles(), mesh.faces)


def test_ply_of_other_programs(tmp_path: Path) -> None:
    """Doubles, incomplete normals and an alpha channel."""
    columns = {name: np.arange(3.0) for name in ("y", "z", "x", "nx", "ny")}
    columns |= {name: np.arange(3, dtype=np.uint8) for name in ("red", "green", "blue", "alpha")}
    write_ply(tmp_path / "a.ply", columns, np.array([[0, 1, 2]], np.int32))
    mesh = load_mesh(tmp_path / "a.ply")
    assert mesh.vertices.dtype == np.float32 and mesh.normals is None and mesh.rgb is not None
    write_ply(tmp_path / "b.ply", {name: np.arange(3.0) for name in "xyz"})
    assert load_mesh(tmp_path / "b.ply").faces.shape == (0, 3)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"x": np.zeros(3), "y": np.zeros(3)}, "vertices without 'z'"),
        ({"x": np.zeros(3), "y": np.zeros(3), "z": np.full(3, np.nan)}, "x y z hold numbers that are not finite"),
        ({"x": np.zeros(3), "y": np.zeros(3), "z": np.full(3, 1e300)}, "not finite"),
        (dict.fromkeys(("x", "y", "z", "red", "green", "blue"), np.zeros(3)), "colours have the wrong type"),
    ],
)
def test_ply_files_that_are_no_meshes(tmp_path: Path, columns: dict[str, np.ndarray], text: str) -> None:
    write_ply(tmp_path / "a.ply", columns, np.array([[0, 1, 2]], np.int32))
    with pytest.raises(FormatError, match=text):
        load_mesh(tmp_path / "a.ply")


def test_other_endings_and_absent_files(tmp_path: Path) -> None:
    for name in ("a.stl", "mesh"):
        with pytest.raises(UsageError, match=r"expected: \.glb or \.ply"):
            save_mesh(tmp_path / name, random_mesh(0))
        with pytest.raises(UsageError, match=r"names no kind of mesh.*\.ply or \.obj"):
            load_mesh(tmp_path / name)
    for name in ("a.glb", "a.ply", "a.obj"):
        with pytest.raises(InputError, match="cannot read"):
            load_mesh(tmp_path / name)
    assert not list(tmp_path.iterdir())
