"""Levelling: the similarity that turns a mapper's arbitrary frame into a z-up world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.core.errors import ShapeError
from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.planes import Plane, find_planes

# How people hold cameras: level to 3 degrees, pitched by 25. Roll errors are independent between photos (we trust the
# mean of at most nine of them), pitch is a habit that more photos do not average away.
_ROLL_SIGMA = np.radians(3.0)
_PITCH_SIGMA = np.radians(25.0)
_N_INDEPENDENT = 9
_ROLLED_PENALTY = 1.0
_MAX_COST = 9.0
_WINDOW_DEG = (3.0, 20.0)
_PLANE_SIGMA = np.radians(0.1)
_PLANE_THRESHOLD = 0.01
_MAX_CANDIDATES = 200


@dataclass(frozen=True, eq=False)
class Levelling:
    """A z-up frame for a model.

    Args:
        new_from_old: similarity to the levelled world, ``[4,4]``: z up, origin in the medians of the points' levelled
            coordinates, mean viewing direction along +y, and the median distance from the cameras to the points that
            they see equal to 1.
        method: how up was found, in plain words.
        metrics: numbers behind it, JSON-ready.
    """

    new_from_old: Float64[np.ndarray, "4 4"]
    method: str
    metrics: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Up:
    """An up direction, its information matrix (1/rad^2) and what was decided about each camera."""

    direction: Float64[np.ndarray, "3"]
    information: Float64[np.ndarray, "3 3"]
    rolled: Bool[np.ndarray, " n"]
    outlier: Bool[np.ndarray, " n"]


def level(cameras: Cameras, points: Points, seed: int = 0) -> Levelling:
    """Return the similarity that makes a relative model z-up, centred and of unit viewing distance.

    Up is the direction to which the right axes of the cameras are most nearly horizontal and the viewing directions
    nearly so (photos rolled by 90 degrees are recognised, upside-down ones do no harm), refined by the ground or the
    walls where dominant planes agree with it. The result has the same bits for any thread count.

    Args:
        cameras: registered cameras, at least one, world frame of the mapper.
        points: their points, with observations, in the same frame.
        seed: of the plane search.

    Returns:
        The similarity, what it rests on, and its numbers.

    Raises:
        ShapeError: there are no cameras.
    """
    if len(cameras) == 0:
        raise ShapeError("cannot level a model without cameras", got=0, expected="at least one camera")
    distance = _viewing_distance(cameras, points)
    camera_up = up_from_cameras(cameras, seed)
    up, used = _refine_by_planes(camera_up, points.xyz, distance, seed)
    rotation = _rotation(up, _heading(cameras, up))
    turned = np.einsum("ij,pj->pi", rotation, points.xyz if len(points) else cameras.centers)
    new_from_old = np.eye(4)
    new_from_old[:3, :3] = rotation / distance
    new_from_old[:3, 3] = -np.median(turned, axis=0) / distance
    return Levelling(new_from_old, _method(used), _metrics(camera_up, up, used, distance))


def _viewing_distance(cameras: Cameras, points: Points) -> float:
    if len(points.obs_point) == 0:
        return 1.0
    rays = points.xyz[points.obs_point] - cameras.centers[points.obs_view]
    distance = float(np.median(np.linalg.norm(rays, axis=1)))
    return distance if np.isfinite(distance) and distance > 0 else 1.0


def up_from_cameras(cameras: Cameras, seed: int = 0) -> _Up:
    """Return the up direction that the cameras' axes agree on, in the cameras' world.

    Args:
        cameras: at least one camera.
        seed: of the sampled candidates.

    Returns:
        Unit up direction, information matrix, and which cameras were found rolled by 90 degrees or inconsistent.
    """
    axes = cameras.cam_from_world[:, :3, :3]
    candidates = _candidates(axes, seed)
    best = candidates[np.argmin(_costs(axes, candidates)[0].sum(1))]
    up = _decide(axes, best)
    for _ in range(20):
        refined = _decide(axes, _smallest(up.information))
        if np.array_equal(refined.rolled, up.rolled) and np.array_equal(refined.outlier, up.outlier):
            break
        up = refined
    direction = _smallest(up.information)
    return _Up(_signed(direction, axes, up), up.information, up.rolled, up.outlier)


def _candidates(axes: Float64[np.ndarray, "n 3 3"], seed: int) -> Float64[np.ndarray, "c 3"]:
    """Return directions worth trying: the cameras' own axes and normals to pairs of right or down axes."""
    generator = np.random.default_rng(seed)
    own = generator.permutation(len(axes))[:_MAX_CANDIDATES]
    pair = generator.integers(len(axes), size=(2 * _MAX_CANDIDATES, 2))
    kind = generator.integers(2, size=(2 * _MAX_CANDIDATES, 2))
    normals = np.cross(axes[pair[:, 0], kind[:, 0]], axes[pair[:, 1], kind[:, 1]])
    length = np.linalg.norm(normals, axis=1)
    normals = normals[length > 0.1] / length[length > 0.1, None]
    return np.concatenate([axes[own, 1], axes[own, 0], normals])


