"""Frames: heights, classes, subsets, and what stays in memory."""

import numpy as np
import pytest
from small_detection import NAMES, frame_of, some_frames

from recon3d.core.errors import UsageError
from recon3d.pointcloud.boxes import Boxes3D, points_in_boxes
from recon3d.pointcloud.detection import KeptFrames, LabelledFrame, StreetFrames, split_frames
from recon3d.pointcloud.detection.frames import renamed
from recon3d.pointcloud.worlds import StreetOptions


def test_raising_the_sensor_lowers_points_and_boxes_alike() -> None:
    frame = frame_of([(0, 6.0, 0.0, 0.3)], mount=1.0)
    raised = frame.raised(1.73)
    assert np.allclose(raised.points[:, 2], frame.points[:, 2] - 0.73, atol=1e-5) and raised.mount_m == 1.73
    before = points_in_boxes(frame.points, frame.boxes.boxes).sum()
    assert points_in_boxes(raised.points, raised.boxes.boxes).sum() == before
    assert frame.mount_m == 1.0


def test_classes_are_renamed_and_others_left_out() -> None:
    boxes = Boxes3D(boxes=np.ones((3, 7)), labels=np.array([0, 1, 2]), names=("Van", "Car", "Tram"))
    found = renamed(boxes, NAMES)
    assert found.names == NAMES and found.labels.tolist() == [0]
    assert renamed(boxes, NAMES, {"Van": "cyclist"}).labels.tolist() == [2, 0]
    assert len(renamed(boxes.selected(np.zeros(3, bool)), NAMES)) == 0


def test_every_nth_frame_is_held_out() -> None:
    frames = some_frames(7)
    train, held = split_frames(frames, 3)
    assert (train.rows, held.rows) == ((0, 1, 3, 4, 6), (2, 5))
    assert held.frame(1) is frames.frame(5) and len(train) == 5
    for wrong in (1, 8):
        with pytest.raises(UsageError, match="hold some out"):
            split_frames(frames, wrong)


def test_frames_are_kept_up_to_a_number() -> None:
    class Counted:
        asked = 0

        def __len__(self) -> int:
            return 3

        def frame(self, index: int) -> LabelledFrame:
            self.asked += 1
            return frame_of([], seed=index)

    source = Counted()
    kept = KeptFrames(source, most=1)
    assert kept.frame(0) is kept.frame(0) and source.asked == 1
    kept.frame(1), kept.frame(1)
    assert source.asked == 3 and len(kept) == 3


def test_a_generated_frame_depends_on_its_number_alone() -> None:
    kinds = ((StreetOptions(beams="16", azimuth_step_deg=1.0, sector_deg=90.0), 1.0),)
    few, many = StreetFrames(count=2, kinds=kinds), StreetFrames(count=9, kinds=kinds)
    assert np.array_equal(few.frame(1).points, many.frame(1).points)
    assert not np.array_equal(
        few.frame(1).points[:100], StreetFrames(count=2, kinds=kinds, seed=1).frame(1).points[:100]
    )
    frame = few.frame(0)
    assert frame.boxes.names == NAMES and 1.4 < frame.mount_m < 2.1
    near = frame.points[np.hypot(*frame.points[:, :2].T) < 15]
    assert abs(np.percentile(near[:, 2], 20) + frame.mount_m) < 0.5
