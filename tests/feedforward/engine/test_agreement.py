from __future__ import annotations

import numpy as np
import pytest
from true_network import HEIGHT, WIDTH, intrinsics, poses, wall

from recon3d.feedforward.engine.agreement import Maps, overlapping, seen_by


def maps(n: int = 3) -> Maps:
    pose, K = poses(n), intrinsics(n)
    return Maps(pose, K, np.stack([wall(*pair) for pair in zip(pose, K, strict=True)]).astype(np.float32))


def test_true_maps_agree_up_to_the_size_of_a_pixel() -> None:
    seen = seen_by(maps(), 0, 2)
    assert len(seen.pixel) > 0.5 * HEIGHT * WIDTH
    assert np.abs(seen.relative).max() < 0.01 and seen.distance_px.max() < 0.2


def test_a_map_that_is_a_tenth_too_deep_is_seen_as_that() -> None:
    given = maps()
    given.depth_z[2] *= 1.1
    assert np.median(seen_by(given, 0, 2).relative) == pytest.approx(0.1, abs=0.005)
    assert np.median(seen_by(given, 2, 0).relative) == pytest.approx(1 / 1.1 - 1, abs=0.01)


def test_the_distance_is_that_of_the_epipolar_line() -> None:
    given = maps(2)
    given.cam_from_world[:, :3, :3] = np.eye(3)
    given.depth_z[0], given.depth_z[1] = 3.0, 3.3
    given.cam_from_world[0, :3, 3], given.cam_from_world[1, :3, 3] = 0.0, (-0.3, 0, 0)
    seen = seen_by(given, 0, 1)
    # A point on the second camera's ray at 3.3 instead of 3: 50 * 0.3 * (1 / 3 - 1 / 3.3) pixels further.
    assert seen.distance_px == pytest.approx(50 * 0.3 * (1 / 3 - 1 / 3.3), abs=1e-4)


def test_only_chosen_pixels_with_a_depth_are_asked_for() -> None:
    given = maps()
    given.depth_z[0, 20, 30] = 0.0
    wanted = np.array([20 * WIDTH + 30, 20 * WIDTH + 31])
    assert seen_by(given, 0, 1, wanted).pixel.tolist() == [20 * WIDTH + 31]


def test_photos_that_look_away_do_not_overlap() -> None:
    given = maps(4)
    given.cam_from_world[3, :3, :3] = np.diag([-1.0, 1.0, -1.0])
    pairs = list(overlapping(given, 8))
    assert {i for pair in pairs for i in pair} == {0, 1, 2} and len(pairs) == 6


def test_the_best_neighbours_are_chosen() -> None:
    assert [pair for pair in overlapping(maps(5), 1) if pair[0] in (0, 4)] == [(0, 1), (4, 3)]


def test_an_empty_map_overlaps_with_nothing() -> None:
    given = maps(2)
    given.depth_z[:] = 0.0
    assert list(overlapping(given, 4)) == [] and len(seen_by(given, 0, 1).pixel) == 0
