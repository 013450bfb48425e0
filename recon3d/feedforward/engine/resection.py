"""The pose of one photo from its feature matches with points whose places are known, near a pose that was predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.spatial.transform import Rotation

from recon3d.render.cameras import Cameras
from recon3d.sfm.matching import match_descriptors
from recon3d.sfm.types import Mapped

MIN_INLIERS = 12
MIN_SHARE = 0.25  # of the matches near the prediction
NEAR = 0.1  # of the longer side: how far from the prediction a match may lie to be tried
TOLERANCE_PX = 4.0
MAX_SIGMA_DEG = 1.6  # of the orientation, as the verification of structure from motion demands
MAX_TURN_DEG = 15.0
MAX_SHIFT = 0.35  # of the distance to the points
_STEP = 1e-6


@dataclass(frozen=True, eq=False)
class Matched:
    """Pixels of a photo and the points that they seem to show.

    Args:
        xy: in pixels, ``[m,2]``.
        point: rows of the model's points, ``[m]``.
    """

    xy: Float64[np.ndarray, "m 2"]
    point: Int64[np.ndarray, " m"]


@dataclass(frozen=True, eq=False)
class Resected:
    """A pose that matches confirm, or why there is none.

    Args:
        pose: camera from world, ``[4,4]``; None where the prediction was not confirmed.
        inliers: which matches agree with the pose.
        reason: what was found, in plain words.
    """

    pose: Float64[np.ndarray, "4 4"] | None
    inliers: Bool[np.ndarray, " m"]
    reason: str


def matches_with_points(features: Sequence[str], photo: int, mapped: Mapped, rows: Sequence[int]) -> Matched:
    """Return the matches of a photo with the points that some placed photos see.

    Args:
        features: path of each photo's features.
        photo: the photo without a pose.
        mapped: the model.
        rows: cameras of the model whose photos are matched.
    """
    with np.load(features[photo], allow_pickle=False) as data:
        mine_xy, mine = data["xy"].astype(np.float64), data["descriptors"]
    found = {pair for row in rows for pair in _with_photo(mine, features, mapped, row)}
    chosen = np.array(sorted(found), np.int64).reshape(-1, 2)
    return Matched(mine_xy[chosen[:, 0]], chosen[:, 1])


def _with_photo(mine: Any, features: Sequence[str], mapped: Mapped, row: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of a keypoint and a point."""
    with np.load(features[int(mapped.photo[row])], allow_pickle=False) as data:
        xy, descriptors = data["xy"].astype(np.float64), data["descriptors"]
    seen = mapped.points.obs_view == row
    point_at = {
        tuple(at): int(point)
        for at, point in zip(mapped.points.obs_xy[seen].tolist(), mapped.points.obs_point[seen].tolist(), strict=True)
    }
    for keypoint, other in match_descriptors(mine, descriptors).tolist():
        point = point_at.get(tuple(xy[other].tolist()))
        if point is not None:
            yield keypoint, point


def confirm(
    matched: Matched, mapped: Mapped, lens: Cameras, predicted: Float64[np.ndarray, "4 4"], seed: int
) -> Resected:
    """Return the pose that the matches give near a predicted one, if there are enough that agree.

    Args:
        matched: pixels and points.
        mapped: the model that the points belong to.
        lens: one camera with the intrinsics of the photo.
        predicted: camera from world.
        seed: of the random samples.
    """
    none = np.zeros(len(matched.xy), np.bool_)
    xyz = mapped.points.xyz[matched.point]
    side = float(max(lens.width[0], lens.height[0]))
    near = np.flatnonzero(_distances(xyz, matched.xy, lens, predicted) < NEAR * side)
    if len(near) < MIN_INLIERS:
        return Resected(None, none, f"only {len(near)} matches lie near the network's prediction")
    found = _pose_of(matched.xy[near], xyz[near], lens, seed)
    if found is None:
        return Resected(None, none, f"no pose explains the {len(near)} matches near the network's prediction")
    inliers = none.copy()
    inliers[near] = _distances(xyz[near], matched.xy[near], lens, found) < TOLERANCE_PX
    n = int(inliers.sum())
    if n < MIN_INLIERS or n < MIN_SHARE * len(near):
        return Resected(None, none, f"only {n} of {len(near)} matches near the network's prediction agree")
    sigma = _sigma_deg(xyz[inliers], matched.xy[inliers], lens, found)
    if sigma > MAX_SIGMA_DEG:
        return Resected(None, none, f"{n} matches agree, but leave the camera uncertain by {sigma:.1f} degrees")
    turn, shift = _apart(found, predicted, xyz[inliers])
    if turn > MAX_TURN_DEG or shift > MAX_SHIFT:
        text = f"the matches and the network disagree by {turn:.0f} degrees and {100 * shift:.0f} % of the distance"
        return Resected(None, none, text)
    return Resected(found, inliers, f"{n} matches with known points confirm the network, {turn:.1f} degrees off")


