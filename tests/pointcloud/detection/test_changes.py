"""Changes of frames one by one: each does what it says and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_detection import MOUNT, frame_of

from recon3d.core.errors import UsageError
from recon3d.pointcloud.boxes import points_in_boxes
from recon3d.pointcloud.detection import AugmentOptions, LabelledFrame
from recon3d.pointcloud.detection.augmentation import augmented

STILL = AugmentOptions(mirror=0, turn_deg=0, scale=0, lift_m=0, gain=1, blind=0, dropout=0)
FRAME = frame_of([(0, 6.0, 2.0, 0.4), (1, 9.0, -3.0, 0.0), (2, 4.0, -2.0, 2.0)])


def _changed(seed: int = 0, frame: LabelledFrame = FRAME, **options: float) -> LabelledFrame:
    return augmented(frame, replace(STILL, **options), np.random.default_rng(seed))  # type: ignore[arg-type]


def _counts(frame: LabelledFrame) -> np.ndarray:
    return points_in_boxes(frame.points, frame.boxes.boxes).sum(1)


def test_no_change_changes_nothing() -> None:
    same = _changed()
    assert np.allclose(same.points, FRAME.points, atol=1e-6) and np.allclose(same.boxes.boxes, FRAME.boxes.boxes)
    assert same.mount_m == FRAME.mount_m and np.array_equal(same.boxes.labels, FRAME.boxes.labels)


def test_the_frame_given_stays_as_it_was() -> None:
    points, boxes = FRAME.points.copy(), FRAME.boxes.boxes.copy()
    augmented(FRAME, AugmentOptions(), np.random.default_rng(1))
    assert np.array_equal(FRAME.points, points) and np.array_equal(FRAME.boxes.boxes, boxes)


def test_the_same_numbers_make_the_same_changes() -> None:
    one, again = (augmented(FRAME, AugmentOptions(), np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one.points, again.points) and np.array_equal(one.boxes.boxes, again.boxes.boxes)


def test_a_mirror_twice_is_none() -> None:
    once = _changed(mirror=1.0)
    twice = _changed(frame=once, mirror=1.0)
    assert np.allclose(once.points[:, 1], -FRAME.points[:, 1]) and np.allclose(once.points[:, 0], FRAME.points[:, 0])
    assert np.allclose(twice.boxes.boxes, FRAME.boxes.boxes) and np.abs(_counts(once) - _counts(FRAME)).max() <= 1


def test_half_of_the_frames_are_mirrored() -> None:
    sides = [np.sign(_changed(seed, mirror=0.5).boxes.boxes[0, 1]) for seed in range(60)]
    assert 15 < sides.count(1.0) < 45


@pytest.mark.parametrize("seed", range(4))
def test_a_turn_keeps_distances_and_contents(seed: int) -> None:
    turned = _changed(seed, turn_deg=90.0)
    assert np.allclose(np.hypot(*turned.points[:, :2].T), np.hypot(*FRAME.points[:, :2].T), atol=1e-4)
    assert np.abs(_counts(turned) - _counts(FRAME)).max() <= 2
    angle = np.angle(np.exp(1j * (turned.boxes.boxes[:, 6] - FRAME.boxes.boxes[:, 6])))
    assert np.allclose(angle, angle[0]) and 0 < abs(angle[0]) <= np.pi / 2
    azimuth = np.arctan2(turned.boxes.boxes[:, 1], turned.boxes.boxes[:, 0])
    before = np.arctan2(FRAME.boxes.boxes[:, 1], FRAME.boxes.boxes[:, 0])
    assert np.allclose(np.angle(np.exp(1j * (azimuth - before - angle))), 0, atol=1e-9)


def test_turns_reach_as_far_as_allowed_and_no_farther() -> None:
    angles = [_changed(seed, turn_deg=20.0).boxes.boxes[1, 6] for seed in range(80)]
    assert np.radians(15) < max(angles) <= np.radians(20) and -np.radians(20) <= min(angles) < -np.radians(15)


@pytest.mark.parametrize("seed", range(4))
def test_a_scale_keeps_the_ground_and_the_contents(seed: int) -> None:
    scaled = _changed(seed, scale=0.2)
    factor = scaled.boxes.boxes[0, 3] / FRAME.boxes.boxes[0, 3]
    assert factor != 1 and 0.8 <= factor <= 1.2
    assert np.allclose(scaled.boxes.boxes[:, :2], factor * FRAME.boxes.boxes[:, :2])
    bottom = scaled.boxes.boxes[:, 2] - scaled.boxes.boxes[:, 5] / 2
    assert np.allclose(bottom, -MOUNT, atol=1e-6)
    assert np.abs(_counts(scaled) - _counts(FRAME)).max() <= 3


def test_a_lift_moves_everything_along_z_alike() -> None:
    lifted = _changed(3, lift_m=0.5)
    shift = lifted.boxes.boxes[0, 2] - FRAME.boxes.boxes[0, 2]
    assert abs(shift) > 1e-3 and np.allclose(lifted.points[:, 2] - FRAME.points[:, 2], shift, atol=1e-5)
    assert np.allclose(lifted.boxes.boxes[:, [0, 1, 3, 4, 5, 6]], FRAME.boxes.boxes[:, [0, 1, 3, 4, 5, 6]])


def test_gains_change_intensities_within_bounds() -> None:
    factors = []
    for seed in range(30):
        bright = _changed(seed, gain=2.0)
        dim = FRAME.points[:, 3] < 0.4
        ratio = bright.points[dim, 3] / FRAME.points[dim, 3]
        assert np.allclose(ratio, ratio[0], rtol=1e-3) and bright.points[:, 3].max() <= 1
        factors.append(float(ratio[0]))
    assert 0.5 <= min(factors) < 0.7 and 1.5 < max(factors) <= 2.0


def test_blind_frames_lose_their_intensities_alone() -> None:
    blind = _changed(blind=1.0)
    assert (blind.points[:, 3] == 0).all() and np.allclose(blind.points[:, :3], FRAME.points[:, :3], atol=1e-6)
    seen = sum(bool(_changed(seed, blind=0.3).points[:, 3].any()) for seed in range(60))
    assert 30 <= seen <= 55


def test_dropout_leaves_out_a_share_of_half_of_the_frames() -> None:
    shares = np.array([len(_changed(seed, dropout=0.5).points) / len(FRAME.points) for seed in range(60)])
    assert 15 < (shares == 1).sum() < 45
    assert shares.min() > 0.45 and (shares < 0.7).any()


def test_what_is_left_was_there() -> None:
    fewer = _changed(1, dropout=0.9)
    before = {tuple(row) for row in FRAME.points.round(4).tolist()}
    assert all(tuple(row) in before for row in fewer.points.round(4).tolist())


@pytest.mark.parametrize("most", [100, 1000])
def test_frames_of_many_points_are_thinned(most: int) -> None:
    thin = _changed(most_points=most)
    assert abs(len(thin.points) - most) < 5 * np.sqrt(most)
    assert np.array_equal(thin.boxes.boxes, FRAME.boxes.boxes)
    assert len(_changed(most_points=10**6).points) == len(FRAME.points)


def test_an_empty_frame_stays_empty() -> None:
    empty = replace(FRAME, points=FRAME.points[:0])
    for seed in range(4):
        assert augmented(empty, AugmentOptions(), np.random.default_rng(seed)).points.shape == (0, 4)


@pytest.mark.parametrize("wrong", [{"gain": 0.9}, {"scale": 1.0}, {"scale": -0.1}, {"dropout": 1.0}])
def test_changes_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="cannot be changed"):
        AugmentOptions(**wrong)  # type: ignore[arg-type]
