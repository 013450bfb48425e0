"""Pictures inside the page: JPEG as data URIs, shrunk to what the page shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from recon3d.render.colormap import Colormap, colour_table, colourise
from recon3d.report.text import escape

_QUALITY = 82
_REEL_BYTES = 800_000
_REEL_SIDES = (720, 640, 560, 480, 400, 320, 240)
_REEL_QUALITY = 74
_MAX_REEL = 72
DIFFERENCE_TOP = 0.25  # mean absolute difference of the last colour, of the full range


def picture(pixels: UInt8[np.ndarray, "h w 3"], alt: str, max_side: int, css: str = "") -> str:
    """Return an ``<img>`` that holds a picture, at most ``max_side`` pixels on the longer side."""
    data, width, height = to_jpeg(pixels, max_side)
    return image_tag(data, (width, height), alt, css)


def image_tag(jpeg: bytes, size: tuple[int, int], alt: str, css: str = "") -> str:
    """Return an ``<img>`` that holds a JPEG file."""
    encoded = base64.b64encode(jpeg).decode("ascii")
    kind = f' class="{css}"' if css else ""
    where = f'width="{size[0]}" height="{size[1]}" alt="{escape(alt)}"'
    return f'<img{kind} {where} src="data:image/jpeg;base64,{encoded}">'


def to_jpeg(pixels: UInt8[np.ndarray, "h w 3"], max_side: int, quality: int = _QUALITY) -> tuple[bytes, int, int]:
    """Return a picture as JPEG with its width and height, shrunk by box filtering where it is larger."""
    image = Image.fromarray(pixels)
    scale = min(1.0, max_side / max(image.size))
    if scale < 1:
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX
        )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue(), image.width, image.height


def fitting(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], sides: Sequence[int], max_bytes: int, quality: int = _QUALITY
) -> list[tuple[bytes, int, int]]:
    """Return pictures as JPEG with their sizes, all shrunk to the first of ``sides`` that keeps them below a limit.

    Args:
        pictures: sRGB.
        sides: longest sides in pixels to try, falling; the last one is taken whatever it needs.
        max_bytes: of all files together.
        quality: of the JPEG files.
    """
    encoded: list[tuple[bytes, int, int]] = []
    for side in sides:
        encoded = [to_jpeg(each, side, quality) for each in pictures]
        if sum(len(data) for data, _, _ in encoded) <= max_bytes:
            break
    return encoded


def reel(frames: Sequence[UInt8[np.ndarray, "h w 3"]], alt: str, is_closed: bool) -> str:
    """Return the frames of a turntable as ``<img>`` in one size that keeps them below 0.8 MB together.

    Args:
        frames: sRGB pictures of one size.
        alt: what they show.
        is_closed: the first frame is shown at first; otherwise the one in the middle of the path.
    """
    kept = np.linspace(0, len(frames), min(len(frames), _MAX_REEL), endpoint=False).astype(int)
    encoded = fitting([frames[index] for index in kept], _REEL_SIDES, _REEL_BYTES, _REEL_QUALITY)
    shown = 0 if is_closed else len(encoded) // 2
    return "".join(
        image_tag(data, (width, height), alt if index == shown else "", "on" if index == shown else "")
        for index, (data, width, height) in enumerate(encoded)
    )


def difference(photo: UInt8[np.ndarray, "h w 3"], render: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Paint the mean absolute difference of the channels, 0 to a quarter of the full range."""
    error: Float64[np.ndarray, "h w"] = np.abs(photo.astype(np.float64) - render).mean(axis=2) / 255
    return colourise(error, 0.0, DIFFERENCE_TOP, "magma")


def ramp(name: Colormap, low: str, high: str, reverse: bool = False) -> str:
    """Return the legend of a colour map: its colours between the texts of its ends."""
    colours = colour_table(name)[np.linspace(*((255, 0) if reverse else (0, 255)), 16).astype(int)]
    width = 100 / len(colours)
    parts = "".join(
        f'<rect x="{index * width:.2f}" width="{width + 0.1:.2f}" height="8" fill="#{bytes(colour.tolist()).hex()}"/>'
        for index, colour in enumerate(colours)
    )
    svg = f'<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{parts}</svg>'
    return f'<span class="ramp">{escape(low)}{svg}{escape(high)}</span>'