def _sigma_deg(
    xyz: Float64[np.ndarray, "m 3"], xy: Float64[np.ndarray, "m 2"], lens: Cameras, pose: Float64[np.ndarray, "4 4"]
) -> float:
    """Return the largest standard deviation of the orientation in degrees, with one pixel of noise or what is seen."""
    columns = []
    for axis in range(6):
        ends = [_offsets(xyz, xy, lens, _nudged(pose, axis, sign * _STEP)) for sign in (1, -1)]
        columns.append((ends[0] - ends[1]).ravel() / (2 * _STEP))
    jacobian = np.stack(columns, axis=1)
    jacobian[:, 3:] *= float(np.median(np.linalg.norm(xyz - xyz.mean(axis=0), axis=1)))  # of the size of the rest
    noise = max(1.0, float(np.sqrt(np.mean(_offsets(xyz, xy, lens, pose) ** 2))))
    values, vectors = np.linalg.eigh(jacobian.T @ jacobian)
    covariance = vectors / np.maximum(values, 1e-12) @ vectors.T
    return float(np.degrees(noise * np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])))


def _nudged(pose: Float64[np.ndarray, "4 4"], axis: int, step: float) -> Float64[np.ndarray, "4 4"]:
    """Return a pose turned about an axis of the camera (0 to 2) or moved along one (3 to 5)."""
    out = pose.copy()
    if axis < 3:
        out[:3] = Rotation.from_rotvec(step * np.eye(3)[axis]).as_matrix() @ pose[:3]
    else:
        out[axis - 3, 3] += step
    return out


def _offsets(
    xyz: Float64[np.ndarray, "m 3"], xy: Float64[np.ndarray, "m 2"], lens: Cameras, pose: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "m 2"]:
    camera = Cameras(pose[None], lens.K, lens.width, lens.height, lens.distortion)
    return np.asarray(camera.project(xyz, np.zeros(len(xyz), np.int64))[0] - xy)


def _distances(
    xyz: Float64[np.ndarray, "m 3"], xy: Float64[np.ndarray, "m 2"], lens: Cameras, pose: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, " m"]:
    """Return the reprojection errors in pixels, infinite behind the camera."""
    length = np.linalg.norm(_offsets(xyz, xy, lens, pose), axis=1)
    return np.where(np.isfinite(length), length, np.inf)


def _pose_of(
    xy: Float64[np.ndarray, "m 2"], xyz: Float64[np.ndarray, "m 3"], lens: Cameras, seed: int
) -> Float64[np.ndarray, "4 4"] | None:
    import pycolmap

    K, extra = lens.K[0], np.zeros(4) if lens.distortion is None else lens.distortion[0]
    params = [K[0, 0], K[1, 1], K[0, 2], K[1, 2], *extra]
    camera = pycolmap.Camera(model="OPENCV", width=int(lens.width[0]), height=int(lens.height[0]), params=params)
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error, options.ransac.random_seed = TOLERANCE_PX, seed
    answer = pycolmap.estimate_and_refine_absolute_pose(xy, xyz, camera, options)
    if answer is None:
        return None
    pose = np.eye(4)
    pose[:3] = answer["cam_from_world"].matrix()
    return pose


def _apart(
    one: Float64[np.ndarray, "4 4"], other: Float64[np.ndarray, "4 4"], xyz: Float64[np.ndarray, "m 3"]
) -> tuple[float, float]:
    """Return how far two poses are apart: degrees, and the share of the median distance to some points."""
    cosine = (np.trace(one[:3, :3] @ other[:3, :3].T) - 1) / 2
    centres = [-pose[:3, :3].T @ pose[:3, 3] for pose in (one, other)]
    distance = float(np.median(np.linalg.norm(xyz - centres[0], axis=1)))
    turn = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return turn, float(np.linalg.norm(centres[0] - centres[1])) / max(distance, 1e-300)
