"""Optimisation of 3D Gaussians from posed photos, on a two-core CPU within minutes and unchanged on CUDA.

`optimise_splats` is the whole of it: initial Gaussians from points, an L1 and SSIM loss, densification as sampling,
image sizes from small to large, exposures and optional camera motions, checkpoints, and held-out photos as the measure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.splats.holdout import held_out as held_out
    from recon3d.splats.options import SplatOptions as SplatOptions, preset as preset
    from recon3d.splats.relight.files import (
        load_relightable as load_relightable,
        save_relightable as save_relightable,
    )
    from recon3d.splats.relight.types import RelightableGaussians as RelightableGaussians
    from recon3d.splats.train import optimise_splats as optimise_splats
    from recon3d.splats.types import SplatInputs as SplatInputs, SplatResult as SplatResult

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "holdout": ["held_out"],
        "options": ["SplatOptions", "preset"],
        "relight.files": ["load_relightable", "save_relightable"],
        "relight.types": ["RelightableGaussians"],
        "train": ["optimise_splats"],
        "types": ["SplatInputs", "SplatResult"],
    },
)
