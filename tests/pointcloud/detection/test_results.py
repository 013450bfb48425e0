"""Result files of others."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_detection import frame_of

from recon3d.core.errors import DependencyError, UsageError
from recon3d.formats.kitti_text import KittiCalibration, read_kitti_objects
from recon3d.formats.ply import read_ply
from recon3d.pointcloud.boxes import boxes_from_kitti
from recon3d.pointcloud.detection import (
    nuscenes_results,
    write_boxed_ply,
    write_kitti_results,
    write_nuscenes_results,
    write_rerun,
)
from recon3d.pointcloud.detection.results import class_colours

FRAME = frame_of([(0, 9.0, 1.0, 0.4), (2, 11.0, -2.0, 0.0)])
BOXES = replace(FRAME.boxes, scores=np.array([0.9, 0.4]))
XYZ = FRAME.points[:, :3].astype(np.float64)
CALIBRATION = KittiCalibration(
    {
        "P2": np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]]),
        "R0_rect": np.eye(3),
        "Tr_velo_to_cam": np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.1], [1, 0, 0, -0.3]]),
    }
)


def test_kitti_files_come_back(tmp_path: Path) -> None:
    write_kitti_results(tmp_path / "a.txt", BOXES, CALIBRATION)
    lines = read_kitti_objects(tmp_path / "a.txt")
    assert [one.kind for one in lines] == ["Car", "Cyclist"] and lines[0].score == 0.9
    assert np.allclose(boxes_from_kitti(lines, CALIBRATION).boxes, BOXES.boxes, atol=1e-6)


def test_nuscenes_entries_stand_in_the_world(tmp_path: Path) -> None:
    pose = np.eye(4)
    pose[:2, :2], pose[:3, 3] = [[0, -1], [1, 0]], [100, 200, 1]
    entries = nuscenes_results(BOXES, "token", pose)
    assert entries[0]["translation"] == pytest.approx([99.0, 209.0, BOXES.boxes[0, 2] + 1])
    assert entries[0]["size"] == pytest.approx([1.8, 4.0, 1.5]) and entries[1]["detection_name"] == "bicycle"
    yaw = 2 * np.arctan2(entries[0]["rotation"][3], entries[0]["rotation"][0])
    assert yaw == pytest.approx(0.4 + np.pi / 2)
    write_nuscenes_results(tmp_path / "r.json", {"token": entries})
    value = json.loads((tmp_path / "r.json").read_text())
    assert value["meta"]["use_lidar"] and not value["meta"]["use_camera"] and len(value["results"]["token"]) == 2
    with pytest.raises(UsageError, match="scores"):
        nuscenes_results(FRAME.boxes, "token", pose)


def test_points_in_boxes_have_the_colour_of_their_class(tmp_path: Path) -> None:
    write_boxed_ply(tmp_path / "a.ply", XYZ, BOXES)
    vertices = read_ply(tmp_path / "a.ply").vertices
    colours = np.stack([vertices[name] for name in ("red", "green", "blue")], 1)
    assert len(colours) > len(XYZ) + 500  # the edges
    assert (colours[1600] == class_colours(3)[0]).all() and (colours[len(XYZ) - 5] == class_colours(3)[2]).all()
    assert (colours[:1500] == 130).all(1).mean() > 0.9
    write_boxed_ply(tmp_path / "b.ply", XYZ, BOXES.selected(np.zeros(2, bool)))
    assert len(read_ply(tmp_path / "b.ply").vertices["x"]) == len(XYZ)


def test_a_recording_for_rerun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: dict[str, Any] = {}

    class Stream:
        def __init__(self, name: str) -> None:
            logged["name"] = name

        def save(self, path: str) -> None:
            logged["path"] = path

        def log(self, where: str, what: Any, static: bool = False) -> None:
            logged[where] = what

    fake = SimpleNamespace(
        RecordingStream=Stream,
        ViewCoordinates=SimpleNamespace(RIGHT_HAND_Z_UP="up"),
        Points3D=lambda xyz, colors: xyz,
        Boxes3D=lambda **fields: fields,
    )
    monkeypatch.setitem(sys.modules, "rerun", fake)
    write_rerun(tmp_path / "a.rrd", XYZ, BOXES)
    assert logged["path"].endswith("a.rrd") and len(logged["world/points"]) == len(XYZ)
    assert logged["world/boxes"]["labels"] == ["car 0.90", "cyclist 0.40"]
    assert np.allclose(logged["world/boxes"]["quaternions"][0], [0, 0, np.sin(0.2), np.cos(0.2)])


def test_rerun_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(DependencyError, match="rerun"):
        write_rerun(tmp_path / "a.rrd", XYZ, BOXES)
