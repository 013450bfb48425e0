"""3DGS PLY: Gaussians as the binary little-endian PLY that splat viewers and trainers exchange."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Shaped

from recon3d.core.errors import FormatError, ShapeError
from recon3d.core.files import read_capped
from recon3d.formats.ply import MAX_FILE_BYTES, Ply, parse_ply, write_ply

COEFFICIENTS = (1, 4, 9, 16)
_FIELDS = {
    "means": ("x", "y", "z"),
    "sh_dc": ("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacity_logits": ("opacity",),
    "log_scales": ("scale_0", "scale_1", "scale_2"),
    "quats": ("rot_0", "rot_1", "rot_2", "rot_3"),
}
_LINEAR = "colour_space linear"
_QUAT_NORMS = (1e-12, 1e12)  # beyond these, squares leave the range of float32
LOGIT_LIMIT = 13.8  # an opacity of 1e-6 from 0 or 1


@dataclass(frozen=True, eq=False)
class SplatArrays:
    """Gaussians as files hold them.

    Args:
        means: centres, ``[g,3]``.
        quats: rotations (w, x, y, z) of any length but zero, ``[g,4]``.
        log_scales: natural logarithms of the standard deviations, ``[g,3]``.
        opacity_logits: opacities before the sigmoid, ``[g]``.
        sh: spherical-harmonics coefficients, ``[g,k,3]`` with k = 1, 4, 9 or 16.
        colour_space: whether the colours are display-referred sRGB, as splat tools expect, or linear.

    Raises:
        ShapeError: the arrays do not agree.
    """

    means: Float32[np.ndarray, "g 3"]
    quats: Float32[np.ndarray, "g 4"]
    log_scales: Float32[np.ndarray, "g 3"]
    opacity_logits: Float32[np.ndarray, " g"]
    sh: Float32[np.ndarray, "g k 3"]
    colour_space: Literal["srgb", "linear"] = "srgb"

    def __post_init__(self) -> None:
        g, k = len(self.means), self.sh.shape[1] if self.sh.ndim == 3 else 0
        wanted = {"means": (g, 3), "quats": (g, 4), "log_scales": (g, 3), "opacity_logits": (g,), "sh": (g, k, 3)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ShapeError(f"splats.{name} has the wrong shape", got=getattr(self, name).shape, expected=shape)
        if k not in COEFFICIENTS:
            raise ShapeError("splats.sh has the wrong number of coefficients", got=k, expected="1, 4, 9 or 16")

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return COEFFICIENTS.index(self.sh.shape[1])


def write_splat_ply(path: Path, splats: SplatArrays) -> None:
    """Write a 3DGS PLY atomically.

    The properties are x y z, nx ny nz (zeros, which some viewers want), f_dc_0..2, f_rest_0.. (all coefficients of
    red, then of green, then of blue), opacity, scale_0..2 and rot_0..3 (w, x, y, z), all float32.

    Args:
        path: the file.
        splats: finite numbers.

    Raises:
        FormatError: a number is not finite or a quaternion has no direction; our reader would refuse the file.
    """
    check_splats(splats, str(path))
    rest = splats.sh[:, 1:].transpose(0, 2, 1).reshape(len(splats), 3 * (splats.sh.shape[1] - 1))
    columns = dict(zip(_FIELDS["means"], splats.means.T, strict=True))
    columns |= dict.fromkeys(("nx", "ny", "nz"), np.zeros(len(splats), np.float32))
    columns |= dict(zip(_FIELDS["sh_dc"], splats.sh[:, 0].T, strict=True))
    columns |= {f"f_rest_{index}": column for index, column in enumerate(rest.T)}
    columns["opacity"] = splats.opacity_logits
    columns |= dict(zip(_FIELDS["log_scales"], splats.log_scales.T, strict=True))
    columns |= dict(zip(_FIELDS["quats"], splats.quats.T, strict=True))
    # readers that know no comments exist, so there is one only where it is needed
    write_ply(path, columns, comments=[_LINEAR] if splats.colour_space == "linear" else [])


def read_splat_ply(path: Path, max_bytes: int = MAX_FILE_BYTES) -> SplatArrays:
    """Read a 3DGS PLY of degree 0 to 3, its properties in any order; others, such as normals, are ignored.

    Args:
        path: the file.
        max_bytes: longest file that is read; memory stays within a small multiple of the file.

    Returns:
        The Gaussians. Infinite opacities, which other converters write for 0 and 1, become logits of ±13.8.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not a valid PLY of Gaussians, or holds another number that is not finite.
    """
    return parse_splat_ply(read_capped(path, max_bytes), str(path))


def parse_splat_ply(data: bytes, name: str = "splat PLY") -> SplatArrays:
    """Read the bytes of a 3DGS PLY; see :func:`read_splat_ply`.

    Raises:
        FormatError: they are not valid.
    """
    ply = parse_ply(data, name)
    fields = {field: _columns(ply.vertices, columns, name) for field, columns in _FIELDS.items()}
    rest = _columns(ply.vertices, _rest_names(ply, name), name)
    higher = rest.reshape(len(rest), 3, rest.shape[1] // 3).transpose(0, 2, 1)
    splats = SplatArrays(
        means=fields["means"],
        quats=fields["quats"],
        log_scales=fields["log_scales"],
        opacity_logits=_finite_logits(fields["opacity_logits"][:, 0]),
        sh=np.concatenate([fields["sh_dc"][:, None], higher], 1),
        colour_space="linear" if _LINEAR in ply.comments else "srgb",
    )
    check_splats(splats, name)
    return splats


def check_splats(splats: SplatArrays, name: str) -> None:
    """Raise unless all numbers are finite and all quaternions have a direction.

    Raises:
        FormatError: they are not.
    """
    for field in ("means", "quats", "log_scales", "opacity_logits", "sh"):
        values = getattr(splats, field)
        bad = ~np.isfinite(values).all(tuple(range(1, values.ndim)))
        if bad.any():
            got = f"{int(bad.sum())} of {len(splats)} Gaussians, the first is number {int(bad.argmax())}"
            raise FormatError(f"{name}: {field} holds numbers that are not finite", got=got)
    norms = np.linalg.norm(splats.quats.astype(np.float64), axis=1)
    bad = (norms < _QUAT_NORMS[0]) | (norms > _QUAT_NORMS[1])
    if bad.any():
        raise FormatError(f"{name}: a rotation is no quaternion", got=splats.quats[bad.argmax()].tolist())


def _columns(
    vertices: Mapping[str, Shaped[np.ndarray, " n"]], names: tuple[str, ...], name: str
) -> Float32[np.ndarray, "n c"]:
    missing = [each for each in names if each not in vertices]
    if missing:
        fix = "save the splats as a plain, uncompressed PLY" if "packed_position" in vertices else None
        raise FormatError(f"{name} is no PLY of Gaussians", got=f"no property {missing[0]!r}", fix=fix)
    n = len(next(iter(vertices.values()), ()))
    table = np.empty((n, len(names)), np.float32)
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused
        for index, each in enumerate(names):
            table[:, index] = vertices[each]
    return table


def _finite_logits(logits: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    limited = np.clip(logits, np.float32(-LOGIT_LIMIT), np.float32(LOGIT_LIMIT))
    return np.where(np.isinf(logits), limited, logits)


def _rest_names(ply: Ply, name: str) -> tuple[str, ...]:
    found = [each for each in ply.vertices if re.fullmatch(r"f_rest_[0-9]+", each)]
    if len(found) not in [3 * (k - 1) for k in COEFFICIENTS]:
        raise FormatError(f"{name}: wrong number of f_rest properties", got=len(found), expected="0, 9, 24 or 45")
    return tuple(f"f_rest_{index}" for index in range(len(found)))
