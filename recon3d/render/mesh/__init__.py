"""Triangle meshes: differentiable rasterisation, textures, edges, and their type, files, statistics and previews."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.mesh.antialias import antialias as antialias
    from recon3d.render.mesh.atlas import bake_vertex_material as bake_vertex_material
    from recon3d.render.mesh.edges import opposite_vertices as opposite_vertices
    from recon3d.render.mesh.files import load_mesh as load_mesh, save_mesh as save_mesh
    from recon3d.render.mesh.fragments import Fragments as Fragments
    from recon3d.render.mesh.interpolation import (
        interpolate as interpolate,
        interpolate_corners as interpolate_corners,
    )
    from recon3d.render.mesh.preview import mesh_preview as mesh_preview, mesh_previews as mesh_previews
    from recon3d.render.mesh.rasterization import rasterize_mesh as rasterize_mesh
    from recon3d.render.mesh.statistics import MeshStatistics as MeshStatistics, mesh_statistics as mesh_statistics
    from recon3d.render.mesh.texture import Texture as Texture, uv_footprint as uv_footprint
    from recon3d.render.mesh.types import Material as Material, Mesh as Mesh

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "antialias": ["antialias"],
        "atlas": ["bake_vertex_material"],
        "edges": ["opposite_vertices"],
        "texture": ["Texture", "uv_footprint"],
        "files": ["load_mesh", "save_mesh"],
        "fragments": ["Fragments"],
        "interpolation": ["interpolate", "interpolate_corners"],
        "rasterization": ["rasterize_mesh"],
        "preview": ["mesh_preview", "mesh_previews"],
        "statistics": ["MeshStatistics", "mesh_statistics"],
        "types": ["Material", "Mesh"],
    },
)
