"""Detections as files of others: KITTI, nuScenes, a coloured PLY, a rerun recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from recon3d.core.errors import DependencyError, UsageError
from recon3d.core.files import write_json
from recon3d.formats.kitti_text import KittiCalibration, write_kitti_objects
from recon3d.formats.ply import write_ply
from recon3d.pointcloud.boxes.conversions import nuscenes_from_boxes
from recon3d.pointcloud.boxes.corners import box_corners, points_in_boxes
from recon3d.pointcloud.boxes.kitti_camera import kitti_from_boxes
from recon3d.pointcloud.boxes.types import Boxes3D

_COLOURS = np.array(
    [[31, 119, 180], [214, 39, 40], [255, 187, 0], [44, 160, 44], [148, 103, 189], [23, 190, 207], [227, 119, 194]],
    np.uint8,
)
_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_EDGE_STEP = 0.05
_NUSCENES = {"cyclist": "bicycle", "vehicle": "car"}
_STANDING = {"pedestrian": "pedestrian.standing", "bicycle": "cycle.without_rider", "motorcycle": "cycle.without_rider"}
_PARKED = ("car", "truck", "bus", "trailer", "construction_vehicle")


def write_kitti_results(
    path: Path, boxes: Boxes3D, calibration: KittiCalibration, size: tuple[int, int] = (1242, 375)
) -> None:
    """Write a result file of the KITTI benchmark; boxes out of the image are left out.

    Args:
        path: the file, such as 000008.txt.
        boxes: in the velodyne frame, with scores.
        calibration: of the frame.
        size: width and height of the image.
    """
    names = tuple("_".join(part.capitalize() for part in name.split("_")) for name in boxes.names)
    called = Boxes3D(boxes=boxes.boxes, labels=boxes.labels, names=names, scores=boxes.scores)
    write_kitti_objects(path, kitti_from_boxes(called, calibration, size))


def nuscenes_results(
    boxes: Boxes3D, token: str, global_from_sensor: Float64[np.ndarray, "4 4"]
) -> list[dict[str, Any]]:
    """Return the entries of one sample in a result file of nuScenes.

    A cyclist is called a bicycle; the attribute is the usual one of things that do not move.

    Args:
        boxes: in the frame of the sensor, with scores.
        token: of the sample.
        global_from_sensor: pose of the sensor.

    Raises:
        UsageError: boxes without scores.
    """
    if boxes.scores is None:
        raise UsageError("a result file needs scores")
    moved = boxes.transformed(global_from_sensor)
    stored = nuscenes_from_boxes(moved.boxes)
    return [_entry(moved, stored, row, token) for row in range(len(moved))]


def _entry(boxes: Boxes3D, stored: Any, row: int, token: str) -> dict[str, Any]:
    name = boxes.names[int(boxes.labels[row])]
    name = _NUSCENES.get(name, name)
    velocity = np.zeros(2) if boxes.velocities is None else np.nan_to_num(boxes.velocities[row])
    score = 0.0 if boxes.scores is None else float(boxes.scores[row])
    return {
        "sample_token": token,
        "translation": stored.translation[row].tolist(),
        "size": stored.size[row].tolist(),
        "rotation": stored.rotation[row].tolist(),
        "velocity": velocity.tolist(),
        "detection_name": name,
        "detection_score": score,
        "attribute_name": "vehicle.parked" if name in _PARKED else _STANDING.get(name, ""),
    }


def write_nuscenes_results(path: Path, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write a result file of the nuScenes benchmark.

    Args:
        path: the file.
        results: entries of every sample by its token, of :func:`nuscenes_results`.
    """
    sensors = ("camera", "lidar", "radar", "map", "external")
    meta = {f"use_{name}": name == "lidar" for name in sensors}
    write_json(path, {"meta": meta, "results": {token: list(entries) for token, entries in results.items()}})


def class_colours(n: int) -> UInt8[np.ndarray, "n 3"]:
    """Return the colour of each class.

    Args:
        n: classes.
    """
    colours: UInt8[np.ndarray, "n 3"] = _COLOURS[np.arange(n) % len(_COLOURS)]
    return colours


def write_boxed_ply(path: Path, xyz: Float64[np.ndarray, "n 3"], boxes: Boxes3D) -> None:
    """Write a cloud as PLY: points in boxes have the colour of their class, others are grey; edges are drawn in points.

    Args:
        path: the file.
        xyz: points in the frame of the boxes.
        boxes: labels or detections.
    """
    colours = class_colours(len(boxes.names))[boxes.labels]
    xyz = xyz[np.isfinite(xyz).all(1)]
    inside: np.ndarray = points_in_boxes(xyz, boxes.boxes)
    grey = np.full((len(xyz), 3), 130, np.uint8)
    shade = grey if not len(boxes) else np.where(np.any(inside, axis=0)[:, None], colours[inside.argmax(0)], grey)
    edges, owner = _edge_points(boxes.boxes)
    place = np.concatenate([xyz, edges]).astype(np.float32)
    rgb = np.concatenate([shade, colours[owner]]).astype(np.uint8)
    fields = {name: np.ascontiguousarray(place[:, k]) for k, name in enumerate("xyz")}
    fields |= {name: np.ascontiguousarray(rgb[:, k]) for k, name in enumerate(("red", "green", "blue"))}
    write_ply(path, fields)


def _edge_points(boxes: Float64[np.ndarray, "n 7"]) -> tuple[Float64[np.ndarray, "e 3"], np.ndarray]:
    """Return points along the edges of boxes and a line towards the front, and the box of each."""
    corners = box_corners(boxes)
    ends = [(corners[:, a], corners[:, b]) for a, b in _EDGES]
    middle = boxes[:, :3]
    ends.append((middle, corners[:, [0, 3, 4, 7]].mean(1)))
    places, owners = [np.zeros((0, 3))], [np.zeros(0, np.int64)]
    for start, end in ends:
        for row, (a, b) in enumerate(zip(start, end, strict=True)):
            n = min(max(2, int(np.linalg.norm(b - a) / _EDGE_STEP)), 1000)
            places.append(a + np.linspace(0, 1, n)[:, None] * (b - a))
            owners.append(np.full(n, row))
    return np.concatenate(places), np.concatenate(owners)


def write_rerun(path: Path, xyz: Float64[np.ndarray, "n 3"], boxes: Boxes3D) -> None:
    """Write a recording for the rerun viewer.

    Args:
        path: the file, .rrd.
        xyz: points in the frame of the boxes.
        boxes: labels or detections.

    Raises:
        DependencyError: rerun is not installed.
    """
    try:
        rerun: Any = import_module("rerun")
    except ImportError as error:
        raise DependencyError("rerun is not installed", fix="pip install 'recon3d[rerun]'") from error
    colours = class_colours(len(boxes.names))[boxes.labels]
    half = boxes.boxes[:, 6] / 2
    zero = np.zeros_like(half)
    scores = [""] * len(boxes) if boxes.scores is None else [f" {score:.2f}" for score in boxes.scores]
    stream = rerun.RecordingStream("recon3d")
    stream.save(str(path))
    stream.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    stream.log("world/points", rerun.Points3D(xyz[np.isfinite(xyz).all(1)], colors=[130, 130, 130]))
    stream.log(
        "world/boxes",
        rerun.Boxes3D(
            centers=boxes.boxes[:, :3],
            half_sizes=boxes.boxes[:, 3:6] / 2,
            quaternions=np.column_stack([zero, zero, np.sin(half), np.cos(half)]),
            labels=[boxes.names[label] + text for label, text in zip(boxes.labels, scores, strict=True)],
            colors=colours,
        ),
    )
