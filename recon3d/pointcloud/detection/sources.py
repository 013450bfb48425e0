"""Where the frames of a training come from, and the network that fits to their classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recon3d.core.errors import InputError, UsageError
from recon3d.pointcloud.detection.frames import FrameSet, KeptFrames, split_frames
from recon3d.pointcloud.detection.kitti_folder import KittiFrames
from recon3d.pointcloud.detection.labelled_folder import FolderFrames
from recon3d.pointcloud.detection.network import network_options
from recon3d.pointcloud.detection.nuscenes_folder import NuscenesFrames
from recon3d.pointcloud.detection.options import TrainDetectorOptions
from recon3d.pointcloud.detection.streets import StreetFrames
from recon3d.pointcloud.flatformer.options import DetectorOptions

_HELD_OUT_SEED = 1_000_003
_FOLDERS: dict[str, type[KittiFrames] | type[NuscenesFrames] | type[FolderFrames]] = {
    "kitti": KittiFrames,
    "nuscenes": NuscenesFrames,
    "frames": FolderFrames,
}


def training_network(options: TrainDetectorOptions) -> DetectorOptions:
    """Return the network of a training, with the classes that are asked for.

    Args:
        options: of the training.
    """
    network, classes = network_options(options.network), options.data.classes
    if classes in ((), network.classes):
        return network
    limits, n = network.decode, len(classes)
    decode = replace(
        limits, nms_overlap=(0.2,) * n, nms_before=(limits.nms_before[0],) * n, nms_after=(limits.nms_after[0],) * n
    )
    return replace(network, classes=classes, decode=decode)


def training_frames(options: TrainDetectorOptions, data: Path | None) -> tuple[FrameSet, FrameSet]:
    """Return the frames to train with and those held out.

    Args:
        options: of the training.
        data: the folder; None = generated streets.

    Raises:
        InputError: the folder holds no frames of a known format.
    """
    names = training_network(options).classes
    if data is None:
        train = StreetFrames(count=options.data.streets, names=names, seed=options.seed)
        return KeptFrames(train), StreetFrames(
            count=options.evaluate_frames, names=names, seed=options.seed + _HELD_OUT_SEED
        )
    kind = folder_format(data) if options.data.format == "auto" else options.data.format
    if kind not in _FOLDERS:
        raise UsageError("generated streets need no folder", got=data, fix="leave --data out, or name its format")
    frames = _FOLDERS[kind].of(data, names, options.data.split)
    return split_frames(frames, options.data.held_out)


def folder_format(folder: Path) -> str:
    """Return the format of a folder of labelled clouds.

    Args:
        folder: it.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    if any(folder.glob("v1.0-*/sample_data.json")):
        return "nuscenes"
    kitti = any((root / "label_2").is_dir() for root in (folder, folder / "training"))
    return "kitti" if kitti else "frames"
