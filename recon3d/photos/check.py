"""What a worker process finds out about one photo."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from recon3d.core.errors import DependencyError, FormatError, InputError
from recon3d.core.files import atomic_path, sha256_file, write_bytes
from recon3d.photos.colour import alpha_mask, to_rgb
from recon3d.photos.decode import open_upright, read_mask
from recon3d.photos.duplicates import FINGERPRINT_SIDE
from recon3d.photos.exif import focal_px, is_cropped, read_exif
from recon3d.photos.sharpness import MEASURED_SIDE, edge_blur_px, reduced_grey

_THUMBNAIL_SIDE = 512
_MIN_SIDE = 32
_MAX_BYTES_PER_PIXEL = 16


def work_file(work: Path, kind: str, key: str, suffix: str) -> Path:
    """Return where the work folder keeps a file that belongs to a photo, whatever characters its key has."""
    return work / kind / (hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24] + suffix)


def check_photo(path: str, key: str, work: str, max_pixels: int, mask: str | None) -> dict[str, Any]:
    """Decode one photo completely and measure it; the task that :func:`recon3d.photos.load_photos` runs in workers.

    Args:
        path: the file.
        key: key of the photo.
        work: folder for the thumbnail, the fingerprint and the mask.
        max_pixels: larger photos are refused before decoding.
        mask: mask image of the photo, if there is one.

    Returns:
        "rejected", "error" (class name) and "sha256", or the fields of a photo and its fingerprint file; "mask_error"
        for a mask that does not fit.
    """
    file, sha256 = Path(path), ""
    try:
        if file.stat().st_size > _MAX_BYTES_PER_PIXEL * max_pixels:
            raise FormatError(f"{file} is absurdly large", got=f"{file.stat().st_size} bytes")
        sha256 = sha256_file(file)
        with open_upright(file, max_pixels) as image:
            return {"sha256": sha256, **_measure(image, key, Path(work), mask)}
    except (InputError, DependencyError) as error:
        reason = str(error).replace(str(file), "the file")
        return {"rejected": reason, "error": type(error).__name__, "sha256": sha256}


def _measure(image: Image.Image, key: str, work: Path, mask: str | None) -> dict[str, Any]:
    if min(image.size) < _MIN_SIDE:
        raise FormatError("the photo is too small", got=f"{image.width}x{image.height} pixels", expected=_MIN_SIDE)
    exif = read_exif(image)
    opaque = alpha_mask(image)
    rgb = to_rgb(image)
    fingerprint = work_file(work, "fingerprints", key, ".npy")
    _save_array(fingerprint, np.rint(reduced_grey(rgb, FINGERPRINT_SIDE)).astype(np.uint8))
    write_bytes(work_file(work, "thumbnails", key, ".jpg"), _thumbnail(rgb))
    return {
        "width": rgb.width,
        "height": rgb.height,
        "exif": exif.to_json(),
        "focal_px": focal_px(exif, rgb.width, rgb.height),
        "exif_conflict": is_cropped(exif, rgb.width, rgb.height),
        "blur_px": edge_blur_px(reduced_grey(rgb, MEASURED_SIDE)),
        "fingerprint": str(fingerprint),
        **_mask(opaque, mask, rgb, work_file(work, "masks", key, ".png")),
    }


def _mask(opaque: Bool[np.ndarray, "h w"] | None, mask: str | None, rgb: Image.Image, out: Path) -> dict[str, Any]:
    """The mask of the folder as it is, or, where the photo is transparent too, both together in a file of our own."""
    try:
        use = None if mask is None else read_mask(Path(mask), rgb.width, rgb.height)
    except InputError as error:
        return {"mask": None, "mask_error": str(error)}
    if use is not None and not use.any():
        raise FormatError("the mask hides the whole photo", fix="masks are white where the photo is used")
    if opaque is None:
        return {"mask": mask}
    with atomic_path(out) as temporary:
        Image.fromarray(np.uint8(255) * (opaque if use is None else opaque & use)).save(temporary, "PNG")
    return {"mask": str(out)}


def _thumbnail(rgb: Image.Image) -> bytes:
    scale = min(1.0, _THUMBNAIL_SIDE / max(rgb.size))
    size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
    buffer = io.BytesIO()
    small = rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    small.info = {}
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _save_array(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())
