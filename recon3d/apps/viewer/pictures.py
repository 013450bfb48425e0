"""Small pictures of the photos, for the film strip and the frusta."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from recon3d.core.errors import FormatError

_QUALITY = 80


def thumbnail(path: Path, size: int) -> bytes:
    """Return a photo as a small JPEG.

    Args:
        path: the photo.
        size: longest side in pixels.

    Raises:
        FormatError: it cannot be decoded.
    """
    try:
        with Image.open(path) as photo:
            photo.draft("RGB", (2 * size, 2 * size))
            small = photo.convert("RGB")
            small.thumbnail((size, size))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise FormatError(f"{path.name} cannot be decoded", got=str(error)) from error
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
