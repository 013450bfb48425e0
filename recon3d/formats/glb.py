"""GLB: triangle meshes in one binary glTF 2.0 file.

Axes: glTF is y-up; :func:`gltf_from_world` turns the z-up world on writing, :func:`world_from_gltf` back on reading.

Colours: glTF's vertex colours are linear by its specification, ours are sRGB bytes. They are written as linear 16-bit
numbers, in which every sRGB byte survives, and turned back on reading. Viewers that follow the specification (three.js,
Babylon.js, Blender) show the photos' colours; a program that takes the stored numbers for sRGB shows them too dark.
The light is in the photos' colours already, so coloured meshes carry ``KHR_materials_unlit``; faces show on both sides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float32, Float64, Int32, UInt8

from recon3d.core.errors import FormatError, ShapeError, UsageError
from recon3d.core.files import read_capped, write_bytes
from recon3d.formats.glb_container import GlbContainer, read_container
from recon3d.formats.glb_materials import Material, read_material, split_at_seams, weld, with_material
from recon3d.formats.glb_nodes import MeshInstance, mesh_instances
from recon3d.formats.glb_primitives import Primitive, linear_from_srgb, read_primitive, srgb_from_linear

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 4 << 30
MAX_ELEMENTS = 100_000_000
_COLOUR, _UV = "_COLOUR", "_UV"  # trimesh writes attributes of unknown names in their own type
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
_UNLIT = "KHR_materials_unlit"


@dataclass(frozen=True, eq=False)
class MeshArrays:
    """A triangle mesh as files hold it, in world axes; faces are counter-clockwise seen from outside.

    Args:
        vertices: positions, ``[v,3]``.
        faces: vertex indices, ``[f,3]``.
        normals: unit normals of the vertices, ``[v,3]``.
        rgb: sRGB colours of the vertices, ``[v,3]``.
        uvs: where in the textures the corners of each face are, (0, 0) = top left, ``[f,3,2]``.
        material: what the surface is made of; textures need UVs.

    Raises:
        ShapeError: the arrays do not agree, or a face names a vertex that is not there.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    normals: Float32[np.ndarray, "v 3"] | None = None
    rgb: UInt8[np.ndarray, "v 3"] | None = None
    uvs: Float32[np.ndarray, "f 3 2"] | None = None
    material: Material | None = None

    def __post_init__(self) -> None:
        v = len(self.vertices)
        for name, shape in {
            "vertices": (v, 3),
            "faces": (len(self.faces), 3),
            "normals": (v, 3),
            "rgb": (v, 3),
            "uvs": (len(self.faces), 3, 2),
        }.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ShapeError(f"mesh.{name} has the wrong shape", got=value.shape, expected=shape)
        if self.faces.size and not 0 <= self.faces.min() <= self.faces.max() < v:
            raise ShapeError("mesh.faces points past the vertices", got=int(self.faces.max()), expected=f"0..{v - 1}")
        if self.uvs is None and self.material is not None and self.material.textures:
            raise ShapeError("a mesh with textures needs UVs", got="uvs=None", expected="[f,3,2]")


