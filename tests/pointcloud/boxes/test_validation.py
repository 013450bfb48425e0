from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from recon3d.pointcloud.boxes import Boxes3D, box_corners, mmdet3d_v0_from_boxes, validate_boxes


def street() -> tuple[np.ndarray, np.ndarray]:
    """Thin, high boxes here and there, and points near their fronts."""
    draw = np.random.default_rng(0)
    places = np.column_stack([draw.uniform(5, 60, 20), draw.uniform(-30, 30, 20), draw.uniform(-1, 1, 20)])
    rows = np.column_stack([places, np.full(20, 6.0), np.full(20, 0.6), np.full(20, 1.0), draw.uniform(0.4, 1.1, 20)])
    front = box_corners(rows)[:, [0, 3, 4, 7]].mean(1)
    return rows, rows[:, :3] + 0.9 * (front - rows[:, :3])


def labelled(rows: np.ndarray) -> Boxes3D:
    return Boxes3D(boxes=rows, labels=np.zeros(len(rows), np.int64), names=("car",))


def test_boxes_that_fit() -> None:
    rows, points = street()
    report = validate_boxes(points.astype(np.float32), labelled(rows))
    assert report.points_inside.tolist() == [1] * 20
    assert (report.n_empty, report.problems) == (0, ())


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda rows: rows - np.array([0, 0, 0.5, 0, 0, 0, 0]) * 1.05, "z were the bottom"),
        (lambda rows: rows[:, [0, 1, 2, 4, 3, 5, 6]], "length and width were exchanged"),
        (lambda rows: rows * np.array([1, 1, 1, 1, 1, 1, -1]), "yaw were clockwise"),
        (lambda rows: rows - np.array([0, 0, 0, 0, 0, 0, math.pi / 2]), "yaw were measured from +y"),
        (mmdet3d_v0_from_boxes, "mmdetection3d before 1.0"),
        (
            lambda rows: rows[:, [1, 0, 2, 3, 4, 5, 6]] * np.array([-1, 1, 1, 1, 1, 1, 1]) + np.eye(7)[6] * math.pi / 2,
            "x pointed to the right",
        ),
        (
            lambda rows: rows[:, [1, 0, 2, 3, 4, 5, 6]] * np.array([1, -1, 1, 1, 1, 1, 1]) - np.eye(7)[6] * math.pi / 2,
            "x pointed forward",
        ),
    ],
)
def test_the_other_convention_is_named(wrong: object, named: str, caplog: pytest.LogCaptureFixture) -> None:
    rows, points = street()
    points = points + np.array([0, 0, 0.1])
    with caplog.at_level(logging.WARNING):
        report = validate_boxes(points, labelled(np.ascontiguousarray(wrong(rows))))
    assert "boxes hold no point" in report.problems[0]
    assert named in report.problems[1]
    assert named in caplog.text


def test_boxes_of_another_frame() -> None:
    rows, points = street()
    report = validate_boxes(points + 1000, labelled(rows))
    assert report.n_empty == 20
    assert "are they in the frame of the points, which reach from [100" in report.problems[1]
    assert validate_boxes(np.zeros((0, 3)), labelled(rows)).problems[1] == "there are no points"


def test_sizes_that_are_not_positive_and_no_boxes() -> None:
    rows, points = street()
    rows[3, 4] = 0
    assert validate_boxes(points, labelled(rows)).problems == ("1 of 20 boxes have a size that is not positive",)
    assert validate_boxes(points, labelled(rows[:0])).problems == ()
