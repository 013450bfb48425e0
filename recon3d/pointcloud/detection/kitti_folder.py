"""Frames of a KITTI object folder: ``velodyne`` (or ``velodyne_reduced``), ``label_2``, ``calib``, ``image_2``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recon3d.core.errors import InputError
from recon3d.formats.kitti import read_kitti_points
from recon3d.formats.kitti_text import KittiCalibration, read_kitti_calibration, read_kitti_objects
from recon3d.pointcloud.boxes.kitti_camera import boxes_from_kitti
from recon3d.pointcloud.detection.frames import LabelledFrame, listed_names, renamed

MOUNT_M = 1.73
IMAGE_SIZE = (1242, 375)
_SCANS = ("velodyne_reduced", "velodyne")


@dataclass(frozen=True)
class KittiFrames:
    """The frames of a folder that have a scan, a label file and a calibration; points out of the image are left out.

    Args:
        root: the folder, or the one that holds its ``training``.
        names: classes of the boxes, in lower case; others are no truth.
        frames: names of the frames, such as 000008.
    """

    root: Path
    names: tuple[str, ...]
    frames: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, names: tuple[str, ...], split: str = "") -> KittiFrames:
        """Return the frames of a folder.

        Args:
            folder: it.
            names: classes of the boxes.
            split: file with the names of the frames, one a line; empty = all that are there.

        Raises:
            InputError: there is none.
        """
        root = folder / "training" if (folder / "training").is_dir() else folder
        wanted = listed_names(folder, split) if split else sorted(one.stem for one in (root / "label_2").glob("*.txt"))
        whole = [one for one in wanted if _scan(root, one) and (root / "calib" / f"{one}.txt").is_file()]
        if not whole or (split and len(whole) < len(wanted)):
            missing = next((one for one in wanted if one not in set(whole)), "*")
            need = f"velodyne/{missing}.bin, label_2/{missing}.txt and calib/{missing}.txt"
            raise InputError(f"{root} lacks frames of KITTI", got=f"{len(whole)} of {len(wanted)}", expected=need)
        return cls(root, names, tuple(whole))

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> LabelledFrame:
        """Return one of them.

        Args:
            index: from 0.
        """
        name = self.frames[index]
        calibration = read_kitti_calibration(self.root / "calib" / f"{name}.txt")
        points = read_kitti_points(_scan(self.root, name) or self.root)
        objects = read_kitti_objects(self.root / "label_2" / f"{name}.txt")
        seen = in_image(points, calibration, image_size(self.root, name))
        boxes = renamed(boxes_from_kitti(objects, calibration), self.names)
        return LabelledFrame(points=points[seen], boxes=boxes, mount_m=MOUNT_M, name=name)


def in_image(points: Float32[np.ndarray, "n c"], calibration: KittiCalibration, size: tuple[int, int]) -> np.ndarray:
    """Return which points the left colour camera sees.

    Args:
        points: in the velodyne frame.
        calibration: of the frame.
        size: width and height of the image.
    """
    pixels, depth = calibration.project(points[:, :3].astype(np.float64))
    seen: np.ndarray = (depth > 0) & (pixels >= 0).all(1) & (pixels < np.array(size)).all(1)
    return seen


def image_size(root: Path, name: str) -> tuple[int, int]:
    """Return width and height of the image of a frame; the usual ones where there is none.

    Args:
        root: the folder.
        name: of the frame.
    """
    path = root / "image_2" / f"{name}.png"
    if not path.is_file():
        return IMAGE_SIZE
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.width, image.height
    except OSError as error:
        raise InputError(f"cannot read {path}", got=error) from error


def _scan(root: Path, name: str) -> Path | None:
    return next((path for one in _SCANS if (path := root / one / f"{name}.bin").is_file()), None)
