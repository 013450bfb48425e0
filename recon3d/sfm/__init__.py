"""Classical cameras from photos: features, matches, both mappers, verification, levelling, scale and undistortion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.sfm.options import SfmOptions as SfmOptions
    from recon3d.sfm.scale import ScaleOptions as ScaleOptions
    from recon3d.sfm.types import Mapped as Mapped, Pair as Pair
    from recon3d.sfm.verify_options import VerifyOptions as VerifyOptions

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "options": ["SfmOptions"],
        "scale": ["ScaleOptions"],
        "types": ["Mapped", "Pair"],
        "verify_options": ["VerifyOptions"],
    },
)
