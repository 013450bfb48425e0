"""Every colour mode of an image file to 8-bit sRGB, and its transparency to a mask."""

from __future__ import annotations

import io
import logging

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageCms

from recon3d.core.errors import FormatError

_LOG = logging.getLogger(__name__)
_TRANSPARENT_MODES = ("RGBA", "LA", "PA", "La", "RGBa")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image as 8-bit sRGB of mode "RGB", transparent pixels laid over white.

    Raises:
        FormatError: the colour mode has no defined meaning as a photo (floating point, 32 bit).
    """
    image = eight_bit(image)
    transparent = _has_transparency(image)
    alpha = image.convert("RGBA").getchannel("A") if transparent else None
    colour = _to_srgb(_without_alpha(image, transparent))
    if alpha is not None:
        colour = Image.composite(colour, Image.new("RGB", colour.size, "white"), alpha)
    return colour


def alpha_mask(image: Image.Image) -> Bool[np.ndarray, "h w"] | None:
    """Return which pixels of a decoded image are at least half opaque; None when all of them are."""
    if not _has_transparency(image):
        return None
    opaque = np.asarray(eight_bit(image).convert("RGBA").getchannel("A")) >= 128
    return None if opaque.all() else opaque


def eight_bit(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8-bit grey (65535 to 255), and 8-bit images as they are.

    Raises:
        FormatError: the image has 32 bits per channel.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        values = np.asarray(image).astype(np.uint32)
        small = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
        small.info = dict(image.info)
        return small
    if image.mode in ("I", "F"):
        raise FormatError("the photo has 32 bits per channel", got=f"mode {image.mode}", fix="export it with 16 bits")
    return image


def _has_transparency(image: Image.Image) -> bool:
    return "transparency" in image.info or image.mode in _TRANSPARENT_MODES


def _without_alpha(image: Image.Image, transparent: bool) -> Image.Image:
    if image.mode in ("L", "RGB", "CMYK", "YCbCr", "LAB"):
        return image
    if transparent and image.mode not in ("LA", "La"):
        return image.convert("RGBA").convert("RGB")
    return image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source) or image.mode not in ("RGB", "L"):
                converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                return image.convert("RGB") if converted is None else converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            _LOG.warning("%s: its colour profile cannot be used (%s); taken as sRGB",
                         getattr(image, "filename", "a photo"), error)  # fmt: skip
    if image.mode == "LAB":
        raise FormatError("the photo is in CIE Lab without a profile", fix="export it as sRGB")
    return image if image.mode == "RGB" else image.convert("RGB")
