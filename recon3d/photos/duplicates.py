"""Files that hold the same picture: equal bytes, or the same photo compressed or resized once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

FINGERPRINT_SIDE = 384
_COARSE = 24
_MIN_CORRELATION = 0.999
_ASPECT_TOLERANCE = 0.01
# Measured: copies at JPEG quality 20 and above, or reduced to 0.3, stay below 0.03 px, 0.28 and 0.39; two photos of a
# gantry that came back to almost the same place differ by 0.14 px and 0.8 in one block, frames of a video by more.
_MAX_SHIFT_PX = 0.04
_MAX_RESIDUAL = 0.4
_MAX_BLOCK_RESIDUAL = 0.5
_GRADIENT_FLOOR = 6.0
_BLOCKS = 6


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is compared of one file.

    Args:
        key: key of the photo.
        sha256: hash of the file's bytes.
        grey: the photo in grey, at most 384 px on its longer side.
        size: width and height of the photo in pixels.
        has_focal: whether EXIF gives a focal length.
        n_bytes: length of the file.
    """

    key: str
    sha256: str
    grey: UInt8[np.ndarray, "h w"]
    size: tuple[int, int]
    has_focal: bool
    n_bytes: int


def find_duplicates(prints: Sequence[Fingerprint]) -> dict[str, str]:
    """Return, for every file whose picture another file holds better, the key of that file.

    Better is: more pixels, then a focal length in EXIF, then more bytes, then the key that sorts first. A resized copy
    is a duplicate; a crop, another exposure, or a photo taken a moment later is not: what counts is that nothing moved,
    not even by a fraction of a pixel.

    Args:
        prints: one fingerprint per photo.
    """
    ranked = sorted(prints, key=_worth)
    coarse = np.stack([_coarse(item.grey) for item in ranked]) if ranked else np.zeros((0, 1), np.float32)
    better_of: dict[str, str] = {}
    for index, item in enumerate(ranked):
        near = np.flatnonzero(coarse[:index] @ coarse[index] > _MIN_CORRELATION)
        better = (ranked[i] for i in near if ranked[i].key not in better_of and _same_picture(ranked[i], item))
        found = next(better, None)
        if found is not None:
            better_of[item.key] = found.key
    return better_of


def _worth(item: Fingerprint) -> tuple[int, bool, int, str]:
    return -item.size[0] * item.size[1], not item.has_focal, -item.n_bytes, item.key


def _coarse(grey: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, " c"]:
    small = Image.fromarray(grey).resize((_COARSE, _COARSE), Image.Resampling.BOX)
    values = np.asarray(small, np.float32).ravel()
    values -= values.mean()
    norm = float(np.linalg.norm(values))
    flat = np.full_like(values, 1.0 / _COARSE)  # blank pictures resemble each other
    return values / norm if norm > 1e-3 else flat


def _same_picture(first: Fingerprint, second: Fingerprint) -> bool:
    if first.sha256 == second.sha256:
        return True
    aspects = [item.size[0] / item.size[1] for item in (first, second)]
    if abs(aspects[0] / aspects[1] - 1.0) > _ASPECT_TOLERANCE:
        return False
    a, b = _at_common_size(first, second)
    slope_y, slope_x = np.gradient((a + b) / 2)
    energy = slope_x**2 + slope_y**2
    difference = b - a
    textured = float(energy.mean())
    if textured < 1.0 or abs(float(difference.mean())) > 3.0:
        return False  # blank, or another exposure: a photo of its own
    residual = float(np.sqrt(np.mean(difference**2) / textured))
    if residual > _MAX_RESIDUAL or _largest_block(difference, energy) > _MAX_BLOCK_RESIDUAL:
        return False
    return _largest_shift_px(difference, slope_x, slope_y) < _MAX_SHIFT_PX


def _at_common_size(first: Fingerprint, second: Fingerprint) -> tuple[np.ndarray, np.ndarray]:
    """Both at one size, coarse enough that the smaller file resolves it as well as the larger."""
    sides = sorted(max(item.size) for item in (first, second))
    side = min(FINGERPRINT_SIDE, sides[0] if sides[0] == sides[1] else round(0.6 * sides[0]))
    longest = max(first.grey.shape)
    height, width = (max(8, round(n * side / longest)) for n in first.grey.shape)
    a, b = (
        np.asarray(Image.fromarray(item.grey).resize((width, height), Image.Resampling.BILINEAR), np.float32)
        for item in (first, second)
    )
    return a, b


def _largest_block(difference: Float32[np.ndarray, "h w"], energy: Float32[np.ndarray, "h w"]) -> float:
    """Largest residual of a block relative to its gradients: something moved there while the rest stood still."""
    squares = _block_means(difference**2) / (_block_means(energy) + _GRADIENT_FLOOR**2)
    return float(np.sqrt(squares.max()))


def _block_means(values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "b c"]:
    rows = np.linspace(0, values.shape[0], _BLOCKS, endpoint=False).astype(int)
    columns = np.linspace(0, values.shape[1], _BLOCKS, endpoint=False).astype(int)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    counts = np.outer(np.diff([*rows, values.shape[0]]), np.diff([*columns, values.shape[1]]))
    means: np.ndarray = (sums / counts).astype(np.float32)
    return means


def _largest_shift_px(
    difference: Float32[np.ndarray, "h w"], slope_x: Float32[np.ndarray, "h w"], slope_y: Float32[np.ndarray, "h w"]
) -> float:
    """Largest motion in the middle of the four sides under the affine motion that explains the difference best."""
    height, width = difference.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    columns = [slope_x, slope_x * x, slope_x * y, slope_y, slope_y * x, slope_y * y]
    basis = np.stack([column.ravel() for column in columns], axis=1).astype(np.float64)
    normal = basis.T @ basis
    motion = np.linalg.solve(normal + 1e-6 * np.trace(normal) * np.eye(6), basis.T @ difference.ravel())
    ends = np.array([[1, dx, dy] for dx, dy in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))], np.float64)
    return float(np.hypot(ends @ motion[:3], ends @ motion[3:]).max())
