"""Environments in EXR files, as the plain numbers that the page reads."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recon3d.core.errors import FormatError
from recon3d.formats.exr import read_exr

MAX_PIXELS = 1 << 25  # 8192x4096
_LARGEST = 65504.0  # of the half floats that the page keeps them in


def read_environment(path: Path) -> Float32[np.ndarray, "h w 3"]:
    """Return the linear radiance of an .exr file; what is negative or no number becomes 0, infinity 65504.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is damaged, or has no channels R, G and B.
    """
    channels = read_exr(path, max_pixels=MAX_PIXELS)
    if not {"R", "G", "B"} <= channels.keys():
        raise FormatError(f"{path.name} is no environment", got=", ".join(channels), expected="channels R, G and B")
    rgb = np.stack([channels[name] for name in "RGB"], -1)
    return np.ascontiguousarray(np.clip(np.nan_to_num(rgb, nan=0.0), 0.0, _LARGEST), np.float32)


def environment_bytes(path: Path) -> bytes:
    """Return width and height (4 bytes each, little-endian) and the pixels as float32; see :func:`read_environment`."""
    rgb = read_environment(path)
    pixels: bytes = rgb.astype("<f4").tobytes()
    return struct.pack("<II", rgb.shape[1], rgb.shape[0]) + pixels
