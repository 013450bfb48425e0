"""Descriptor matching and two-view geometry for photo pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from recon3d.core.files import atomic_path
from recon3d.core.seeds import derive
from recon3d.sfm.types import Pair

if TYPE_CHECKING:
    import pycolmap

MAX_RATIO = 0.8
MAX_ANGLE = 0.7  # radians between root-normalised descriptors
_NORM = 512.0  # COLMAP scales unit descriptors to this length
_BLOCK = 256


def match_descriptors(
    first: UInt8[np.ndarray, "k 128"], second: UInt8[np.ndarray, "l 128"], max_ratio: float = MAX_RATIO
) -> Int64[np.ndarray, "m 2"]:
    """Return mutual nearest neighbours that pass the ratio test in both directions.

    The dot products of byte descriptors are integers below 2**24 and therefore exact in float32, so that the result has
    the same bits for any thread count and BLAS.

    Args:
        first: root-normalised SIFT descriptors, ``[k,128]``.
        second: the same of the other photo, ``[l,128]``.
        max_ratio: largest accepted ratio of the angles to the best and the second best descriptor (Lowe 2004).

    Returns:
        Index pairs, ascending in the first, ``[m,2]``.
    """
    a, b = first.astype(np.float32), second.astype(np.float32)
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), np.int64)
    rows = np.arange(len(a))
    best, passed = _nearest(a, b, max_ratio)
    rows, best = rows[passed], best[passed]
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    back, passed = _nearest(b[best], a, max_ratio)
    mutual = passed & (back == rows)
    return np.stack([rows[mutual], best[mutual]], axis=1)


def _nearest(
    queries: Float32[np.ndarray, "q 128"], base: Float32[np.ndarray, "l 128"], max_ratio: float
) -> tuple[Int64[np.ndarray, " q"], np.ndarray]:
    """Return the best match of every query and whether it passes the ratio and distance tests."""
    index = np.empty(len(queries), np.int64)
    top = np.empty((2, len(queries)), np.float32)
    for start in range(0, len(queries), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores = queries[block] @ base.T
        rows = np.arange(len(scores))
        index[block] = scores.argmax(axis=1)
        top[0, block] = scores[rows, index[block]]
        scores[rows, index[block]] = -1.0
        top[1, block] = scores.max(axis=1)
    angle = np.arccos(np.clip(top.astype(np.float64) / _NORM**2, -1.0, 1.0))
    return index, (angle[0] <= MAX_ANGLE) & (angle[0] < max_ratio * angle[1])


def match_task(
    pairs: Sequence[Sequence[int]], features: Sequence[str], cameras: Sequence[dict[str, Any]], target: str, seed: int
) -> dict[str, Any]:
    """Match and verify some pairs of photos and write them to ``target`` (a worker task).

    Args:
        pairs: pairs of photo indices.
        features: path of the features of every photo that a pair names (others may be empty).
        cameras: first guess of every photo's camera, as :func:`guess_camera` makes it.
        target: the ``.npz`` to write, see :func:`load_pairs`.
        seed: base seed; every pair derives its own.

    Returns:
        ``{"n_verified": number of pairs with a two-view geometry}``.
    """
    import pycolmap

    pycolmap.logging.minloglevel = 2
    cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    found = []
    for first, second in pairs:
        for photo in (first, second):
            if photo not in cache:
                with np.load(features[photo], allow_pickle=False) as data:
                    cache[photo] = data["xy"].astype(np.float64), data["descriptors"]
        pair = match_pair(first, second, cache[first], cache[second], (cameras[first], cameras[second]), seed)
        if pair is not None:
            found.append(pair)
    save_pairs(Path(target), found)
    return {"n_verified": len(found)}


def match_pair(
    first: int,
    second: int,
    features_first: tuple[Float64[np.ndarray, "k 2"], UInt8[np.ndarray, "k 128"]],
    features_second: tuple[Float64[np.ndarray, "l 2"], UInt8[np.ndarray, "l 128"]],
    cameras: tuple[dict[str, Any], dict[str, Any]],
    seed: int,
) -> Pair | None:
    """Match two photos and verify the matches; None when no two-view geometry has enough inliers."""
    import pycolmap

    matches = match_descriptors(features_first[1], features_second[1])
    options = pycolmap.TwoViewGeometryOptions()
    if len(matches) < options.min_num_inliers:
        return None
    options.ransac.random_seed = derive(seed, "two-view", str(first), str(second))
    geometry = pycolmap.estimate_two_view_geometry(
        to_pycolmap(cameras[0]), features_first[0], to_pycolmap(cameras[1]), features_second[0], matches, options
    )
    inliers = np.asarray(geometry.inlier_matches, dtype=np.int64).reshape(-1, 2)
    config = pycolmap.TwoViewGeometryConfiguration(geometry.config).name
    if len(inliers) < options.min_num_inliers or config in ("UNDEFINED", "DEGENERATE", "WATERMARK"):
        return None
    xy = np.stack([features_first[0][inliers[:, 0]], features_second[0][inliers[:, 1]]], axis=1)
    return Pair(first, second, inliers, xy, len(matches), count_homography(xy, options.ransac), config)


def count_homography(xy: Float64[np.ndarray, "m 2 2"], ransac: pycolmap.RANSACOptions) -> int:
    """Return how many matches the best single homography explains within the RANSAC threshold."""
    import pycolmap

    found = pycolmap.estimate_homography_matrix(xy[:, 0], xy[:, 1], ransac)
    return 0 if found is None else int(found["num_inliers"])


def guess_camera(width: int, height: int, focal_px: float | None) -> dict[str, Any]:
    """Return a first guess of a camera as COLMAP makes it: the EXIF focal length, or 1.2 times the long side."""
    focal = focal_px if focal_px is not None else 1.2 * max(width, height)
    params = [focal, width / 2.0, height / 2.0, 0.0]
    return {"model": "SIMPLE_RADIAL", "width": width, "height": height, "params": params, "prior": focal_px is not None}


def to_pycolmap(camera: dict[str, Any]) -> pycolmap.Camera:
    """Return the pycolmap camera behind a JSON-ready one."""
    import pycolmap

    made = pycolmap.Camera(
        model=camera["model"], width=camera["width"], height=camera["height"], params=camera["params"]
    )
    made.has_prior_focal_length = camera["prior"]
    return made


def save_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write verified pairs to an ``.npz``, atomically."""
    sizes = [len(pair.matches) for pair in pairs]
    head = [(pair.first, pair.second, pair.n_putative, pair.n_homography) for pair in pairs]
    arrays = {
        "head": np.array(head, np.int64).reshape(-1, 4),
        "config": np.array([pair.config for pair in pairs], dtype="U32"),
        "offset": np.cumsum([0, *sizes]),
        "matches": np.concatenate([np.zeros((0, 2), np.int64), *(pair.matches for pair in pairs)]),
        "xy": np.concatenate([np.zeros((0, 2, 2)), *(pair.xy for pair in pairs)]),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_pairs(path: Path) -> list[Pair]:
    """Read what :func:`save_pairs` wrote."""
    with np.load(path, allow_pickle=False) as data:
        head, config, offset, matches, xy = (data[name] for name in ("head", "config", "offset", "matches", "xy"))
    spans = [slice(*ends) for ends in pairwise(offset)]
    return [
        Pair(int(first), int(second), matches[span], xy[span], int(n_putative), int(n_homography), str(name))
        for (first, second, n_putative, n_homography), name, span in zip(head, config, spans, strict=True)
    ]
