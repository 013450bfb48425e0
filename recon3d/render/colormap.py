"""Perceptually even colours for depth, sigma and differences."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

Colormap = Literal["viridis", "magma"]

# Ten evenly spaced colours each of the maps by Nathaniel Smith and Stefan van der Walt (2015), which they released into
# the public domain (CC0). Between them sRGB is interpolated.
_ANCHORS: dict[Colormap, str] = {
    "viridis": "440154 482878 3e4a89 31688e 26828e 1f9e89 35b779 6dcd59 b4de2c fde725",
    "magma": "000004 180f3e 451077 721f81 9f2f7f cd4071 f1605d fd9567 feca8d fcfdbf",
}
NO_VALUE = (58, 62, 66)  # a grey that is in no map


def colour_table(name: Colormap) -> UInt8[np.ndarray, "256 3"]:
    """Return a map as 256 sRGB colours, from low to high."""
    anchors = np.frombuffer(bytes.fromhex(_ANCHORS[name]), np.uint8).reshape(-1, 3)
    place = np.linspace(0, len(anchors) - 1, 256)
    columns = [np.interp(place, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(columns, axis=1)).astype(np.uint8)


def colourise(
    values: Float[np.ndarray, "h w"], low: float, high: float, name: Colormap = "viridis"
) -> UInt8[np.ndarray, "h w 3"]:
    """Paint numbers.

    Args:
        values: the numbers; those that are not finite become grey.
        low: the value of the first colour; lower values get it too.
        high: the value of the last colour; it may lie below ``low``, to turn the map round.
        name: ``viridis`` or ``magma``.

    Returns:
        sRGB colours, ``[h,w,3]``.
    """
    span = high - low if high != low else 1.0
    with np.errstate(invalid="ignore", over="ignore"):
        steps = 255 * np.nan_to_num(np.clip((values - low) / span, 0, 1))
    colours = colour_table(name)[np.rint(steps).astype(np.uint8)]
    colours[~np.isfinite(values)] = NO_VALUE
    return colours


def value_range(values: Float[np.ndarray, "..."], tails_percent: float = 2.0) -> tuple[float, float]:
    """Return the limits that hold all finite values but the tails; 0 and 1 where there are none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, [tails_percent, 100 - tails_percent])
    return float(low), float(high)
