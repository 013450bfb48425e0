"""SIFT features of one photo, through COLMAP's extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image

from recon3d.core.files import atomic_path
from recon3d.photos import read_mask, read_upright

# Affine shape and domain-size pooling with a low threshold: slower, for captures with little texture.
RICH_SIFT = {"peak_threshold": 0.003, "estimate_affine_shape": True, "domain_size_pooling": True}
_MIN_SIDE = 16  # the extractor crashes on less with the richer settings


def extract_task(
    photo: str, mask: str | None, target: str, max_image_size: int, max_features: int, max_pixels: int, rich: bool
) -> dict[str, Any]:
    """Find the features of one photo and write them to ``target`` (a worker task).

    Args:
        photo: path of the photo.
        mask: path of its mask, where True pixels are used.
        target: the ``.npz`` to write: ``xy [k,2]`` in pixels of the upright photo, ``descriptors [k,128]``,
            ``rgb [k,3]``.
        max_image_size: long side at which features are found, in pixels.
        max_features: how many to keep, largest scales first.
        max_pixels: refuse photos with more pixels.
        rich: use the richer, slower settings.

    Returns:
        ``{"n_features": k}``.
    """
    image = read_upright(Path(photo), max_pixels)
    xy, descriptors = sift(image, max_image_size, max_features, rich)
    if mask is not None:
        use = read_mask(Path(mask), image.shape[1], image.shape[0])
        kept = at_keypoints(use, xy)
        xy, descriptors = xy[kept], descriptors[kept]
    save_features(Path(target), xy, descriptors, at_keypoints(image, xy))
    return {"n_features": len(xy)}


def save_features(
    path: Path, xy: Float32[np.ndarray, "k 2"], descriptors: UInt8[np.ndarray, "k 128"], rgb: UInt8[np.ndarray, "k 3"]
) -> None:
    """Write the features of one photo to an ``.npz``, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, xy=xy, descriptors=descriptors, rgb=rgb)


def no_features() -> tuple[Float32[np.ndarray, "0 2"], UInt8[np.ndarray, "0 128"], UInt8[np.ndarray, "0 3"]]:
    """Return the positions, descriptors and colours of a photo without features."""
    return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), np.zeros((0, 3), np.uint8)


def at_keypoints(image: Shaped[np.ndarray, "h w *c"], xy: Float32[np.ndarray, "k 2"]) -> Shaped[np.ndarray, "k *c"]:
    """Return the pixel under each keypoint."""
    column, row = np.clip(xy.astype(np.int64), 0, np.array(image.shape[1::-1]) - 1).T
    found: Shaped[np.ndarray, "k *c"] = image[row, column]
    return found


def sift(
    image: UInt8[np.ndarray, "h w 3"], max_image_size: int, max_features: int, rich: bool
) -> tuple[Float32[np.ndarray, "k 2"], UInt8[np.ndarray, "k 128"]]:
    """Return keypoints in pixels of ``image`` (outer-corner origin) and root-normalised SIFT descriptors."""
    import pycolmap

    pycolmap.logging.minloglevel = 2
    height, width = image.shape[:2]
    scale = min(1.0, max_image_size / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if min(size) < _MIN_SIDE:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8)
    grey = Image.fromarray(image).convert("L")
    if scale < 1.0:
        grey = grey.resize(size, Image.Resampling.LANCZOS)
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads, options.use_gpu = 1, False
    options.sift.max_num_features = max_features
    for name, value in (RICH_SIFT if rich else {}).items():
        setattr(options.sift, name, value)
    extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
    keypoints, descriptors = extractor.extract_from_uint8_array(np.asarray(grey))
    matrix = pycolmap.keypoints_to_matrix(keypoints)  # x, y, scale, orientation
    # COLMAP keeps whole octaves and up to half as many again.
    kept = np.argsort(-matrix[:, 2], kind="stable")[:max_features]
    stretch = np.array([width / size[0], height / size[1]], dtype=np.float32)
    data = np.asarray(descriptors.data, dtype=np.uint8).reshape(-1, 128)
    return np.ascontiguousarray(matrix[kept, :2] * stretch), data[kept]
