"""Light and material: environments and their prefiltered forms, BSDFs, image-based shading and tone curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.shading.bsdf.base import Bsdf as Bsdf
    from recon3d.render.shading.bsdf.conductor import RoughConductor as RoughConductor
    from recon3d.render.shading.bsdf.dielectric import RoughDielectric as RoughDielectric
    from recon3d.render.shading.bsdf.lambert import Lambert as Lambert
    from recon3d.render.shading.bsdf.metallic_roughness import MetallicRoughness as MetallicRoughness
    from recon3d.render.shading.bsdf.principled import Principled as Principled
    from recon3d.render.shading.conventions import (
        environment_from_blender as environment_from_blender,
        environment_from_mitsuba as environment_from_mitsuba,
        environment_from_nvdiffrec as environment_from_nvdiffrec,
        environment_from_three as environment_from_three,
        environment_to_blender as environment_to_blender,
        environment_to_mitsuba as environment_to_mitsuba,
        environment_to_nvdiffrec as environment_to_nvdiffrec,
        environment_to_three as environment_to_three,
    )
    from recon3d.render.shading.environment import Environment as Environment
    from recon3d.render.shading.environment_files import (
        load_environment as load_environment,
        save_environment as save_environment,
    )
    from recon3d.render.shading.frames import (
        shading_frames as shading_frames,
        to_local as to_local,
        to_world as to_world,
    )
    from recon3d.render.shading.irradiance import (
        irradiance_from_sh as irradiance_from_sh,
        sh_basis as sh_basis,
        sh_from_environment as sh_from_environment,
    )
    from recon3d.render.shading.light_sampling import EnvironmentSampler as EnvironmentSampler
    from recon3d.render.shading.monte_carlo import shade_monte_carlo as shade_monte_carlo
    from recon3d.render.shading.prefilter import PrefilteredEnvironment as PrefilteredEnvironment
    from recon3d.render.shading.split_sum import (
        brdf_lut as brdf_lut,
        lookup_brdf as lookup_brdf,
        shade_split_sum as shade_split_sum,
    )
    from recon3d.render.shading.tone import (
        light_maps as light_maps,
        linear_from_srgb as linear_from_srgb,
        srgb_from_linear as srgb_from_linear,
        tone_curve as tone_curve,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "bsdf.base": ["Bsdf"],
        "bsdf.conductor": ["RoughConductor"],
        "bsdf.dielectric": ["RoughDielectric"],
        "bsdf.lambert": ["Lambert"],
        "bsdf.metallic_roughness": ["MetallicRoughness"],
        "bsdf.principled": ["Principled"],
        "conventions": [
            "environment_from_blender",
            "environment_from_mitsuba",
            "environment_from_nvdiffrec",
            "environment_from_three",
            "environment_to_blender",
            "environment_to_mitsuba",
            "environment_to_nvdiffrec",
            "environment_to_three",
        ],
        "environment": ["Environment"],
        "environment_files": ["load_environment", "save_environment"],
        "frames": ["shading_frames", "to_local", "to_world"],
        "irradiance": ["irradiance_from_sh", "sh_basis", "sh_from_environment"],
        "light_sampling": ["EnvironmentSampler"],
        "monte_carlo": ["shade_monte_carlo"],
        "prefilter": ["PrefilteredEnvironment"],
        "split_sum": ["brdf_lut", "lookup_brdf", "shade_split_sum"],
        "tone": ["linear_from_srgb", "light_maps", "srgb_from_linear", "tone_curve"],
    },
)
