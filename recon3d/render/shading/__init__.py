"""Light and material: environments and their prefiltered forms, BSDFs, image-based shading and tone curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.shading.environment import Environment as Environment
    from recon3d.render.shading.frames import (
        shading_frames as shading_frames,
        to_local as to_local,
        to_world as to_world,
    )
    from recon3d.render.shading.light_sampling import EnvironmentSampler as EnvironmentSampler

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "environment": ["Environment"],
        "frames": ["shading_frames", "to_local", "to_world"],
        "light_sampling": ["EnvironmentSampler"],
    },
)
