"""Meshes in files by their ending."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

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


@pytest.mark.parametrize("names", [("s", "t"), ("u", "v"), ("texture_u", "texture_v")])
def test_ply_with_a_texture(tmp_path: Path, names: tuple[str, str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "skin.png")
    columns = {name: np.arange(3, dtype=np.float32) / 4 for name in ("x", "y", "z", *names)}
    path, faces = tmp_path / "a.ply", np.array([[0, 2, 1]], np.int32)
    write_ply(path, columns, faces, ["TextureFile skin.png"])
    mesh = load_mesh(path)
    assert mesh.uvs is not None and mesh.uvs.tolist() == [[[0, 1], [0.5, 0.5], [0.25, 0.75]]]
    assert mesh.material is not None and np.array_equal(mesh.material.textures["base_color_texture"], pixels)
    assert load_mesh(path, with_material=False).material is None
    write_ply(path, columns, faces, ["TextureFile ../skin.png"])
    with pytest.raises(FormatError, match=r"a\.ply names a file outside its folder"):
        load_mesh(path)


def test_ply_with_uvs_per_corner_or_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head = "ply\nformat ascii 1.0\ncomment TextureFile no.png\nelement vertex 3\nproperty float x\nproperty float y\n"
    head += "property float z\nelement face 1\nproperty list uchar int vertex_indices\n"
    body = "end_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2"
    (tmp_path / "a.ply").write_text(f"{head}property list uchar float texcoord\n{body} 6 0 0 1 0 0.25 1\n")
    mesh = load_mesh(tmp_path / "a.ply", with_material=False)
    assert mesh.uvs is not None and mesh.uvs.tolist() == [[[0, 1], [1, 1], [0.25, 0]]]
    with pytest.raises(InputError, match=r"names a file that is not there; got: no\.png"):
        load_mesh(tmp_path / "a.ply")
    (tmp_path / "b.ply").write_text(f"{head}{body}\n")
    with caplog.at_level(logging.WARNING):
        assert load_mesh(tmp_path / "b.ply").material is None
    assert "b.ply has a texture but no UVs; it is read without" in caplog.messages[0]
