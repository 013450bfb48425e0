"""Colours as the Point Cloud Library packs them: 0xAARRGGBB in an integer, or in the bits of a float32."""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped, UInt8, UInt32

from recon3d.core.errors import UsageError


def unpack_rgb(packed: Shaped[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """Return red, green and blue, ``[n,3]``.

    Args:
        packed: any type of four bytes in native order, ``[n]``; the highest byte (alpha) is left out.

    Raises:
        UsageError: another type.
    """
    if packed.dtype.itemsize != 4:
        raise UsageError("packed colours have four bytes", got=packed.dtype, expected="float32, uint32 or int32")
    bits = np.ascontiguousarray(packed).view(np.uint32)
    return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], 1).astype(np.uint8)


def pack_rgb(rgb: UInt8[np.ndarray, "n 3"]) -> UInt32[np.ndarray, " n"]:
    """Return 0x00RRGGBB, ``[n]``; ``.view(np.float32)`` gives the other form.

    Args:
        rgb: red, green and blue, ``[n,3]``.
    """
    red, green, blue = rgb.astype(np.uint32).T
    packed: UInt32[np.ndarray, " n"] = red << 16 | green << 8 | blue
    return packed
