"""A tiny detector, and frames with boxes full of points on a flat ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recon3d.pointcloud.boxes import Boxes3D
from recon3d.pointcloud.detection import LabelledFrame
from recon3d.pointcloud.flatformer import DecodeOptions, DetectorOptions, EncoderOptions, PillarGrid

NAMES = ("car", "pedestrian", "cyclist")
MOUNT = 1.73
SIZES = np.array([[4.0, 1.8, 1.5], [0.7, 0.6, 1.7], [1.8, 0.6, 1.7]])


def tiny_options() -> DetectorOptions:
    """Return options of a detector of 12.8 m by 12.8 m with 8 channels."""
    grid = PillarGrid(lower=(0.0, -6.4, -4.0), upper=(12.8, 6.4, 2.0), size=(0.4, 0.4, 6.0))
    return DetectorOptions(
        grid=grid,
        attributes=(("intensity", "as_is"),),
        stride=2,
        vfe_channels=(8, 16),
        encoder=EncoderOptions(channels=16, heads=2, blocks=1, cells=grid.shape[:2]),
        backbone_channels=(16, 16),
        backbone_layers=(1, 1),
        neck_channels=16,
        shared_channels=16,
        branch_channels=16,
        velocity=False,
        decode=DecodeOptions(centre_lower=(0.0, -6.4, -10.0), centre_upper=(12.8, 6.4, 10.0), nms_overlap=(0.2,) * 3),
    )


def frame_of(places: list[tuple[int, float, float, float]], *, mount: float = MOUNT, seed: int = 0) -> LabelledFrame:
    """Return a frame with a box of a class at each place (class, x, y, yaw)."""
    rng = np.random.default_rng(seed)
    boxes = np.array([[x, y, SIZES[k][2] / 2 - mount, *SIZES[k], yaw] for k, x, y, yaw in places]).reshape(-1, 7)
    ground = np.column_stack([rng.uniform(0, 12.8, 1500), rng.uniform(-6.4, 6.4, 1500), np.full(1500, -mount)])
    parts = [ground + rng.normal(0, 0.01, ground.shape)]
    for box in boxes:
        inside = rng.uniform(-0.49, 0.49, (150, 3)) * box[3:6]
        c, s = np.cos(box[6]), np.sin(box[6])
        parts.append(
            np.column_stack([c * inside[:, 0] - s * inside[:, 1], s * inside[:, 0] + c * inside[:, 1], inside[:, 2]])
            + box[:3]
        )
    xyz = np.concatenate(parts)
    points = np.column_stack([xyz, rng.uniform(0, 1, len(xyz))]).astype(np.float32)
    labels = np.array([k for k, *_ in places], np.int64)
    return LabelledFrame(points=points, boxes=Boxes3D(boxes=boxes, labels=labels, names=NAMES), mount_m=mount)


@dataclass(frozen=True)
class ListedFrames:
    """Frames that lie in memory."""

    frames: tuple[LabelledFrame, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> LabelledFrame:
        return self.frames[index]


def some_frames(n: int) -> ListedFrames:
    """Return frames with a car and a pedestrian each, at other places."""
    rng = np.random.default_rng(7)
    places = [[(0, *rng.uniform((3, -4), (9, 4)), rng.uniform(-3, 3)), (1, 11.0, 0.0, 0.0)] for _ in range(n)]
    return ListedFrames(tuple(frame_of(one, seed=k) for k, one in enumerate(places)))


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two sets of boxes are the same but for rounding, which may change their order or drop one."""
    if abs(len(a) - len(b)) > 2 or not len(a) or not len(b):
        return len(a) == len(b) == 0
    gaps = np.abs(a[:, None, :6] - b[None, :, :6]).max(2).min(1)
    return bool((gaps < 1e-3).mean() > 0.97)
