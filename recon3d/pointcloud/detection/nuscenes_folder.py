"""Frames of a nuScenes folder, from its own JSON tables; no development kit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import FormatError, InputError
from recon3d.core.files import read_capped
from recon3d.formats.kitti import read_kitti_points
from recon3d.formats.quaternions import rotation_from_quaternion
from recon3d.pointcloud.boxes.conversions import NuscenesBoxes, boxes_from_nuscenes
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.detection.frames import LabelledFrame, listed_names, renamed

INTENSITY_MAX = 255.0
_CHANNEL = "LIDAR_TOP"
_MAX_TABLE = 4 << 30
_TABLES = ("sample_data", "sample_annotation", "ego_pose", "calibrated_sensor", "instance", "category")
_CLASSES = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.trailer": "trailer",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bicycle": "bicycle",
    "movable_object.trafficcone": "traffic_cone",
    "movable_object.barrier": "barrier",
}
_CYCLES = ("bicycle", "motorcycle")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class NuscenesFrames:
    """The key frames of the LiDAR in a folder, in its own frame; boxes without a point are left out.

    Args:
        root: folder that holds ``samples``.
        names: classes of the boxes: nuScenes' ten, or ``cyclist`` for bicycles and motorcycles.
        sweeps: rows of ``sample_data``.
        tables: rows of the other tables by token; ``annotations`` holds those of each sample.
    """

    root: Path
    names: tuple[str, ...]
    sweeps: tuple[Row, ...]
    tables: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, folder: Path, names: tuple[str, ...], split: str = "") -> NuscenesFrames:
        """Return the frames of a folder.

        Args:
            folder: it; its tables lie in ``v1.0-*``.
            names: classes of the boxes.
            split: file with tokens of samples, one a line; empty = all.

        Raises:
            InputError: a table cannot be opened, or there is no frame.
            FormatError: a table is damaged.
        """
        versions = sorted(folder.glob("v1.0-*/sample_data.json"))
        if not versions:
            raise InputError(f"{folder} is no folder of nuScenes", expected="v1.0-*/sample_data.json")
        tables = {name: _table(versions[-1].parent / f"{name}.json") for name in _TABLES}
        wanted = set(listed_names(folder, split)) if split else None
        try:
            annotations: dict[str, list[Row]] = {}
            for row in tables["sample_annotation"].values():
                annotations.setdefault(row["sample_token"], []).append(row)
            sweeps = [
                row
                for row in tables["sample_data"].values()
                if row["is_key_frame"]
                and f"/{_CHANNEL}/" in row["filename"]
                and (wanted is None or row["sample_token"] in wanted)
            ]
        except (KeyError, TypeError) as error:
            raise FormatError(f"a table of {folder} is damaged", got=error) from error
        if not sweeps:
            raise InputError(f"{folder} holds no key frame of {_CHANNEL}")
        return cls(folder, names, tuple(sweeps), {**tables, "annotations": annotations})

    def __len__(self) -> int:
        return len(self.sweeps)

    def frame(self, index: int) -> LabelledFrame:
        """Return one of them.

        Args:
            index: from 0.
        """
        sweep = self.sweeps[index]
        points = read_kitti_points(self.root / sweep["filename"], 5)
        points[:, 3] /= INTENSITY_MAX
        try:
            calibration = self.tables["calibrated_sensor"][sweep["calibrated_sensor_token"]]
            rows = self.tables["annotations"].get(sweep["sample_token"], [])
            boxes = self._boxes([row for row in rows if row.get("num_lidar_pts", 1)])
            boxes = boxes.transformed(np.linalg.inv(self.global_from_sensor(index)))
            mount = float(calibration["translation"][2])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FormatError(f"the tables of {self.root} do not fit together", got=repr(error)) from error
        name = str(sweep["sample_token"])
        return LabelledFrame(points=points, boxes=renamed(boxes, self.names), mount_m=mount, name=name)

    def global_from_sensor(self, index: int) -> Float64[np.ndarray, "4 4"]:
        """Return the pose of a frame's sensor, as result files need it.

        Args:
            index: of the frame.
        """
        sweep = self.sweeps[index]
        ego = _pose(self.tables["ego_pose"][sweep["ego_pose_token"]])
        sensor = _pose(self.tables["calibrated_sensor"][sweep["calibrated_sensor_token"]])
        return np.asarray(ego @ sensor)

    def _boxes(self, rows: list[Row]) -> Boxes3D:
        kinds = [self._class(row) for row in rows]
        names = tuple(dict.fromkeys(kinds))
        stored = NuscenesBoxes(*(_column(rows, name, n) for name, n in _BOX))
        labels = np.array([names.index(kind) for kind in kinds], np.int64)
        return Boxes3D(boxes=boxes_from_nuscenes(stored), labels=labels, names=names)

    def _class(self, row: Row) -> str:
        name = str(self.tables["category"][self.tables["instance"][row["instance_token"]]["category_token"]]["name"])
        kind = "pedestrian" if name.startswith("human.pedestrian") else _CLASSES.get(name, name)
        return "cyclist" if kind in _CYCLES and kind not in self.names and "cyclist" in self.names else kind


_BOX = (("translation", 3), ("size", 3), ("rotation", 4))


def _column(rows: list[Row], name: str, columns: int) -> np.ndarray:
    return np.array([row[name] for row in rows], np.float64).reshape(-1, columns)


def _pose(row: Row) -> Float64[np.ndarray, "4 4"]:
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_quaternion(np.array([row["rotation"]], np.float64))[0]
    pose[:3, 3] = row["translation"]
    return pose


def _table(path: Path) -> dict[str, Any]:
    try:
        return {str(row["token"]): row for row in json.loads(read_capped(path, _MAX_TABLE))}
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is no table of nuScenes", got=error) from error
