"""What verified matches say about a model: epipolar agreement, cheirality, parallax, pure rotation.

The evidence looks at the matches of photo pairs, not at the points of the model: a mapper is free to drop what it
cannot explain, and a wrong model can look perfect on the few points that it kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.render.cameras import Cameras, undistort
from recon3d.sfm.types import Mapped, Pair

MAX_MATCHES = 400_000
MIN_MATCHES_PER_PAIR = 32
_MAX_MATCHES_PER_PAIR = 200
_WIDEST = 3
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class MatchEvidence:
    """Every match between two photos of a model, judged by the model's cameras.

    Args:
        pair: index into ``pairs`` of each match, ``[m]``.
        view: rows of the model's cameras, ``[m,2]``.
        keypoint: keypoint indices in both photos, ``[m,2]``.
        xy: matched pixels in both photos, ``[m,2,2]``.
        epipolar_px: Sampson distance to the model's epipolar geometry in pixels, ``[m]``.
        angle_deg: angle between the two rays, ``[m]``.
        shift_px: the same angle in pixels at the photos' focal length, ``[m]``.
        behind: the rays meet behind one of the cameras, ``[m]``; noise decides where ``shift_px`` is small.
        pairs: the pairs whose photos are both in the model.
    """

    pair: Int64[np.ndarray, " m"]
    view: Int64[np.ndarray, "m 2"]
    keypoint: Int64[np.ndarray, "m 2"]
    xy: Float64[np.ndarray, "m 2 2"]
    epipolar_px: Float64[np.ndarray, " m"]
    angle_deg: Float64[np.ndarray, " m"]
    shift_px: Float64[np.ndarray, " m"]
    behind: Bool[np.ndarray, " m"]
    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        return len(self.pair)


def match_evidence(mapped: Mapped, pairs: Sequence[Pair]) -> MatchEvidence:
    """Judge the matches between photos of a model by its cameras; of very many, an even selection of each pair.

    Args:
        mapped: the model.
        pairs: verified pairs of the capture; those that leave the model are ignored.
    """
    row = {int(photo): index for index, photo in enumerate(mapped.photo)}
    inside = tuple(pair for pair in pairs if pair.first in row and pair.second in row)
    chosen = _select(np.array([len(pair.matches) for pair in inside], np.int64))
    index = np.repeat(np.arange(len(inside)), [len(some) for some in chosen])
    rows = np.array([(row[pair.first], row[pair.second]) for pair in inside], np.int64).reshape(-1, 2)
    view = rows[index]
    parts = list(zip(inside, chosen, strict=True))
    xy = np.concatenate([pair.xy[some] for pair, some in parts] or [np.zeros((0, 2, 2))])
    keypoint = np.concatenate([pair.matches[some] for pair, some in parts] or [np.zeros((0, 2), np.int64)])
    rays = [camera_rays(mapped.cameras, view[:, side], xy[:, side]) for side in (0, 1)]
    epipolar, angle, behind = _two_view(mapped.cameras, view, rays)
    focal = np.sqrt(np.prod(mapped.cameras.K[view, 0, 0], axis=1))
    return MatchEvidence(index, view, keypoint, xy, epipolar, np.degrees(angle), focal * angle, behind, inside)


def _select(count: Int64[np.ndarray, " p"]) -> list[Int64[np.ndarray, " k"]]:
    """Return which matches of each pair are judged: all, or an even selection where memory would suffer."""
    if count.sum() <= MAX_MATCHES:
        return [np.arange(n) for n in count]
    limit = max(MAX_MATCHES // len(count), MIN_MATCHES_PER_PAIR)
    return [np.unique(np.linspace(0, n - 1, min(n, limit)).astype(np.int64)) for n in count]


def camera_rays(
    cameras: Cameras, view: Int64[np.ndarray, " m"], xy: Float64[np.ndarray, "m 2"]
) -> Float64[np.ndarray, "m 3"]:
    """Return undistorted homogeneous camera rays ``(x, y, 1)``."""
    K = cameras.K[view]
    normalized = (xy - K[:, :2, 2]) / K[:, (0, 1), (0, 1)]
    if cameras.distortion is not None:
        normalized = undistort(normalized, cameras.distortion[view], n_iterations=10)
    return np.concatenate([normalized, np.ones((len(xy), 1))], axis=1)


def relative_poses(
    poses: Float64[np.ndarray, "n 4 4"], first: Int64[np.ndarray, " k"], second: Int64[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, "k 3 3"], Float64[np.ndarray, "k 3"]]:
    """Return rotation and translation from the first to the second camera of each pair (scale of the model)."""
    R = poses[second, :3, :3] @ poses[first, :3, :3].transpose(0, 2, 1)
    return R, poses[second, :3, 3] - np.einsum("kij,kj->ki", R, poses[first, :3, 3])


def _two_view(
    cameras: Cameras, view: Int64[np.ndarray, "m 2"], rays: Sequence[Float64[np.ndarray, "m 3"]]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Return Sampson distance in pixels, angle between the rays in radians, and whether they meet behind a camera.

    Hartley and Zisserman, Multiple View Geometry, 2nd edition, eq. 11.9 and section 9.6.
    """
    R, t = relative_poses(cameras.cam_from_world, view[:, 0], view[:, 1])
    t = t / np.maximum(np.linalg.norm(t, axis=1, keepdims=True), _TINY)
    turned, second = np.einsum("mij,mj->mi", R, rays[0]), rays[1]
    line_second = np.cross(t, turned)
    line_first = np.einsum("mji,mj->mi", R, np.cross(second, t))
    gradient = _squared(line_first[:, :2] / cameras.K[view[:, 0]][:, (0, 1), (0, 1)])
    gradient += _squared(line_second[:, :2] / cameras.K[view[:, 1]][:, (0, 1), (0, 1)])
    sampson = np.abs(np.einsum("mi,mi->m", second, line_second)) / np.sqrt(np.maximum(gradient, _TINY))
    a = turned / np.sqrt(_squared(turned))[:, None]
    b = second / np.sqrt(_squared(second))[:, None]
    cosine, a_t, b_t = (np.einsum("mi,mi->m", p, q) for p, q in ((a, b), (a, t), (b, t)))
    angle = np.arctan2(np.sqrt(_squared(np.cross(a, b))), cosine)
    # signs of the distances along the rays at their closest approach
    return sampson, angle, (cosine * b_t - a_t <= 0) | (b_t - cosine * a_t <= 0)


