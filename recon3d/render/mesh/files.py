"""Meshes in files: GLB, PLY and, to read, OBJ."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.glb import MeshArrays, read_glb, write_glb
from recon3d.formats.glb_materials import Material, decode_texture
from recon3d.formats.ply import Ply, read_ply, write_ply
from recon3d.render.mesh.assets import read_asset
from recon3d.render.mesh.types import Mesh
from recon3d.render.mesh.wavefront import load_obj

log = logging.getLogger(__name__)

_SUFFIXES = (".glb", ".ply")
_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_POSITION, _NORMAL, _COLOUR = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")


def save_mesh(path: Path, mesh: Mesh) -> None:
    """Write a mesh atomically.

    Args:
        path: ends in .glb (turned to glTF's y-up axes, colours linear, with UVs and material) or .ply (world axes, sRGB
            bytes, without).
        mesh: the mesh.

    Raises:
        UsageError: another ending, numbers that are not finite, or a GLB without faces.
    """
    path = Path(path)
    if _suffix(path) == ".glb":
        write_glb(path, MeshArrays(**vars(mesh)))
        return
    if not all(np.isfinite(value).all() for value in (mesh.vertices, mesh.normals) if value is not None):
        raise UsageError(f"cannot write {path}", got="numbers that are not finite", expected="finite vertices, normals")
    columns = dict(zip(_POSITION, mesh.vertices.T, strict=True))
    if mesh.normals is not None:
        columns |= dict(zip(_NORMAL, mesh.normals.T, strict=True))
    if mesh.rgb is not None:
        columns |= dict(zip(_COLOUR, mesh.rgb.T, strict=True))
    write_ply(path, columns, mesh.faces)


def load_mesh(path: Path, *, with_material: bool = True) -> Mesh:
    """Read a mesh.

    Faces without area are kept; nothing draws them. A mesh of several materials is read without one, and textures
    without UVs are left out, both with a warning.

    Args:
        path: a .glb file, a .ply file of vertices and triangles, or an .obj file; material files and textures that they
            name must lie in their folder.
        with_material: also read the material and its textures.

    Returns:
        The mesh: a GLB in world axes, the others in those of their file.

    Raises:
        UsageError: another ending.
        InputError: the file, or one that it names, cannot be opened.
        FormatError: one is not valid, too large, or named outside the folder.
    """
    path = Path(path)
    suffix = _suffix(path, (*_SUFFIXES, ".obj"))
    if suffix == ".obj":
        return load_obj(path, with_material)
    if suffix == ".glb":
        return Mesh(**vars(read_glb(path, with_material=with_material)))
    return _from_ply(path, with_material)


def _from_ply(path: Path, with_material: bool) -> Mesh:
    ply = read_ply(path)
    vertices = _columns(ply, _POSITION, str(path))
    normals = _columns(ply, _NORMAL, str(path)) if ply.vertices.keys() >= set(_NORMAL) else None
    rgb = None
    if ply.vertices.keys() >= set(_COLOUR):
        rgb = np.stack([ply.vertices[each] for each in _COLOUR], 1)
        if rgb.dtype != np.uint8:
            raise FormatError(f"{path}: the colours have the wrong type", got=rgb.dtype, expected="uchar")
    faces = ply.triangles().astype(np.int32)
    uvs = _ply_uvs(ply, faces, str(path))
    return Mesh(
        vertices, faces, normals, rgb, uvs, _ply_material(path, ply, uvs is not None) if with_material else None
    )


def _ply_uvs(ply: Ply, faces: Int32[np.ndarray, "f 3"], name: str) -> Float32[np.ndarray, "f 3 2"] | None:
    """Return UVs that are properties of the vertices, or lists of the faces (MeshLab); v counts from below there."""
    corners = ply.lists.get("face", {}).get("texcoord")
    for names in _UV:
        if corners is None and ply.vertices.keys() >= set(names):
            found = _columns(ply, names, name)[faces]
            break
    else:
        if corners is None or len(corners.values) != 6 * len(faces) or not (np.diff(corners.offsets) == 6).all():
            return None
        found = corners.values.astype(np.float32).reshape(-1, 3, 2)
        if not np.isfinite(found).all():
            raise FormatError(f"{name}: texcoord holds numbers that are not finite")
    return np.ascontiguousarray(found * np.array([1, -1], np.float32) + np.array([0, 1], np.float32))


def _ply_material(path: Path, ply: Ply, has_uvs: bool) -> Material | None:
    """Return a material with the texture that a comment of the header names."""
    named = [each.split(None, 1)[1] for each in ply.comments if each.lower().startswith("texturefile ")]
    if not named or not has_uvs or len(named) > 1:
        if named:
            cause = "several textures" if len(named) > 1 else "a texture but no UVs"
            log.warning("%s has %s; it is read without", path, cause)
        return None
    return Material(base_color_texture=decode_texture(read_asset(path, named[0]), f"{path}: {named[0][:60]}"))


def _suffix(path: Path, known: tuple[str, ...] = _SUFFIXES) -> str:
    if path.suffix.lower() not in known:
        got = path.suffix or "no ending"
        raise UsageError(f"{path} names no kind of mesh", got=got, expected=" or ".join(known))
    return path.suffix.lower()


def _columns(ply: Ply, names: tuple[str, ...], name: str) -> Float32[np.ndarray, "n c"]:
    missing = [each for each in names if each not in ply.vertices]
    if missing:
        raise FormatError(f"{name} holds no mesh", got=f"vertices without {missing[0]!r}")
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused
        table = np.stack([ply.vertices[each].astype(np.float32) for each in names], 1)
    if not np.isfinite(table).all():
        raise FormatError(f"{name}: {' '.join(names)} hold numbers that are not finite")
    return table
