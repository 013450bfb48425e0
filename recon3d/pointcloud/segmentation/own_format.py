"""The project's own format of labelled clouds: a folder of clouds with a label per point, and a ``classes.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Int64

from recon3d.core.errors import FormatError, InputError, Recon3DError
from recon3d.core.files import read_capped
from recon3d.formats.npy_cloud import read_npy
from recon3d.pointcloud.clouds.files import load
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.segmentation.folders import FolderScenes, classes_of_ids, split
from recon3d.pointcloud.segmentation.inputs import CloudOptions, ready_cloud
from recon3d.pointcloud.segmentation.normals import upward_normals
from recon3d.pointcloud.segmentation.palettes import palette
from recon3d.pointcloud.segmentation.sources import INDOOR_VOXEL_M, KITTI_MOUNT_M, OUTDOOR_VOXEL_M
from recon3d.pointcloud.segmentation.spec import INDOOR_FEATURES, OUTDOOR_FEATURES, Feature, SegmenterSpec
from recon3d.pointcloud.volt.samples import Sample

CLASSES = "classes.json"
_SUFFIXES = (".ply", ".pcd", ".las", ".laz", ".e57", ".npz", ".npy", ".bin")
_LABELS = ".labels.npy"
_MAX_JSON = 1 << 20
_KEYS = ("kind", "classes", "colours", "features", "voxel_m", "mount_m", "max_distance_m", "intensity_max")


@dataclass(frozen=True, eq=False, kw_only=True)
class _Folder:
    """What ``classes.json`` says."""

    spec: SegmenterSpec
    groups: Mapping[str, tuple[int, ...]]
    intensity_max: float | None

    def read(self, path: Path) -> Sample:
        """Return the sample of a cloud; its points without a position go."""
        cloud = load(path)
        ready = ready_cloud(cloud, self.spec, CloudOptions(intensity_max=self.intensity_max))
        segment = classes_of_ids(_labels(path, cloud), self.groups)[ready.kept]
        sample = ready.sample.changed(segment=segment)
        if "normal" in self.spec.features and sample.normal is None:
            return sample.changed(normal=upward_normals(sample.xyz))
        return sample


def own_scenes(folder: Path) -> FolderScenes:
    """Return the scenes of a folder in the project's own format.

    ``classes.json`` names the kind (``indoor`` or ``outdoor``) and the classes, each with its numbers in the files::

        {"kind": "indoor", "classes": {"wall": [1], "floor": [2, 7]}}

    Clouds (ply, pcd, las, laz, e57, npz, npy, bin) lie in ``train/`` and ``val/``, or in the folder itself, where every
    tenth is held out. Each has an attribute ``label``, or a file ``NAME.labels.npy`` beside it.

    Args:
        folder: it.

    Raises:
        InputError: no clouds, or no ``classes.json``.
        FormatError: ``classes.json`` is damaged.
    """
    about = _about(folder / CLASSES)
    train, val = _clouds(folder / "train"), _clouds(folder / "val")
    if not train:
        train, val = split(_clouds(folder))
    if not train:
        raise InputError(f"{folder} holds no clouds", expected=", ".join(f"NAME{one}" for one in _SUFFIXES))
    return FolderScenes(spec=about.spec, train=train, val=val, read=about.read)


def _clouds(folder: Path) -> tuple[Path, ...]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    return tuple(path for path in found if not path.name.endswith(_LABELS))


def _labels(path: Path, cloud: PointCloud) -> Int64[np.ndarray, " n"]:
    beside = path.with_name(path.stem + _LABELS)
    if beside.is_file():
        found = read_npy(beside).reshape(-1)
    elif "label" in cloud.attributes:
        found = cloud.attributes["label"].reshape(-1)
    else:
        fix = f"add a property label, or a file {beside.name}"
        raise InputError(f"{path} has no labels", got=", ".join(sorted(cloud.attributes)) or "positions", fix=fix)
    if len(found) != len(cloud) or found.dtype.kind not in "iuf":
        got = f"{len(found)} labels of {found.dtype}"
        raise FormatError(f"the labels of {path} do not match its points", got=got, expected=f"{len(cloud)} numbers")
    numbers: np.ndarray = np.nan_to_num(found, nan=-1).astype(np.int64)
    return numbers


def _about(path: Path) -> _Folder:
    if not path.is_file():
        expected = '{"kind": "indoor", "classes": {"wall": [1], "floor": [2, 7]}}'
        raise InputError(f"{path.parent} has no {CLASSES}", expected=expected, fix="see docs/segmentation.md")
    try:
        found = json.loads(read_capped(path, _MAX_JSON))
        if not isinstance(found, dict) or not found.keys() <= set(_KEYS):
            raise ValueError(f"unknown keys {sorted(set(found) - set(_KEYS))}")
        groups = {str(name): _ids(ids) for name, ids in found["classes"].items()}
        numbers = [one for ids in groups.values() for one in ids]
        if len(set(numbers)) != len(numbers):
            raise ValueError("a number belongs to two classes")
        maximum = found.get("intensity_max")
        spec = _spec(found, groups, path.parent.name)
        return _Folder(spec=spec, groups=groups, intensity_max=None if maximum is None else float(maximum))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, Recon3DError) as error:
        got = f"no {error}" if isinstance(error, KeyError) else error
        raise FormatError(f"{path} is damaged", got=got, expected=f"kind, classes and perhaps {_KEYS[2:]}") from error


def _ids(value: Any) -> tuple[int, ...]:
    return tuple(int(one) for one in (value if isinstance(value, list) else [value]))


def _spec(found: Mapping[str, Any], groups: Mapping[str, tuple[int, ...]], name: str) -> SegmenterSpec:
    indoor = found["kind"] == "indoor"
    spare, named = palette(len(groups)), found.get("colours", {})
    colours = [named.get(one, spare[k]) for k, one in enumerate(groups)]
    features = found.get("features", INDOOR_FEATURES if indoor else OUTDOOR_FEATURES)
    distance = found.get("max_distance_m")
    return SegmenterSpec(
        kind=found["kind"],
        classes=tuple(groups),
        colours=tuple((int(red), int(green), int(blue)) for red, green, blue in colours),
        voxel_m=float(found.get("voxel_m", INDOOR_VOXEL_M if indoor else OUTDOOR_VOXEL_M)),
        features=cast(tuple[Feature, ...], tuple(features)),
        mount_m=float(found.get("mount_m", 0.0 if indoor else KITTI_MOUNT_M)),
        max_distance_m=None if distance is None else float(distance),
        raw_ids=tuple(ids[0] if ids else 0 for ids in groups.values()),
        about=f"the clouds of {name}",
    )
