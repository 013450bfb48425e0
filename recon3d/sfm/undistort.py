"""Undistortion: pinhole twins of distorted cameras and the photos that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image

from recon3d.core.errors import InputError, ResultError
from recon3d.core.files import atomic_path
from recon3d.photos.decode import read_mask, read_upright
from recon3d.render.cameras import Cameras, distort

_SCALE_RANGE = (0.5, 4.0)
_N_EDGE = 65
_ROWS = 8
_JPEG_QUALITY = 95


def pinhole_twins(cameras: Cameras) -> Cameras:
    """Return pinhole cameras of equal poses and sizes whose photos have no empty pixels.

    The principal point stays where it is (off-centre where the lens is) and both focal lengths are multiplied by one
    factor: the smallest between 0.5 and 4 for which every pixel of the undistorted photo falls inside the original.

    Args:
        cameras: cameras, with or without distortion.

    Returns:
        Cameras without distortion; cameras of equal intrinsics have equal twins, and a pinhole camera is its own twin.

    Raises:
        ResultError: the lens model folds the image over itself.
    """
    if cameras.distortion is None:
        return cameras
    K, size = cameras.K.copy(), np.stack([cameras.width, cameras.height], -1)
    kinds = np.concatenate([K.reshape(-1, 9), cameras.distortion, size], -1)
    _, first, kind_of = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    factor = np.array([1.0 if _is_pinhole(cameras, i) else _focal_factor(cameras, i) for i in first.tolist()])
    K[:, (0, 1), (0, 1)] *= factor[kind_of.ravel()][:, None]
    return replace(cameras, K=K, distortion=None)


def _is_pinhole(cameras: Cameras, index: int) -> bool:
    return cameras.distortion is None or not cameras.distortion[index].any()


def _focal_factor(cameras: Cameras, index: int) -> float:
    low, high = _SCALE_RANGE
    if not _fits(cameras, index, high):
        raise ResultError(
            "a lens model folds the photo over itself and cannot be undone",
            got=f"k1 k2 p1 p2 = {cameras.distortion[index].tolist() if cameras.distortion is not None else None}",
            fix="give all photos of one camera in one size, or fewer distortion parameters",
        )
    if _fits(cameras, index, low):
        return low
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (low, middle) if _fits(cameras, index, middle) else (middle, high)
    return high


def _fits(cameras: Cameras, index: int, factor: float) -> bool:
    """Return whether all pixels of a twin with that focal factor lie inside the original, without a fold."""
    K, width, height = cameras.K[index], int(cameras.width[index]), int(cameras.height[index])
    pixels = _grid(np.linspace(0.0, width, _N_EDGE), np.linspace(0.0, height, _N_EDGE))
    twin = K.copy()
    twin[(0, 1), (0, 1)] *= factor
    source = source_pixels(pixels, cameras, index, twin)
    inside = (source >= 0) & (source <= (width, height))
    return bool(inside.all() and _unfolded(source).all())


def _grid(x: Float64[np.ndarray, " w"], y: Float64[np.ndarray, " h"]) -> Float64[np.ndarray, "hw 2"]:
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def _unfolded(source: Float64[np.ndarray, "hw 2"]) -> Bool[np.ndarray, "h w"]:
    grid = source.reshape(_N_EDGE, _N_EDGE, 2)
    right, down = np.diff(grid, axis=1)[:-1], np.diff(grid, axis=0)[:, :-1]
    return np.asarray(right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] > 0)


def source_pixels(
    pixels: Float64[np.ndarray, "m 2"], cameras: Cameras, index: int, twin_K: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "m 2"]:
    """Return where pixels of the undistorted photo lie in the original.

    Args:
        pixels: in the pinhole twin, ``[m,2]``, pixels, corner origin.
        cameras: the original cameras.
        index: which of them.
        twin_K: intrinsics of the twin, ``[3,3]``.

    Returns:
        Pixels of the original photo, ``[m,2]``.
    """
    normalized = (pixels - twin_K[:2, 2]) / twin_K[(0, 1), (0, 1)]
    if cameras.distortion is not None:
        normalized = distort(normalized, np.broadcast_to(cameras.distortion[index], (len(normalized), 4)))
    return np.asarray(normalized * cameras.K[index, (0, 1), (0, 1)] + cameras.K[index, :2, 2])


def undistort_image(
    image: UInt8[np.ndarray, "h w 3"], cameras: Cameras, twins: Cameras, index: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a photo as the pinhole twin of its camera would have taken it (bilinear, like COLMAP's).

    Pillow's bicubic transform is no choice here: it does not reproduce a linear ramp and displaces edges by 0.1 px.

    Args:
        image: upright photo, sRGB, ``[h,w,3]``.
        cameras: original cameras.
        twins: from :func:`pinhole_twins`.
        index: which camera took the photo.

    Returns:
        The undistorted photo; the photo itself where the camera already is its twin.

    Raises:
        InputError: the photo does not have the camera's size.
    """
    width, height = int(cameras.width[index]), int(cameras.height[index])
    if image.shape[:2] != (height, width):
        raise InputError(
            "a photo does not have the size of its camera",
            got=f"{image.shape[1]}x{image.shape[0]}",
            expected=f"{width}x{height}",
            fix="the photo changed since it was measured; start with a fresh output folder",
        )
    if _is_pinhole(cameras, index) and np.array_equal(cameras.K[index], twins.K[index]):
        return image
    result, x = np.empty_like(image), np.arange(width) + 0.5
    for top in range(0, height, _ROWS):
        rows = np.arange(top, min(top + _ROWS, height)) + 0.5
        source = source_pixels(_grid(x, rows), cameras, index, twins.K[index])
        result[top : top + len(rows)] = _bilinear(image, source).reshape(len(rows), width, 3)
    return result


