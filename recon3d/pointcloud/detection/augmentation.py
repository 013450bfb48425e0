"""Other views of the same frame: mirrored, turned, scaled, with other gains, and with fewer points."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recon3d.core.errors import UsageError
from recon3d.pointcloud.detection.frames import LabelledFrame


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """How frames are changed before the network sees them.

    Args:
        mirror: share of the frames whose left and right are exchanged.
        turn_deg: largest turn about the vertical, degrees; 180 for sensors that see all around.
        scale: largest change of all lengths, as a share.
        lift_m: standard deviation of the height, metres.
        gain: largest factor on intensities, and its inverse the smallest.
        blind: share of the frames without intensities.
        dropout: largest share of points left out, of half of the frames.
        most_points: of a frame; of more, a random choice stays.
        min_points: a box with fewer points is no truth.
    """

    mirror: float = 0.5
    turn_deg: float = 15.0
    scale: float = 0.05
    lift_m: float = 0.1
    gain: float = 1.5
    blind: float = 0.1
    dropout: float = 0.4
    most_points: int = 16_000
    min_points: int = 3

    def __post_init__(self) -> None:
        if self.gain < 1 or not 0 <= self.scale < 1 or not 0 <= self.dropout < 1:
            raise UsageError("frames cannot be changed so", got=self, expected="gain >= 1, shares below 1")


def augmented(frame: LabelledFrame, options: AugmentOptions, rng: np.random.Generator) -> LabelledFrame:
    """Return another view of a frame.

    Args:
        frame: points and boxes.
        options: what may change.
        rng: source of the changes.
    """
    points, boxes = frame.points.copy(), frame.boxes.boxes.copy()
    if rng.random() < options.mirror:
        points[:, 1] *= -1
        boxes[:, [1, 6]] *= -1
    turn = np.radians(rng.uniform(-options.turn_deg, options.turn_deg))
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points[:, :2], boxes[:, :2] = points[:, :2] @ rotation.astype(np.float32), boxes[:, :2] @ rotation
    boxes[:, 6] += turn
    factor, lift = rng.uniform(1 - options.scale, 1 + options.scale), rng.normal(0, options.lift_m)
    points[:, :3] *= np.float32(factor)
    boxes[:, :6] *= factor
    lift += (1 - factor) * -frame.mount_m  # the ground stays where it is
    points[:, 2] += np.float32(lift)
    boxes[:, 2] += lift
    seen = _sensed(points, options, rng)
    return replace(frame, points=seen, boxes=replace(frame.boxes, boxes=boxes))


def _sensed(points: np.ndarray, options: AugmentOptions, rng: np.random.Generator) -> np.ndarray:
    """Return points with other intensities, and without some of them."""
    if rng.random() < options.blind:
        points[:, 3] = 0
    else:
        points[:, 3] = np.clip(points[:, 3] * options.gain ** rng.uniform(-1, 1), 0, 1)
    lost = rng.uniform(0, options.dropout) if rng.random() < 0.5 else 0.0
    lost = max(lost, 1 - options.most_points / max(len(points), 1))
    return points[rng.random(len(points)) >= lost] if lost else points
