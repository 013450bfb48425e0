"""Meshes in files: GLB, PLY and, to read, OBJ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.glb import MeshArrays, read_glb, write_glb
from recon3d.formats.ply import Ply, read_ply, write_ply
from recon3d.render.mesh.types import Mesh
from recon3d.render.mesh.wavefront import load_obj

_SUFFIXES = (".glb", ".ply")
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
        path: a .glb file, a .ply file of vertices and triangles, or an .obj file, whose material file and textures must
            lie in its folder.
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
    ply = read_ply(path)
    vertices = _columns(ply, _POSITION, str(path))
    normals = _columns(ply, _NORMAL, str(path)) if ply.vertices.keys() >= set(_NORMAL) else None
    rgb = None
    if ply.vertices.keys() >= set(_COLOUR):
        rgb = np.stack([ply.vertices[each] for each in _COLOUR], 1)
        if rgb.dtype != np.uint8:
            raise FormatError(f"{path}: the colours have the wrong type", got=rgb.dtype, expected="uchar")
    return Mesh(vertices, ply.triangles().astype(np.int32), normals, rgb)


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
