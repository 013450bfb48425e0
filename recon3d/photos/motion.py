"""How far the picture moves between two frames of a video, by phase correlation of blocks."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32

MOTION_SIDE = 192
_BLOCK = 48
_MIN_CONTRAST = 2.0
_MIN_PEAK = 0.05


def frame_motion(before: Float32[np.ndarray, "h w"], after: Float32[np.ndarray, "h w"]) -> float:
    """Return the median motion of the textured blocks between two frames, as a share of the diagonal.

    Blocks and not the whole frame, so that moving forward, turning and zooming count as well as shifting. A block that
    cannot be found again counts as moved by a third of its size.

    Args:
        before: grey values of one frame, about 192 pixels on the longer side.
        after: grey values of a later frame of the same size.

    Returns:
        0 for a still picture, or one without texture.
    """
    height, width = before.shape
    block = min(_BLOCK, height, width)
    shifts = [
        _shift_px(before[y : y + block, x : x + block], after[y : y + block, x : x + block])
        for y in _starts(height, block)
        for x in _starts(width, block)
    ]
    known = [shift for shift in shifts if shift is not None]
    return float(np.median(known)) / math.hypot(height, width) if known else 0.0


def _starts(length: int, block: int) -> list[int]:
    count = max(1, length // block)
    return [round(start) for start in np.linspace(0, length - block, count)]


def _shift_px(before: Float32[np.ndarray, "b b"], after: Float32[np.ndarray, "b b"]) -> float | None:
    """Length of the shift by the peak of the phase correlation (Kuglin and Hines 1975), to half a pixel."""
    if before.std() < _MIN_CONTRAST or after.std() < _MIN_CONTRAST:
        return None
    window = np.outer(np.hanning(before.shape[0]), np.hanning(before.shape[1]))
    spectrum = np.fft.rfft2((after - after.mean()) * window) * np.conj(np.fft.rfft2((before - before.mean()) * window))
    surface = np.fft.irfft2(spectrum / (np.abs(spectrum) + 1e-3 * np.abs(spectrum).max() + 1e-12), s=before.shape)
    peak = np.unravel_index(int(np.argmax(surface)), surface.shape)
    if surface[peak] < _MIN_PEAK:
        return len(before) / 3
    dy, dx = (_subpixel(surface, peak, axis) for axis in (0, 1))
    return math.hypot(dy, dx)


def _subpixel(surface: np.ndarray, peak: tuple[np.intp, ...], axis: int) -> float:
    """Position of the peak along one axis, signed, by a parabola through its neighbours."""
    size = surface.shape[axis]
    index = int(peak[axis])
    line = surface[:, peak[1]] if axis == 0 else surface[peak[0], :]
    left, middle, right = (float(line[(index + step) % size]) for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return (index if index <= size // 2 else index - size) + offset
