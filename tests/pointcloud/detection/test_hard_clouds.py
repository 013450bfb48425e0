"""Clouds that are no street: empty, tiny, broken, huge, on one spot; and detectors that face another way."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_detection import NAMES, alike, frame_of, tiny_options

from recon3d.core.errors import DependencyError, UsageError
from recon3d.pointcloud.clouds import PointCloud
from recon3d.pointcloud.detection import AUTO, Detector, SensorOptions, StoredDetector
from recon3d.pointcloud.detection.turns import around_sensor, turned_boxes, turned_points
from recon3d.pointcloud.flatformer import DecodeOptions, PillarDetector, PillarGrid

POINTS = frame_of([(0, 6.0, 0.0, 0.0)]).points


def _network(seed: int = 0) -> PillarDetector:
    torch.manual_seed(seed)
    network = PillarDetector(tiny_options()).eval()
    torch.nn.init.constant_(network.bbox_head.task_heads[0]["iou"][1].bias, 1.0)
    return network


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(StoredDetector(_network(), SensorOptions(), "tiny"))


@pytest.mark.parametrize("columns", [3, 4, 7])
def test_an_empty_cloud_holds_nothing(detector: Detector, columns: int) -> None:
    found = detector.detect(np.zeros((0, columns)), score=0.0)
    assert len(found) == 0 and found.names == NAMES and found.scores is not None and found.boxes.shape == (0, 7)
    assert len(detector.detect(PointCloud(xyz=np.zeros((0, 3)), attributes={}), mount_m=AUTO)) == 0


def test_one_point_gives_finite_boxes_or_none(detector: Detector) -> None:
    for point in ([5.0, 0.0, -1.0, 0.5], [0.0, 0.0, 0.0, 0.0], [-5.0, 3.0, 0.0, 1.0], [400.0, 0.0, 0.0, 0.0]):
        found = detector.detect(np.array([point]), score=0.0)
        assert np.isfinite(found.boxes).all() and (found.boxes[:, 3:6] > 0).all()


def test_all_points_on_one_spot(detector: Detector) -> None:
    once = detector.detect(POINTS[:1], score=0.05)
    many = detector.detect(np.repeat(POINTS[:1], 5000, 0), score=0.05)
    assert np.isfinite(many.boxes).all()
    assert alike(once.boxes, many.boxes)  # the mean and the maximum of a pillar are those of its one point


def test_only_broken_points_are_an_empty_cloud(detector: Detector) -> None:
    for value in (np.nan, np.inf, -np.inf):
        assert len(detector.detect(np.full((50, 4), value), score=0.0)) == 0


def test_broken_points_among_good_ones_change_nothing(detector: Detector) -> None:
    clean = detector.detect(POINTS, score=0.05)
    broken = np.full((200, 4), np.nan, np.float32)
    broken[:, :2] = 3.0
    mixed = np.concatenate([broken[:100], POINTS, broken[100:]])
    assert np.array_equal(detector.detect(mixed, score=0.05).boxes, clean.boxes)


def test_the_order_of_the_points_does_not_matter(detector: Detector) -> None:
    order = np.random.default_rng(0).permutation(len(POINTS))
    assert alike(detector.detect(POINTS[order], score=0.05).boxes, detector.detect(POINTS, score=0.05).boxes)


def test_points_out_of_reach_do_not_matter(detector: Detector) -> None:
    far = np.float32([[300, 5, 0, 0.1], [5, 0, 90, 0.1], [6, 0, -60, 0.1]] * 20)
    with_far = detector.detect(np.concatenate([POINTS, far]), score=0.05, mount_m=1.73)
    assert np.array_equal(with_far.boxes, detector.detect(POINTS, score=0.05, mount_m=1.73).boxes)


def test_the_given_array_stays_as_it_was(detector: Detector) -> None:
    before = POINTS.copy()
    detector.detect(POINTS, mount_m=2.5)
    assert np.array_equal(POINTS, before)


def test_boxes_have_sizes_and_angles_that_can_be(detector: Detector) -> None:
    found = detector.detect(POINTS, score=0.0)
    assert (found.boxes[:, 3:6] > 0).all() and (np.abs(found.boxes[:, 6]) <= np.pi).all()
    assert found.scores is not None and ((found.scores >= 0) & (found.scores <= 1)).all()


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_out_of_range(detector: Detector, score: float) -> None:
    with pytest.raises(UsageError, match="score"):
        detector.detect(POINTS, score=score)


def test_classes_are_chosen_by_name_in_any_order(detector: Detector) -> None:
    everything = detector.detect(POINTS, score=0.0)
    some = detector.detect(POINTS, score=0.0, classes=["cyclist", "car"])
    assert set(some.labels.tolist()) <= {0, 2} and len(some) == np.isin(everything.labels, [0, 2]).sum()
    with pytest.raises(UsageError, match="car, pedestrian, cyclist"):
        detector.detect(POINTS, classes=["car", "horse"])


def test_a_list_of_nothing_gives_a_list_of_nothing(detector: Detector) -> None:
    assert detector.detect([]) == []


def test_threads_with_different_clouds_get_their_own_boxes(detector: Detector) -> None:
    clouds = [frame_of([(0, 4.0 + k, 0.0, 0.3 * k)], seed=k).points for k in range(4)]
    expected = [detector.detect(one, score=0.05).boxes for one in clouds]
    found: dict[int, np.ndarray] = {}

    def work(row: int) -> None:
        for _ in range(3):
            found[row] = detector.detect(clouds[row], score=0.05).boxes

    threads = [threading.Thread(target=work, args=(row,)) for row in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(np.array_equal(found[row], expected[row]) for row in range(4))


def test_a_half_precision_detector_finds_about_thealike() -> None:
    exact = Detector(StoredDetector(_network(), SensorOptions(), "tiny"))
    rough = Detector(StoredDetector(_network(), SensorOptions(), "tiny"), precision="bfloat16")
    a, b = exact.detect(POINTS, score=0.0), rough.detect(POINTS, score=0.0)
    assert a.scores is not None and b.scores is not None
    assert b.scores[0] == pytest.approx(a.scores[0], abs=0.05)


def _facing(degrees: float) -> Detector:
    """The same look, with a network whose map lies in all directions, so that no border is in the way."""
    options = tiny_options()
    grid = PillarGrid(lower=(-12.8, -12.8, -4.0), upper=(12.8, 12.8, 2.0), size=(0.4, 0.4, 6.0))
    whole = replace(
        options,
        grid=grid,
        encoder=replace(options.encoder, cells=grid.shape[:2]),
        decode=DecodeOptions(centre_lower=(-13, -13, -10), centre_upper=(13, 13, 10), nms_overlap=(0.2,) * 3),
    )
    torch.manual_seed(0)
    network = PillarDetector(whole).eval()
    torch.nn.init.constant_(network.bbox_head.task_heads[0]["iou"][1].bias, 1.0)
    return Detector(StoredDetector(network, SensorOptions(facing_deg=degrees), "tiny"))


def test_facing_another_way_is_the_same_as_turned_points() -> None:
    ahead = POINTS[np.abs(np.arctan2(POINTS[:, 1], POINTS[:, 0])) < 0.7]
    plain, facing = _facing(0.0), _facing(30.0)
    found = facing.detect(ahead, score=0.02)
    turned = plain._look(turned_points(ahead, np.radians(30.0)), 0.02)
    turned = turned.selected(~around_sensor(turned))
    assert len(turned) > 3 and alike(found.boxes, turned_boxes(turned, -np.radians(30.0)).boxes)


@pytest.mark.parametrize(
    ("device", "kind"), [("fpga", UsageError), ("", UsageError), ("cuda:x", UsageError), ("cuda", DependencyError)]
)
def test_devices_that_are_not_there(device: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(kind, match=r"device|CUDA"):
        Detector.load(device=device)
    assert Detector.load(device="auto").device.type == "cpu"


def test_a_look_at_nothing_finds_nothing_sure() -> None:
    assert len(_facing(45.0).detect(np.float32([[0, 0, 50, 0]] * 3), score=0.9)) == 0
