"""Depth maps against measured ones, with the definitions of docs/evaluation.md."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from PIL import Image, UnidentifiedImageError
from scipy.ndimage import binary_dilation

from recon3d.core.errors import FormatError, InputError, ShapeError, UsageError
from recon3d.evaluation.truth import Truth

ScaleMode = Literal["metric", "pose", "median", "affine"]
_STEP = 1.05
_STEP_MARGIN_PX = 2
_MILLIMETRES = 1000.0
_MAX_PIXELS = 200_000_000


@dataclass(frozen=True)
class DepthErrors:
    """Errors of depth maps: averages over the pixels of an image, then over images.

    Args:
        scale_mode: how the estimate was scaled: ``metric`` not at all, ``pose`` by the alignment of the cameras,
            ``median`` or ``affine`` to each true map.
        scale: factor on the estimate; the median over images where each has its own.
        n_images: images compared.
        abs_rel: mean of |d - d*| / d*.
        sq_rel: mean of (d - d*)^2 / d*, in the unit of the truth.
        rmse: root of the mean of (d - d*)^2, in the unit of the truth.
        rmse_log: root of the mean of (ln d - ln d*)^2.
        delta_1: share of pixels with max(d/d*, d*/d) below 1.25.
        delta_2: the same below 1.25^2.
        delta_3: the same below 1.25^3.
        delta_1_05: the same below 1.05.
        coverage: share of the pixels with a true depth that have an estimate.
    """

    scale_mode: ScaleMode
    scale: float
    n_images: int
    abs_rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    delta_1: float
    delta_2: float
    delta_3: float
    delta_1_05: float
    coverage: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready fields; undefined numbers become None."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def evaluate_depth(
    pairs: Iterable[tuple[Float[np.ndarray, "_h _w"], Float[np.ndarray, "_h _w"]]],
    mode: ScaleMode = "pose",
    pose_scale: float = 1.0,
) -> DepthErrors:
    """Compare estimated depth maps with true ones of the same size.

    Pixels within 2 px of a step of more than 5 % in the true map are left out.

    Args:
        pairs: estimate and truth along camera z, ``[h,w]`` each; 0 or NaN = none.
        mode: how the estimate is scaled before it is compared.
        pose_scale: true length of one unit of the estimate, for ``pose``.

    Returns:
        The errors; NaN where no image has a common pixel.

    Raises:
        ShapeError: a pair differs in size.
        UsageError: an unknown scale mode.
    """
    if mode not in get_args(ScaleMode):
        raise UsageError("there is no such depth scale", got=mode, expected=", ".join(get_args(ScaleMode)))
    rows, scales = [], []
    for estimate, truth in pairs:
        row, scale = _errors_of_image(estimate, truth, mode, pose_scale)
        rows.append(row)
        scales.append(scale)
    table = np.array(rows).reshape(-1, 9)
    measured = table[np.isfinite(table[:, 0])]
    means = measured[:, :8].mean(axis=0) if len(measured) else np.full(8, np.nan)
    coverage = float(np.nanmean(table[:, 8])) if np.isfinite(table[:, 8]).any() else math.nan
    scale = float(np.nanmedian(scales)) if np.isfinite(scales).any() else math.nan
    return DepthErrors(mode, scale, len(measured), *(float(value) for value in [*means, coverage]))


def _errors_of_image(
    estimate: Float[np.ndarray, "h w"], truth: Float[np.ndarray, "h w"], mode: ScaleMode, pose_scale: float
) -> tuple[list[float], float]:
    """Return the eight errors and the coverage of one image, NaN where undefined, and its scale."""
    if estimate.shape != truth.shape:
        raise ShapeError("an estimated depth map has another size", got=estimate.shape, expected=truth.shape)
    known = np.isfinite(truth) & (truth > 0)
    both = known & np.isfinite(estimate) & (estimate > 0)
    coverage = float(both.sum() / known.sum()) if known.any() else math.nan
    both &= ~near_steps(truth)
    d, d_true = estimate[both].astype(np.float64), truth[both].astype(np.float64)
    if len(d) == 0:
        return [math.nan] * 8 + [coverage], math.nan
    d, scale = _scaled(d, d_true, mode, pose_scale)
    d = np.maximum(d, np.finfo(np.float32).tiny)  # an affine fit may leave the half line
    off, ratio = d - d_true, np.maximum(d / d_true, d_true / d)
    errors = [np.abs(off) / d_true, off**2 / d_true, off**2, np.log(d / d_true) ** 2]
    abs_rel, sq_rel, mse, mse_log = (float(error.mean()) for error in errors)
    deltas = [float((ratio < limit).mean()) for limit in (1.25, 1.25**2, 1.25**3, 1.05)]
    return [abs_rel, sq_rel, math.sqrt(mse), math.sqrt(mse_log), *deltas, coverage], scale


def _scaled(
    d: Float64[np.ndarray, " p"], d_true: Float64[np.ndarray, " p"], mode: ScaleMode, pose_scale: float
) -> tuple[Float64[np.ndarray, " p"], float]:
    if mode == "affine":
        # Least squares a d + b; a constant map has no slope.
        centred = d - d.mean()
        a = float(centred @ (d_true - d_true.mean()) / max(centred @ centred, np.finfo(np.float64).tiny))
        return a * d + (d_true.mean() - a * d.mean()), a
    scale = {"metric": 1.0, "pose": pose_scale}.get(mode)
    scale = float(np.median(d_true) / np.median(d)) if scale is None else scale
    return scale * d, scale


def near_steps(depth_z: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the pixels within 2 px of a depth step larger than 5 % between two neighbours, ``[h,w]``.

    Args:
        depth_z: depth along camera z, ``[h,w]``; 0 or NaN = none, which makes no step.
    """
    valid = np.isfinite(depth_z) & (depth_z > 0)
    safe = np.where(valid, depth_z, 1.0)
    steps = np.zeros(depth_z.shape, bool)
    for one, other in (((slice(1, None),), (slice(-1),)), ((slice(None), slice(1, None)), (slice(None), slice(-1)))):
        ratio = safe[one] / safe[other]
        step = valid[one] & valid[other] & ((ratio > _STEP) | (ratio * _STEP < 1.0))
        steps[one] |= step
        steps[other] |= step
    side = 2 * _STEP_MARGIN_PX + 1
    return np.asarray(binary_dilation(steps, np.ones((side, side), bool)))


