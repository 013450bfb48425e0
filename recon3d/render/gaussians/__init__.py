"""3D Gaussians: projection and differentiable rasterisation, any number of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.gaussians.cameras import CameraTensors as CameraTensors
    from recon3d.render.gaussians.files import load_gaussians as load_gaussians, save_gaussians as save_gaussians
    from recon3d.render.gaussians.options import (
        ProjectionOptions as ProjectionOptions,
        RasterOptions as RasterOptions,
    )
    from recon3d.render.gaussians.projection import project as project
    from recon3d.render.gaussians.rasterization import (
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
        "files": ["load_gaussians", "save_gaussians"],
        "options": ["ProjectionOptions", "RasterOptions"],
        "projection": ["project"],
        "rasterization": ["rasterize", "rasterize_projected"],
        "types": ["Gaussians", "Projection", "Rasterization"],
    },
)