def _costs(
    axes: Float64[np.ndarray, "n 3 3"], candidates: Float64[np.ndarray, "c 3"]
) -> tuple[Float64[np.ndarray, "c n"], Bool[np.ndarray, "c n"]]:
    """Return the truncated cost of each camera under each candidate, and whether it fits better when rolled by 90."""
    sines = np.einsum("nak,ck->cna", axes, candidates)
    pitch = (sines[..., 2] / _PITCH_SIGMA) ** 2
    upright = (sines[..., 0] / _ROLL_SIGMA) ** 2 + pitch
    rolled = (sines[..., 1] / _ROLL_SIGMA) ** 2 + pitch + _ROLLED_PENALTY
    # Pitch alone never makes an outlier: a camera may well look straight down.
    return np.minimum(np.minimum(upright, rolled), _MAX_COST + pitch), rolled < upright


def _decide(axes: Float64[np.ndarray, "n 3 3"], up: Float64[np.ndarray, "3"]) -> _Up:
    """Return which cameras are rolled or inconsistent with ``up`` and the information of the others."""
    costs, rolled_all = _costs(axes, up[None])
    pitch = (np.einsum("nk,k->n", axes[:, 2], up) / _PITCH_SIGMA) ** 2
    rolled, outlier = rolled_all[0], costs[0] >= _MAX_COST + pitch
    keep = ~outlier if not outlier.all() else np.ones(len(axes), dtype=bool)
    horizontal = np.where(rolled[:, None], axes[:, 1], axes[:, 0])[keep]
    viewing = axes[keep, 2]
    independent = min(len(horizontal), _N_INDEPENDENT)
    information = independent / _ROLL_SIGMA**2 * np.einsum("ni,nj->ij", horizontal, horizontal) / len(horizontal)
    information = information + np.einsum("ni,nj->ij", viewing, viewing) / len(viewing) / _PITCH_SIGMA**2
    return _Up(up, information, rolled, outlier)


