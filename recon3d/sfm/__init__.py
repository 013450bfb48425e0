"""Classical cameras from photos: features, matches, both mappers, verification, levelling, scale and undistortion."""

from __future__ import annotations

from recon3d.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"options": ["SfmOptions"], "types": ["Mapped", "Pair"]})
