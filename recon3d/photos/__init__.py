"""Photos and videos in: finding, checking, decoding, EXIF, blur, duplicates, masks, frame selection."""

from __future__ import annotations

from recon3d.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "decode": ["read_mask", "read_upright"],
        "load": ["load_photos", "read_thumbnails"],
        "types": ["Exif", "Photo", "PhotoOptions", "PhotoSet", "Rejected"],
    },
)
