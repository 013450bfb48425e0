"""Photos and videos in: finding, checking, decoding, EXIF, blur, duplicates, masks, frame selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.photos.decode import read_mask as read_mask, read_upright as read_upright
    from recon3d.photos.load import load_photos as load_photos, read_thumbnails as read_thumbnails
    from recon3d.photos.types import (
        Exif as Exif,
        Photo as Photo,
        PhotoOptions as PhotoOptions,
        PhotoSet as PhotoSet,
        Rejected as Rejected,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "decode": ["read_mask", "read_upright"],
        "load": ["load_photos", "read_thumbnails"],
        "types": ["Exif", "Photo", "PhotoOptions", "PhotoSet", "Rejected"],
    },
)
