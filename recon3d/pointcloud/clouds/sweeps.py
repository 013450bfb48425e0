"""Several sweeps of one sensor as one cloud, moved to where the sensor is now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Shaped

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.clouds.types import PointCloud


def accumulate_sweeps(
    sweeps: Sequence[PointCloud],
    global_from_sweep: Float64[np.ndarray, "s 4 4"],
    *,
    n_sweeps: int | None = None,
    close_m: float = 5.0,
) -> PointCloud:
    """Return the current sweep with the previous ones in its frame, as FlatFormer's detector for several sweeps has it.

    Points of the previous sweeps that lie ``close_m`` or less from the sensor, heights left out, are dropped: they are
    the vehicle itself. Where there are fewer sweeps than asked for, the current one is repeated in place of the missing
    ones, without its close points.

    Args:
        sweeps: the current one first, then the previous ones, the latest first; each in its own frame.
        global_from_sweep: their poses, ``[s,4,4]``.
        n_sweeps: how many are used, repeated ones counted; None takes those that are there.
        close_m: metres.

    Returns:
        Sweep after sweep, with the attributes that all have, and ``sweep [n]`` float32: 0 for the current one, then -1,
        -2, ...; ``lag_s [n]`` float32 with the age of each point where all sweeps have a time.

    Raises:
        UsageError: there is no sweep.
        ShapeError: the poses do not fit the sweeps, or are no affine matrices that can be inverted.
    """
    if not sweeps or (n_sweeps is not None and n_sweeps < 1):
        raise UsageError("no sweep", got=f"{len(sweeps)} sweeps, {n_sweeps} asked for", expected="one or more")
    poses = _checked_poses(global_from_sweep, len(sweeps))
    wanted = len(sweeps) if n_sweeps is None else n_sweeps
    current_from_global = np.linalg.inv(poses[0])
    parts = [sweeps[0]]
    for number in range(1, wanted):
        at = number if number < len(sweeps) else 0
        moved = current_from_global @ poses[at] if at else np.eye(4)
        moved[3] = (0, 0, 0, 1)
        parts.append(_without_close(sweeps[at], close_m).transformed(moved, frame=sweeps[0].frame))
    return _joined(parts)


def _checked_poses(poses: Float64[np.ndarray, "s 4 4"], n_sweeps: int) -> Float64[np.ndarray, "s 4 4"]:
    if poses.shape != (n_sweeps, 4, 4):
        raise ShapeError("the poses do not fit the sweeps", got=list(poses.shape), expected=[n_sweeps, 4, 4])
    if not np.isfinite(poses).all() or not (np.abs(np.linalg.det(poses)) > 1e-9).all():
        raise ShapeError("a pose is no invertible matrix", got=f"{len(poses)} poses")
    return poses


def _without_close(sweep: PointCloud, close_m: float) -> PointCloud:
    return sweep.selected(~(np.hypot(sweep.xyz[:, 0], sweep.xyz[:, 1]) <= close_m))


def _joined(parts: Sequence[PointCloud]) -> PointCloud:
    common = set.intersection(*(set(part.attributes) for part in parts))
    names = [name for name in parts[0].attributes if name in common]
    joined: dict[str, Shaped[np.ndarray, "n ..."]]
    joined = {name: np.concatenate([part.attributes[name] for part in parts]) for name in names}
    lengths = [len(part) for part in parts]
    joined["sweep"] = np.repeat(-np.arange(len(parts), dtype=np.float32), lengths)
    now, times = parts[0].time_s, [part.time_s for part in parts]
    known = [time for time in times if time is not None]
    if now is not None and len(known) == len(parts):
        joined["lag_s"] = np.repeat(np.array([now - time for time in known], np.float32), lengths)
    xyz = np.concatenate([part.xyz for part in parts])
    return PointCloud(xyz=xyz, attributes=joined, frame=parts[0].frame, time_s=now)
