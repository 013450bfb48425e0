"""Orbits: paths around what cameras look at, chosen from how they stand, and around bare points."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.focus import Focus, find_focus
from recon3d.render.trajectories import CameraPath, check_frame_size, focal_per_diagonal, framed, look_at

_MAX_GAP_DEG = 90.0  # a full circle is flown where no larger sector is without a camera
_MIN_SWAY_DEG = 8.0
_MAX_ELEVATION_DEG = 75.0
_MIN_FIT = 6  # cameras from which on a sway follows how far and how high they stand along the sector
_MARGIN = 1.02
_Z = np.array([0.0, 0.0, 1.0])


def _rolled(poses: Float64[np.ndarray, "n 4 4"], roll: float) -> Float64[np.ndarray, "n 4 4"]:
    """Turn cameras about their optical axes, so that what was up now points to the side."""
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]]
    return np.asarray(turn @ poses)


def orbit(
    cameras: Cameras,
    n_frames: int,
    size: tuple[int, int],
    points: Float64[np.ndarray, "p 3"] | None = None,
    loop: bool = True,
) -> CameraPath:
    """Return an orbit around what cameras look at, at their distance and height.

    Cameras on all sides give a circle. Where a sector of more than 90 degrees holds no camera, the orbit sways inside
    the sector that was photographed. Cameras that look away from their middle give a turn on the spot.

    Args:
        cameras: the photos' cameras.
        n_frames: number of frames.
        size: width and height of the frames in pixels.
        points: points of the scene, world units.
        loop: sway to and fro, so that the path closes; otherwise from one end of the sector to the other, once.

    Returns:
        The path.

    Raises:
        UsageError: there is no camera or no frame.
    """
    if n_frames < 1:
        raise UsageError("a path needs a frame", got=n_frames)
    focus = find_focus(cameras, points)
    axes = _basis(focus.up)
    offset = (cameras.centers - focus.target) @ axes.T
    heading = offset if focus.is_inward else cameras.cam_from_world[:, 2, :3] @ axes.T
    sector = _sector(np.arctan2(heading[:, 1], heading[:, 0]))
    azimuth, phase = _azimuths(sector, float(np.arctan2(heading[0, 1], heading[0, 0])), n_frames, loop)
    if focus.is_inward:
        eyes = _circle(offset, azimuth, phase, sector)
        poses = _rolled(look_at(focus.target + eyes @ axes, focus.target, focus.up), focus.roll)
    else:
        poses = _turn(focus, axes, heading, azimuth)
    diagonal = np.full(n_frames, np.median(focal_per_diagonal(cameras)))
    closed = loop or sector is None
    return CameraPath(framed(poses, diagonal, size), closed, _describe(sector, focus.is_inward, loop))


def _basis(up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Return rows x, y, z of a right-handed frame with z up."""
    x = np.eye(3)[int(np.argmin(np.abs(up)))]
    x = x - up * (x @ up)
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up])


def _sector(azimuth: Float64[np.ndarray, " n"]) -> tuple[float, float] | None:
    """Return the first and last azimuth of the sector that holds the cameras; None where they stand all around."""
    ordered = np.sort(azimuth)
    gaps = np.diff(np.append(ordered, ordered[0] + 2 * np.pi))
    widest = int(np.argmax(gaps))
    if np.degrees(gaps[widest]) <= _MAX_GAP_DEG:
        return None
    from_start = np.sort((azimuth - ordered[(widest + 1) % len(ordered)]) % (2 * np.pi))
    low, high = np.percentile(from_start, [5, 95]) + ordered[(widest + 1) % len(ordered)]
    lacking = max(0.0, np.radians(_MIN_SWAY_DEG) - (high - low)) / 2
    return float(low - lacking), float(high + lacking)


def _azimuths(
    sector: tuple[float, float] | None, start: float, n_frames: int, loop: bool
) -> tuple[Float64[np.ndarray, " f"], Float64[np.ndarray, " f"]]:
    """Return the azimuth of each frame and its phase, one round being 2 pi; a circle starts where a camera stands."""
    if sector is None:
        phase = 2 * np.pi * np.arange(n_frames) / n_frames
        return start + phase, phase
    middle, half = (sector[0] + sector[1]) / 2, (sector[1] - sector[0]) / 2
    if loop:
        phase = 2 * np.pi * np.arange(n_frames) / n_frames
        return middle + half * np.sin(phase), phase
    share = np.linspace(-1.0, 1.0, n_frames) if n_frames > 1 else np.zeros(1)
    return middle + half * share, np.zeros(n_frames)


