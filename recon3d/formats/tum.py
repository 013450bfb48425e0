"""TUM trajectories: one line ``timestamp tx ty tz qx qy qz qw`` per camera, world_from_cam."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_text
from recon3d.formats.parsing import parse_floats, text_lines
from recon3d.formats.quaternions import quaternion_from_rotation, rotation_from_quaternion

MAX_FILE_BYTES = 1 << 28
_NAME_LINE = re.compile(r'# pose (\d{1,9}): (".*")')


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses over time.

    Args:
        timestamps: seconds, or the index where the time is unknown, ``[n]``.
        world_from_cam: poses in OpenCV camera axes, ``[n,4,4]``.
        names: image of each pose, from the comments at the top; empty where they name none.
    """

    timestamps: Float64[np.ndarray, " n"]
    world_from_cam: Float64[np.ndarray, "n 4 4"]
    names: tuple[str, ...] = ()


def write_tum(
    path: Path,
    world_from_cam: Float64[np.ndarray, "n 4 4"],
    names: Sequence[str] = (),
    timestamps: Float64[np.ndarray, " n"] | None = None,
) -> None:
    """Write a trajectory atomically; comments at the top map the index of a pose to its image.

    Args:
        path: the file.
        world_from_cam: rigid poses, ``[n,4,4]``.
        names: image of each pose.
        timestamps: seconds, ``[n]``; default: 0, 1, 2 ...

    Raises:
        UsageError: the lengths differ.
    """
    n = len(world_from_cam)
    times = np.arange(n, dtype=np.float64) if timestamps is None else timestamps
    if len(times) != n or (names and len(names) != n):
        raise UsageError("poses, names and timestamps differ in number", got=(n, len(names), len(times)))
    lines = ["# timestamp tx ty tz qx qy qz qw (world_from_cam, camera axes x right, y down, z forward)"]
    lines += [f"# pose {index}: {json.dumps(name)}" for index, name in enumerate(names)]
    quaternion = quaternion_from_rotation(world_from_cam[:, :3, :3])[:, (1, 2, 3, 0)]
    table = np.concatenate([times[:, None], world_from_cam[:, :3, 3], quaternion], 1)
    lines += [" ".join(map(repr, row)) for row in table.tolist()]
    write_text(path, "\n".join(lines) + "\n")


def read_tum(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Trajectory:
    """Read a trajectory.

    Args:
        path: the file.
        max_bytes: longest file that is read.

    Returns:
        Poses in the order of the file.

    Raises:
        InputError: the file cannot be opened.
        FormatError: a line does not hold eight finite numbers with a unit quaternion.
    """
    return parse_tum(read_capped(path, max_bytes), str(path))


def parse_tum(data: bytes, name: str = "trajectory") -> Trajectory:
    """Read the bytes of a trajectory; see :func:`read_tum`.

    Raises:
        FormatError: they are not valid.
    """
    names: dict[int, str] = {}
    rows = []
    for number, line in enumerate(text_lines(data), 1):
        if line.lstrip().startswith("#"):
            names.update(_pose_name(line))
        elif line.strip():
            rows.append(_row(line, f"{name} line {number}"))
    table = np.array(rows, np.float64).reshape(-1, 8)
    poses = np.tile(np.eye(4), (len(table), 1, 1))
    poses[:, :3, :3] = rotation_from_quaternion(table[:, (7, 4, 5, 6)])
    poses[:, :3, 3] = table[:, 1:4]
    known = tuple(names.get(index, "") for index in range(len(table))) if names else ()
    return Trajectory(table[:, 0].copy(), poses, known)


def _row(line: str, where: str) -> list[float]:
    words = line.split()
    if len(words) != 8:
        raise FormatError(f"{where}: not a pose", got=repr(line[:80]), expected="timestamp tx ty tz qx qy qz qw")
    values = parse_floats(words, where)
    squared = sum(value * value for value in values[4:])
    if not 0.98 < squared < 1.02:
        raise FormatError(f"{where}: the quaternion is not of unit length", got=values[4:])
    return values


def _pose_name(line: str) -> dict[int, str]:
    match = _NAME_LINE.fullmatch(line.strip())
    if match is None:
        return {}  # any other comment
    try:
        return {int(match[1]): str(json.loads(match[2]))}
    except ValueError:
        return {}
