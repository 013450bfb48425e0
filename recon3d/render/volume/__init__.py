"""Volume rendering: samples in a box or an occupancy grid, NeRF, VolSDF and NeuS compositing, dense grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.volume.box import BoxHits as BoxHits, box_interval as box_interval, ray_box as ray_box
    from recon3d.render.volume.compositing import (
        Depths as Depths,
        Weights as Weights,
        accumulate as accumulate,
        composite_depths as composite_depths,
        opacity as opacity,
        over_background as over_background,
        visible as visible,
        weights_from_alpha as weights_from_alpha,
        weights_from_density as weights_from_density,
    )
    from recon3d.render.volume.field import FieldValues as FieldValues
    from recon3d.render.volume.marching import MarchOptions as MarchOptions, march as march
    from recon3d.render.volume.neus import (
        laplace_density as laplace_density,
        neus_alpha as neus_alpha,
        section_alphas as section_alphas,
    )
    from recon3d.render.volume.occupancy import OccupancyGrid as OccupancyGrid
    from recon3d.render.volume.options import VolumeOptions as VolumeOptions
    from recon3d.render.volume.packed import PackedSamples as PackedSamples, Packing as Packing
    from recon3d.render.volume.render import VolumeRendering as VolumeRendering, render_rays as render_rays
    from recon3d.render.volume.samplers import (
        even_edges as even_edges,
        importance_edges as importance_edges,
        merge_edges as merge_edges,
        neus_edges as neus_edges,
    )
    from recon3d.render.volume.spacing import Spacing as Spacing
    from recon3d.render.volume.trilinear import trilinear as trilinear

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "box": ["BoxHits", "box_interval", "ray_box"],
        "compositing": [
            "Depths",
            "Weights",
            "accumulate",
            "composite_depths",
            "opacity",
            "over_background",
            "visible",
            "weights_from_alpha",
            "weights_from_density",
        ],
        "field": ["FieldValues"],
        "marching": ["MarchOptions", "march"],
        "neus": ["laplace_density", "neus_alpha", "section_alphas"],
        "occupancy": ["OccupancyGrid"],
        "options": ["VolumeOptions"],
        "packed": ["PackedSamples", "Packing"],
        "render": ["VolumeRendering", "render_rays"],
        "samplers": ["even_edges", "importance_edges", "merge_edges", "neus_edges"],
        "spacing": ["Spacing"],
        "trilinear": ["trilinear"],
    },
)
