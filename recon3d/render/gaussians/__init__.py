"""3D Gaussians: projection and differentiable rasterisation, any number of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.gaussians.cameras import CameraTensors as CameraTensors
    from recon3d.render.gaussians.options import (
        GaussianBackend as GaussianBackend,
        ProjectionOptions as ProjectionOptions,
        RasterOptions as RasterOptions,
    )
    from recon3d.render.gaussians.projection import project as project
    from recon3d.render.gaussians.rasterize import (
        rasterize as rasterize,
        rasterize_projected as rasterize_projected,
    )
    from recon3d.render.gaussians.types import (
        Gaussians as Gaussians,
        Projection as Projection,
        Rasterization as Rasterization,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "cameras": ["CameraTensors"],
        "options": ["GaussianBackend", "ProjectionOptions", "RasterOptions"],
        "projection": ["project"],
        "rasterize": ["rasterize", "rasterize_projected"],
        "types": ["Gaussians", "Projection", "Rasterization"],
    },
)
