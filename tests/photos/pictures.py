"""Generated pictures and files for the tests of the photo room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def texture(width: int = 320, height: int = 240, seed: int = 0, cells: int = 12) -> Image.Image:
    """Coloured patches with hard edges at many scales, and some noise: a picture that a camera could have taken."""
    generator = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128.0)
    for size in (cells, 2 * cells, 4 * cells):
        small = generator.uniform(-60, 60, (max(2, height * size // width), size, 3))
        rows = np.arange(height) * small.shape[0] // height
        columns = np.arange(width) * size // width
        pixels += small[rows][:, columns]
    pixels += generator.normal(0, 2, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def exif_bytes(base: dict[int, Any], exif: dict[int, Any] | None = None, gps: dict[int, Any] | None = None) -> bytes:
    """The EXIF block with the given tags in its three directories."""
    block = Image.Exif()
    block.update(base)
    block.update({tag: tags for tag, tags in ((0x8769, exif), (0x8825, gps)) if tags})
    return block.tobytes()
