"""Materials and UVs in GLB files: what is written is read, what viewers need, and what is refused."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from recon3d.core.errors import FormatError, ShapeError, UsageError
from recon3d.formats.glb import MeshArrays, parse_glb, read_glb, write_glb
from recon3d.formats.glb_container import read_container
from recon3d.formats.glb_materials import Material, _packed, decode_texture

QUAD = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def image(seed: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def uvs(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((2, 3, 2)).astype(np.float32)


def textured(**more: Any) -> MeshArrays:
    material = Material((0.5, 0.25, 1.0), 0.4, 0.9, image(1), image(2, 2, 2), image(3, 1, 3))
    return MeshArrays(**{"vertices": QUAD, "faces": FACES, "uvs": uvs(), "material": material, **more})


@pytest.mark.parametrize("with_normals", [False, True])
@pytest.mark.parametrize("with_rgb", [False, True])
def test_what_is_written_is_read(tmp_path: Path, with_normals: bool, with_rgb: bool) -> None:
    """Every corner has a UV of its own, so that the file holds six vertices; four come back."""
    normals = np.tile(np.array([[0, -1, 0]], np.float32), (4, 1)) if with_normals else None
    rgb = image(5, 4, 1)[:, 0] if with_rgb else None
    mesh = textured(normals=normals, rgb=rgb)
    write_glb(tmp_path / "a.glb", mesh)
    back = read_glb(tmp_path / "a.glb")
    for name in ("vertices", "faces", "normals", "rgb", "uvs"):
        expected, got = getattr(mesh, name), getattr(back, name)
        assert (got is None) == (expected is None) and (got is None or np.array_equal(got, expected)), name
    assert back.material is not None and mesh.material is not None
    assert back.material.base_color == (0.5, 0.25, 1.0)
    assert (back.material.roughness, back.material.metallic) == (0.4, 0.9)
    for name, texture in mesh.material.textures.items():
        assert np.array_equal(back.material.textures[name], texture), name


def test_other_programs_read_it(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", textured())
    write_glb(tmp_path / "b.glb", textured())
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    loaded = trimesh.load_mesh(tmp_path / "a.glb", process=False)
    corners = loaded.visual.uv[loaded.faces]
    assert np.allclose(corners * [1, -1] + [0, 1], uvs(), atol=1e-6)  # trimesh counts v from below
    material = loaded.visual.material
    assert np.array_equal(np.asarray(material.baseColorTexture.convert("RGB")), image(1))
    assert (material.roughnessFactor, material.metallicFactor) == (0.4, 0.9)
    tree = read_container((tmp_path / "a.glb").read_bytes(), "a").tree
    assert "extensionsUsed" not in tree and len(tree["images"]) == 3
    assert all(view["byteOffset"] % 4 == 0 for view in tree["bufferViews"])


def test_a_material_without_textures_needs_no_uvs(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", MeshArrays(QUAD, FACES, None, None, None, Material((1.0, 0.0, 0.0), 0.1, 1.0)))
    back = read_glb(tmp_path / "a.glb")
    assert back.uvs is None and back.material is not None and back.material.base_color == (1, 0, 0)
    assert read_glb(tmp_path / "a.glb", with_material=False).material is None
    coloured = MeshArrays(QUAD, FACES, None, image(0, 4, 1)[:, 0])
    write_glb(tmp_path / "b.glb", coloured)
    assert read_glb(tmp_path / "b.glb").material is None  # unlit


def rewritten(tmp_path: Path, change: Any, **more: Any) -> bytes:
    write_glb(tmp_path / "a.glb", textured(**more))
    container = read_container((tmp_path / "a.glb").read_bytes(), "a")
    change(container.tree)
    return _packed(container.tree, container.binary)


def test_textures_without_uvs_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def without_uvs(tree: Any) -> None:
        del tree["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]

    with caplog.at_level(logging.WARNING):
        mesh = parse_glb(rewritten(tmp_path, without_uvs), "cow.glb")
    assert caplog.messages == ["cow.glb has textures but no UVs; they are left out"]
    assert mesh.material is not None and not mesh.material.textures and mesh.material.metallic == 0.9


def test_several_materials_are_none_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def twice(tree: Any) -> None:
        first = tree["meshes"][0]["primitives"][0]
        tree["materials"].append({})
        tree["meshes"][0]["primitives"].append({**first, "material": 1})

    with caplog.at_level(logging.WARNING):
        mesh = parse_glb(rewritten(tmp_path, twice), "cow.glb")
    assert "has 2 materials; one is read at most" in caplog.messages[0]
    assert mesh.material is None and mesh.uvs is not None and len(mesh.faces) == 4


def test_a_mirrored_node_keeps_uvs_at_their_corners(tmp_path: Path) -> None:
    mesh = parse_glb(rewritten(tmp_path, lambda tree: tree["nodes"][-1].update({"scale": [-1, 1, 1]})))
    by_place = {tuple(v): set() for v in np.abs(mesh.vertices).tolist()}
    for face, corners in zip(mesh.faces, mesh.uvs, strict=True):  # type: ignore[arg-type]
        for vertex, uv in zip(face, corners, strict=True):
            by_place[tuple(np.abs(mesh.vertices[vertex]).tolist())].add(tuple(uv.tolist()))
    for face, corners in zip(FACES, uvs(), strict=True):
        for vertex, uv in zip(face, corners, strict=True):
            assert tuple(uv.tolist()) in by_place[tuple(QUAD[vertex].tolist())]


def at(tree: Any, *path: Any) -> Any:
    for step in path[:-1]:
        tree = tree[step]
    return tree, path[-1]


SPOILED: list[tuple[tuple[Any, ...], Any, str]] = [
    (("materials", 0, "pbrMetallicRoughness"), 3, "'pbrMetallicRoughness' is wrong"),
    (("materials", 0, "pbrMetallicRoughness", "baseColorFactor"), [1], "wrong shape"),
    (("materials", 0, "pbrMetallicRoughness", "roughnessFactor"), "x", "'roughnessFactor' is wrong"),
    (("materials", 0, "pbrMetallicRoughness", "baseColorTexture"), 3, "'baseColorTexture' is wrong"),
    (("materials", 0, "pbrMetallicRoughness", "baseColorTexture", "index"), 9, r"no textures\[9\]"),
    (("materials", 0, "pbrMetallicRoughness", "baseColorTexture", "texCoord"), 1, "second set of UVs"),
    (("materials", 0, "normalTexture", "index"), -1, "'index' is wrong"),
    (("textures", 0, "source"), 7, r"no images\[7\]"),
    (("images", 0), {"uri": "../../secret.png"}, r"in another file, which is not read; got: ../../secret.png"),
    (("images", 0, "bufferView"), 0, "no PNG or JPEG image, or damaged"),
    (("images", 0, "bufferView"), 99, r"no bufferViews\[99\]"),
    (("meshes", 0, "primitives", 0, "material"), 4, r"no materials\[4\]"),
    (("meshes", 0, "primitives", 0, "attributes", "TEXCOORD_0"), 0, "wrong type"),
]


@pytest.mark.parametrize(("path", "to", "text"), SPOILED)
def test_spoiled_files_are_refused(tmp_path: Path, path: tuple[Any, ...], to: Any, text: str) -> None:
    def spoil(tree: Any) -> None:
        owner, key = at(tree, *path)
        owner[key] = to

    with pytest.raises(FormatError, match=text):
        parse_glb(rewritten(tmp_path, spoil))


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_textures_are_capped_and_checked() -> None:
    assert decode_texture(png(3, 2), "x").shape == (2, 3, 3)
    with pytest.raises(FormatError, match="x is too large; got: 40000 pixels; expected: 1 to 39999"):
        decode_texture(png(200, 200), "x", max_pixels=39999)
    bomb = bytearray(png(8, 8))
    bomb[16:24] = struct.pack(">II", 60000, 60000)
    for data in (bytes(bomb), png(64, 64)[:60], b"", b"GIF89a" + bytes(50)):
        with pytest.raises(FormatError, match=r"no PNG or JPEG image, or damaged|too large"):
            decode_texture(data, "x")


@pytest.mark.usefixtures("without_shape_checks")
def test_materials_that_make_no_sense() -> None:
    for change in ({"roughness": 1.5}, {"metallic": -0.1}, {"base_color": (0.0, 0.0, float("nan"))}):
        with pytest.raises(UsageError, match=f"Material.{next(iter(change))} is out of range"):
            Material(**change)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"Material.normal_texture has the wrong shape; got: \(2, 2\)"):
        Material(normal_texture=np.zeros((2, 2), np.uint8))
    with pytest.raises(ShapeError, match="a mesh with textures needs UVs"):
        MeshArrays(QUAD, FACES, None, None, None, Material(normal_texture=image(0)))
    with pytest.raises(ShapeError, match=r"mesh.uvs has the wrong shape"):
        MeshArrays(QUAD, FACES, None, None, uvs()[:1])


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not finite"):
        write_glb(tmp_path / "a.glb", textured(uvs=uvs() * np.float32(np.inf)))
    assert not list(tmp_path.iterdir())
