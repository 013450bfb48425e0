"""Labelled scenes for trainings: generated ones without end, and the interface that folders of data sets share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from recon3d.core.errors import UsageError
from recon3d.core.seeds import derive
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.segmentation.normals import upward_normals
from recon3d.pointcloud.segmentation.palettes import STREET_IDS, STREET_NAMES, room_colours, street_colours
from recon3d.pointcloud.segmentation.spec import INDOOR_FEATURES, OUTDOOR_FEATURES, SegmenterSpec
from recon3d.pointcloud.volt.samples import Sample
from recon3d.pointcloud.worlds.materials import ROOM_CLASSES, STREET_CLASSES
from recon3d.pointcloud.worlds.rooms import RoomOptions, generate_room
from recon3d.pointcloud.worlds.streets import StreetOptions, generate_street

INDOOR_VOXEL_M, OUTDOOR_VOXEL_M = 0.06, 0.2
REACH_M = 50.0
KITTI_MOUNT_M = 1.73
HELD_OUT = 1_000_000  # numbers of held-out generated scenes begin here


@runtime_checkable
class Scenes(Protocol):
    """Labelled scenes, numbered from 0."""

    @property
    def spec(self) -> SegmenterSpec:
        """Classes and features that they offer."""

    @property
    def count(self) -> int | None:
        """Scenes to train on; None = without end."""

    @property
    def held_out(self) -> int | None:
        """Scenes to evaluate on; None = without end."""

    def training(self, number: int) -> Sample:
        """Return a scene to train on."""

    def unseen(self, number: int) -> Sample:
        """Return a scene to evaluate on, with all of its points."""


def merged(spec: SegmenterSpec, voxel_m: float) -> SegmenterSpec:
    """Return a description with voxels of another size; 0 leaves it as it is.

    Args:
        spec: the description.
        voxel_m: edge of a voxel.
    """
    return SegmenterSpec(**{**vars(spec), "voxel_m": voxel_m or spec.voxel_m})


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneratedScenes:
    """Scenes made from their numbers: the same bits for the same seed.

    Args:
        spec: of the segmenter.
        make: returns the cloud of a seed, with labels of ``spec``.
        seed: of the whole training; held-out scenes do not depend on it.
    """

    spec: SegmenterSpec
    make: Callable[[int], Sample]
    seed: int = 0
    count: int | None = None
    held_out: int | None = None

    def training(self, number: int) -> Sample:
        """Return a scene to train on."""
        return self.make(derive(self.seed, "segmenter", str(number)))

    def unseen(self, number: int) -> Sample:
        """Return a scene to evaluate on; no training sees it."""
        return self.make(derive(0, "segmenter", "held out", str(HELD_OUT + number)))


def generated_scenes(name: str, seed: int = 0) -> GeneratedScenes:
    """Return generated ``rooms`` with ScanNet's 20 classes, or ``streets`` with 14 of SemanticKITTI's.

    Args:
        name: ``rooms`` or ``streets``.
        seed: of the training.

    Raises:
        UsageError: no such scenes.
    """
    if name == "rooms":
        return GeneratedScenes(spec=room_spec(), make=_room, seed=seed)
    if name == "streets":
        return GeneratedScenes(spec=street_spec(), make=_street, seed=seed)
    raise UsageError("no such generated scenes", got=name, expected="rooms or streets")


def room_spec() -> SegmenterSpec:
    """Return what generated rooms offer."""
    return SegmenterSpec(
        kind="indoor",
        classes=ROOM_CLASSES,
        colours=room_colours(),
        voxel_m=INDOOR_VOXEL_M,
        features=INDOOR_FEATURES,
        about="generated rooms of recon3d.pointcloud.worlds",
    )


def street_spec() -> SegmenterSpec:
    """Return what generated streets offer."""
    return SegmenterSpec(
        kind="outdoor",
        classes=STREET_NAMES,
        colours=street_colours(),
        voxel_m=OUTDOOR_VOXEL_M,
        features=OUTDOOR_FEATURES,
        mount_m=KITTI_MOUNT_M,
        max_distance_m=REACH_M,
        raw_ids=tuple(STREET_IDS[name][0] for name in STREET_NAMES),
        about="generated streets of recon3d.pointcloud.worlds",
    )


def _room(seed: int) -> Sample:
    random = np.random.default_rng(seed)
    options = RoomOptions(n_views=int(random.integers(10, 20)), ceiling=bool(random.random() < 0.3))
    sample = sample_of(generate_room(seed, options))
    # Half of the rooms have normals as they are estimated where a cloud comes without them.
    return sample.changed(normal=upward_normals(sample.xyz)) if random.random() < 0.5 else sample


def _street(seed: int) -> Sample:
    street = generate_street(seed, StreetOptions(max_range_m=REACH_M))
    # A model is told the height of its sensor: heights over the ground come out as if it stood where KITTI's stands.
    lift = -KITTI_MOUNT_M - float(street.ground.height(np.zeros((1, 2)))[0])
    sample = sample_of(street.cloud)
    known = np.array([STREET_NAMES.index(name) if name in STREET_NAMES else -1 for name in STREET_CLASSES])
    segment = None if sample.segment is None else known[sample.segment]
    return sample.changed(xyz=sample.xyz + np.array([0.0, 0.0, lift]), segment=segment)


def sample_of(cloud: PointCloud) -> Sample:
    """Return the points of a cloud as trainings handle them.

    Args:
        cloud: with any of ``rgb``, ``normals``, ``intensity`` (0 to 1), ``label`` and ``instance``.
    """
    named = cloud.attributes
    instance = named.get("instance")
    return Sample(
        xyz=cloud.xyz,
        color=_as(named.get("rgb"), np.float32),
        normal=_as(named.get("normals"), np.float32),
        strength=_as(named.get("intensity"), np.float32),
        segment=_as(named.get("label"), np.int64),
        instance=None if instance is None else np.where(instance > 0, instance, -1).astype(np.int64),
    )


def _as(values: np.ndarray | None, dtype: type[np.generic]) -> np.ndarray | None:
    return None if values is None else values.astype(dtype)