def _squared(vectors: Float64[np.ndarray, "m k"]) -> Float64[np.ndarray, " m"]:
    return np.asarray(np.einsum("mi,mi->m", vectors, vectors))


def rotation_share(
    mapped: Mapped, pairs: Sequence[Pair], tolerance_px: float, focal_range: float, min_matches: int = 30
) -> tuple[float, float]:
    """Return which share of the matches a camera explains that only rotates, and at which focal length.

    Every photo is judged by the pair that such a camera explains worst, and the median photo is returned: neighbouring
    frames of a video are always explained, but a camera that moves leaves some pair of each photo that is not. All
    pairs share one factor on the model's focal lengths, because a mapper that invents parallax for a rotating camera
    does it by a wrong focal length. Lenses are tried with the distortion of the model and without any.

    Args:
        mapped: the model.
        pairs: verified pairs of the capture.
        tolerance_px: largest distance to the rotated match, in pixels.
        focal_range: factors from ``1 / focal_range`` to ``focal_range`` are tried.
        min_matches: pairs with fewer matches say nothing.

    Returns:
        The share, and the factor; ``(0, 1)`` without pairs.
    """
    row = {int(photo): index for index, photo in enumerate(mapped.photo)}
    inside = _widest([p for p in pairs if p.first in row and p.second in row and len(p.matches) >= min_matches])
    if not inside:
        return 0.0, 1.0
    view = np.array([(row[pair.first], row[pair.second]) for pair in inside])
    weight = np.array([len(pair.matches) for pair in inside], np.float64)
    n_steps = int(np.ceil(np.log(focal_range) / np.log(1.15)))
    factors = np.exp(np.linspace(-1.0, 1.0, 2 * n_steps + 1) * np.log(focal_range))
    found = []
    for lens in (mapped.cameras, mapped.cameras.pinhole()):
        shares = np.array(
            [
                _pair_shares(lens, (int(i), int(j)), p, factors, tolerance_px)
                for (i, j), p in zip(view, inside, strict=True)
            ]
        )
        best = int((weight @ shares).argmax())
        least = np.full(len(row), 2.0)
        for side in (0, 1):
            np.minimum.at(least, view[:, side], shares[:, best])
        found.append((float(np.median(least[least <= 1.0])), float(factors[best])))
    return max(found)


def _widest(pairs: Sequence[Pair]) -> list[Pair]:
    """Return a few pairs of each photo that a rotation, which is a homography, explains worst, and its weakest ones."""
    chosen: set[int] = set()
    for photo in {photo for pair in pairs for photo in (pair.first, pair.second)}:
        own = [k for k, pair in enumerate(pairs) if photo in (pair.first, pair.second)]
        chosen.update(sorted(own, key=lambda k: (pairs[k].n_homography / len(pairs[k].matches), k))[:_WIDEST])
        chosen.update(sorted(own, key=lambda k: (len(pairs[k].matches), k))[:_WIDEST])
    return [pairs[k] for k in sorted(chosen)]


def _pair_shares(
    lens: Cameras, view: tuple[int, int], pair: Pair, factors: Float64[np.ndarray, " f"], tolerance_px: float
) -> Float64[np.ndarray, " f"]:
    """Return the share of one pair's matches that a rotation explains at each factor on the focal length."""
    xy = pair.xy[:: -(-len(pair.xy) // _MAX_MATCHES_PER_PAIR)]
    scale = np.stack([1 / factors, 1 / factors, np.ones(len(factors))], axis=1)[:, None]
    rays = [camera_rays(lens, np.full(len(xy), view[side]), xy[:, side]) for side in (0, 1)]
    a, b = (ray * scale for ray in rays)
    a_unit, b_unit = (ray / np.linalg.norm(ray, axis=2, keepdims=True) for ray in (a, b))
    tolerance = tolerance_px / float(lens.K[view[1], 0, 0])  # on rays of the unscaled focal length
    weight, inlier = np.ones((len(factors), len(xy))), np.zeros((len(factors), len(xy)), bool)
    for _ in range(3):  # one least-squares fit and two robust ones
        U, _, V_t = np.linalg.svd((b_unit * weight[:, :, None]).transpose(0, 2, 1) @ a_unit)
        U[:, :, 2] *= np.linalg.det(U @ V_t)[:, None]
        turned = a_unit @ (U @ V_t).transpose(0, 2, 1)
        depth = np.where(turned[:, :, 2] > 1e-6, turned[:, :, 2], np.inf)
        off = turned[:, :, :2] / depth[:, :, None] - b[:, :, :2]
        off = np.linalg.norm(off, axis=2) * factors[:, None] / tolerance
        weight, inlier = 1.0 / (1.0 + off**2) ** 2, (off < 1.0) & np.isfinite(depth)
    return np.asarray(inlier.mean(axis=1))
