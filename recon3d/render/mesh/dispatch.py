"""Which back end answers for which tensors, and where its functions are."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from recon3d.core.errors import DependencyError, UsageError
from recon3d.render.gaussians.dispatch import warn_once

MeshBackend = Literal["auto", "pytorch3d", "numba", "torch"]
BACKENDS = ("auto", "pytorch3d", "numba", "torch")
_HOMES = {"numba": "cpu", "pytorch3d": "cuda", "torch": "reference"}


def selection_module(backend: MeshBackend, like: Tensor) -> ModuleType:
    """Return the module that finds the nearest faces for tensors like ``like``.

    Args:
        backend: a back end's name, or ``auto``.
        like: any of the tensors.

    Raises:
        UsageError: there is no such back end, or it does not take such tensors.
        DependencyError: it was asked for by name and does not work here.
    """
    return _home(_HOMES[resolve(backend, like.device, like.dtype)])


def module_for(backend: MeshBackend, like: Tensor) -> ModuleType:
    """Return the module that weighs, interpolates and samples for tensors like ``like``; see :func:`selection_module`.

    PyTorch3D only finds the faces: the rest is plain torch on its device.
    """
    chosen = "torch" if backend == "pytorch3d" or (backend == "auto" and like.device.type != "cpu") else backend
    return _home(_HOMES[resolve(chosen, like.device, like.dtype)])


def resolve(backend: MeshBackend, device: torch.device, dtype: torch.dtype) -> str:
    """Return the name of the back end that handles such tensors; see :func:`selection_module`."""
    if backend not in BACKENDS:
        raise UsageError("triangles have no such back end", got=backend, expected=", ".join(BACKENDS))
    numba_fits = device.type == "cpu" and dtype in (torch.float32, torch.float64)
    if backend == "auto":
        return "numba" if numba_fits else _automatic(device)
    if backend == "numba" and not numba_fits:
        fix = "use backend='auto', or 'torch', which takes any"
        got, expected = f"{dtype} on {device.type}", "float32 or float64 on cpu"
        raise UsageError("numba does not take such tensors", got=got, expected=expected, fix=fix)
    if backend == "pytorch3d" and (reason := _why_not_pytorch3d(device)):
        fix = "see docs/install.md for its build, or use backend='torch'"
        raise DependencyError("PyTorch3D does not work here", got=reason, fix=fix)
    return backend


def _automatic(device: torch.device) -> str:
    if device.type != "cuda":
        return "torch"
    if reason := _why_not_pytorch3d(device):
        warn_once(f"triangles are drawn with plain torch, which is slow, because PyTorch3D does not work: {reason}")
        return "torch"
    return "pytorch3d"


def _why_not_pytorch3d(device: torch.device) -> str:
    return str(_home("cuda").why_not(device))


def _home(name: str) -> ModuleType:
    return import_module(f"recon3d.render.mesh.{name}")