def _smallest(information: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3"]:
    return np.asarray(np.linalg.eigh(information)[1][:, 0])


def _signed(
    direction: Float64[np.ndarray, "3"], axes: Float64[np.ndarray, "n 3 3"], up: _Up
) -> Float64[np.ndarray, "3"]:
    """Return ``direction`` or its opposite: most photos are not upside down; failing that, most look down."""
    upright = ~up.rolled & ~up.outlier
    vote = -np.einsum("nk,k->n", axes[upright, 1], direction)
    if abs(vote.sum()) < 0.2 * len(axes):
        vote = -np.einsum("nk,k->n", axes[:, 2], direction)
    return direction if vote.sum() >= 0 else -direction


def _refine_by_planes(
    camera_up: _Up, xyz: Float64[np.ndarray, "p 3"], distance: float, seed: int
) -> tuple[Float64[np.ndarray, "3"], tuple[tuple[str, Plane], ...]]:
    """Return the up direction after the planes that agree with it have had their say, largest first."""
    if len(xyz) < 3:
        return camera_up.direction, ()
    extent = float(np.linalg.norm(np.subtract(*np.percentile(xyz, [75, 25], axis=0))))
    threshold = _PLANE_THRESHOLD * min(distance, max(extent, 1e-12))
    up, information = camera_up.direction, camera_up.information

    def accept(normals: Float64[np.ndarray, "h 3"]) -> Bool[np.ndarray, " h"]:
        return np.asarray(_is_ground(normals, up, information) | _is_wall(normals, up, information))

    used: list[tuple[str, Plane]] = []
    for plane in find_planes(xyz, threshold, accept, seed=seed):
        normal, sigma = plane.normal, _PLANE_SIGMA / plane.share
        outer = np.outer(normal, normal)
        if _is_ground(normal[None], up, information)[0]:
            used.append(("ground", plane))
            information = information + (np.eye(3) - outer) / sigma**2
        elif _is_wall(normal[None], up, information)[0]:
            used.append(("wall", plane))
            information = information + outer / sigma**2
        refined = _smallest(information)
        up = refined if (refined * up).sum() >= 0 else -refined
    return up, tuple(used)


def _is_ground(
    normals: Float64[np.ndarray, "h 3"], up: Float64[np.ndarray, "3"], information: Float64[np.ndarray, "3 3"]
) -> Bool[np.ndarray, " h"]:
    cosine = np.einsum("hk,k->h", normals, up)
    tangent = normals - cosine[:, None] * up
    angle = np.arctan2(np.linalg.norm(tangent, axis=1), np.abs(cosine))
    return np.asarray(angle <= _window(tangent, up, information))


def _is_wall(
    normals: Float64[np.ndarray, "h 3"], up: Float64[np.ndarray, "3"], information: Float64[np.ndarray, "3 3"]
) -> Bool[np.ndarray, " h"]:
    cosine = np.einsum("hk,k->h", normals, up)
    tangent = normals - cosine[:, None] * up
    angle = np.arctan2(np.abs(cosine), np.linalg.norm(tangent, axis=1))
    return np.asarray(angle <= _window(tangent, up, information))


def _window(
    tangent: Float64[np.ndarray, "h 3"], up: Float64[np.ndarray, "3"], information: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, " h"]:
    """Return how far up may move along each tangent direction: three sigmas of the present estimate, in radians."""
    basis = _rotation(up, np.eye(3)[np.argmin(np.abs(up))])[:2]
    covariance = np.linalg.inv(np.einsum("ai,ij,bj->ab", basis, information, basis))
    flat = np.einsum("ai,hi->ha", basis, tangent)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1), 1e-12)[:, None]
    sigma = np.sqrt(np.einsum("ha,ab,hb->h", flat, covariance, flat))
    return np.asarray(np.clip(3 * sigma, *np.radians(_WINDOW_DEG)))


def _heading(cameras: Cameras, up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """Return a horizontal direction for +y: the mean view, else the first camera's view, else its image top."""
    axes = cameras.cam_from_world[:, :3, :3]
    for direction, least in ((axes[:, 2].mean(0), 0.3), (axes[0, 2], 0.3), (-axes[0, 1], 0.0)):
        flat = np.asarray(direction - (direction * up).sum() * up)
        if np.linalg.norm(flat) > least:
            return flat
    return np.asarray(axes[0, 0])


def _rotation(up: Float64[np.ndarray, "3"], forward: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Return the rotation whose rows are right, forward (made perpendicular to up) and up."""
    forward = forward - (forward * up).sum() * up
    forward = forward / np.linalg.norm(forward)
    return np.stack([np.cross(forward, up), forward, up])


def _method(used: tuple[tuple[str, Plane], ...]) -> str:
    names = [name for name, _ in used]
    walls = names.count("wall")
    parts = ["the ground plane"] * ("ground" in names) + [f"{walls} wall{'s' if walls > 1 else ''}"] * (walls > 0)
    return "mean camera up" + (f", refined by {' and '.join(parts)}" if parts else "")


def _metrics(
    camera_up: _Up, up: Float64[np.ndarray, "3"], used: tuple[tuple[str, Plane], ...], distance: float
) -> dict[str, Any]:
    across = np.linalg.norm(np.cross(camera_up.direction, up))
    counts: Int64[np.ndarray, "2"] = np.array([camera_up.rolled.sum(), camera_up.outlier.sum()])
    return {
        "n_rolled_photos": int(counts[0]),
        "n_inconsistent_photos": int(counts[1]),
        "planes": [{"kind": name, "share": round(plane.share, 4)} for name, plane in used],
        "moved_by_planes_deg": round(float(np.degrees(np.arctan2(across, (camera_up.direction * up).sum()))), 4),
        "median_viewing_distance_before": distance,
    }
