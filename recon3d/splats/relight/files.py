"""The file of relightable splats: a 3DGS PLY with materials, normals and transfer vectors.

Any splat viewer opens it and shows the colours under the light that the header names. Behind x y z, nx ny nz (the
normal), f_dc, f_rest, opacity, scale and rot stand albedo_0..2 (linear), roughness, metallic and tr_0..8, all float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from recon3d.core.errors import FormatError
from recon3d.core.files import read_capped
from recon3d.formats.ply import MAX_FILE_BYTES, Ply, parse_ply, write_ply
from recon3d.formats.splat_ply import SplatArrays, check_splats, parse_splat_ply
from recon3d.render.gaussians.types import FIELDS, Gaussians
from recon3d.splats.relight.types import MATERIAL_FIELDS, UNKNOWN_LIGHT, RelightableGaussians, is_light_name

_COLUMNS = {
    "normals": ("nx", "ny", "nz"),
    "albedo": ("albedo_0", "albedo_1", "albedo_2"),
    "roughness": ("roughness",),
    "metallic": ("metallic",),
    "transfer": tuple(f"tr_{index}" for index in range(9)),
}
_SHARES = ("albedo", "roughness", "metallic")
_LINEAR = "colour_space linear"
_LIGHT = "light "
_COMMENTS = (
    "relightable splats of recon3d, version 1",
    "axes right-handed, z up; nx ny nz are unit normals in the same axes",
    "albedo_0..2 linear RGB of the Rec. 709 primaries; roughness perceptual (alpha is its square); metallic 0 to 1",
    "tr_0..8 integral of V(w) max(n.w,0) Y_i(w) dw, real spherical harmonics to degree 2, order and signs of 3DGS",
    "f_dc and f_rest are the colour under this light",
)
_UNIT = 1e-3  # a normal may be this much longer or shorter than one


def save_relightable(path: Path, splats: RelightableGaussians) -> None:
    """Write relightable splats atomically; what is read back and written again is the same, byte for byte.

    Args:
        path: the file, .ply.
        splats: float32, on any device; logits within ±13.8 and unit normals.

    Raises:
        FormatError: a number is not finite or out of its range; our reader would refuse the file.
    """
    arrays = {name: _array(getattr(splats.gaussians, name)) for name in FIELDS}
    plain = SplatArrays(**arrays, colour_space=splats.gaussians.colour_space)
    material = {name: np.atleast_2d(_array(getattr(splats, name)).T).T for name in MATERIAL_FIELDS}
    check_splats(plain, str(path))
    _check(material, str(path))
    extra = {each: c for name in MATERIAL_FIELDS for each, c in zip(_COLUMNS[name], material[name].T, strict=True)}
    linear = [_LINEAR] if plain.colour_space == "linear" else []
    write_ply(
        Path(path), {**_plain_columns(plain, extra), **extra}, comments=[*linear, *_COMMENTS, _LIGHT + splats.light]
    )


def load_relightable(path: Path, max_bytes: int = MAX_FILE_BYTES) -> RelightableGaussians:
    """Read relightable splats.

    Args:
        path: a PLY with all properties of this kind of file, in any order.
        max_bytes: longest file that is read.

    Returns:
        The splats, float32 on the CPU.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not valid; plain splats are read by :func:`recon3d.render.gaussians.load_gaussians`.
    """
    return parse_relightable(read_capped(Path(path), max_bytes), str(path))


def parse_relightable(data: bytes, name: str = "relightable PLY") -> RelightableGaussians:
    """Read the bytes of a PLY of relightable splats; see :func:`load_relightable`.

    Raises:
        FormatError: they are not valid.
    """
    plain = parse_splat_ply(data, name)
    ply = parse_ply(data, name)
    material = {field: _table(ply, columns, name) for field, columns in _COLUMNS.items()}
    _check(material, name)
    gaussians = Gaussians(
        **{each: torch.from_numpy(np.ascontiguousarray(getattr(plain, each))) for each in FIELDS},
        colour_space=plain.colour_space,
    )
    fields = {each: torch.from_numpy(values) for each, values in material.items()}
    fields |= {each: fields[each][:, 0] for each in ("roughness", "metallic")}
    return RelightableGaussians(gaussians, **fields, light=_light(ply, name))


def _array(value: torch.Tensor) -> np.ndarray:
    return value.detach().cpu().float().numpy()


def _plain_columns(splats: SplatArrays, normals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the properties of a plain 3DGS PLY in their order, with the normals."""
    rest = splats.sh[:, 1:].transpose(0, 2, 1).reshape(len(splats), 3 * (splats.sh.shape[1] - 1))
    columns = {f"{axis}": values for axis, values in zip("xyz", splats.means.T, strict=True)}
    columns |= {each: normals[each] for each in _COLUMNS["normals"]}
    columns |= {f"f_dc_{index}": values for index, values in enumerate(splats.sh[:, 0].T)}
    columns |= {f"f_rest_{index}": values for index, values in enumerate(rest.T)}
    columns["opacity"] = splats.opacity_logits
    columns |= {f"scale_{index}": values for index, values in enumerate(splats.log_scales.T)}
    columns |= {f"rot_{index}": values for index, values in enumerate(splats.quats.T)}
    return columns


def _table(ply: Ply, columns: tuple[str, ...], name: str) -> Float32[np.ndarray, "n c"]:
    missing = [each for each in columns if each not in ply.vertices]
    if missing:
        raise FormatError(f"{name} is no PLY of relightable splats", got=f"no property {missing[0]!r}")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite and is refused
        return np.stack([ply.vertices[each].astype(np.float32) for each in columns], 1)


def _check(material: dict[str, np.ndarray], name: str) -> None:
    """Raise unless all numbers are finite, shares lie between 0 and 1, and normals have length one."""
    for field, values in material.items():
        _refuse(~np.isfinite(values).all(1), values, f"{name}: {field} holds numbers that are not finite")
        if field in _SHARES:
            _refuse(np.any((values < 0) | (values > 1), axis=1), values, f"{name}: {field} is not between 0 and 1")
    lengths = np.linalg.norm(material["normals"].astype(np.float64), axis=1)
    _refuse(np.asarray(np.abs(lengths - 1) > _UNIT), material["normals"], f"{name}: a normal has not length one")


def _refuse(bad: np.ndarray, values: np.ndarray, text: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise FormatError(text, got=f"{int(bad.sum())} of {len(bad)} splats, number {first}: {values[first].tolist()}")


def _light(ply: Ply, name: str) -> str:
    found = [comment[len(_LIGHT) :].strip() for comment in ply.comments if comment.startswith(_LIGHT)]
    if not found:
        return UNKNOWN_LIGHT
    if len(found) > 1 or not is_light_name(found[0]):
        raise FormatError(
            f"{name}: the header names no light", got=repr(found[0][:80]), expected="one line of plain text"
        )
    return found[0]
