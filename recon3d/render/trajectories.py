"""Camera paths: smooth rides through given cameras, and the pinhole frames that they are rendered into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.interpolate import CubicHermiteSpline, PchipInterpolator

from recon3d.core.errors import UsageError
from recon3d.formats.quaternions import quaternion_from_rotation, rotation_from_quaternion
from recon3d.render.cameras import Cameras

_ROUNDING = 1e-12  # of the coordinates: cameras that stand no farther apart stand in one place
_SHORTEST = 1e-3  # of the whole path: no two keyframes lie closer in the parameter of the spline


@dataclass(frozen=True, eq=False)
class CameraPath:
    """A path of cameras, one per frame.

    Args:
        cameras: pinhole cameras of one size.
        is_closed: the last frame leads back to the first.
        description: what the path is and why, in plain words.
    """

    cameras: Cameras
    is_closed: bool
    description: str

    def __len__(self) -> int:
        return len(self.cameras)


def look_at(
    eyes: Float64[np.ndarray, "n 3"], target: Float64[np.ndarray, "3"], up: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "n 4 4"]:
    """Return poses ``cam_from_world`` of cameras that look at one point without roll.

    Args:
        eyes: camera centres in the world, ``[n,3]``.
        target: the point that they look at.
        up: direction that points up in the pictures; no camera may look along it.

    Returns:
        Rigid transforms in OpenCV camera axes, ``[n,4,4]``.
    """
    forward = target - eyes
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, up)
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=1)
    return poses_from(rotation, eyes)


def poses_from(
    rotation: Float64[np.ndarray, "n 3 3"], eyes: Float64[np.ndarray, "n 3"]
) -> Float64[np.ndarray, "n 4 4"]:
    """Return ``cam_from_world`` of cameras with these axes (rows of ``rotation``) and centres."""
    poses = np.tile(np.eye(4), (len(eyes), 1, 1))
    poses[:, :3, :3] = rotation
    poses[:, :3, 3] = -np.einsum("nij,nj->ni", rotation, eyes)
    return poses


def check_frame_size(size: tuple[int, int]) -> None:
    """Raise UsageError where frames have no pixels."""
    if min(size) < 1:
        raise UsageError("the size of a frame must be positive", got=f"{size[0]}x{size[1]}")


def framed(
    cam_from_world: Float64[np.ndarray, "n 4 4"], focal_per_diagonal: Float64[np.ndarray, " n"], size: tuple[int, int]
) -> Cameras:
    """Return pinhole cameras of one size with the principal point in the middle.

    Args:
        cam_from_world: poses, ``[n,4,4]``.
        focal_per_diagonal: focal lengths as a share of the diagonal of the frame, ``[n]``.
        size: width and height in pixels.

    Raises:
        UsageError: the size is not positive.
    """
    check_frame_size(size)
    (width, height), n = size, len(cam_from_world)
    K = np.tile(np.array([[0, 0, width / 2], [0, 0, height / 2], [0, 0, 1.0]]), (n, 1, 1))
    K[:, 0, 0] = K[:, 1, 1] = focal_per_diagonal * np.hypot(width, height)
    return Cameras(cam_from_world, K, np.full(n, width, np.int64), np.full(n, height, np.int64))


def focal_per_diagonal(cameras: Cameras) -> Float64[np.ndarray, " n"]:
    """Return the mean focal length of each camera as a share of the diagonal of its picture, ``[n]``."""
    focal = (cameras.K[:, 0, 0] + cameras.K[:, 1, 1]) / 2
    return np.asarray(focal / np.hypot(cameras.width, cameras.height), np.float64)


def usual_size(cameras: Cameras, max_side: int) -> tuple[int, int]:
    """Return the width and height that most cameras have, shrunk to ``max_side`` on the longer side where larger.

    Raises:
        UsageError: there is no camera.
    """
    if not len(cameras):
        raise UsageError("no camera, no size")
    sizes, counts = np.unique(np.stack([cameras.width, cameras.height], axis=1), axis=0, return_counts=True)
    width, height = sizes[int(np.argmax(counts))].tolist()
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def resized(cameras: Cameras, size: tuple[int, int]) -> Cameras:
    """Return pinhole cameras of one size at the same poses; the angle across the diagonal stays."""
    return framed(cameras.cam_from_world, focal_per_diagonal(cameras), size)


def through(cameras: Cameras, n_frames: int, size: tuple[int, int], depth: float | None = None) -> CameraPath:
    """Return a smooth ride through cameras in their order.

    Centres and quaternions run along centripetal Catmull-Rom splines (Yuksel et al., "Parameterization and applications
    of Catmull-Rom curves", 2011) with limited slopes, quaternions with consistent signs and normalised. Each given
    camera is hit exactly by one frame when there are at least as many frames as cameras.

    Args:
        cameras: what to ride through; their distortion is dropped.
        n_frames: number of frames.
        size: width and height of the frames in pixels.
        depth: distance of what they look at, world units: how far to move takes as long as to turn by one radian;
            None = the spread of the cameras.

    Returns:
        The path, open.

    Raises:
        UsageError: there is no camera or no frame.
    """
    if n_frames < 1 or not len(cameras):
        raise UsageError("a path needs a camera and a frame", got=f"{len(cameras)} cameras, {n_frames} frames")
    description = f"a ride through {len(cameras)} cameras in their order"
    if len(cameras) == 1:
        return CameraPath(resized(cameras[np.zeros(n_frames, np.int64)], size), False, "one camera, at rest")
    quats = _same_sign(quaternion_from_rotation(cameras.cam_from_world[:, :3, :3]))
    knots = _knots(cameras.centers, quats, depth)
    at = _frame_times(knots, n_frames)
    rotation = rotation_from_quaternion(_catmull_rom(knots, quats, at))
    focal = PchipInterpolator(knots, focal_per_diagonal(cameras))(at)
    poses = poses_from(rotation, _catmull_rom(knots, cameras.centers, at))
    exact = np.isin(at, knots)
    poses[exact] = cameras.cam_from_world[np.searchsorted(knots, at[exact])]
    return CameraPath(framed(poses, focal, size), False, description)


def spread_of(centers: Float64[np.ndarray, "n 3"]) -> float:
    """Return how far cameras stand from their mean at most, in world units; 1 where they differ by rounding only."""
    spread = float(np.linalg.norm(centers - centers.mean(axis=0), axis=1).max())
    return spread if spread > _ROUNDING * float(np.abs(centers).max()) else 1.0


def _same_sign(quats: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4"]:
    """Return the quaternions with signs such that neighbours lie in one half space."""
    flips = np.where(np.einsum("ni,ni->n", quats[1:], quats[:-1]) < 0, -1.0, 1.0)
    return np.asarray(quats * np.concatenate([[1.0], np.cumprod(flips)])[:, None])


def _knots(
    centers: Float64[np.ndarray, "n 3"], quats: Float64[np.ndarray, "n 4"], depth: float | None
) -> Float64[np.ndarray, " n"]:
    """Return the parameter of each keyframe: square roots of how far it lies from the one before, summed up."""
    reach = depth if depth else spread_of(centers)
    moved = np.linalg.norm(np.diff(centers, axis=0), axis=1) / reach
    turned = 2 * np.arccos(np.clip(np.einsum("ni,ni->n", quats[1:], quats[:-1]), -1, 1))
    steps = np.sqrt(moved + turned)
    steps = np.maximum(steps, _SHORTEST * max(float(steps.sum()), 1e-9))
    return np.concatenate([[0.0], np.cumsum(steps)])


def _frame_times(knots: Float64[np.ndarray, " n"], n_frames: int) -> Float64[np.ndarray, " f"]:
    """Return the parameter of each frame: even in speed, and on every keyframe where there are enough frames."""
    n = len(knots)
    if n_frames < n:
        return np.linspace(0.0, knots[-1], n_frames) if n_frames > 1 else knots[:1].copy()
    length = np.concatenate([[0.0], np.cumsum(np.diff(knots) ** 2)])
    frames = _spaced(np.rint(length / length[-1] * (n_frames - 1)).astype(np.int64), n_frames)
    at: Float64[np.ndarray, " f"] = PchipInterpolator(frames, knots)(np.arange(n_frames))
    at[frames] = knots
    return at


def _spaced(frames: Int64[np.ndarray, " n"], n_frames: int) -> Int64[np.ndarray, " n"]:
    """Move frame numbers so that they rise by at least one each and stay below ``n_frames``."""
    order = np.arange(len(frames))
    rising = np.maximum.accumulate(frames - order) + order
    latest = n_frames - len(frames) + order
    return np.asarray(np.minimum(rising, latest), np.int64)


def _catmull_rom(
    knots: Float64[np.ndarray, " n"], values: Float64[np.ndarray, "n k"], at: Float64[np.ndarray, " f"]
) -> Float64[np.ndarray, "f k"]:
    """Interpolate; slopes are at most twice those of the chords beside them, so that nothing swings far past a stop."""
    if len(knots) > 2:
        slopes = np.asarray(np.gradient(values, knots, axis=0, edge_order=2))
    else:
        slopes = np.asarray(np.gradient(values, knots, axis=0))
    chords = np.linalg.norm(np.diff(values, axis=0), axis=1) / np.diff(knots)
    limit = 2 * np.minimum(np.append(chords[0], chords), np.append(chords, chords[-1]))
    speed = np.linalg.norm(slopes, axis=1)
    slopes *= np.minimum(1.0, limit / np.maximum(speed, 1e-300))[:, None]
    return np.asarray(CubicHermiteSpline(knots, values, slopes)(at))
