"""Shared intrinsics that the photos contradict, and the decision when richer features are tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon3d.core.errors import UsageError
from recon3d.photos import Exif, Photo
from recon3d.render.cameras import Cameras
from recon3d.sfm.bundle import Problem, thinned
from recon3d.sfm.engine import split_groups, start_cameras
from recon3d.sfm.intrinsics import unshared_groups

WIDTH, HEIGHT = 640, 480


def ring(focal: list[float], n_points: int = 250, noise_px: float = 0.2) -> Problem:
    """Cameras on an arc about a cloud of points, all in one group, each with a true focal length of its own."""
    rng = np.random.default_rng(5)
    xyz = rng.uniform(-1, 1, (n_points, 3))
    n = len(focal)
    pose = np.tile(np.eye(4), (n, 1, 1))
    for view, angle in enumerate(np.linspace(-0.8, 0.8, n)):
        c, s = np.cos(angle), np.sin(angle)
        pose[view, :3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        pose[view, :3, 3] = (0, 0, 5)
    K = np.array([[[f, 0, WIDTH / 2], [0, f, HEIGHT / 2], [0, 0, 1]] for f in focal])
    size = np.full(n, WIDTH), np.full(n, HEIGHT)
    view, point = np.repeat(np.arange(n), n_points), np.tile(np.arange(n_points), n)
    xy, _ = Cameras(pose, K, *size).project(xyz[point], view)
    intrinsics = np.zeros((1, 8))
    intrinsics[0, :4] = (np.log(np.median(focal)), 0, WIDTH / 2, HEIGHT / 2)
    noisy = xy + rng.normal(0, noise_px, xy.shape)
    return Problem(pose, intrinsics, xyz, np.zeros(n, np.int64), view, point, noisy)


def test_one_lens_stays_shared() -> None:
    assert not unshared_groups(ring([500.0] * 6)).any()


def test_focus_breathing_stays_shared() -> None:
    assert not unshared_groups(ring([500, 502, 498, 501, 499, 500])).any()


def test_another_zoom_is_found() -> None:
    assert unshared_groups(ring([500, 500, 500, 500, 500, 650])).tolist() == [True]


def test_lone_photos_share_nothing() -> None:
    problem = ring([500.0] * 3)
    alone = Problem(
        problem.pose,
        np.repeat(problem.intrinsics, 3, axis=0),
        problem.xyz,
        np.arange(3),
        problem.view,
        problem.point,
        problem.xy,
    )
    assert unshared_groups(alone).tolist() == [False] * 3


def test_split_groups_get_numbers_of_their_own() -> None:
    assert split_groups([0, 0, 1, 1, 2], [1]) == (0, 0, 3, 4, 2)
    assert split_groups([0, 0, 0], [0]) == (1, 2, 3)
    assert split_groups([0, 1], []) == (0, 1)


def photo(name: str, width: int = WIDTH, focal: float | None = None, conflict: bool = False) -> Photo:
    return Photo(name, Path(name), width, HEIGHT, "", Exif(), focal, exif_conflict=conflict)


def test_exif_focal_is_a_start_unless_the_file_was_cropped() -> None:
    cameras = start_cameras([photo("a", focal=700.0), photo("b", focal=700.0, conflict=True), photo("c")], None)
    assert [camera["params"][0] for camera in cameras] == [700.0, 768.0, 768.0]
    assert [camera["prior"] for camera in cameras] == [True, False, False]


def test_a_calibration_is_taken_as_it_is() -> None:
    (camera,) = start_cameras([photo("a", focal=700.0)], "500,510,320,240,0.1,0.2,0.3,0.4")
    assert (camera["model"], camera["width"], camera["height"]) == ("OPENCV", WIDTH, HEIGHT)
    assert camera["params"] == [500, 510, 320, 240, 0.1, 0.2, 0.3, 0.4]


def test_one_calibration_for_two_sizes_is_refused() -> None:
    with pytest.raises(UsageError, match="640x480, 800x480"):
        start_cameras([photo("a"), photo("b", 800)], "500,510,320,240")


def test_thinned_keeps_every_view_tied() -> None:
    problem = ring([500.0] * 4, n_points=900)
    few = thinned(problem, most=100, least_per_view=20)
    assert 100 <= len(few.xyz) <= 100 + 4 * 20
    assert np.bincount(few.view, minlength=4).min() >= 20
    assert set(few.point) == set(range(len(few.xyz)))
    x_cam = np.einsum("oij,oj->oi", few.pose[few.view, :3, :3], few.xyz[few.point]) + few.pose[few.view, :3, 3]
    predicted = 500 * x_cam[:, :2] / x_cam[:, 2:] + [WIDTH / 2, HEIGHT / 2]
    assert np.abs(predicted - few.xy).max() < 1.5  # observations still belong to their points


def test_thinned_leaves_small_problems_alone() -> None:
    problem = ring([500.0] * 3)
    assert thinned(problem) is problem
