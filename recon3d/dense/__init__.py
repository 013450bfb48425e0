"""Depth maps from calibrated photos, their fusion and meshing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.dense.types import DepthMap as DepthMap

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"types": ["DepthMap"]})
