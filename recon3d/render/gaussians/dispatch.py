"""Which back end answers for which tensors, and where its functions are."""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from recon3d.core.errors import DependencyError, UsageError
from recon3d.render.gaussians.options import BACKENDS, GaussianBackend

log = logging.getLogger(__name__)

Kind = Literal["projection", "raster"]
_HOMES = {
    ("torch", "projection"): "reference",
    ("torch", "raster"): "reference_raster",
    ("numba", "projection"): "cpu",
    ("numba", "raster"): "cpu",
    ("gsplat", "projection"): "cuda",
    ("gsplat", "raster"): "cuda",
}


def module_for(kind: Kind, backend: GaussianBackend, like: Tensor) -> ModuleType:
    """Return the module whose functions of this kind handle tensors like ``like``.

    Args:
        kind: ``projection`` (with the spherical harmonics) or ``raster``.
        backend: a back end's name, or ``auto``.
        like: any of the tensors.

    Raises:
        UsageError: there is no such back end, or it does not take such tensors.
        DependencyError: it was asked for by name and does not work here.
    """
    return import_module(f"recon3d.render.gaussians.{_HOMES[resolve(backend, like.device, like.dtype), kind]}")


def resolve(backend: GaussianBackend, device: torch.device, dtype: torch.dtype) -> str:
    """Return the name of the back end that handles such tensors; see :func:`module_for`."""
    if backend not in BACKENDS:
        raise UsageError("Gaussians have no such back end", got=backend, expected=", ".join(BACKENDS))
    if backend == "auto":
        return _automatic(device, dtype)
    home = {"numba": "cpu", "gsplat": "cuda"}.get(backend)
    if home is not None and (device.type != home or dtype != torch.float32):
        fix = "use backend='auto', or 'torch', which takes any"
        got, expected = f"{dtype} on {device.type}", f"float32 on {home}"
        raise UsageError(f"{backend} does not take such tensors", got=got, expected=expected, fix=fix)
    if backend == "gsplat" and (reason := _why_not_gsplat(device)):
        fix = "pip install 'recon3d[cuda]', or use backend='torch'"
        raise DependencyError("gsplat does not work here", got=reason, fix=fix)
    return backend


def _automatic(device: torch.device, dtype: torch.dtype) -> str:
    if dtype != torch.float32 or device.type not in ("cpu", "cuda"):
        return "torch"
    if device.type == "cpu":
        return "numba"
    if reason := _why_not_gsplat(device):
        warn_once(f"Gaussians are rendered with plain torch, which is slow, because gsplat does not work: {reason}")
        return "torch"
    return "gsplat"


def _why_not_gsplat(device: torch.device) -> str:
    return str(import_module("recon3d.render.gaussians.cuda").why_not(device))


@lru_cache(maxsize=64)
def warn_once(text: str) -> None:
    """Log a warning the first time it is given."""
    log.warning(text)
