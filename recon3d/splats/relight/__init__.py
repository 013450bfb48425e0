"""Relightable splats: Gaussians with a material and the light that reaches them, their file, and their shading.

A splat carries a normal, a metallic-roughness material and a *diffuse transfer vector*: what its surroundings let
through, so that its shadowed irradiance under any environment is one dot product with the
spherical harmonics of the light. `estimate_materials` finds materials and light from photos and a mesh, and
`surfels_of` makes splats of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.splats.relight.deferred import (
        SplatGBuffer as SplatGBuffer,
        rasterize_materials as rasterize_materials,
        render_deferred as render_deferred,
        shade_gbuffer as shade_gbuffer,
    )
    from recon3d.splats.relight.estimate import (
        RelightEstimate as RelightEstimate,
        RelightInputs as RelightInputs,
        estimate_materials as estimate_materials,
    )
    from recon3d.splats.relight.files import (
        load_relightable as load_relightable,
        parse_relightable as parse_relightable,
        save_relightable as save_relightable,
    )
    from recon3d.splats.relight.options import RelightOptions as RelightOptions
    from recon3d.splats.relight.shade import (
        SplatLight as SplatLight,
        bake_colours as bake_colours,
        render_forward as render_forward,
        shade_splats as shade_splats,
        shade_surfaces as shade_surfaces,
        specular_occlusion as specular_occlusion,
    )
    from recon3d.splats.relight.surfels import (
        LitSurface as LitSurface,
        SurfelOptions as SurfelOptions,
        surfels_of as surfels_of,
    )
    from recon3d.splats.relight.transfer import TransferOptions as TransferOptions, bake_transfer as bake_transfer
    from recon3d.splats.relight.types import (
        RelightableGaussians as RelightableGaussians,
        open_transfer as open_transfer,
        openness as openness,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "deferred": ["SplatGBuffer", "rasterize_materials", "render_deferred", "shade_gbuffer"],
        "estimate": ["RelightEstimate", "RelightInputs", "estimate_materials"],
        "files": ["load_relightable", "parse_relightable", "save_relightable"],
        "options": ["RelightOptions"],
        "shade": [
            "SplatLight",
            "bake_colours",
            "render_forward",
            "shade_splats",
            "shade_surfaces",
            "specular_occlusion",
        ],
        "surfels": ["LitSurface", "SurfelOptions", "surfels_of"],
        "transfer": ["TransferOptions", "bake_transfer"],
        "types": ["RelightableGaussians", "open_transfer", "openness"],
    },
)
