"""Gaussians in files: 3DGS PLY and SPZ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recon3d.core.errors import UsageError
from recon3d.formats.splat_ply import SplatArrays, read_splat_ply, write_splat_ply
from recon3d.formats.spz import read_spz, write_spz
from recon3d.render.gaussians.types import FIELDS, Gaussians

_SUFFIXES = (".ply", ".spz")


def save_gaussians(path: Path, gaussians: Gaussians, *, antialiased: bool = False) -> None:
    """Write Gaussians atomically; both kinds of file hold the numbers of the world, unturned.

    Args:
        path: ends in .ply (3DGS layout, exact) or .spz (version 3, quantised, about an eighth of the size).
        gaussians: float32, on any device.
        antialiased: whether they were optimised with the antialiasing compensation; SPZ tells viewers so, PLY cannot.

    Raises:
        UsageError: another ending, or what SPZ cannot hold.
        FormatError: a number is not finite.
    """
    path = Path(path)
    fields = {name: getattr(gaussians, name).detach().cpu().float().numpy() for name in FIELDS}
    splats = SplatArrays(**fields, colour_space=gaussians.colour_space)
    if _suffix(path) == ".ply":
        write_splat_ply(path, splats)
    else:
        write_spz(path, splats, antialiased=antialiased)


def load_gaussians(path: Path) -> Gaussians:
    """Read Gaussians.

    Args:
        path: a .ply file in 3DGS layout, or an .spz file of version 2 or 3.

    Returns:
        The Gaussians, float32 on the CPU.

    Raises:
        UsageError: another ending.
        InputError: the file cannot be opened.
        FormatError: it is not valid.
    """
    path = Path(path)
    splats = read_splat_ply(path) if _suffix(path) == ".ply" else read_spz(path)
    fields = {name: torch.from_numpy(np.ascontiguousarray(getattr(splats, name))) for name in FIELDS}
    return Gaussians(**fields, colour_space=splats.colour_space)


def _suffix(path: Path) -> str:
    if path.suffix.lower() not in _SUFFIXES:
        got = path.suffix or "no ending"
        raise UsageError(f"{path} names no kind of splat file", got=got, expected=" or ".join(_SUFFIXES))
    return path.suffix.lower()
