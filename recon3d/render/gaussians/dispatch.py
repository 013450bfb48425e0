"""Which back end answers for which tensors, and where its functions are."""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from recon3d.core.backends import choose
from recon3d.core.errors import UsageError
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
_warned: set[str] = set()


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
    return import_module(f"recon3d.render.gaussians.{_HOMES[resolve(backend, like), kind]}")


def resolve(backend: GaussianBackend, like: Tensor) -> str:
    """Return the name of the back end that handles tensors like ``like``; see :func:`module_for`."""
    if backend not in BACKENDS:
        raise UsageError("Gaussians have no such back end", got=backend, expected=", ".join(BACKENDS))
    device, is_float32 = like.device.type, like.dtype == torch.float32
    if backend == "auto":
        return _automatic(device, is_float32)
    home = {"numba": "cpu", "gsplat": "cuda"}.get(backend, device)
    if home != device or not (is_float32 or backend == "torch"):
        got, fix = f"{like.dtype} on {like.device}", "use backend='auto', or 'torch', which takes any"
        raise UsageError(f"{backend} does not take such tensors", got=got, expected=f"float32 on {home}", fix=fix)
    if backend == "gsplat" and (reason := _why_not_gsplat()):
        choose("gaussians", "gsplat")  # raises where it is not even installed
        raise UsageError("gsplat does not work here", got=reason, fix="use backend='torch'")
    return backend


def _automatic(device: str, is_float32: bool) -> str:
    if not is_float32 or device not in ("cpu", "cuda"):
        return "torch"
    if device == "cpu":
        return "numba" if find_spec("recon3d.render.gaussians.cpu") else "torch"
    if reason := _why_not_gsplat():
        _warn_once(f"Gaussians are rendered with plain torch, which is slow, because gsplat does not work: {reason}")
        return "torch"
    return "gsplat"


def _why_not_gsplat() -> str:
    cuda = import_module("recon3d.render.gaussians.cuda")
    return str(cuda.why_not())


def _warn_once(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        log.warning(text)