def _bilinear(image: UInt8[np.ndarray, "h w 3"], pixels: Float64[np.ndarray, "m 2"]) -> UInt8[np.ndarray, "m 3"]:
    """Return the colours at ``pixels`` (corner origin), repeating the border beyond the outer pixel centres."""
    height, width, _ = image.shape
    at = np.clip(pixels - 0.5, 0, (width - 1, height - 1)).astype(np.float32)
    corner = np.minimum(at.astype(np.int64), (max(width - 2, 0), max(height - 2, 0)))
    weight = (at - corner.astype(np.float32))[..., None]
    first = corner[:, 1] * width + corner[:, 0]
    right, down = int(width > 1), width * int(height > 1)
    flat = image.reshape(-1, 3)
    upper, lower = (_mix(flat.take(k, 0), flat.take(k + right, 0), weight[:, 0]) for k in (first, first + down))
    return np.asarray(upper + (lower - upper) * weight[:, 1] + np.float32(0.5)).astype(np.uint8)


def _mix(
    left: UInt8[np.ndarray, "m 3"], right: UInt8[np.ndarray, "m 3"], weight: Float32[np.ndarray, "m 1"]
) -> Float32[np.ndarray, "m 3"]:
    start = left.astype(np.float32)
    return np.asarray(start + (right - start) * weight)


@dataclass(frozen=True)
class Undistortion:
    """One photo to undistort.

    Args:
        source: photo file.
        target: file to write: ``.png`` is lossless, anything else JPEG of quality 95 without chroma subsampling.
        mask: mask of the photo; None = none.
        mask_target: PNG to write it to.
    """

    source: Path
    target: Path
    mask: Path | None = None
    mask_target: Path | None = None


def undistortion_tasks(
    cameras: Cameras, twins: Cameras, photos: Sequence[Undistortion], max_pixels: int
) -> list[dict[str, Any]]:
    """Return one task for ``run_tasks("recon3d.sfm.undistort:undistort_task", ...)`` per camera.

    Args:
        cameras: cameras as photographed, ``n`` of them.
        twins: their pinhole twins.
        photos: what each of them took.
        max_pixels: cap for decoding.
    """
    return [
        {
            "files": {item.name: _text(getattr(photo, item.name)) for item in fields(photo)},
            "max_pixels": max_pixels,
            "camera": _to_json(cameras, i),
            "twin": _to_json(twins, i),
        }
        for i, photo in enumerate(photos)
    ]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def undistort_task(
    files: Mapping[str, str | None], max_pixels: int, camera: Mapping[str, Any], twin: Mapping[str, Any]
) -> dict[str, Any]:
    """Read a photo and its mask, undistort them and write them atomically; runs in a worker process.

    Args:
        files: paths, named as the fields of :class:`Undistortion`.
        max_pixels: cap for decoding.
        camera: ``K``, ``width``, ``height`` and ``distortion`` of the photo.
        twin: the same of the pinhole twin.

    Returns:
        The target, its width and its height.
    """
    cameras, twins = _from_json(camera), _from_json(twin)
    image = undistort_image(read_upright(Path(files["source"] or ""), max_pixels), cameras, twins, 0)
    target = Path(files["target"] or "")
    with atomic_path(target) as temporary:
        _save(Image.fromarray(image), temporary, lossless=target.suffix.lower() == ".png")
    if files["mask"] and files["mask_target"]:
        use = read_mask(Path(files["mask"]), image.shape[1], image.shape[0])
        white = np.repeat(np.where(use, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
        moved = undistort_image(white, cameras, twins, 0)[..., 0]
        with atomic_path(Path(files["mask_target"])) as temporary:
            _save(Image.fromarray(np.where(moved >= 128, 255, 0).astype(np.uint8)), temporary, lossless=True)
    return {"target": str(target), "width": image.shape[1], "height": image.shape[0]}


def _save(image: Image.Image, path: Path, *, lossless: bool) -> None:
    if lossless:
        image.save(path, format="PNG", compress_level=6)
    else:
        image.save(path, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)


def _to_json(cameras: Cameras, index: int) -> dict[str, Any]:
    distortion = None if cameras.distortion is None else cameras.distortion[index].tolist()
    size = {"width": int(cameras.width[index]), "height": int(cameras.height[index])}
    return {"K": cameras.K[index].tolist(), "distortion": distortion, **size}


def _from_json(camera: Mapping[str, Any]) -> Cameras:
    distortion = camera["distortion"]
    return Cameras(
        np.eye(4)[None],
        np.array([camera["K"]], dtype=np.float64),
        np.array([camera["width"]]),
        np.array([camera["height"]]),
        None if distortion is None else np.array([distortion], dtype=np.float64),
    )
