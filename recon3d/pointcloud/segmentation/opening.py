"""The scenes that a training asks for: generated ones, or those of a folder whose layout is recognised."""

from __future__ import annotations

from pathlib import Path

from recon3d.core.errors import InputError
from recon3d.pointcloud.segmentation.folders import scannet_scenes, semantic_kitti_scenes
from recon3d.pointcloud.segmentation.nuscenes_lidarseg import nuscenes_scenes
from recon3d.pointcloud.segmentation.options import DataFormat, TrainSegmenterOptions
from recon3d.pointcloud.segmentation.own_format import CLASSES, own_scenes
from recon3d.pointcloud.segmentation.sources import Scenes, generated_scenes

GENERATED = ("rooms", "streets")
_FOLDERS = {
    "scannet": scannet_scenes,
    "semantickitti": semantic_kitti_scenes,
    "nuscenes": nuscenes_scenes,
    "folder": own_scenes,
}


def open_scenes(options: TrainSegmenterOptions) -> Scenes:
    """Return the scenes of a training.

    Args:
        options: of the training; its ``data`` and its ``format``.

    Raises:
        InputError: there is no such folder, or its layout is not known.
    """
    kind = options.format
    if kind in GENERATED or (kind == "auto" and options.data in GENERATED):
        return generated_scenes(options.data if kind == "auto" else kind, options.seed)
    folder = Path(options.data)
    if not folder.is_dir():
        raise InputError("there is no such data", got=options.data, expected=f"a folder, {' or '.join(GENERATED)}")
    return _FOLDERS[_layout(folder) if kind == "auto" else kind](folder)


def _layout(folder: Path) -> DataFormat:
    if (folder / CLASSES).is_file():
        return "folder"
    if any(folder.glob("train/*/coord.npy")) or any(folder.glob("*/coord.npy")):
        return "scannet"
    if (folder / "sequences").is_dir() or (folder / "velodyne").is_dir() or any(folder.glob("*/velodyne")):
        return "semantickitti"
    if any(folder.glob("v1.0-*/lidarseg.json")):
        return "nuscenes"
    raise InputError(
        f"the layout of {folder} is not known",
        expected=f"{CLASSES} (own format), train/NAME/coord.npy (ScanNet), sequences/NN/velodyne (SemanticKITTI), "
        "v1.0-*/lidarseg.json (nuScenes)",
        fix="see docs/segmentation.md, or name it with --format",
    )
