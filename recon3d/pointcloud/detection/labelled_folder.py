"""The project's own format of labelled clouds: beside every cloud a JSON file of the same name with its boxes.

The same JSON is what ``recon3d detect`` writes, so that detections can be corrected and learnt from.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recon3d.core.errors import FormatError, InputError, Recon3DError
from recon3d.core.files import read_capped, write_json
from recon3d.formats.npy_cloud import write_npy
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.clouds.files import load
from recon3d.pointcloud.detection.clouds import cloud_rows
from recon3d.pointcloud.detection.frames import LabelledFrame, listed_names, renamed

_MAX_JSON = 1 << 28
_MOUNT = 1.73
_SUFFIXES = (".pcd", ".bin", ".ply", ".npy", ".npz", ".las", ".laz", ".e57")


def boxes_to_json(boxes: Boxes3D) -> list[dict[str, Any]]:
    """Return boxes as JSON holds them.

    Each has its ``class``, its ``box`` (x, y, z of the centre, length, width, height, yaw), and ``score`` and
    ``velocity`` where they are known.

    Args:
        boxes: labels or detections.
    """
    found = []
    for row, (box, label) in enumerate(zip(boxes.boxes, boxes.labels, strict=True)):
        entry: dict[str, Any] = {"class": boxes.names[int(label)], "box": [round(float(one), 4) for one in box]}
        if boxes.scores is not None:
            entry["score"] = round(float(boxes.scores[row]), 4)
        if boxes.velocities is not None and np.isfinite(boxes.velocities[row]).all():
            entry["velocity"] = [round(float(one), 4) for one in boxes.velocities[row]]
        found.append(entry)
    return found


def boxes_from_json(entries: list[dict[str, Any]], names: tuple[str, ...] | None = None) -> Boxes3D:
    """Return the boxes that :func:`boxes_to_json` wrote.

    Args:
        entries: from JSON.
        names: classes; boxes of others are left out. None = those that occur.

    Raises:
        FormatError: an entry is damaged.
    """
    try:
        kinds = [str(one["class"]) for one in entries]
        known = tuple(dict.fromkeys(kinds))
        scores = np.array([float(one["score"]) for one in entries if "score" in one])
        boxes = Boxes3D(
            boxes=np.array([one["box"] for one in entries], np.float64).reshape(-1, 7),
            labels=np.array([known.index(kind) for kind in kinds], np.int64),
            names=known,
            scores=scores if len(scores) == len(entries) and entries else None,
            velocities=np.array([one.get("velocity", (np.nan, np.nan)) for one in entries], np.float64).reshape(-1, 2),
        )
    except (KeyError, TypeError, ValueError, AttributeError, Recon3DError) as error:
        raise FormatError(
            "a list of boxes is damaged", got=repr(error), expected="class and box of 7 numbers"
        ) from error
    return boxes if names is None else renamed(boxes, names)


@dataclass(frozen=True)
class FolderFrames:
    """Frames of a folder of clouds and JSON files.

    Args:
        pairs: cloud and JSON file of each.
        names: classes of the boxes.
    """

    pairs: tuple[tuple[Path, Path], ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, names: tuple[str, ...], split: str = "") -> FolderFrames:
        """Return the frames of a folder, in the order of their names.

        Args:
            folder: it.
            names: classes of the boxes.
            split: file with names of clouds without their ending, one a line; empty = all.

        Raises:
            InputError: there is none.
        """
        wanted = set(listed_names(folder, split)) if split else None
        clouds = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
        pairs = [(path, path.with_suffix(".json")) for path in clouds]
        pairs = [pair for pair in pairs if pair[1].is_file() and (wanted is None or pair[0].stem in wanted)]
        if not pairs:
            raise InputError(
                f"{folder} holds no labelled cloud", expected="NAME.pcd (or .bin, .ply, ...) and NAME.json"
            )
        return cls(tuple(pairs), names)

    def __len__(self) -> int:
        return len(self.pairs)

    def frame(self, index: int) -> LabelledFrame:
        """Return one of them.

        Args:
            index: from 0.

        Raises:
            FormatError: a file is damaged.
        """
        cloud, labels = self.pairs[index]
        about = _about(labels)
        points = cloud_rows(load(cloud))
        try:
            brightest, mount = float(about.get("intensity_max", 1.0)), float(about.get("mount_m", _MOUNT))
            boxes = boxes_from_json(about["boxes"], self.names)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{labels} is no file of boxes", got=repr(error), expected="boxes, mount_m") from error
        if not (math.isfinite(mount) and 0 < brightest < math.inf):
            raise FormatError(f"{labels} tells of no sensor", got=(mount, brightest), expected="finite numbers above 0")
        points[:, 3] /= np.float32(brightest)
        return LabelledFrame(points=points, boxes=boxes, mount_m=mount, name=cloud.stem)


def _about(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_capped(path, _MAX_JSON))
    except ValueError as error:
        raise FormatError(f"{path} is no JSON", got=error) from error
    if not isinstance(value, dict):
        raise FormatError(f"{path} is no file of boxes", got=type(value).__name__, expected="an object")
    return value


def write_labelled_frame(path: Path, frame: LabelledFrame) -> None:
    """Write a frame in this format: ``PATH.npy`` and ``PATH.json``.

    Args:
        path: without an ending.
        frame: points and boxes.
    """
    write_npy(path.with_suffix(".npy"), frame.points)
    about = {"mount_m": round(frame.mount_m, 4), "intensity_max": 1.0, "boxes": boxes_to_json(frame.boxes)}
    write_json(path.with_suffix(".json"), about)
