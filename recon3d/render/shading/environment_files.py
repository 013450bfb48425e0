"""Environments in files: Radiance HDR and OpenEXR."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32

from recon3d.core.budget import available_memory_bytes
from recon3d.core.errors import FormatError, InputError, ResourceError, UsageError
from recon3d.core.files import read_capped
from recon3d.formats.exr import MAX_FILE_BYTES, exr_size, parse_exr, write_exr
from recon3d.formats.hdr import hdr_size, parse_hdr, write_hdr
from recon3d.render.shading.environment import Environment

_LOG = logging.getLogger(__name__)
_BYTES_PER_VALUE = 16  # at the peak: raw lines, float32 and one copy
_SUFFIXES = (".hdr", ".pic", ".exr")


def load_environment(path: Path, repair: bool = False) -> Environment:
    """Read an equirectangular map, ``.hdr`` or ``.exr``, in our own convention (that of Blender).

    Args:
        path: the file. An EXR image has channels R, G, B or a single Y; others are not looked at.
        repair: take negative values and NaN as 0 and infinity as the largest finite value of the file, and log how
            many there were; without it such a file is refused.

    Raises:
        InputError: the file cannot be opened, or holds negative or infinite radiance or NaN.
        FormatError: it is not valid, of another kind, or holds no RGB.
        ResourceError: the image does not fit into the available memory.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise FormatError(f"{path} is no environment", got=path.suffix or "no suffix", expected=".hdr or .exr")
    _check_file_size(path)
    data = read_capped(path, MAX_FILE_BYTES)
    is_exr = path.suffix.lower() == ".exr"
    height, width, n_channels = exr_size(data, str(path)) if is_exr else (*hdr_size(data, str(path)), 3)
    _check_memory(path, height, width, height * width * max(n_channels, 3) * _BYTES_PER_VALUE)
    rgb = _rgb(parse_exr(data, str(path)), path) if is_exr else parse_hdr(data, str(path))
    return Environment(torch.from_numpy(_clean(rgb, path, repair)))


def save_environment(env: Environment, path: Path) -> None:
    """Write the light as an equirectangular map of the world: ``.hdr`` (eight bits per channel) or ``.exr`` (float32).

    A rotated environment is resampled.

    Raises:
        UsageError: the suffix is neither of these, or the radiance is beyond what HDR holds.
        ResourceError: the disk is full or read-only.
    """
    plain = Environment(env.radiance.detach())
    turned = not torch.equal(env.rotation, plain.rotation)
    image = env.lookup(plain.directions()).detach() if turned else plain.radiance
    rgb = image.float().cpu().contiguous().numpy()
    suffix = Path(path).suffix.lower()
    if suffix == ".exr":
        write_exr(path, {name: np.ascontiguousarray(rgb[..., i]) for i, name in enumerate("RGB")})
    elif suffix == ".hdr":
        write_hdr(path, rgb)
    else:
        raise UsageError(f"cannot write {path}", got=suffix or "no suffix", expected=".hdr or .exr")


def _check_file_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read {path}", got=error.strerror) from error
    if size > available_memory_bytes():
        raise ResourceError(f"{path} does not fit into memory", got=f"{size / 1e9:.1f} GB", fix=_SMALLER)


_SMALLER = "shrink the image; 2048 x 1024 pixels are plenty for light"


def _check_memory(path: Path, height: int, width: int, n_bytes: int) -> None:
    available = available_memory_bytes()
    if n_bytes > available:
        got = f"{width} x {height} pixels, {n_bytes / 1e9:.1f} GB"
        expected = f"at most {available / 1e9:.1f} GB"
        raise ResourceError(f"{path} does not fit into memory", got=got, expected=expected, fix=_SMALLER)


def _rgb(channels: dict[str, Float32[np.ndarray, "h w"]], path: Path) -> Float32[np.ndarray, "h w 3"]:
    names = "RGB" if all(name in channels for name in "RGB") else "YYY"
    if names[0] not in channels:
        raise FormatError(f"{path} holds no RGB", got=", ".join(channels), expected="channels R, G, B or Y")
    return np.stack([channels[name] for name in names], -1)


def _clean(rgb: Float32[np.ndarray, "h w 3"], path: Path, repair: bool) -> Float[np.ndarray, "h w 3"]:
    bad = ~(np.isfinite(rgb) & (rgb >= 0))
    if not bad.any():
        return rgb
    kinds = {"negative": rgb < 0, "infinite": np.isposinf(rgb), "NaN": np.isnan(rgb)}
    found = ", ".join(f"{int(mask.sum())} {kind}" for kind, mask in kinds.items() if mask.any())
    if not repair:
        fix = "repair=True takes negative values and NaN as 0 and infinity as the largest finite value"
        raise InputError(f"{path} holds values that are no radiance", got=found, fix=fix)
    _LOG.warning("%s: repaired %s values", path, found)
    largest = float(rgb[~bad].max(initial=0.0))
    return np.where(kinds["infinite"], np.float32(largest), np.where(bad, np.float32(0), rgb))
