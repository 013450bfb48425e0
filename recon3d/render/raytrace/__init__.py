"""Rays against triangles: a bounding volume hierarchy and a path tracer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.raytrace.bvh import Bvh as Bvh, Hits as Hits
    from recon3d.render.raytrace.gbuffer import GBuffer as GBuffer
    from recon3d.render.raytrace.materials import (
        PbrMaterial as PbrMaterial,
        VertexPbrMaterial as VertexPbrMaterial,
    )
    from recon3d.render.raytrace.options import PathOptions as PathOptions
    from recon3d.render.raytrace.path_tracer import (
        PathImages as PathImages,
        PathProgress as PathProgress,
        path_trace as path_trace,
    )
    from recon3d.render.raytrace.scene import (
        RenderObject as RenderObject,
        RenderScene as RenderScene,
        ground_plane as ground_plane,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "bvh": ["Bvh", "Hits"],
        "gbuffer": ["GBuffer"],
        "materials": ["PbrMaterial", "VertexPbrMaterial"],
        "options": ["PathOptions"],
        "path_tracer": ["PathImages", "PathProgress", "path_trace"],
        "scene": ["RenderObject", "RenderScene", "ground_plane"],
    },
)
