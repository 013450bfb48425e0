"""Labelled sweeps of nuScenes-lidarseg, from its own JSON tables; no development kit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recon3d.core.errors import FormatError, InputError
from recon3d.core.files import read_capped
from recon3d.formats.kitti import read_kitti_points
from recon3d.formats.kitti_semantic import read_point_labels
from recon3d.pointcloud.segmentation.folders import FolderScenes, classes_of_ids, split
from recon3d.pointcloud.segmentation.palettes import palette
from recon3d.pointcloud.segmentation.sources import OUTDOOR_VOXEL_M, REACH_M
from recon3d.pointcloud.segmentation.spec import OUTDOOR_FEATURES, SegmenterSpec
from recon3d.pointcloud.volt.samples import Sample

# The 16 evaluated classes, in the order of their numbers in result files (1 to 16), and the categories they join.
NUSCENES_16 = {
    "barrier": ("movable_object.barrier",),
    "bicycle": ("vehicle.bicycle",),
    "bus": ("vehicle.bus.bendy", "vehicle.bus.rigid"),
    "car": ("vehicle.car",),
    "construction_vehicle": ("vehicle.construction",),
    "motorcycle": ("vehicle.motorcycle",),
    "pedestrian": tuple(
        f"human.pedestrian.{who}" for who in ("adult", "child", "construction_worker", "police_officer")
    ),
    "traffic_cone": ("movable_object.trafficcone",),
    "trailer": ("vehicle.trailer",),
    "truck": ("vehicle.truck",),
    "driveable_surface": ("flat.driveable_surface",),
    "other_flat": ("flat.other",),
    "sidewalk": ("flat.sidewalk",),
    "terrain": ("flat.terrain",),
    "manmade": ("static.manmade",),
    "vegetation": ("static.vegetation",),
}
_MOUNT_M = 1.84
_INTENSITY_MAX = 255.0
_COLUMNS = 5
_MAX_TABLE = 4 << 30


@dataclass(frozen=True)
class _Reader:
    """Reads a sweep by the path of its labels.

    Args:
        root: folder of the data set.
        sweeps: file of the points by file of the labels, from ``root``.
        groups: numbers of the labels by class.
    """

    root: Path
    sweeps: dict[Path, str]
    groups: dict[str, tuple[int, ...]]

    def __call__(self, path: Path) -> Sample:
        rows = read_kitti_points(self.root / self.sweeps[path], _COLUMNS)
        ids = read_point_labels(path)
        if len(ids) != len(rows):
            raise FormatError(f"{path} does not match its points", got=len(ids), expected=len(rows))
        near = np.isfinite(rows[:, :4]).all(1) & ((rows[:, :3] ** 2).sum(1) <= REACH_M**2)
        return Sample(
            xyz=rows[near, :3].astype(np.float64),
            strength=(rows[near, 3] / _INTENSITY_MAX).clip(0, 1).astype(np.float32),
            segment=classes_of_ids(ids, self.groups)[near],
        )


def nuscenes_scenes(folder: Path) -> FolderScenes:
    """Return the labelled sweeps of nuScenes-lidarseg; every tenth scene, with all of its sweeps, is held out.

    Args:
        folder: holds ``v1.0-*`` with the tables (``lidarseg.json`` among them), ``samples`` and ``lidarseg``.

    Raises:
        InputError: there is no such table, or no labelled sweep.
        FormatError: a table is damaged.
    """
    found = sorted(folder.glob("v1.0-*/lidarseg.json"))
    if not found:
        expected = "v1.0-*/lidarseg.json: the tables of nuScenes-lidarseg"
        raise InputError(f"{folder} has no labels of points", expected=expected)
    tables = found[-1].parent
    try:
        numbers = {row["name"]: int(row["index"]) for row in _rows(tables / "category.json")}
        groups = {name: tuple(numbers[one] for one in old if one in numbers) for name, old in NUSCENES_16.items()}
        data = {row["token"]: row for row in _rows(tables / "sample_data.json")}
        scene_of = {row["token"]: str(row["scene_token"]) for row in _rows(tables / "sample.json")}
        sweeps, scenes = dict[Path, str](), dict[str, list[Path]]()
        for row in _rows(found[-1]):
            sweep, path = data[row["sample_data_token"]], folder / row["filename"]
            sweeps[path] = str(sweep["filename"])
            scenes.setdefault(scene_of[sweep["sample_token"]], []).append(path)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"a table of {tables} is damaged", got=error) from error
    train, val = _divided(scenes)
    return FolderScenes(spec=_spec(len(train)), train=train, val=val, read=_Reader(folder, sweeps, groups))


def _divided(scenes: dict[str, list[Path]]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Hold out whole scenes: the sweeps of one are too much alike."""
    train, val = split([Path(name) for name in sorted(scenes)])
    parts = [tuple(sorted(path for name in names for path in scenes[name.name])) for names in (train, val)]
    return parts[0], parts[1]


def _spec(count: int) -> SegmenterSpec:
    return SegmenterSpec(
        kind="outdoor",
        classes=tuple(NUSCENES_16),
        colours=palette(len(NUSCENES_16)),
        voxel_m=OUTDOOR_VOXEL_M,
        features=OUTDOOR_FEATURES,
        mount_m=_MOUNT_M,
        max_distance_m=REACH_M,
        raw_ids=tuple(range(1, len(NUSCENES_16) + 1)),
        about=f"nuScenes-lidarseg, {count} sweeps",
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(read_capped(path, _MAX_TABLE))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no table of nuScenes", got=error) from error
    if not isinstance(found, list):
        raise FormatError(f"{path} is no table of nuScenes", got=type(found).__name__, expected="a list of rows")
    return found
