"""The bundled weights: better than chance on streets that training has not seen, and steady."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recon3d.pointcloud.boxes import rotated_iou_bev
from recon3d.pointcloud.detection import Detector, LabelledFrame, StreetFrames, score_detections
from recon3d.pointcloud.detection.turns import turned_points
from recon3d.pointcloud.worlds import StreetOptions

FRONT = StreetOptions(beams="64", sector_deg=90.0, max_range_m=60.0, density=1.4)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(device="cpu")


@pytest.fixture(scope="module")
def frames() -> list[LabelledFrame]:
    streets = StreetFrames(count=4, seed=7_000_001, kinds=((FRONT, 1.0),))
    made = [streets.frame(row) for row in range(4)]
    return [replace(one, boxes=one.boxes.selected(np.abs(one.boxes.boxes[:, :2]).max(1) < 40)) for one in made]


def test_it_finds_cars_on_unseen_streets(detector: Detector, frames: list[LabelledFrame]) -> None:
    found = [(detector.detect(one.points, score=0.05, mount_m=one.mount_m), one) for one in frames]
    scores = score_detections(found)
    assert scores.truths["car"] >= 8
    assert scores.bev["car"] > 0.4 and scores.box_3d["car"] > 0.3


def test_sure_boxes_have_the_sizes_of_their_class(detector: Detector, frames: list[LabelledFrame]) -> None:
    for frame in frames:
        found = detector.detect(frame.points, score=0.2, mount_m=frame.mount_m)
        cars, people = found.of_class("car").boxes, found.of_class("pedestrian").boxes
        assert ((cars[:, 3] > 2.5) & (cars[:, 3] < 7) & (cars[:, 4] > 1) & (cars[:, 4] < 2.8)).all()
        assert ((people[:, 3] < 1.5) & (people[:, 5] > 1)).all()


def test_a_turned_cloud_has_turned_boxes(detector: Detector, frames: list[LabelledFrame]) -> None:
    """A quarter of a turn is another look, which sees exactly the same."""
    for turn in (np.pi / 2, np.pi):
        frame = frames[0]
        ahead = detector.detect(frame.points, score=0.2, mount_m=frame.mount_m)
        aside = detector.detect(turned_points(frame.points, turn), score=0.2, mount_m=frame.mount_m)
        back = turned_points(aside.boxes, -turn).copy()
        back[:, 6] -= turn
        central = np.abs(np.arctan2(ahead.boxes[:, 1], ahead.boxes[:, 0])) < np.radians(40)
        overlap = rotated_iou_bev(ahead.boxes[central], back)
        assert central.any() and (overlap.max(1) > 0.8).mean() > 0.7


def test_a_point_cloud_of_ground_alone_holds_nothing_sure(detector: Detector) -> None:
    rng = np.random.default_rng(0)
    ground = np.column_stack(
        [rng.uniform(2, 40, 20_000), rng.uniform(-20, 20, 20_000), rng.normal(-1.73, 0.02, 20_000)]
    )
    found = detector.detect(np.column_stack([ground, np.full(20_000, 0.2)]), score=0.4)
    assert len(found) == 0
