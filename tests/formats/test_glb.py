"""GLB: files built by hand in every kind that is read, what is written, and nothing but FormatError otherwise."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, ShapeError, UsageError
from recon3d.formats.glb import MeshArrays, gltf_from_world, parse_glb, read_glb, world_from_gltf, write_glb
from recon3d.formats.glb_primitives import linear_from_srgb, srgb_from_linear

Tree = dict[str, Any]
POSITIONS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], "<f4")
FACES = np.array([[0, 2, 1], [0, 1, 3]])
SHORT_FACES = FACES.astype("<u2")
CODES = {"|u1": 5121, "<u2": 5123, "<u4": 5125, "<f4": 5126, "<i2": 5122}


class Builder:
    """A GLB file in parts, so that tests can spoil each."""

    def __init__(self) -> None:
        self.tree: Tree = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]}
        self.tree |= {"meshes": [{"primitives": []}], "accessors": [], "bufferViews": []}
        self.binary = b""

    def accessor(self, values: np.ndarray, **more: Any) -> int:
        kind = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[values.shape[1] if values.ndim == 2 else 1]
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": values.nbytes}
        self.binary += values.tobytes() + bytes(-values.nbytes % 4)
        self.tree["bufferViews"].append(view)
        number = len(self.tree["bufferViews"]) - 1
        entry = {"bufferView": number, "componentType": CODES[values.dtype.str], "count": len(values), "type": kind}
        self.tree["accessors"].append(entry | more)
        return len(self.tree["accessors"]) - 1

    def primitive(self, indices: np.ndarray | None = SHORT_FACES, **attributes: np.ndarray) -> Tree:
        attributes = {"POSITION": POSITIONS, **attributes}
        made: Tree = {"attributes": {name: self.accessor(values) for name, values in attributes.items()}}
        if indices is not None:
            made["indices"] = self.accessor(indices.reshape(-1))
        self.tree["meshes"][0]["primitives"].append(made)
        return made

    def data(self) -> bytes:
        self.tree.setdefault("buffers", [{"byteLength": len(self.binary)}])
        return glb(self.tree, self.binary)


def glb(tree: Any, binary: bytes = b"", version: int = 2, surplus: int = 0) -> bytes:
    text = json.dumps(tree).encode()
    chunks = chunk(b"JSON", text + b" " * (-len(text) % 4))
    chunks += chunk(b"BIN\0", binary) if binary else b""
    return b"glTF" + struct.pack("<II", version, 12 + len(chunks) + surplus) + chunks


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + kind + content


def simple() -> Builder:
    builder = Builder()
    builder.primitive()
    return builder


def test_world_and_gltf_axes() -> None:
    world = np.eye(3, dtype=np.float32)
    assert gltf_from_world(world).tolist() == [[1, 0, 0], [0, 0, -1], [0, 1, 0]]  # up is z in the world, y in glTF
    assert np.array_equal(world_from_gltf(gltf_from_world(world)), world)
    assert np.linalg.det(gltf_from_world(world)) == 1


@pytest.mark.parametrize("code", ["|u1", "<u2", "<u4"])
def test_a_file_made_by_hand(code: str) -> None:
    builder = Builder()
    normals = np.array([[0, 1, 0]] * 4, "<f4")
    builder.primitive(FACES.astype(code), NORMAL=normals)
    mesh = parse_glb(builder.data())
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 2], [0, -3, 0]]
    assert mesh.faces.tolist() == FACES.tolist() and mesh.faces.dtype == np.int32
    assert mesh.normals is not None and mesh.normals.tolist() == [[0, 0, 1]] * 4
    assert mesh.rgb is None


LINEAR = [0.0, 0.2140411, 1.0]  # sRGB 0, 0.5, 1


@pytest.mark.parametrize(
    "colours",
    [
        np.array([[*LINEAR, 1.0]] * 4, "<f4"),
        np.array([LINEAR] * 4, "<f4"),
        np.array([[*(np.array(LINEAR) * 65535), 0]] * 4).astype("<u2"),
        np.array([[*(np.array(LINEAR) * 255 + 0.5), 0]] * 4).astype("|u1"),
    ],
)
def test_colours_are_linear_in_the_file_and_srgb_in_memory(colours: np.ndarray) -> None:
    builder = Builder()
    builder.primitive(COLOR_0=colours)
    rgb = parse_glb(builder.data()).rgb
    assert rgb is not None and np.abs(rgb.astype(int) - [0, 128, 255]).max() <= 1


def test_tightly_interleaved_attributes_and_triangles_without_indices() -> None:
    builder = Builder()
    table = np.zeros(3, [("p", "<f4", 3), ("c", "|u1", 4)])
    table["p"], table["c"] = POSITIONS[:3], 255
    builder.binary = table.tobytes()
    builder.tree["bufferViews"] = [{"buffer": 0, "byteLength": 48, "byteStride": 16}]
    shared = {"bufferView": 0, "count": 3}
    builder.tree["accessors"] = [
        {**shared, "componentType": 5126, "type": "VEC3"},
        {**shared, "componentType": 5121, "type": "VEC4", "byteOffset": 12, "normalized": True},
    ]
    builder.tree["meshes"][0]["primitives"] = [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "mode": 4}]
    mesh = parse_glb(builder.data())
    assert mesh.faces.tolist() == [[0, 1, 2]] and np.array_equal(mesh.vertices, world_from_gltf(POSITIONS[:3]))
    assert mesh.rgb is not None and (mesh.rgb == 255).all()


def test_several_primitives_meshes_and_nodes_become_one_mesh() -> None:
    builder = Builder()
    builder.primitive(NORMAL=np.ones((4, 3), "<f4"))
    builder.primitive(None, POSITION=POSITIONS[:3], COLOR_0=np.zeros((3, 3), "<f4"))
    builder.tree["nodes"] = [{"children": [1, 2]}, {"mesh": 0}, {"mesh": 0, "translation": [0, 10, 0]}, {"mesh": 0}]
    mesh = parse_glb(builder.data())
    assert len(mesh.vertices) == 14 and mesh.faces[-1].tolist() == [11, 12, 13]  # the last node is in no scene
    assert mesh.vertices[7:].tolist() == (mesh.vertices[:7] + np.array([0, 0, 10])).tolist()
    assert mesh.normals is None
    assert mesh.rgb is not None and (mesh.rgb[:4] == 255).all() and (mesh.rgb[4:7] == 0).all()


def test_transforms_of_nodes_are_composed() -> None:
    """A quarter turn about y and a scale below a shift, spelled as a matrix."""
    builder = Builder()
    builder.primitive(NORMAL=np.array([[1, 0, 0]] * 4, "<f4"))
    shift = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 100, 0, 0, 1]
    turn = {"rotation": [0, 0.5**0.5, 0, 0.5**0.5], "scale": [1, 1, 4], "translation": [0, 5, 0]}
    builder.tree["nodes"] = [{"matrix": shift, "children": [1]}, {"mesh": 0, **turn}]
    mesh = parse_glb(builder.data())
    gltf = gltf_from_world(mesh.vertices)
    assert gltf == pytest.approx(np.array([[100, 5, 0], [100, 5, -1], [100, 7, 0], [112, 5, 0]]), abs=1e-5)
    assert mesh.normals is not None
    assert gltf_from_world(mesh.normals) == pytest.approx(np.array([[0, 0, -1]] * 4), abs=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_a_mirror_keeps_faces_and_normals_outwards(seed: int) -> None:
    generator = np.random.default_rng(seed)
    box = trimesh.creation.box()
    builder = Builder()
    builder.primitive(
        box.faces.astype("<u2"), POSITION=box.vertices.astype("<f4"), NORMAL=box.vertex_normals.astype("<f4")
    )
    matrix = np.eye(4)
    matrix[:3, :3] = generator.normal(size=(3, 3)) + 3 * np.diag(generator.choice([-1.0, 1.0], 3))
    builder.tree["nodes"][0]["matrix"] = matrix.T.reshape(-1).tolist()
    mesh = parse_glb(builder.data())
    moved = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert moved.volume == pytest.approx(abs(np.linalg.det(matrix)), rel=1e-4)
    assert mesh.normals is not None
    assert ((mesh.normals * mesh.vertices).sum(1) > 0).all()


@settings(max_examples=30)
@given(st.integers(3, 40), st.integers(1, 30), st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, v: int, f: int, with_normals: bool, with_rgb: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    mesh = MeshArrays(
        vertices=generator.normal(0, 100, (v, 3)).astype(np.float32),
        faces=generator.integers(0, v, (f, 3)).astype(np.int32),
        normals=generator.normal(size=(v, 3)).astype(np.float32) if with_normals else None,
        rgb=generator.integers(0, 256, (v, 3)).astype(np.uint8) if with_rgb else None,
    )
    path = tmp_path_factory.mktemp("glb") / "a.glb"
    write_glb(path, mesh)
    back = read_glb(path)
    for name in ("vertices", "faces", "normals", "rgb"):
        expected, got = getattr(mesh, name), getattr(back, name)
        assert (got is None) == (expected is None), name
        assert got is None or (np.array_equal(got, expected) and got.dtype == expected.dtype), name


def test_every_colour_survives(tmp_path: Path) -> None:
    rgb = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    vertices = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
    write_glb(tmp_path / "a.glb", MeshArrays(vertices, np.array([[0, 1, 2]], np.int32), None, rgb))
    back = read_glb(tmp_path / "a.glb").rgb
    assert back is not None and np.array_equal(back, rgb)


@given(st.floats(0, 1))
def test_srgb_and_linear_undo_each_other(value: float) -> None:
    encoded = np.array([value])
    assert srgb_from_linear(linear_from_srgb(encoded)) == pytest.approx(encoded, abs=1e-6)
    assert linear_from_srgb(np.array([0.5]))[0] == pytest.approx(0.2140411)


def written_tree(path: Path) -> Tree:
    data = path.read_bytes()
    found: Tree = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    return found


def test_the_written_file_is_what_viewers_need(tmp_path: Path) -> None:
    vertices = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    rgb = np.full((4, 3), 128, np.uint8)
    mesh = MeshArrays(vertices, FACES.astype(np.int32), None, rgb)
    write_glb(tmp_path / "a.glb", mesh)
    write_glb(tmp_path / "b.glb", mesh)
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    tree = written_tree(tmp_path / "a.glb")
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    assert set(attributes) == {"POSITION", "COLOR_0"}
    colour = tree["accessors"][attributes["COLOR_0"]]
    assert (colour["componentType"], colour["type"], colour["normalized"]) == (5123, "VEC4", True)
    assert colour["max"] == [14146, 14146, 14146, 65535]  # 0.2158605 of 65535
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"] and tree["materials"][0]["doubleSided"]
    loaded = trimesh.load_mesh(tmp_path / "a.glb", process=False)
    assert np.array_equal(loaded.vertices, gltf_from_world(vertices)) and np.array_equal(loaded.faces, FACES)


def test_a_mesh_without_colours_is_lit_and_no_metal(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", MeshArrays(POSITIONS.copy(), FACES.astype(np.int32)))
    tree = written_tree(tmp_path / "a.glb")
    assert "extensionsUsed" not in tree
    assert tree["materials"] == [{"pbrMetallicRoughness": {"metallicFactor": 0.0}, "doubleSided": True}]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    vertices = POSITIONS.copy()
    with pytest.raises(UsageError, match="0 faces"):
        write_glb(tmp_path / "a.glb", MeshArrays(vertices, np.zeros((0, 3), np.int32)))
    vertices[0, 0] = np.nan
    with pytest.raises(UsageError, match="not finite"):
        write_glb(tmp_path / "a.glb", MeshArrays(vertices, FACES.astype(np.int32)))
    with pytest.raises(ShapeError, match="points past"):
        MeshArrays(vertices, FACES.astype(np.int32) + 1)
    assert not list(tmp_path.iterdir())


def test_an_empty_scene_is_an_empty_mesh() -> None:
    mesh = parse_glb(glb({"asset": {"version": "2.0"}, "scenes": [{}]}))
    assert mesh.vertices.shape == mesh.faces.shape == (0, 3)


def change(*path: Any, to: Any) -> Callable[[Tree], None]:
    def apply(tree: Tree) -> None:
        owner: Any = tree
        for step in path[:-1]:
            owner = owner[step]
        owner[path[-1]] = to

    return apply


PRIMITIVE = ("meshes", 0, "primitives", 0)
SPOILED = [
    (change("asset", to={"version": "1.0"}), "unknown version of glTF"),
    (change("asset", to=[]), "'asset' is wrong"),
    (change("extensionsRequired", to=["KHR_draco_mesh_compression"]), "requires an extension"),
    (change("scene", to=1), r"no scenes\[1\]"),
    (change("scene", to=-1), "'scene' is wrong"),
    (change("scenes", to=[]), r"no scenes\[0\]"),
    (change("scenes", to={}), "'scenes' is wrong"),
    (change("scenes", 0, "nodes", to=[5]), r"no nodes\[5\]"),
    (change("scenes", 0, "nodes", to=["0"]), "is wrong"),
    (change("scenes", 0, "nodes", to=[0, 0]), "no tree"),
    (change("nodes", 0, "children", to=[0]), "no tree"),
    (change("nodes", 0, "mesh", to=True), "'mesh' is wrong"),
    (change("nodes", 0, to=7), r"no nodes\[0\]"),
    (change("nodes", 0, "matrix", to=[1] * 15), "wrong shape"),
    (change("nodes", 0, "matrix", to=[1.0] * 16), "not affine"),
    (change("nodes", 0, to={"matrix": np.eye(4).reshape(-1).tolist(), "scale": [1, 1, 1]}), "other transforms"),
    (change("nodes", 0, "rotation", to=[0, 0, 0, 0]), "unit length"),
    (change("nodes", 0, "translation", to=[1e300, 0, 0]), "to infinity"),
    (change("nodes", 0, "scale", to=[1e39, 1, 1]), "to infinity"),
    (change("meshes", 0, "primitives", to=[3]), "not a JSON object"),
    (change(*PRIMITIVE, "mode", to=1), "not made of triangles"),
    (change(*PRIMITIVE, "attributes", to={}), "'POSITION' is wrong"),
    (change(*PRIMITIVE, "attributes", "POSITION", to=9), r"no accessors\[9\]"),
    (change(*PRIMITIVE, "attributes", "POSITION", to=1), "wrong type"),
    (change(*PRIMITIVE, "attributes", "NORMAL", to=1), "wrong type"),
    (change(*PRIMITIVE, "attributes", "COLOR_0", to=1), "wrong type"),
    (change(*PRIMITIVE, "indices", to=0), "wrong type"),
    (change("accessors", 0, "sparse", to={}), "sparse"),
    (change("accessors", 0, "componentType", to=5130), "wrong type"),
    (change("accessors", 0, "count", to=5), "past its view"),
    (change("accessors", 0, "count", to=0), "'count' is wrong"),
    (change("accessors", 0, "count", to=2**31 - 1), "past its view"),
    (change("accessors", 0, "count", to=1.5), "'count' is wrong"),
    (change("accessors", 0, "byteOffset", to=4), "past its view"),
    (change("accessors", 0, to={"componentType": 5126, "count": 10**9, "type": "VEC3"}), "without data"),
    (change("accessors", 1, "count", to=5), "triangle is cut off"),
    (change("accessors", 1, "componentType", to=5125), "past its view"),
    (change("bufferViews", 0, "byteLength", to=10**6), "past the buffer"),
    (change("bufferViews", 0, "byteOffset", to=2), "past the buffer|not aligned"),
    (change("bufferViews", 0, "byteOffset", to=-4), "'byteOffset' is wrong"),
    (change("bufferViews", 0, "byteStride", to=8), "past its view"),
    (change("bufferViews", 0, "byteStride", to=13), "bad stride"),
    (change("bufferViews", 0, "buffer", to=1), "not in the binary chunk"),
    (change("buffers", to=[]), r"no buffers\[0\]"),
    (change("buffers", to=[{"byteLength": 60, "uri": "mesh.bin"}]), "another file"),
    (change("buffers", to=[{"byteLength": 10**6}]), "past the buffer"),
]


@pytest.mark.parametrize(("spoil", "text"), SPOILED)
def test_bad_trees(spoil: Callable[[Tree], None], text: str) -> None:
    builder = simple()
    builder.data()
    tree = copy.deepcopy(builder.tree)
    spoil(tree)
    with pytest.raises(FormatError, match=text):
        parse_glb(glb(tree, builder.binary), "a.glb")


def test_numbers_that_are_not_finite_and_indices_past_the_end() -> None:
    for attributes in [{"POSITION": POSITIONS * np.float32(np.nan)}, {"COLOR_0": np.full((4, 3), np.nan, "<f4")}]:
        builder = Builder()
        builder.primitive(**attributes)
        with pytest.raises(FormatError, match="not finite"):
            parse_glb(builder.data())
    builder = Builder()
    builder.primitive(FACES.astype("<u4") + 1)
    with pytest.raises(FormatError, match="points past the vertices; got: 4; expected: 3"):
        parse_glb(builder.data())
    builder = Builder()
    builder.primitive(NORMAL=np.ones((3, 3), "<f4"))
    with pytest.raises(FormatError, match="differ in length"):
        parse_glb(builder.data())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "cut off"),
        (b"glTX" + bytes(20), "not a GLB file"),
        (glb({}, version=1), "bad GLB header"),
        (glb({}, surplus=4), "bad GLB header"),
        (b"glTF" + struct.pack("<II", 2, 12), "first chunk is not JSON"),
        (b"glTF" + struct.pack("<II", 2, 24) + chunk(b"BIN\0", bytes(4)), "first chunk is not JSON"),
        (b"glTF" + struct.pack("<II", 2, 22) + chunk(b"JSON", b"{}"), "not padded"),
        (b"glTF" + struct.pack("<II", 2, 24) + chunk(b"JSON", b"{{{{"), "not valid JSON"),
        (glb([1]), "top level is wrong"),
        (glb({}), "'asset' is wrong"),
    ],
)
def test_bad_containers(data: bytes, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_glb(data)


def test_every_truncation_is_refused() -> None:
    data = simple().data()
    for length in range(0, len(data), 5):
        with pytest.raises(FormatError):
            parse_glb(data[:length])


def test_a_mesh_shown_too_often_is_refused_before_it_is_copied() -> None:
    """Each of 10,000 nodes shows the same four vertices."""
    builder = simple()
    builder.tree["nodes"] = [{"mesh": 0}] * 10_000
    builder.tree["scenes"] = [{"nodes": list(range(10_000))}]
    assert len(parse_glb(builder.data()).vertices) == 40_000
    with pytest.raises(FormatError, match="too many vertices or faces; expected: at most 30000"):
        parse_glb(builder.data(), max_elements=30_000)
