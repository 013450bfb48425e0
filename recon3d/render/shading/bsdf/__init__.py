"""How surfaces scatter light: eval, pdf and sample in the local frame, for any number of rows at once."""

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

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "base": ["Bsdf"],
        "conductor": ["RoughConductor"],
        "dielectric": ["RoughDielectric"],
        "lambert": ["Lambert"],
        "metallic_roughness": ["MetallicRoughness"],
        "principled": ["Principled"],
    },
)
