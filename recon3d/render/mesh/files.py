"""Meshes in files: GLB and PLY."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.glb import MeshArrays, read_glb, write_glb
from recon3d.formats.ply import Ply, read_ply, write_ply
from recon3d.render.mesh.types import Mesh

_SUFFIXES = (".glb", ".ply")
_POSITION, _NORMAL, _COLOUR = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")


def save_mesh(path: Path, mesh: Mesh) -> None:
    """Write a mesh atomically.

    Args:
        path: ends in .glb (turned to glTF's y-up axes, colours linear) or .ply (world axes, sRGB bytes).
        mesh: the mesh.

    Raises:
        UsageError: another ending, numbers that are not finite, or a GLB without faces.
    """
    path = Path(path)
    if _suffix(path) == ".glb":
        write_glb(path, MeshArrays(mesh.vertices, mesh.faces, mesh.normals, mesh.rgb))
        return
    if not all(np.isfinite(value).all() for value in (mesh.vertices, mesh.normals) if value is not None):
        raise UsageError(f"cannot write {path}", got="numbers that are not finite", expected="finite vertices, normals")
    columns = dict(zip(_POSITION, mesh.vertices.T, strict=True))
    if mesh.normals is not None:
        columns |= dict(zip(_NORMAL, mesh.normals.T, strict=True))
    if mesh.rgb is not None:
        columns |= dict(zip(_COLOUR, mesh.rgb.T, strict=True))
    write_ply(path, columns, mesh.faces)


def load_mesh(path: Path) -> Mesh:
    """Read a mesh.

    Args:
        path: a .glb file, or a .ply file of vertices and triangles.

    Returns:
        The mesh in world axes.

    Raises:
        UsageError: another ending.
        InputError: the file cannot be opened.
        FormatError: it is not valid.
    """
    path = Path(path)
    if _suffix(path) == ".glb":
        arrays = read_glb(path)
        return Mesh(arrays.vertices, arrays.faces, arrays.normals, arrays.rgb)
    ply = read_ply(path)
    vertices = _columns(ply, _POSITION, str(path))
    normals = _columns(ply, _NORMAL, str(path)) if ply.vertices.keys() >= set(_NORMAL) else None
    rgb = None
    if ply.vertices.keys() >= set(_COLOUR):
        rgb = np.stack([ply.vertices[each] for each in _COLOUR], 1)
        if rgb.dtype != np.uint8:
            raise FormatError(f"{path}: the colours have the wrong type", got=rgb.dtype, expected="uchar")
    return Mesh(vertices, ply.triangles().astype(np.int32), normals, rgb)


def _suffix(path: Path) -> str:
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"{path} names no kind of mesh", got=path.suffix or "no ending", expected=" or ".join(_SUFFIXES)
        )
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
