"""Batches: the same ones for the same number, with truth that has points, turned as the network looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_detection import ListedFrames, frame_of, some_frames, tiny_options

from recon3d.pointcloud.boxes import points_in_boxes
from recon3d.pointcloud.detection import AugmentOptions, BatchOptions, ObjectBank, PasteOptions, SensorOptions
from recon3d.pointcloud.detection.batches import Batches, prepared_frame

STILL = AugmentOptions(mirror=0, turn_deg=0, scale=0, lift_m=0, gain=1, blind=0, dropout=0)
OPTIONS = tiny_options()
CAR = (0, 6.0, 0.0, 0.0)


def _batches(frames: ListedFrames, augment: AugmentOptions = STILL, size: int = 1, **others: object) -> Batches:
    settings = {"bank": None, "sensor": SensorOptions(), "seed": 0} | others
    return Batches(
        frames=frames,
        network=OPTIONS,
        options=BatchOptions(size=size, augment=augment),
        **settings,  # type: ignore[arg-type]
    )


def test_unchanged_frames_come_through_as_they_are() -> None:
    frame = frame_of([CAR])
    batch = _batches(ListedFrames((frame,)))[0]
    inside = (frame.points[:, :2] > [0, -6.4]).all(1) & (frame.points[:, :2] < [12.8, 6.4]).all(1)
    assert np.array_equal(batch.points[0].numpy(), frame.points[inside])
    assert int(batch.targets.mask.sum()) == 1 and batch.targets.heatmap[0, 0].max() == 1


def test_an_epoch_shows_every_frame_once_in_an_order_of_its_own() -> None:
    places = [frame_of([(0, 3.0 + k, 0.0, 0.0)], seed=k) for k in range(6)]
    batches = _batches(ListedFrames(tuple(places)), size=2)
    epochs = []
    for epoch in range(2):
        cells = [int(cell) for step in range(3) for cell in batches[3 * epoch + step].targets.index[:, 0]]
        epochs.append(cells)
    alone = [int(_batches(ListedFrames((one,)))[0].targets.index[0, 0]) for one in places]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(alone)
    assert epochs[0] != epochs[1]


def test_another_seed_is_another_order_and_other_changes() -> None:
    frames = some_frames(5)
    one, other = (_batches(frames, AugmentOptions(), seed=seed)[0] for seed in (0, 1))
    assert one.points[0].shape != other.points[0].shape or not torch.equal(one.points[0], other.points[0])


def test_a_frame_changes_differently_in_every_epoch() -> None:
    frames = ListedFrames((frame_of([CAR]),))
    batches = _batches(frames, AugmentOptions(dropout=0))
    seen = [float(batches[step].targets.codes[0, 0, 0]) for step in range(4)]
    assert len(set(seen)) == 4


def test_frames_are_raised_to_the_height_of_the_network() -> None:
    low = frame_of([CAR], mount=0.5)
    batch = _batches(ListedFrames((low,)))[0]
    same = _batches(ListedFrames((frame_of([CAR], mount=1.73),)))[0]
    assert torch.allclose(batch.targets.codes[0, 0, :8], same.targets.codes[0, 0, :8], atol=1e-5)
    assert float(batch.points[0][:, 2].median()) == pytest.approx(-1.73, abs=0.02)


@pytest.mark.parametrize("facing", [0.0, 30.0, -45.0])
def test_frames_are_turned_to_where_the_network_looks(facing: float) -> None:
    frame = frame_of([(0, 8.0, 0.0, 0.0)])
    batch = _batches(ListedFrames((frame,)), sensor=SensorOptions(facing_deg=facing))[0]
    cell = int(batch.targets.index[0, 0])
    _ny, nx = OPTIONS.maps.bev
    row, column = divmod(cell, nx)
    x, y = (column + 0.5) * 0.8, (row + 0.5) * 0.8 - 6.4
    assert np.hypot(x - 8 * np.cos(np.radians(facing)), y - 8 * np.sin(np.radians(facing))) < 0.6
    sine, cosine = batch.targets.codes[0, 0, 6:8].tolist()
    assert np.degrees(np.arctan2(sine, cosine)) == pytest.approx(facing, abs=1e-3)


def test_boxes_of_few_points_are_no_truth() -> None:
    frame = frame_of([CAR, (1, 10.0, 3.0, 0.0)])
    person = points_in_boxes(frame.points, frame.boxes.boxes)[1]
    thin = replace(frame, points=frame.points[~person | (np.cumsum(person) <= 4)])
    for least, n in ((4, 2), (5, 1), (10_000, 0)):
        _, truth = prepared_frame(thin, OPTIONS, least)
        assert len(truth.boxes) == len(truth.labels) == n


def test_missing_columns_are_zeros() -> None:
    frame = frame_of([CAR])
    bare = replace(frame, points=frame.points[:, :3])
    points, _ = prepared_frame(bare, OPTIONS, 0)
    assert points.shape[1] == OPTIONS.columns and float(points[:, 3].abs().max()) == 0


def test_pasted_objects_become_truth() -> None:
    bank = ObjectBank.of(some_frames(8), 3, PasteOptions(per_class=(4, 4), shared=1.0))
    frames = ListedFrames((frame_of([], seed=2),))
    counts = [int(_batches(frames, bank=bank)[step].targets.mask.sum()) for step in range(6)]
    assert max(counts) >= 1


def test_a_frame_without_boxes_and_one_without_points() -> None:
    empty = frame_of([])
    nothing = replace(empty, points=empty.points[:0])
    batch = _batches(ListedFrames((empty, nothing)), size=2)[0]
    assert int(batch.targets.mask.sum()) == 0 and float(batch.targets.heatmap.max()) == 0
    assert sorted(len(one) > 0 for one in batch.points) == [False, True]


def test_steps_go_on_from_any_number() -> None:
    frames = some_frames(3)
    batches = _batches(frames, AugmentOptions(), size=2)
    later = batches.from_step(5)
    for step in (5, 6):
        ours = next(later)
        assert all(torch.equal(a, b) for a, b in zip(ours.points, batches[step].points, strict=True))
        assert torch.equal(ours.targets.codes[..., :8], batches[step].targets.codes[..., :8])


def test_a_batch_goes_to_a_device() -> None:
    batch = _batches(some_frames(1)).__getitem__(0).to(torch.device("meta"))
    assert batch.points[0].device.type == "meta" and batch.targets.heatmap.device.type == "meta"
