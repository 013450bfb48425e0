"""Labelled scenes in folders: ScanNet as Pointcept lays it out, and SemanticKITTI."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.kitti import read_kitti_points
from recon3d.formats.kitti_semantic import read_semantic_kitti
from recon3d.formats.npy_cloud import read_npy
from recon3d.pointcloud.segmentation.palettes import KITTI_19, SCANNET_IDS, kitti_colours, palette, room_colours
from recon3d.pointcloud.segmentation.sources import INDOOR_VOXEL_M, KITTI_MOUNT_M, OUTDOOR_VOXEL_M, REACH_M
from recon3d.pointcloud.segmentation.spec import INDOOR_FEATURES, OUTDOOR_FEATURES, SegmenterSpec
from recon3d.pointcloud.volt.samples import Sample
from recon3d.pointcloud.worlds.materials import ROOM_CLASSES

HOLD_OUT_EVERY = 10
_VALIDATION_SEQUENCE = "08"
_SCANNET_200 = 200


@dataclass(frozen=True, eq=False, kw_only=True)
class FolderScenes:
    """Scenes that are read from files whenever they are needed.

    Args:
        spec: of the segmenter.
        train: paths of the scenes to train on.
        val: paths of the scenes to evaluate on.
        read: returns the sample of a path.
    """

    spec: SegmenterSpec
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    read: Callable[[Path], Sample]

    def __post_init__(self) -> None:
        if not self.train:
            raise InputError("there is no scene to train on", fix="see docs/segmentation.md for the layouts of folders")

    @property
    def count(self) -> int:
        """Scenes to train on."""
        return len(self.train)

    @property
    def held_out(self) -> int:
        """Scenes to evaluate on."""
        return len(self.val)

    def training(self, number: int) -> Sample:
        """Return a scene to train on."""
        return self.read(self.train[number])

    def unseen(self, number: int) -> Sample:
        """Return a scene to evaluate on."""
        return self.read(self.val[number])


def split(paths: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return scenes to train on, and every tenth (of fewer, the last) to evaluate on; a single scene is for both.

    Args:
        paths: of scenes that have no split of their own.
    """
    if len(paths) <= 1:
        return tuple(paths), tuple(paths)
    every = min(HOLD_OUT_EVERY, len(paths))
    held = tuple(paths[every - 1 :: every])
    return tuple(path for path in paths if path not in set(held)), held


def classes_of_ids(ids: Int64[np.ndarray, " n"], groups: Mapping[str, Sequence[int]]) -> Int64[np.ndarray, " n"]:
    """Return the class of each point from the numbers in its file; -1 for numbers that no class has.

    Args:
        ids: from the file.
        groups: numbers by class, in the order of the classes.
    """
    found = np.full(len(ids), -1, np.int64)
    for k, numbers in enumerate(groups.values()):
        found[np.isin(ids, list(numbers))] = k
    return found


def scannet_scenes(folder: Path) -> FolderScenes:
    """Return the scenes of a folder that was prepared with Pointcept.

    ``train/NAME/`` and ``val/NAME/`` (or ``NAME/`` alone) hold ``coord.npy``, ``color.npy``, ``normal.npy``,
    ``segment20.npy`` (or ``segment.npy``, ``segment200.npy``) and perhaps ``instance.npy``.

    Args:
        folder: of the data set.

    Raises:
        InputError: there are no such scenes.
    """
    train, val = _scene_folders(folder / "train"), _scene_folders(folder / "val")
    if not train:
        train, val = split(_scene_folders(folder))
    first = next(iter(train), None)
    label = None if first is None else _label_file(first)
    wide = label is not None and label.name == "segment200.npy"
    names = tuple(f"class {k}" for k in range(_SCANNET_200)) if wide else ROOM_CLASSES
    spec = SegmenterSpec(
        kind="indoor",
        classes=names,
        colours=palette(len(names)) if wide else room_colours(),
        voxel_m=INDOOR_VOXEL_M,
        features=INDOOR_FEATURES,
        raw_ids=() if wide else SCANNET_IDS,
        about=f"ScanNet, {len(train)} scenes",
    )
    return FolderScenes(spec=spec, train=train, val=val, read=lambda path: _scannet_scene(path, len(names)))


