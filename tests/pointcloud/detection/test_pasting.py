"""Objects of other frames: what is kept of them, and where they may stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_detection import MOUNT, NAMES, ListedFrames, frame_of

from recon3d.pointcloud.boxes import points_in_boxes
from recon3d.pointcloud.detection import LabelledFrame, ObjectBank, PasteOptions
from recon3d.pointcloud.detection.pasting import CutObject

ALWAYS = PasteOptions(per_class=(1, 1, 1), shared=1.0)
CAR, PERSON = (0, 6.0, 2.0, 0.4), (1, 10.0, -3.0, 0.0)


def _bank(*frames: LabelledFrame, options: PasteOptions = ALWAYS) -> ObjectBank:
    return ObjectBank.of(ListedFrames(frames), len(NAMES), options)


def _pasted(bank: ObjectBank, frame: LabelledFrame, seeds: int = 10) -> list[LabelledFrame]:
    return [bank.pasted(frame, np.random.default_rng(seed)) for seed in range(seeds)]


def test_objects_are_kept_by_class_with_the_points_inside() -> None:
    frame = frame_of([CAR, PERSON])
    bank = _bank(frame)
    assert [len(one) for one in bank.objects] == [1, 1, 0]
    cut = bank.objects[0][0]
    inside = points_in_boxes(frame.points, frame.boxes.boxes)[0]
    assert np.array_equal(cut.points[:, :2], frame.points[inside][:, :2]) and len(cut.points) >= 150


def test_heights_are_kept_over_the_ground() -> None:
    for mount in (1.0, 2.4):
        cut = _bank(frame_of([CAR], mount=mount)).objects[0][0]
        assert cut.box[2] == pytest.approx(0.75) and 0 <= cut.points[:, 2].min() < 0.05


def test_objects_of_few_points_are_not_worth_it() -> None:
    thin = frame_of([CAR])
    for least, kept in ((10, 1), (100_000, 0)):
        assert len(_bank(thin, options=replace(ALWAYS, min_points=least)).objects[0]) == kept


def test_only_so_many_frames_are_read() -> None:
    frames = [frame_of([CAR], seed=k) for k in range(4)]
    assert len(_bank(*frames, options=replace(ALWAYS, frames=2)).objects[0]) == 2
    assert len(_bank(*frames, options=replace(ALWAYS, frames=99)).objects[0]) == 4
    assert sum(map(len, _bank(*frames, options=PasteOptions(per_class=())).objects)) == 0


def test_an_object_stands_where_it_was_seen() -> None:
    bank, empty = _bank(frame_of([CAR])), frame_of([], seed=5)
    added = [one for one in _pasted(bank, empty) if len(one.boxes)]
    assert 0 < len(added) < 10  # none or one of it, by chance
    for one in added:
        assert np.allclose(one.boxes.boxes[0], frame_of([CAR]).boxes.boxes[0], atol=1e-6)
        assert one.boxes.labels.tolist() == [0] and one.boxes.names == NAMES


def test_its_points_come_along_and_those_in_its_place_go() -> None:
    bank, empty = _bank(frame_of([CAR])), frame_of([], seed=5)
    one = next(one for one in _pasted(bank, empty) if len(one.boxes))
    before = points_in_boxes(empty.points, one.boxes.boxes)[0].sum()
    inside = points_in_boxes(one.points, one.boxes.boxes)[0].sum()
    assert inside == len(bank.objects[0][0].points)
    assert len(one.points) == len(empty.points) - before + inside


def test_a_place_that_is_taken_stays_so() -> None:
    bank, taken = _bank(frame_of([CAR])), frame_of([(0, 6.5, 2.0, 0.4)], seed=3)
    assert all(one is taken for one in _pasted(bank, taken))


def test_a_margin_around_boxes_is_free() -> None:
    bank = _bank(frame_of([(0, 6.0, 2.0, 0.0)]))
    near, apart = frame_of([(0, 6.0, 3.9, 0.0)]), frame_of([(0, 6.0, 4.3, 0.0)])  # 0.1 and 0.5 m between the sides
    assert not any(len(one.boxes) > 1 for one in _pasted(bank, near))
    assert any(len(one.boxes) > 1 for one in _pasted(bank, apart))


def test_objects_do_not_stand_in_one_another() -> None:
    options = PasteOptions(per_class=(6,), shared=1.0)
    bank = ObjectBank.of(ListedFrames((frame_of([CAR]), frame_of([(0, 6.2, 2.1, 0.3)]))), 1, options)
    assert all(len(one.boxes) <= 1 for one in _pasted(bank, frame_of([], seed=4)))


def test_numbers_of_a_class_are_limited() -> None:
    places = [(1, float(x), float(y), 0.0) for x in (3, 5, 7, 9, 11) for y in (-4, -2, 0, 2, 4)]
    bank = _bank(frame_of(places), options=PasteOptions(per_class=(0, 4, 0), shared=1.0))
    counts = [len(one.boxes) for one in _pasted(bank, frame_of([], seed=1), 40)]
    assert max(counts) <= 4 and min(counts) == 0 and len(set(counts)) >= 4


def test_a_share_of_the_frames_gets_none() -> None:
    places = [(1, float(x), 0.0, 0.0) for x in (3, 5, 7, 9, 11)]
    bank = _bank(frame_of(places), options=PasteOptions(per_class=(0, 50), shared=0.5))
    empty = frame_of([], seed=1)
    untouched = sum(one is empty for one in _pasted(bank, empty, 60))
    assert 15 < untouched < 45


def test_a_frame_of_another_height_gets_objects_on_its_ground() -> None:
    bank = _bank(frame_of([CAR], mount=MOUNT))
    one = next(one for one in _pasted(bank, frame_of([], mount=2.5)) if len(one.boxes))
    assert one.boxes.boxes[0, 2] == pytest.approx(0.75 - 2.5)
    assert points_in_boxes(one.points, one.boxes.boxes)[0].sum() >= 150


def test_the_frame_given_stays_as_it_was() -> None:
    bank, frame = _bank(frame_of([CAR, PERSON])), frame_of([], seed=8)
    points, n = frame.points.copy(), len(frame.boxes)
    _pasted(bank, frame)
    assert np.array_equal(frame.points, points) and len(frame.boxes) == n
    assert bank.objects[0][0].box[2] == pytest.approx(0.75)  # nor is the bank changed


def test_a_bank_may_be_made_by_hand() -> None:
    cut = CutObject(points=np.float32([[5, 0, 0.5, 0.2]] * 12), box=np.array([5.0, 0, 0.85, 0.7, 0.7, 1.7, 0]))
    bank = ObjectBank([[], [cut]], PasteOptions(per_class=(1, 1), shared=1.0))
    one = next(one for one in _pasted(bank, frame_of([])) if len(one.boxes))
    assert one.boxes.labels.tolist() == [1]
