"""recon3d: photos and point clouds to 3D that can be measured, rendered, relit and understood."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "Cameras": "recon3d.render.cameras",
    "Points": "recon3d.scene",
    "ReconstructOptions": "recon3d.pipeline",
    "Recon3DError": "recon3d.core.errors",
    "Scale": "recon3d.scene",
    "Scene": "recon3d.scene",
    "View": "recon3d.scene",
    "reconstruct": "recon3d.pipeline",
}

__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'recon3d' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