def _scene_folders(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path.parent for path in folder.glob("*/coord.npy")))


def _label_file(folder: Path) -> Path:
    for name in ("segment20.npy", "segment.npy", "segment200.npy"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} has no labels", expected="segment20.npy, segment.npy or segment200.npy")


def _scannet_scene(folder: Path, n_classes: int) -> Sample:
    xyz = _table(folder / "coord.npy", 3)
    label, instance = _numbers(_label_file(folder), len(xyz)), folder / "instance.npy"
    if len(label) and not -1 <= label.min() <= label.max() < n_classes:
        label = np.where(label >= n_classes, -1, np.maximum(label, -1))  # 255 is another word for none
    return Sample(
        xyz=xyz.astype(np.float64),
        color=_table(folder / "color.npy", 3, len(xyz)).astype(np.float32),
        normal=_table(folder / "normal.npy", 3, len(xyz)).astype(np.float32),
        segment=label,
        instance=_numbers(instance, len(xyz)) if instance.is_file() else None,
    )


def _table(path: Path, columns: int, rows: int | None = None) -> np.ndarray:
    found = read_npy(path)
    if found.ndim != 2 or found.shape[1] != columns or found.dtype.kind not in "fiu" or rows not in (None, len(found)):
        expected = f"[{'n' if rows is None else rows}, {columns}]"
        raise FormatError(f"{path} does not fit to its scene", got=list(found.shape), expected=expected)
    return found


def _numbers(path: Path, rows: int) -> Int64[np.ndarray, " n"]:
    found = read_npy(path).reshape(-1)
    if len(found) != rows or found.dtype.kind not in "iu":
        expected = f"{rows} whole numbers"
        raise FormatError(f"{path} does not fit to its scene", got=f"{len(found)} {found.dtype}", expected=expected)
    return found.astype(np.int64)


def semantic_kitti_scenes(folder: Path) -> FolderScenes:
    """Return the scans of SemanticKITTI: sequence 08 to evaluate on, all others to train on.

    Args:
        folder: holds ``sequences/NN/velodyne/*.bin`` and ``sequences/NN/labels/*.label``, or is one sequence.

    Raises:
        InputError: there are no such scans.
    """
    root = folder / "sequences" if (folder / "sequences").is_dir() else folder
    scans = sorted(path for path in root.glob("*/velodyne/*.bin") if _kitti_labels(path).is_file())
    train = tuple(path for path in scans if path.parents[1].name != _VALIDATION_SEQUENCE)
    val = tuple(path for path in scans if path.parents[1].name == _VALIDATION_SEQUENCE)
    if not scans:
        train, val = split([path for path in sorted(root.glob("velodyne/*.bin")) if _kitti_labels(path).is_file()])
    elif not train or not val:
        train, val = split(scans)
    spec = SegmenterSpec(
        kind="outdoor",
        classes=tuple(KITTI_19),
        colours=kitti_colours(),
        voxel_m=OUTDOOR_VOXEL_M,
        features=OUTDOOR_FEATURES,
        mount_m=KITTI_MOUNT_M,
        max_distance_m=REACH_M,
        raw_ids=tuple(ids[0] for ids in KITTI_19.values()),
        about=f"SemanticKITTI, {len(train)} scans",
    )
    return FolderScenes(spec=spec, train=train, val=val, read=_kitti_scan)


def _kitti_labels(scan: Path) -> Path:
    return scan.parents[1] / "labels" / f"{scan.stem}.label"


def _kitti_scan(path: Path) -> Sample:
    rows = read_kitti_points(path)
    ids, instance = read_semantic_kitti(_kitti_labels(path))
    if len(ids) != len(rows):
        raise FormatError(f"the labels of {path} do not match its points", got=len(ids), expected=len(rows))
    near = np.isfinite(rows).all(1) & ((rows[:, :3] ** 2).sum(1) <= REACH_M**2)
    return Sample(
        xyz=rows[near, :3].astype(np.float64),
        strength=rows[near, 3].clip(0, 1),
        segment=classes_of_ids(ids, KITTI_19)[near],
        instance=np.where(instance > 0, instance, -1)[near],
    )
