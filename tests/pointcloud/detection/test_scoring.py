"""Scores: perfect, missed, displaced, and with truths of few points."""

from dataclasses import replace

import numpy as np
import pytest
from small_detection import frame_of, some_frames

from recon3d.pointcloud.boxes import Boxes3D
from recon3d.pointcloud.detection import DetectionScores, LabelledFrame, ScoreOptions, evaluate_detections


def _perfect(frame: LabelledFrame) -> Boxes3D:
    return replace(frame.boxes, scores=np.full(len(frame.boxes), 0.9))


def _none(frame: LabelledFrame) -> Boxes3D:
    return _perfect(frame).selected(np.zeros(len(frame.boxes), bool))


def test_perfect_and_missing_detections() -> None:
    frames = some_frames(3)
    good = evaluate_detections(_perfect, frames)
    assert good.bev["car"] == pytest.approx(1) and good.mean_3d == pytest.approx(1)
    assert good.truths == {"car": 3, "pedestrian": 3, "cyclist": 0}
    bad = evaluate_detections(_none, frames)
    assert bad.mean_bev == 0 and bad.to_json()["3d"]["car"] == 0


def test_a_wrong_height_hurts_in_3d_alone() -> None:
    def lifted(frame: LabelledFrame) -> Boxes3D:
        boxes = _perfect(frame).boxes.copy()
        boxes[:, 2] += 1.2
        return replace(_perfect(frame), boxes=boxes)

    scores = evaluate_detections(lifted, some_frames(2))
    assert scores.mean_bev == pytest.approx(1) and scores.mean_3d < 0.1


def test_truths_with_few_points_do_not_count() -> None:
    frame = frame_of([(0, 6.0, 0.0, 0.0)])
    empty = replace(frame, points=frame.points[:1500] - np.float32([0, 0, 0.2, 0]))
    assert evaluate_detections(_none, _Single(empty)).truths["car"] == 0
    assert evaluate_detections(_none, _Single(frame), ScoreOptions(min_points=500)).truths["car"] == 0


class _Single:
    def __init__(self, frame: LabelledFrame) -> None:
        self.one = frame

    def __len__(self) -> int:
        return 1

    def frame(self, index: int) -> LabelledFrame:
        return self.one


def test_overlaps_and_nothing_at_all() -> None:
    assert ScoreOptions().overlap("truck") == 0.5 and ScoreOptions().overlap("cyclist") == 0.3
    assert evaluate_detections(_none, some_frames(0)) == DetectionScores()
    assert DetectionScores().mean_bev == 0
