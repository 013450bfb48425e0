"""Recordings for the rerun viewer: classes are named once, points carry their numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from recon3d.core.errors import DependencyError, ShapeError
from recon3d.pointcloud.segmentation.recording import write_segment_recording
from recon3d.pointcloud.segmentation.results import Segmentation

XYZ = np.array([[0.0, 0, 0], [1.0, np.nan, 0], [2.0, 0, 0], [3.0, 0, 0]])
FOUND = Segmentation(
    labels=np.array([1, -1, 0, -1]),
    confidence=np.array([0.9, 0, 0.8, 0], np.float32),
    names=("road", "car"),
    colours=((1, 2, 3), (4, 5, 6)),
    raw_ids=(40, 10),
)


class Stream:
    """Remembers what was logged where."""

    logged: ClassVar[dict[str, list[Any]]] = {}

    def __init__(self, name: str) -> None:
        self.logged.clear()

    def save(self, path: str) -> None:
        self.logged["path"] = [path]

    def log(self, where: str, what: Any, static: bool = False) -> None:
        self.logged.setdefault(where, []).append((what, static))


@pytest.fixture
def rerun(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(
        RecordingStream=Stream,
        ViewCoordinates=SimpleNamespace(RIGHT_HAND_Z_UP="up"),
        AnnotationContext=lambda classes: classes,
        Points3D=lambda xyz, class_ids: (xyz, class_ids),
    )
    monkeypatch.setitem(sys.modules, "rerun", fake)


@pytest.mark.usefixtures("rerun")
def test_points_carry_their_classes_and_those_without_a_position_go(tmp_path: Path) -> None:
    write_segment_recording(tmp_path / "a.rrd", XYZ, FOUND)
    assert Stream.logged["path"] == [str(tmp_path / "a.rrd")]
    (((xyz, ids), static),) = Stream.logged["world/points"]
    assert xyz[:, 0].tolist() == [0, 2, 3] and ids.tolist() == [2, 1, 0] and not static


@pytest.mark.usefixtures("rerun")
def test_classes_are_named_and_coloured_once(tmp_path: Path) -> None:
    write_segment_recording(tmp_path / "a.rrd", XYZ, FOUND)
    up, classes = Stream.logged["world"]
    assert up == ("up", True) and classes[1] is True
    assert classes[0] == [(0, "no label", (128, 128, 128)), (1, "road", (1, 2, 3)), (2, "car", (4, 5, 6))]


@pytest.mark.usefixtures("rerun")
def test_labels_of_other_points_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="do not match"):
        write_segment_recording(tmp_path / "a.rrd", XYZ[:2], FOUND)


def test_rerun_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(DependencyError, match="rerun"):
        write_segment_recording(tmp_path / "a.rrd", XYZ, FOUND)
