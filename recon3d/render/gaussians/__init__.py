"""3D Gaussians: projection and differentiable rasterisation, any number of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.gaussians.types import (
        Gaussians as Gaussians,
        Projection as Projection,
        Rasterization as Rasterization,
    )

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"types": ["Gaussians", "Projection", "Rasterization"]})