def sample_depth(depth_z: Float[np.ndarray, "h w"], pixels: Float64[np.ndarray, "m 2"]) -> Float64[np.ndarray, " m"]:
    """Read a depth map between its pixels, bilinear in 1/d, which is exact on planes.

    A pixel has a depth where the nearest one of the map has; of its four neighbours, those without depth do not count.

    Args:
        depth_z: depth along camera z, ``[h,w]``; 0 or NaN = none.
        pixels: places in the map, corner origin, ``[m,2]``; NaN or outside = none.

    Returns:
        Depths, ``[m]``; 0 = none.
    """
    h, w = depth_z.shape
    valid = np.isfinite(depth_z) & (depth_z > 0)
    inverse = np.where(valid, 1.0 / np.where(valid, depth_z, 1.0).astype(np.float64), 0.0)
    with np.errstate(invalid="ignore"):
        inside = np.asarray((pixels >= 0).all(axis=1) & (pixels < (w, h)).all(axis=1))
    at = np.where(inside[:, None], pixels, 0.0)
    nearest = valid[at[:, 1].astype(np.int64), at[:, 0].astype(np.int64)] & inside
    corner = np.floor(at - 0.5)
    total, weight = np.zeros(len(at)), np.zeros(len(at))
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x, y = (
            np.clip(corner[:, 0] + dx, 0, w - 1).astype(np.int64),
            np.clip(corner[:, 1] + dy, 0, h - 1).astype(np.int64),
        )
        share = (1 - np.abs(at[:, 0] - 0.5 - corner[:, 0] - dx)) * (1 - np.abs(at[:, 1] - 0.5 - corner[:, 1] - dy))
        share = share * valid[y, x]
        total += share * inverse[y, x]
        weight += share
    ok = nearest & (total > 0)
    return np.where(ok, weight / np.where(ok, total, 1.0), 0.0)


def resize_depth(depth_z: Float[np.ndarray, "h w"], height: int, width: int) -> Float32[np.ndarray, "h2 w2"]:
    """Bring a depth map to another size of the same image, bilinear in 1/d.

    Args:
        depth_z: depth along camera z, ``[h,w]``; 0 or NaN = none.
        height: rows of the result.
        width: columns of the result.
    """
    if depth_z.shape == (height, width):
        return np.where(np.isfinite(depth_z) & (depth_z > 0), depth_z, 0.0).astype(np.float32)
    x, y = (np.arange(width) + 0.5) * depth_z.shape[1] / width, (np.arange(height) + 0.5) * depth_z.shape[0] / height
    pixels = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    return sample_depth(depth_z, pixels).reshape(height, width).astype(np.float32)


def read_depth_png(path: Path) -> Float32[np.ndarray, "h w"]:
    """Read a 16-bit PNG of millimetres.

    Args:
        path: the file.

    Returns:
        Depth along camera z in metres, ``[h,w]``; 0 = none.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is no greyscale image of 8 or 16 bits.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("I;16", "I;16B", "I", "L") or image.width * image.height > _MAX_PIXELS:
                raise FormatError(f"{path} is no depth map", got=f"mode {image.mode}", expected="a 16-bit grey PNG")
            return (np.asarray(image).astype(np.float32) / np.float32(_MILLIMETRES)).astype(np.float32)
    except (UnidentifiedImageError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} is no depth map", got=str(error)) from error
    except OSError as error:
        raise InputError(f"cannot read the depth map {path}", got=str(error)) from error


def find_true_depth(truth: Truth, folder: Path) -> dict[str, Path]:
    """Return the true depth maps by photo name: ``STEM.png`` in the folder, for the photos that have one.

    Args:
        truth: the set.
        folder: usually ``gt/depth``.
    """
    paths = {name: folder / f"{PurePosixPath(name).stem}.png" for name in truth.names}
    return {name: path for name, path in paths.items() if path.is_file()}
