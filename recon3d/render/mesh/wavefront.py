"""Wavefront OBJ files and their materials (MTL)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.errors import FormatError
from recon3d.core.files import read_capped
from recon3d.formats.glb_materials import Material, decode_texture
from recon3d.formats.parsing import parse_floats, parse_int, text_lines
from recon3d.render.mesh.assets import read_asset
from recon3d.render.mesh.types import Mesh

log = logging.getLogger(__name__)

MAX_OBJ_BYTES = 1 << 31
MAX_MTL_BYTES = 1 << 22
_WIDTHS = {"v": 3, "vt": 2, "vn": 3}
_NORMAL_MAPS = ("norm", "map_kn", "map_norm")


@dataclass
class _Lines:
    """What the lines of a file hold: numbers by keyword, corners (v, vt, vn; -1 = none), and names."""

    numbers: dict[str, list[list[float]]] = field(default_factory=lambda: {key: [] for key in _WIDTHS})
    corners: list[tuple[int, int, int]] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    materials: set[str] = field(default_factory=set)


def load_obj(path: Path, with_material: bool = True) -> Mesh:
    """Read a Wavefront OBJ file.

    Polygons become fans of triangles. Axes stay as they are. UVs are turned to (0, 0) = top left. The normal of a
    vertex is the mean of those of its corners. A file of several materials is read without, with a warning, and so are
    textures where corners have no UV.

    Args:
        path: the file.
        with_material: also read its material file and textures.

    Raises:
        InputError: a file cannot be opened, or is not there.
        FormatError: one is not valid, too large, or named outside the folder.
    """
    name, lines = str(path), _Lines()
    current = ""
    for number, line in enumerate(text_lines(read_capped(path, MAX_OBJ_BYTES)), 1):
        key, *tokens = line.split() or [""]
        if key in _WIDTHS:
            values = parse_floats(tokens[: _WIDTHS[key]], f"{name}: line {number}")
            if len(values) < _WIDTHS[key]:
                raise FormatError(
                    f"{name}: line {number} is cut off", got=line[:60], expected=f"{_WIDTHS[key]} numbers"
                )
            lines.numbers[key].append(values)
        elif key == "f":
            _add_face(lines, tokens, f"{name}: line {number}")
            lines.materials.add(current)
        elif key == "mtllib":
            lines.libraries.append(line.split(None, 1)[1].strip() if tokens else "")
        elif key == "usemtl":
            current = " ".join(tokens)
    return _mesh(path, lines, with_material)


def _add_face(lines: _Lines, tokens: list[str], where: str) -> None:
    if len(tokens) < 3:
        raise FormatError(f"{where}: a face needs three corners", got=len(tokens))
    polygon = [_corner(lines, token, where) for token in tokens]
    for second, third in pairwise(polygon[1:]):
        lines.corners += [polygon[0], second, third]


def _corner(lines: _Lines, token: str, where: str) -> tuple[int, int, int]:
    found = [-1, -1, -1]
    for place, (key, text) in enumerate(zip(_WIDTHS, token.split("/"), strict=False)):
        if not text and place:
            continue
        count = len(lines.numbers[key])
        index = parse_int(text, where, least=-count, most=2**31 - 1)
        if index == 0 or index > count:
            raise FormatError(f"{where} names a {key} that is not there before it", got=index, expected=f"1..{count}")
        found[place] = index - 1 if index > 0 else count + index
    return found[0], found[1], found[2]


def _mesh(path: Path, lines: _Lines, with_material: bool) -> Mesh:
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused
        vertices, uv, vn = (np.array(lines.numbers[k], np.float32).reshape(-1, width) for k, width in _WIDTHS.items())
    if not all(np.isfinite(each).all() for each in (vertices, uv, vn)):
        raise FormatError(f"{path} holds numbers beyond single precision")
    corners = np.array(lines.corners, np.int32).reshape(-1, 3, 3)
    uvs = None
    if len(corners) and (corners[:, :, 1] >= 0).all():
        uvs = np.ascontiguousarray(uv[corners[:, :, 1]] * np.array([1, -1], np.float32) + np.array([0, 1], np.float32))
    normals = None
    if len(corners) and (corners[:, :, 2] >= 0).all():
        normals = _normals(corners, vn, len(vertices))
    material = _material(path, lines) if with_material else None
    if uvs is None and material is not None and material.textures:
        log.warning("%s has textures but no UVs; they are left out", path)
        material = material.without_textures()
    return Mesh(vertices, np.ascontiguousarray(corners[:, :, 0]), normals, None, uvs, material)


def _normals(corners: Int32[np.ndarray, "f 3 3"], vn: Float32[np.ndarray, "m 3"], n: int) -> Float32[np.ndarray, "n 3"]:
    """Return the mean normal of each vertex; vertices without a face have (0, 0, 1)."""
    vertex, of_corner = corners[:, :, 0].reshape(-1), vn[corners[:, :, 2].reshape(-1)].astype(np.float64)
    total = np.stack([np.bincount(vertex, of_corner[:, axis], n) for axis in range(3)], 1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-12, total / np.maximum(length, 1e-12), [0, 0, 1]).astype(np.float32)


def _material(path: Path, lines: _Lines) -> Material | None:
    used = lines.materials - {""}
    if len(lines.materials) > 1:
        log.warning("%s has %d materials; one is read at most, so this mesh has none", path, len(lines.materials))
        return None
    if not used or not lines.libraries:
        return None
    (wanted,) = used
    for library in lines.libraries:
        table = _library(read_asset(path, library, MAX_MTL_BYTES), str(path.parent / library))
        if wanted in table:
            return _from_table(path, table[wanted], f"{path.parent / library}: material {wanted}")
    raise FormatError(
        f"{path} uses a material that is not there", got=wanted[:60], expected="one of its material files"
    )


def _library(data: bytes, name: str) -> dict[str, dict[str, str]]:
    """Return the lines of each material by keyword, in lower case."""
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text_lines(data):
        key, _, rest = line.strip().partition(" ")
        if key.lower() == "newmtl":
            current = found.setdefault(rest.strip(), {})
        elif key and not key.startswith("#"):
            current[key.lower()] = rest.strip()
    if not found:
        raise FormatError(f"{name} holds no material")
    return found


def _from_table(path: Path, table: dict[str, str], where: str) -> Material:
    """Return a material: ``Kd`` (linear; white with a texture), ``Pr``/``Pm``, ``Ns``, or nvdiffrec's ``Ks``."""
    colour = parse_floats(table["kd"].split(), where) if "kd" in table else [0.8] * 3
    roughness, metallic = 1.0, 0.0
    if table.get("bsdf") == "pbr" and "ks" in table:
        _, roughness, metallic = (*parse_floats(table["ks"].split(), where), 1.0, 0.0, 0.0)[:3]
    elif "ns" in table:  # the exponent of Phong's lobe: alpha^2 = 2 / (n + 2)
        roughness = (2 / (max(parse_floats(table["ns"].split()[:1] or ["0"], where)[0], 0.0) + 2)) ** 0.25
    for key in ("pr", "pm"):
        if key in table:
            value = parse_floats(table[key].split()[:1] or [""], f"{where}: {key}")
            roughness, metallic = (value[0], metallic) if key == "pr" else (roughness, value[0])
    textures = {
        name: decode_texture(read_asset(path, _file_name(table[key])), f"{where}: {key}")
        for name, keys in {"base_color_texture": ("map_kd",), "normal_texture": _NORMAL_MAPS}.items()
        for key in [next((each for each in keys if each in table), "")]
        if key
    }
    if "base_color_texture" in textures or len(colour) != 3:
        colour = [1.0] * 3
    red, green, blue, rough, metal = (min(max(value, 0.0), 1.0) for value in (*colour, roughness, metallic))
    return Material((red, green, blue), rough, metal, **textures)


def _file_name(value: str) -> str:
    """Return the file of a texture line, which may have options before it."""
    return value.split()[-1] if value.startswith("-") else value
