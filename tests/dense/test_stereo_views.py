"""Neighbours and depth ranges from hand-made points."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d.dense.stereo_views import MIN_SHARED, plan_views
from recon3d.render.cameras import Cameras
from recon3d.scene import Points


def cameras_at(x: list[float], focal: list[float] | None = None, distance: float = 10.0) -> Cameras:
    """Cameras on a line that look along z."""
    n = len(x)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, 0, 3], poses[:, 2, 3] = -np.array(x), distance
    K = np.tile(np.array([[100.0, 0, 100], [0, 100, 80], [0, 0, 1]]), (n, 1, 1))
    for i, f in enumerate(focal or []):
        K[i, 0, 0] = K[i, 1, 1] = f
    return Cameras(poses, K, np.full(n, 200, np.int64), np.full(n, 160, np.int64))


def points_seen(seen_by: list[list[int]], xyz: np.ndarray | None = None) -> Points:
    """Points near the origin, each with the views that see it."""
    n = len(seen_by)
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (n, 3)) if xyz is None else xyz
    point = np.repeat(np.arange(n), [len(s) for s in seen_by]).astype(np.int32)
    view = np.array([v for s in seen_by for v in s], np.int32)
    grey, nan = np.zeros((n, 3), np.uint8), np.full(n, np.nan)
    return Points(xyz, grey, np.zeros(n), nan, point, view, np.zeros((len(point), 2)))


def sources(cameras: Cameras, points: Points, n: int = 5) -> list[list[int]]:
    return [plan.sources.tolist() for plan in plan_views(cameras, points, n, 1.2)]


def test_a_wider_base_is_better_until_it_is_too_wide() -> None:
    # triangulation angles to view 0: 0.6, 11 and 58 degrees
    cameras = cameras_at([0.0, 0.1, 2.0, 16.0])
    plan = sources(cameras, points_seen([[0, 1, 2, 3]] * 20), 3)[0]
    assert plan[0] == 2


def test_only_photos_with_common_points_are_neighbours() -> None:
    seen = [[0, 1]] * 20 + [[2, 3]] * 20
    assert sources(cameras_at([0, 1, 2, 3]), points_seen(seen)) == [[1], [0], [3], [2]]


@pytest.mark.parametrize(("n_shared", "found"), [(MIN_SHARED - 1, False), (MIN_SHARED, True)])
def test_few_common_points_prove_no_overlap(n_shared: int, found: bool) -> None:
    seen = [[0, 1]] * n_shared + [[0]] * 20 + [[1]] * 20
    assert bool(sources(cameras_at([0, 1]), points_seen(seen))[0]) == found


def test_like_resolution_is_preferred() -> None:
    cameras = cameras_at([0.0, 1.5, -1.5], focal=[100, 100, 25])
    assert sources(cameras, points_seen([[0, 1, 2]] * 20), 1)[0] == [1]


def test_the_second_neighbour_covers_what_the_first_does_not() -> None:
    # 1 and 2 see the same twelve points, 3 sees eight others
    seen = [[0, 1, 2]] * 12 + [[0, 3]] * 8
    cameras = cameras_at([0.0, 1.5, 1.6, -1.5])
    first, second = sources(cameras, points_seen(seen), 2)[0]
    assert first in (1, 2) and second == 3


def test_number_of_neighbours_is_bounded() -> None:
    cameras = cameras_at(list(np.linspace(0, 3, 9)))
    assert all(len(s) == 4 for s in sources(cameras, points_seen([list(range(9))] * 30), 4))


def test_same_centre_is_no_neighbour() -> None:
    assert sources(cameras_at([0.0, 0.0]), points_seen([[0, 1]] * 20)) == [[], []]


def test_depth_range_has_the_margin_and_ignores_points_outside() -> None:
    xyz = np.zeros((22, 3))
    xyz[:, 2] = np.linspace(-2, 2, 22)
    xyz[0] = 0, 0, -50  # behind the camera
    xyz[1] = 500, 0, 40  # beside the photo
    (plan, _) = plan_views(cameras_at([0, 1]), points_seen([[0, 1]] * 22, xyz), 5, 1.5)
    near, far = plan.depth_range
    z = 10 + np.linspace(-2, 2, 22)[2:]
    assert len(plan.depth_z) == 20
    assert z.min() / 1.5 <= near < z.min() / 1.4
    assert z.max() * 1.4 < far <= z.max() * 1.5


def test_sparse_points_are_where_the_photo_sees_them() -> None:
    points = points_seen([[0, 1]] * 20)
    plan = plan_views(cameras_at([0.0, 1.0]), points, 5, 1.2)[1]
    np.testing.assert_allclose(plan.depth_z, 10 + points.xyz[:, 2])
    np.testing.assert_allclose(plan.xy[:, 0], 100 + 100 * (points.xyz[:, 0] - 1.0) / plan.depth_z)


def test_a_photo_that_may_not_help_is_nobodys_neighbour_but_has_neighbours() -> None:
    cameras, points = cameras_at([0.0, 1.0, 2.0]), points_seen([[0, 1, 2]] * 20)
    plans = plan_views(cameras, points, 5, 1.2, np.array([True, False, True]))
    assert [sorted(plan.sources.tolist()) for plan in plans] == [[2], [0, 2], [0]]
