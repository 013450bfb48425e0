"""Tiny segmenters with random weights, and boxes of points whose class is their height: fast for every test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon3d.pointcloud.segmentation.options import SegmenterOptions, TrainSegmenterOptions
from recon3d.pointcloud.segmentation.segmenter import Segmenter
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.segmentation.weights import write_segmenter
from recon3d.pointcloud.volt.options import SegmentorOptions
from recon3d.pointcloud.volt.samples import Sample
from recon3d.pointcloud.volt.segmentor import VoltSegmentor

NETWORK = SegmenterOptions(dim=64, depth=1, mlp_ratio=1.0, patch_size=2, up_dim=8)
ROOM = SegmenterSpec(
    kind="indoor",
    classes=("low", "middle", "high"),
    colours=((255, 0, 0), (0, 255, 0), (0, 0, 255)),
    voxel_m=0.2,
    features=("one", "height", "colour", "normal"),
    raw_ids=(5, 6, 7),
)
STREET = SegmenterSpec(
    kind="outdoor",
    classes=("low", "middle", "high"),
    colours=ROOM.colours,
    voxel_m=0.5,
    features=("one", "height", "distance", "strength"),
    mount_m=1.7,
    max_distance_m=20.0,
)


def network(spec: SegmenterSpec, seed: int = 0) -> VoltSegmentor:
    """A network for a description; its answers are random but differ from point to point."""
    options = SegmentorOptions(backbone=NETWORK.backbone(spec.channels, 0.0), classes={"Default": len(spec.classes)})
    model = VoltSegmentor(options)
    model.initialise(seed)
    for one in model.parameters():
        if one.ndim > 1:
            one.data.mul_(8)
    return model.eval()


def segmenter(spec: SegmenterSpec, *, most_patches: int = 6000) -> Segmenter:
    return Segmenter(network(spec), spec, most_patches=most_patches)


def stored(path: Path, spec: SegmenterSpec, seed: int = 0) -> Path:
    """A file of weights."""
    write_segmenter(path, network(spec, seed).state_dict(), spec)
    return path


def room_sample(seed: int, n_points: int = 400) -> Sample:
    """Points in a box of 3 m; the class is the third of the height that they lie in."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(0, 3, (n_points, 3))
    normal = rng.normal(size=(n_points, 3))
    return Sample(
        xyz=xyz,
        color=rng.uniform(0, 255, (n_points, 3)).astype(np.float32),
        normal=(normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
        segment=xyz[:, 2].astype(np.int64),
    )


def room_rows(seed: int, n_points: int = 400) -> np.ndarray:
    """The same as columns x, y, z, red, green, blue."""
    sample = room_sample(seed, n_points)
    return np.column_stack([sample.xyz, np.asarray(sample.color)])


def street_rows(seed: int, n_points: int = 400) -> np.ndarray:
    """Points around a sensor, with intensities; the ground lies 1.7 m below it."""
    rng = np.random.default_rng(seed)
    xyz = np.column_stack([rng.uniform(-12, 12, (n_points, 2)), rng.choice([-1.7, -1.7, 0.0], n_points)])
    return np.column_stack([xyz, rng.random(n_points)])


@dataclass(frozen=True, eq=False)
class Boxes:
    """Scenes of :func:`room_sample`."""

    spec: SegmenterSpec = ROOM
    count: int | None = None
    held_out: int | None = 3

    def training(self, number: int) -> Sample:
        return room_sample(number)

    def unseen(self, number: int) -> Sample:
        return room_sample(100_000 + number)


def training_options(steps: int, **changed: object) -> TrainSegmenterOptions:
    """A training of a second."""
    values: dict[str, object] = {
        "network": NETWORK,
        "steps": steps,
        "minutes": 0.0,
        "scenes": 2,
        "pool": 4,
        "evaluate_scenes": 2,
        "drop_path": 0.0,
    }
    return TrainSegmenterOptions(**{**values, **changed})  # type: ignore[arg-type]
