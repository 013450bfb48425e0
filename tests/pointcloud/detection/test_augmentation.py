"""Changed frames still fit together: points stay in their boxes, the ground where it was."""

import numpy as np
import pytest
from small_detection import frame_of, some_frames

from recon3d.core.errors import UsageError
from recon3d.pointcloud.boxes import points_in_boxes, rotated_iou_bev
from recon3d.pointcloud.detection import AugmentOptions, LabelledFrame, ObjectBank, PasteOptions
from recon3d.pointcloud.detection.augmentation import augmented

_WHOLE = AugmentOptions(dropout=0.0, lift_m=0.0)


def _frame() -> LabelledFrame:
    return frame_of([(0, 6.0, 2.0, 0.4), (1, 9.0, -3.0, 0.0)])


@pytest.mark.parametrize("seed", range(5))
def test_points_stay_in_their_boxes(seed: int) -> None:
    frame, before = _frame(), points_in_boxes(_frame().points, _frame().boxes.boxes).sum(1)
    changed = augmented(frame, AugmentOptions(dropout=0.0, turn_deg=180), np.random.default_rng(seed))
    after = points_in_boxes(changed.points, changed.boxes.boxes).sum(1)
    assert np.abs(after - before).max() <= 3
    assert (changed.points[:, 3] >= 0).all() and (changed.points[:, 3] <= 1).all()


def test_the_ground_stays_where_it_is() -> None:
    changed = augmented(_frame(), AugmentOptions(dropout=0, lift_m=0, scale=0.2), np.random.default_rng(3))
    assert abs(float(np.median(changed.points[:1500, 2])) + 1.73) < 0.02


def test_a_mirrored_box_turns_the_other_way() -> None:
    options = AugmentOptions(mirror=1.0, turn_deg=0, scale=0, lift_m=0, gain=1, blind=0, dropout=0)
    changed = augmented(_frame(), options, np.random.default_rng(0))
    assert np.allclose(changed.boxes.boxes[0], [6, -2, -0.98, 4, 1.8, 1.5, -0.4])


def test_blind_frames_and_lost_points() -> None:
    blind = augmented(_frame(), AugmentOptions(blind=1.0, dropout=0), np.random.default_rng(0))
    assert (blind.points[:, 3] == 0).all()
    counts = {len(augmented(_frame(), AugmentOptions(), np.random.default_rng(seed)).points) for seed in range(8)}
    assert min(counts) < max(counts) == len(_frame().points)


def test_impossible_changes() -> None:
    with pytest.raises(UsageError, match="cannot be changed"):
        AugmentOptions(gain=0.5)


def test_pasted_objects_bring_their_points_and_touch_nothing() -> None:
    bank = ObjectBank.of(some_frames(6), 3, PasteOptions(per_class=(3, 3, 3), shared=1.0))
    assert [len(one) for one in bank.objects] == [6, 6, 0]
    frame, added = frame_of([(0, 6.0, 2.0, 0.4)]), 0
    for seed in range(12):
        more = bank.pasted(frame, np.random.default_rng(seed))
        overlap = rotated_iou_bev(more.boxes.boxes, more.boxes.boxes)
        assert (overlap - np.diag(np.diag(overlap)) == 0).all()
        assert (points_in_boxes(more.points, more.boxes.boxes).sum(1) > 100).all()
        added += len(more.boxes) - 1
    assert added > 5


def test_objects_stand_on_the_ground_of_another_sensor() -> None:
    bank = ObjectBank.of(some_frames(3), 3, PasteOptions(per_class=(1, 1), shared=1.0))
    for seed in range(6):
        more = bank.pasted(frame_of([], mount=2.5), np.random.default_rng(seed))
        assert np.allclose(more.boxes.boxes[:, 2] - more.boxes.boxes[:, 5] / 2, -2.5, atol=1e-6)


def test_no_bank_adds_nothing() -> None:
    frame = _frame()
    for options in (PasteOptions(per_class=()), PasteOptions(shared=0.0)):
        assert ObjectBank.of(some_frames(2), 3, options).pasted(frame, np.random.default_rng(0)) is frame
