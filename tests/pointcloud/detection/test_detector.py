"""The detector: what goes in, what comes out, and what does not fit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_detection import NAMES, alike, frame_of, tiny_options

from recon3d.core.errors import DependencyError, FormatError, InputError, ShapeError, UsageError
from recon3d.formats.safetensors import write_safetensors
from recon3d.pointcloud.clouds import PointCloud
from recon3d.pointcloud.detection import (
    AUTO,
    NETWORKS,
    Detector,
    SensorOptions,
    StoredDetector,
    network_options,
    read_detector,
    sensor_height,
    sensor_options,
    weights,
    write_detector,
)
from recon3d.pointcloud.detection.network import options_from_json, options_to_json
from recon3d.pointcloud.flatformer import PillarDetector


def _stored(sector_deg: float = 90.0) -> StoredDetector:
    torch.manual_seed(0)
    network = PillarDetector(tiny_options()).eval()
    torch.nn.init.constant_(network.bbox_head.task_heads[0]["iou"][1].bias, 1.0)
    return StoredDetector(network, SensorOptions(sector_deg=sector_deg), "recon3d-detector")


@pytest.fixture
def detector() -> Detector:
    return Detector(_stored())


POINTS = frame_of([(0, 6.0, 0.0, 0.0)]).points


def test_boxes_come_out_by_falling_score(detector: Detector) -> None:
    found = detector.detect(POINTS, score=0.0)
    assert len(found) > 5 and found.names == NAMES and found.scores is not None
    assert (np.diff(found.scores) <= 0).all() and found.velocities is None
    sure = detector.detect(POINTS, score=float(np.median(found.scores)))
    assert 0 < len(sure) < len(found)


def test_a_cloud_an_array_and_a_list_say_the_same(detector: Detector) -> None:
    cloud = PointCloud(xyz=POINTS[:, :3].astype(np.float64), attributes={"intensity": POINTS[:, 3]})
    one, many = detector.detect(cloud, score=0.05), detector.detect([POINTS, POINTS[:0]], score=0.05)
    assert np.array_equal(one.boxes, many[0].boxes) and len(many[1]) == 0
    wide = np.column_stack([POINTS, np.arange(len(POINTS))]).astype(np.float64)
    assert np.array_equal(detector.detect(wide, score=0.05).boxes, one.boxes)


def test_the_height_of_the_sensor_moves_the_boxes_along(detector: Detector) -> None:
    high = POINTS.copy()
    high[:, 2] -= 1.0  # a sensor that stands a metre higher
    low, found = detector.detect(POINTS, score=0.05), detector.detect(high, score=0.05, mount_m=2.73)
    assert np.allclose(np.sort(found.boxes[:, 2]), np.sort(low.boxes[:, 2]) - 1.0, atol=1e-3)
    auto = detector.check(high, mount_m=AUTO)
    assert auto.mount_m == pytest.approx(2.73, abs=0.03) and not auto.warnings


def test_another_ground_is_warned_of(detector: Detector, caplog: pytest.LogCaptureFixture) -> None:
    high = POINTS.copy()
    high[:, 2] -= 1.0
    checked = detector.check(high)
    assert "2.7" in checked.warnings[0] and "--mount" in checked.warnings[0] and caplog.messages
    assert not detector.check(POINTS).warnings
    nowhere = detector.check(POINTS + np.float32([500, 0, 0, 0]))
    assert "no ground" in nowhere.warnings[0] and nowhere.ground_m is None


def test_intensities_are_checked_and_scaled(detector: Detector) -> None:
    bytes_ = POINTS * np.float32([1, 1, 1, 255])
    with pytest.raises(InputError, match="intensity_max"):
        detector.detect(bytes_)
    one, other = detector.detect(POINTS, score=0.05), detector.detect(bytes_, score=0.05, intensity_max=255)
    assert len(one) > 5 and alike(one.boxes, other.boxes)


def test_strange_clouds(detector: Detector) -> None:
    for cloud in (POINTS[:0], POINTS[:1], np.full((5, 4), np.nan), np.repeat(POINTS[:1], 500, 0), POINTS[:, :3]):
        assert detector.detect(cloud, score=0.9).names == NAMES
    broken = np.concatenate([POINTS, np.full((3, 4), np.nan, np.float32)])
    assert np.array_equal(detector.detect(broken, score=0.05).boxes, detector.detect(POINTS, score=0.05).boxes)
    infinite = POINTS.copy()
    infinite[:, 3] = np.nan
    detector.detect(infinite)


@pytest.mark.parametrize("wrong", [np.zeros((4, 2)), np.zeros(4), np.array([["a"] * 4])])
def test_what_is_no_cloud(detector: Detector, wrong: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="cloud"):
        detector.detect(wrong)


def test_wrong_wishes(detector: Detector) -> None:
    with pytest.raises(UsageError, match="score"):
        detector.detect(POINTS, score=2.0)
    with pytest.raises(UsageError, match="no such class"):
        detector.detect(POINTS, classes=["tram"])
    only = detector.detect(POINTS, score=0.0, classes=["cyclist"])
    assert set(only.labels.tolist()) == {2}


def test_all_around_is_four_looks(detector: Detector) -> None:
    around = np.concatenate([POINTS, POINTS * np.float32([-1, -1, 1, 1])])
    front, both = detector.detect(POINTS, score=0.05), detector.detect(around, score=0.05)
    ahead = np.abs(np.arctan2(front.boxes[:, 1], front.boxes[:, 0])) < np.radians(40)
    gaps = np.linalg.norm(front.boxes[ahead][:, None, :2] - both.boxes[None, :, :2], axis=2).min(1)
    behind = np.linalg.norm(-front.boxes[ahead][:, None, :2] - both.boxes[None, :, :2], axis=2).min(1)
    assert np.median(gaps) < 0.05 and np.median(behind) < 0.05


def test_a_network_that_sees_all_around_looks_once() -> None:
    whole, looks = Detector(_stored(360.0)), []
    look = whole._look
    whole._look = lambda points, score: looks.append(1) or look(points, score)  # type: ignore[method-assign,func-returns-value]
    whole.detect(np.concatenate([POINTS, -POINTS]) * np.float32([1, 1, 1, 0]))
    assert len(looks) == 1


def test_threads_get_the_same_boxes(detector: Detector) -> None:
    expected, found = detector.detect(POINTS, score=0.05), []
    work = [threading.Thread(target=lambda: found.append(detector.detect(POINTS, score=0.05))) for _ in range(4)]
    for one in work:
        one.start()
    for one in work:
        one.join()
    assert len(found) == 4 and all(np.array_equal(one.boxes, expected.boxes) for one in found)


def test_weights_come_back_with_their_sensor(tmp_path: Path) -> None:
    stored = _stored()
    path, sensor = tmp_path / "a.safetensors", SensorOptions(mount_m=2.0, intensity_max=255)
    write_detector(path, stored.network.state_dict(), tiny_options(), sensor)
    back = read_detector(path)
    assert back.sensor == sensor and back.network.options == tiny_options() and not back.network.training
    for name, one in stored.network.named_parameters():
        assert torch.equal(back.network.get_parameter(name), one.half().float())
    assert Detector.load(path, device="cpu").classes == NAMES


def test_options_survive_json() -> None:
    for name in NETWORKS:
        options = network_options(name)
        assert options_from_json(options_to_json(options)) == options
        assert sensor_options(name).intensity_max > 0
    with pytest.raises(FormatError, match="options"):
        options_from_json({"grid": 3})
    with pytest.raises(UsageError, match="sensor"):
        SensorOptions(intensity_max=0)


def _bare(path: Path) -> None:
    write_safetensors(path, {"a": torch.zeros(2)})


def _other(path: Path) -> None:
    other = replace(tiny_options(), shared_channels=8)
    write_detector(path, _stored().network.state_dict(), other, SensorOptions())


def _infinite(path: Path) -> None:
    state = {name: one * torch.nan for name, one in _stored().network.state_dict().items()}
    write_detector(path, state, tiny_options(), SensorOptions())


@pytest.mark.parametrize(("make", "text"), [(_bare, "which detector"), (_other, "does not fit"), (_infinite, "finite")])
def test_files_that_hold_no_detector(tmp_path: Path, make: Callable[[Path], None], text: str) -> None:
    make(tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match=text):
        Detector.load(tmp_path / "a.safetensors")


def test_names_that_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such detector"):
        Detector.load("yolo")
    with pytest.raises(InputError):
        Detector.load("flatformer-kitti=missing.safetensors")
    monkeypatch.setattr(weights, "_FOLDER", tmp_path)
    with pytest.raises(DependencyError, match="missing"):
        Detector.load()


def test_the_height_of_a_sensor_from_its_points() -> None:
    assert sensor_height(POINTS[:, :3]) == pytest.approx(1.73, abs=0.03)
    assert sensor_height(POINTS[:10, :3]) is None
    wall = np.random.default_rng(0).uniform(-1, 1, (2000, 3)) * [0.01, 6, 3] + [5, 0, 0]
    assert sensor_height(wall) is None or abs(sensor_height(wall) or 0) < 4