def gltf_from_world(vectors: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """Turn vectors from the z-up world into glTF's y-up axes: (x, y, z) becomes (x, z, -y)."""
    return vectors[:, (0, 2, 1)] * np.array([1, 1, -1], np.float32)


def world_from_gltf(vectors: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """Turn vectors from glTF's y-up axes into the z-up world: (x, y, z) becomes (x, -z, y)."""
    return vectors[:, (0, 2, 1)] * np.array([1, -1, 1], np.float32)


def write_glb(path: Path, mesh: MeshArrays) -> None:
    """Write a GLB file atomically; the same input gives the same bytes.

    Vertices are written once for each UV that their corners have. A material makes the mesh one that is lit; its
    textures are stored as PNG.

    Args:
        path: the file.
        mesh: in the world, with at least one face.

    Raises:
        UsageError: the mesh has no face, or a number is not finite.
    """
    finite = all(np.isfinite(each).all() for each in (mesh.vertices, mesh.normals, mesh.uvs) if each is not None)
    if not len(mesh.faces) or not finite:
        got = f"{len(mesh.faces)} faces" if finite else "numbers that are not finite"
        raise UsageError(f"cannot write {path}", got=got, expected="a mesh with faces and finite vertices")
    kept, faces, uv = np.arange(len(mesh.vertices)), mesh.faces, None
    if mesh.uvs is not None:
        kept, faces, uv = split_at_seams(mesh.faces, mesh.uvs)
    normals = None if mesh.normals is None else gltf_from_world(mesh.normals[kept])
    body = trimesh.Trimesh(gltf_from_world(mesh.vertices[kept]), faces, vertex_normals=normals, process=False)
    if mesh.rgb is not None:
        body.vertex_attributes[_COLOUR] = _linear_rgba(mesh.rgb[kept])
    if uv is not None:
        body.vertex_attributes[_UV] = uv
    scene = trimesh.Scene()
    scene.add_geometry(body, node_name="mesh", geom_name="mesh")
    export: Callable[..., bytes] = scene.export
    has_normals = normals is not None
    options = {"include_normals": has_normals, "unitize_normals": False, "tree_postprocessor": _finish_tree}
    data = export(file_type="glb", **options)
    if mesh.material is not None:
        data = with_material(read_container(data, str(path)), mesh.material)
    write_bytes(path, data)


def _linear_rgba(rgb: UInt8[np.ndarray, "v 3"]) -> np.ndarray:
    table = np.rint(linear_from_srgb(np.arange(256) / 255) * 65535).astype(np.uint16)
    rgba = np.full((len(rgb), 4), 65535, np.uint16)
    rgba[:, :3] = table[rgb]
    return rgba


def _finish_tree(tree: dict[str, Any]) -> None:
    """Give the colours their name, the views their use, and the mesh a material: glTF's default is shining metal."""
    primitive = tree["meshes"][0]["primitives"][0]
    attributes = primitive["attributes"]
    material: dict[str, Any] = {"pbrMetallicRoughness": {"metallicFactor": 0.0}, "doubleSided": True}
    if _COLOUR in attributes:
        attributes["COLOR_0"] = attributes.pop(_COLOUR)
        tree["accessors"][attributes["COLOR_0"]]["normalized"] = True
    if _UV in attributes:
        attributes["TEXCOORD_0"] = attributes.pop(_UV)
    if "COLOR_0" in attributes:
        tree["extensionsUsed"] = [_UNLIT]
        material["extensions"] = {_UNLIT: {}}
    for accessor in attributes.values():
        tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = _VERTEX_BUFFER
    tree["bufferViews"][tree["accessors"][primitive["indices"]]["bufferView"]]["target"] = _INDEX_BUFFER
    tree["materials"], primitive["material"] = [material], 0
    tree["asset"]["generator"] = "recon3d"


def read_glb(
    path: Path, max_bytes: int = MAX_FILE_BYTES, max_elements: int = MAX_ELEMENTS, *, with_material: bool = True
) -> MeshArrays:
    """Read all triangles of the scene of a GLB file, placed by its nodes, and their material.

    Vertices that differ in nothing but their UV become one again. UVs and the material are read where all triangles
    have the same material; a file of several ones is read without, with a warning, and so are textures without UVs. An
    unlit material is none.

    Args:
        path: the file.
        max_bytes: longest file that is read.
        max_elements: most vertices, and most faces, counted each time that a node shows them; memory stays within a
            small multiple of them and of the file.
        with_material: also read the material and its textures.

    Returns:
        One mesh. It has normals where all parts have them, and colours where one has; the others are white.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not valid, or needs an extension, another file, sparse data or other primitives.
    """
    return parse_glb(read_capped(path, max_bytes), str(path), max_elements, with_material=with_material)


def parse_glb(
    data: bytes, name: str = "GLB data", max_elements: int = MAX_ELEMENTS, *, with_material: bool = True
) -> MeshArrays:
    """Read the bytes of a GLB file; see :func:`read_glb`.

    Raises:
        FormatError: they are not valid, or need what is not read.
    """
    container = read_container(data, name)
    instances = mesh_instances(container)
    cache: dict[tuple[int, int], Primitive] = {}
    parts: list[tuple[Primitive, Float64[np.ndarray, "4 4"]]] = []
    totals = np.zeros(2, np.int64)
    for instance in instances:
        for index in range(len(_primitives(container, instance))):
            key = (instance.mesh, index)
            if key not in cache:
                cache[key] = read_primitive(container, _primitives(container, instance)[index], f"mesh {key[0]}")
            parts.append((cache[key], instance.world_from_mesh))
            totals += (len(cache[key].vertices), len(cache[key].faces))
            if totals.max() > max_elements:
                raise FormatError(f"{name}: too many vertices or faces", expected=f"at most {max_elements}")
    moved = [primitive.moved(matrix, name) for primitive, matrix in parts]
    return _with_surface(container, _join(moved), moved, with_material)


def _primitives(container: GlbContainer, instance: MeshInstance) -> list[Any]:
    return container.items(container.item("meshes", instance.mesh), "primitives")


def _join(parts: list[Primitive]) -> MeshArrays:
    if not parts:
        return MeshArrays(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = world_from_gltf(np.concatenate([part.vertices for part in parts]))
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts[:-1], strict=True)])
    normals = rgb = None
    with_normals = [part.normals for part in parts if part.normals is not None]
    if len(with_normals) == len(parts):
        normals = world_from_gltf(np.concatenate(with_normals))
    if any(part.rgb_linear is not None for part in parts):
        white = [np.ones_like(part.vertices) if part.rgb_linear is None else part.rgb_linear for part in parts]
        rgb = np.rint(srgb_from_linear(np.concatenate(white).astype(np.float64)) * 255).astype(np.uint8)
    return MeshArrays(vertices, faces.astype(np.int32), normals, rgb)


def _with_surface(container: GlbContainer, mesh: MeshArrays, parts: list[Primitive], with_material: bool) -> MeshArrays:
    """Add UVs where all parts have some, and the material where they have the same."""
    used = {primitive.material for primitive in parts}
    material = None
    if len(used) > 1 and with_material:
        log.warning("%s has %d materials; one is read at most, so this mesh has none", container.name, len(used))
    elif with_material and max(used, default=-1) >= 0:
        material = read_material(container, used.pop())
    uv = [primitive.uv for primitive in parts if primitive.uv is not None]
    if not parts or len(uv) < len(parts):
        if material is not None and material.textures:
            log.warning("%s has textures but no UVs; they are left out", container.name)
            material = material.without_textures()
        return replace(mesh, material=material)
    corners = np.concatenate([each[part.faces] for each, part in zip(uv, parts, strict=True)])
    kept, faces = weld([each for each in (mesh.vertices, mesh.normals, mesh.rgb) if each is not None], mesh.faces)
    normals, rgb = (None if each is None else each[kept] for each in (mesh.normals, mesh.rgb))
    return MeshArrays(mesh.vertices[kept], faces, normals, rgb, corners, material)
