"""OBJ files: what is read, what is repaired, and what is refused and why."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from recon3d.core.errors import FormatError, InputError, Recon3DError, UsageError
from recon3d.render.mesh import load_mesh, save_mesh

QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
UVS = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


def write(folder: Path, text: str, mtl: str | None = None) -> Path:
    (folder / "a.obj").write_text(text)
    if mtl is not None:
        (folder / "a.mtl").write_text(mtl)
    return folder / "a.obj"


def texture(path: Path) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_polygons_uvs_normals_and_indices_from_the_end(tmp_path: Path) -> None:
    text = (
        f"# a comment\no thing\n{QUAD}{UVS}vn 0 0 2\nvn 0 1 0\ns 1\nf 1/1/1 2/2/1 3/3/1 -1/-1/-2\nf 1/1/2 3/3/1 2/2/1\n"
    )
    mesh = load_mesh(write(tmp_path, text))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 1]]
    assert mesh.uvs is not None and mesh.uvs[0].tolist() == [[0, 1], [1, 1], [1, 0]]  # v counts from the top
    assert mesh.uvs[1, 2].tolist() == [0, 0]
    assert mesh.normals is not None and mesh.normals[1].tolist() == [0, 0, 1]
    assert mesh.normals[0] == pytest.approx(np.array([0, 1, 4]) / np.sqrt(17))
    assert mesh.material is None


def test_faces_without_uvs_or_normals(tmp_path: Path) -> None:
    mesh = load_mesh(write(tmp_path, f"{QUAD}{UVS}vn 0 0 1\nf 1//1 2//1 3//1\nf 1/1 2/2 3/3\n"))
    assert mesh.uvs is None and mesh.normals is None and len(mesh.faces) == 2
    empty = load_mesh(write(tmp_path, ""))
    assert len(empty.vertices) == len(empty.faces) == 0


def test_a_material_with_a_texture(tmp_path: Path) -> None:
    pixels = texture(tmp_path / "my skin.png")
    mtl = "newmtl other\nKd 1 0 0\nnewmtl skin\nKd 0.2 0.2 0.2\nPr 0.3\nPm 0.7\nmap_Kd my skin.png\nnorm -bm 1 n.png\n"
    normals = texture(tmp_path / "n.png")
    path = write(tmp_path, f"mtllib a.mtl\n{QUAD}{UVS}usemtl skin\nf 1/1 2/2 3/3\n", mtl)
    mesh = load_mesh(path)
    assert mesh.material is not None and mesh.material.base_color == (1, 1, 1)
    assert (mesh.material.roughness, mesh.material.metallic) == (0.3, 0.7)
    assert np.array_equal(mesh.material.textures["base_color_texture"], pixels)
    assert np.array_equal(mesh.material.textures["normal_texture"], normals)
    assert load_mesh(path, with_material=False).material is None
    save_mesh(tmp_path / "a.glb", mesh)
    back = load_mesh(tmp_path / "a.glb")
    assert back.material is not None and np.array_equal(back.material.textures["base_color_texture"], pixels)
    assert np.array_equal(back.uvs, mesh.uvs) and np.array_equal(back.faces, mesh.faces)  # type: ignore[arg-type]
    assert load_mesh(tmp_path / "a.glb", with_material=False).material is None


@pytest.mark.parametrize(
    ("lines", "roughness", "metallic", "colour"),
    [
        ("Kd 0.1 0.2 0.3\n", 1.0, 0.0, (0.1, 0.2, 0.3)),
        ("bsdf pbr\nKs 0 0.25 0.5\n", 0.25, 0.5, (0.8, 0.8, 0.8)),
        ("Ns 30\nKd 2 0 0\n", (2 / 32) ** 0.25, 0.0, (1.0, 0.0, 0.0)),
    ],
)
def test_kinds_of_materials(
    tmp_path: Path, lines: str, roughness: float, metallic: float, colour: tuple[float, ...]
) -> None:
    found = load_mesh(write(tmp_path, f"mtllib a.mtl\n{QUAD}usemtl x\nf 1 2 3\n", f"newmtl x\n{lines}")).material
    assert found is not None and found.base_color == pytest.approx(colour)
    assert (found.roughness, found.metallic) == pytest.approx((roughness, metallic))


def test_repairs_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texture(tmp_path / "t.png")
    mtl = "newmtl x\nmap_Kd t.png\nnewmtl y\nKd 1 1 1\n"
    with caplog.at_level(logging.WARNING):
        mesh = load_mesh(write(tmp_path, f"mtllib a.mtl\n{QUAD}usemtl x\nf 1 2 3\n", mtl))
        assert mesh.material is not None and not mesh.material.textures
        mesh = load_mesh(write(tmp_path, f"mtllib a.mtl\n{QUAD}usemtl x\nf 1 2 3\nusemtl y\nf 1 3 4\n", mtl))
        assert mesh.material is None
    assert "a.obj has textures but no UVs; they are left out" in caplog.messages[0]
    assert "a.obj has 2 materials" in caplog.messages[1]


def test_faces_without_area_are_kept(tmp_path: Path) -> None:
    assert len(load_mesh(write(tmp_path, f"{QUAD}f 1 1 2\nf 1 2 3\n")).faces) == 2


@pytest.mark.parametrize(
    "place", ["../a.mtl", "/etc/passwd", "sub/../../a.mtl", "..\\a.mtl", "C:\\a.mtl", "file:///a", "link"]
)
@pytest.mark.parametrize("kind", ["mtllib", "map_Kd"])
def test_files_outside_the_folder_are_never_opened(tmp_path: Path, place: str, kind: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "a.mtl").write_text("newmtl x\n")
    (folder / "link").symlink_to(tmp_path / "a.mtl")
    mtl = f"newmtl x\n{f'map_Kd {place}' if kind == 'map_Kd' else ''}\n"
    library = place if kind == "mtllib" else "a.mtl"
    path = write(folder, f"mtllib {library}\n{QUAD}{UVS}usemtl x\nf 1/1 2/2 3/3\n", mtl)
    with pytest.raises(FormatError, match=r"a\.obj names a file outside its folder; got: .*; to fix: put the file"):
        load_mesh(path)
    assert load_mesh(path, with_material=False).uvs is not None


def test_missing_and_damaged_companions(tmp_path: Path) -> None:
    head, face = f"{QUAD}{UVS}", "usemtl x\nf 1/1 2/2 3/3\n"
    path = write(tmp_path, f"mtllib no.mtl\n{head}{face}")
    with pytest.raises(
        InputError, match=r"a\.obj names a file that is not there; got: no\.mtl; to fix: .*with_material"
    ):
        load_mesh(path)
    path = write(tmp_path, f"mtllib a.mtl\n{head}{face}", "newmtl x\nmap_Kd no.png\n")
    with pytest.raises(InputError, match=r"not there; got: no\.png"):
        load_mesh(path)
    (tmp_path / "no.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(FormatError, match=r"material x: map_kd is no PNG or JPEG image, or damaged"):
        load_mesh(path)
    with pytest.raises(FormatError, match="uses a material that is not there; got: x"):
        load_mesh(write(tmp_path, f"mtllib a.mtl\n{head}{face}", "newmtl z\n"))
    with pytest.raises(FormatError, match="holds no material"):
        load_mesh(write(tmp_path, f"mtllib a.mtl\n{head}{face}", "\x00\x01"))
    with pytest.raises(FormatError, match="material x: not a number; got: 'red'"):
        load_mesh(write(tmp_path, f"mtllib a.mtl\n{head}{face}", "newmtl x\nKd red\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0\n", r"line 1 is cut off; got: v 0 0; expected: 3 numbers"),
        ("v 0 0 zero\n", "line 1: not a number; got: 'zero'"),
        ("v 0 nan 0\n", "line 1: not a finite number"),
        ("v 0 1e60 0\n", "numbers beyond single precision"),
        (f"{QUAD}f 1 2\n", "line 5: a face needs three corners; got: 2"),
        (f"{QUAD}f 1 2 5\n", r"line 5 names a v that is not there before it; got: 5; expected: 1\.\.4"),
        (f"{QUAD}f 1 2 0\n", "got: 0"),
        (f"{QUAD}f 1 2 -5\n", "line 5: not an integer"),
        (f"{QUAD}f 1/1 2/1 3/1\n", r"names a vt that is not there before it; got: 1; expected: 1\.\.0"),
        (f"{QUAD}f 1 2 x\n", "line 5: not an integer"),
    ],
)
def test_damaged_files_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        load_mesh(write(tmp_path, text))


def test_obj_is_not_written(tmp_path: Path) -> None:
    mesh = load_mesh(write(tmp_path, f"{QUAD}f 1 2 3\n"))
    with pytest.raises(UsageError, match=r"names no kind of mesh; got: \.obj; expected: \.glb or \.ply"):
        save_mesh(tmp_path / "b.obj", mesh)


PIECES = ["v 0 0 0", "v 1 0 0", "v 0 1 0", "vt 0 0", "vn 0 0 1", "f 1 2 3", "f 1/1/1 2/1/1 3/1/1", "f -1 -2 -3",
          "usemtl x", "mtllib a.mtl", "mtllib", "f", "v", "\x00", "f 1//1 2// 3", "v 1e400 0 0", "f 1/ 2/ 3/",
          "usemtl"]  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_any_lines_are_a_mesh_or_one_of_our_errors(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = write(tmp_path_factory.mktemp("obj"), "\n".join(lines), "newmtl x\nKd 1 1 1\n")
    try:
        load_mesh(path)
    except Recon3DError as error:
        assert str(path.parent) in str(error)