def _circle(
    offset: Float64[np.ndarray, "n 3"],
    azimuth: Float64[np.ndarray, " f"],
    phase: Float64[np.ndarray, " f"],
    sector: tuple[float, float] | None,
) -> Float64[np.ndarray, "f 3"]:
    """Return eyes about the origin at the distance and height of the cameras; a sway rises and falls a little."""
    distance = np.linalg.norm(offset, axis=1)
    elevation = np.arcsin(offset[:, 2] / np.maximum(distance, 1e-300))
    radius, angle = np.full(len(azimuth), np.median(distance)), np.full(len(azimuth), np.median(elevation))
    if sector is not None:
        middle = (sector[0] + sector[1]) / 2
        given = (np.arctan2(offset[:, 1], offset[:, 0]) - middle + np.pi) % (2 * np.pi) - np.pi
        radius = np.exp(_profile(given, np.log(np.maximum(distance, 1e-300)), azimuth - middle))
        angle = _profile(given, elevation, azimuth - middle)
        low, high = np.percentile(elevation, [20, 80])
        angle = angle + 0.5 * min(high - low, np.radians(20)) * np.sin(2 * phase)
    limit = np.radians(_MAX_ELEVATION_DEG)
    angle = np.clip(angle, -limit, limit)
    ring = np.stack([np.cos(angle) * np.cos(azimuth), np.cos(angle) * np.sin(azimuth), np.sin(angle)], axis=1)
    return np.asarray(radius[:, None] * ring)


def _profile(
    given: Float64[np.ndarray, " n"], values: Float64[np.ndarray, " n"], at: Float64[np.ndarray, " f"]
) -> Float64[np.ndarray, " f"]:
    """Return values along the sector: a parabola through those of the cameras, within what most of them have."""
    low, typical, high = np.percentile(values, [15, 50, 85])
    if len(given) < _MIN_FIT:
        return np.full(len(at), typical)
    design = np.stack([np.ones(len(given)), given, given**2], axis=1)
    ridge = 1e-6 * len(given) * np.diag([0.0, 1.0, 1.0])  # cameras at one azimuth fix the constant only
    weights = np.linalg.solve(design.T @ design + ridge, design.T @ values)
    return np.asarray(np.clip(weights[0] + weights[1] * at + weights[2] * at**2, low, high))


def _turn(
    focus: Focus,
    axes: Float64[np.ndarray, "3 3"],
    heading: Float64[np.ndarray, "n 3"],
    azimuth: Float64[np.ndarray, " f"],
) -> Float64[np.ndarray, "f 4 4"]:
    """Return poses that stand in the middle of the cameras and look along the azimuths."""
    pitch = np.median(np.arcsin(np.clip(heading[:, 2], -1, 1)))
    limit = np.radians(_MAX_ELEVATION_DEG)
    pitch = np.clip(pitch, -limit, limit)
    level = np.cos(pitch) * np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    ahead = np.column_stack([level, np.full(len(azimuth), np.sin(pitch))]) @ axes
    # An eye behind the middle looks through it; then every eye is moved into the middle.
    poses = look_at(-ahead, np.zeros(3), focus.up)
    poses[:, :3, 3] = -poses[:, :3, :3] @ focus.target
    return poses


def _describe(sector: tuple[float, float] | None, is_inward: bool, loop: bool) -> str:
    what = (
        "an orbit around what the cameras look at" if is_inward else "a turn on the spot, as the cameras look outwards"
    )
    if sector is None:
        return f"{what}, once round"
    degrees = np.degrees(sector[1] - sector[0])
    return f"{what}, {'to and fro ' if loop else ''}within the {degrees:.0f} degrees that were photographed"


def orbit_points(
    points: Float64[np.ndarray, "p 3"],
    n_frames: int,
    size: tuple[int, int],
    up: Float64[np.ndarray, "3"] = _Z,
    elevation_deg: float = 20.0,
) -> CameraPath:
    """Return a circle around bare points, from as far as nine tenths of them stay in view.

    Args:
        points: world points, at least one that is finite.
        n_frames: number of frames.
        size: width and height of the frames in pixels.
        up: unit vector that points up.
        elevation_deg: how far the cameras look down.

    Raises:
        UsageError: there is no finite point or no frame, or a frame has no pixels.
    """
    solid = points[np.isfinite(points).all(axis=1)]
    if not len(solid) or n_frames < 1:
        raise UsageError("an orbit needs a point and a frame", got=f"{len(solid)} points, {n_frames} frames")
    check_frame_size(size)
    middle = np.percentile(solid, [5, 95], axis=0).mean(axis=0)
    radius = _MARGIN * float(np.percentile(np.linalg.norm(solid - middle, axis=1), 90)) or 1.0
    share = 0.9  # of the diagonal: a field of view of 58 degrees
    distance = radius / np.sin(np.arctan(0.5 * min(size) / (share * np.hypot(*size))))
    angle, azimuth = np.radians(elevation_deg), 2 * np.pi * np.arange(n_frames) / n_frames
    ring = [np.cos(angle) * np.cos(azimuth), np.cos(angle) * np.sin(azimuth), np.full(n_frames, np.sin(angle))]
    eyes = middle + distance * np.stack(ring, axis=1) @ _basis(up)
    poses = look_at(eyes, middle, up)
    return CameraPath(framed(poses, np.full(n_frames, share), size), True, "a circle around the middle, once round")
