"""The released recipes: which augmentations, in which order, with which numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recon3d.core.errors import UsageError
from recon3d.pointcloud.volt.augmentations import (
    Augmentation,
    AutoContrast,
    CentreShift,
    ClipDistance,
    ColorJitter,
    ColorShift,
    Elastic,
    Jitter,
    PointDropout,
    RandomFlip,
    RandomScale,
    RandomShift,
    RandomTurn,
    SphereCrop,
    Voxelise,
)
from recon3d.pointcloud.volt.instance_steps import (
    InstanceColorDropout,
    InstanceCutMix,
    InstanceLabelDropout,
    InstanceMotion,
    InstanceSwap,
)
from recon3d.pointcloud.volt.samples import Sample

_TILT = np.pi / 64


@dataclass(frozen=True, kw_only=True)
class IndoorRecipe:
    """Augmentations of rooms.

    Args:
        voxel_size: metres.
        elastic: distort the space; off for ScanNet++.
        instances: change single instances; off for ARKitScenes.
        most_voxels: of a crop; None for no limit.
    """

    voxel_size: float = 0.02
    elastic: bool = True
    instances: bool = True
    most_voxels: int | None = None

    def steps(self) -> tuple[Augmentation, ...]:
        """Return the changes in their order, voxels included."""
        return (
            CentreShift(),
            PointDropout(),
            *_turns(),
            RandomScale(),
            RandomFlip(),
            Jitter(),
            *([Elastic()] if self.elastic else []),
            AutoContrast(),
            ColorShift(),
            ColorJitter(),
            *(_instance_steps() if self.instances else []),
            Voxelise(self.voxel_size),
            SphereCrop(most=self.most_voxels),
            CentreShift(floor=False),
        )


def _turns() -> list[Augmentation]:
    tilts = [RandomTurn("x", _TILT, about_middle=True), RandomTurn("y", _TILT, about_middle=True)]
    return [RandomTurn("z", np.pi), *tilts]


def _instance_steps() -> list[Augmentation]:
    return [
        InstanceMotion("shift", (0.1, 0.1, 0.1)),
        InstanceMotion("turn", (np.pi / 4, 0, 0)),
        InstanceMotion("flip"),
        InstanceMotion("scale", (0.1, 0, 0)),
        InstanceLabelDropout(),
        InstanceColorDropout(),
        InstanceSwap(),
    ]


@dataclass(frozen=True, kw_only=True)
class OutdoorRecipe:
    """Augmentations of sweeps.

    Args:
        data_set: ``nuScenes``, ``SemanticKITTI`` or ``Waymo``; they differ in radius and in steps of their own.
        voxel_size: metres.
        database: instances for InstanceCutMix, of SemanticKITTI only.
    """

    data_set: str = "nuScenes"
    voxel_size: float = 0.05
    database: Sequence[Sample] = ()

    def __post_init__(self) -> None:
        if self.data_set not in _RADIUS:
            raise UsageError("no recipe for this data set", got=self.data_set, expected=", ".join(_RADIUS))

    def steps(self) -> tuple[Augmentation, ...]:
        """Return the changes in their order, voxels included."""
        kitti, waymo = self.data_set == "SemanticKITTI", self.data_set == "Waymo"
        return (
            *([InstanceCutMix(self.database)] if kitti else []),
            *([PointDropout()] if kitti or waymo else []),
            *_turns(),
            *([RandomShift()] if kitti or waymo else []),
            ClipDistance(_RADIUS[self.data_set]),
            RandomScale(),
            RandomFlip(),
            Jitter(),
            *(_moving_objects() if kitti else []),
            Voxelise(self.voxel_size),
            SphereCrop(most=102_400 if waymo else None),
        )


_RADIUS = {"nuScenes": 70.0, "SemanticKITTI": 50.0, "Waymo": 75.0}


def _moving_objects() -> list[Augmentation]:
    return [
        InstanceMotion("shift", (4.0, 4.0, 0.5), p=0.5),
        InstanceMotion("turn", (np.pi / 2, 0, 0), p=0.5),
        InstanceMotion("scale", (0.1, 0, 0), p=0.5),
    ]
