"""The ground of made scenes, where its plane is known."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d.core.errors import InputError, ResultError, UsageError
from recon3d.pointcloud.clouds import GroundOptions, PointCloud, find_ground

TILTED = np.array([0.05, -0.08, 1.0]) / np.linalg.norm([0.05, -0.08, 1.0])


def street(n: int = 3000, shift: float = 0.0) -> PointCloud:
    """A tilted ground 1.7 m below the sensor, walls beside it and clutter above it."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(-30, 30, (n, 2))
    ground = np.column_stack([xy, (-1.7 - xy @ TILTED[:2]) / TILTED[2] + rng.normal(0, 0.02, n)])
    wall = np.column_stack([rng.uniform(-30, 30, n), np.full(n, 12.0), rng.uniform(0, 9, n)])
    clutter = rng.uniform((-30, -30, 2), (30, 30, 6), (n // 2, 3))
    return PointCloud(xyz=np.concatenate([ground, wall, clutter]) + shift)


@pytest.mark.parametrize("shift", [0.0, 400_000.0])
def test_the_plane_is_found(shift: float) -> None:
    cloud = street(shift=shift)
    found = find_ground(cloud)
    assert np.degrees(np.arccos(found.normal @ TILTED)) < 0.1
    np.testing.assert_allclose(found.heights(np.full((1, 3), shift)), 1.7, atol=0.01)
    assert found.inliers[:3000].mean() > 0.999 and found.inliers[3000:].mean() < 0.05


def test_the_same_seed_gives_the_same_plane() -> None:
    one, two = (find_ground(street(), GroundOptions(seed=5)) for _ in range(2))
    assert np.array_equal(one.normal, two.normal) and one.offset == two.offset


def test_a_larger_ceiling_is_no_ground() -> None:
    rng = np.random.default_rng(0)
    floor = np.column_stack([rng.random((400, 2)) * 5, np.zeros(400)])
    table = np.column_stack([rng.random((600, 2)), np.full(600, 0.8)])
    ceiling = np.column_stack([rng.random((1500, 2)) * 5, np.full(1500, 2.5)])
    found = find_ground(PointCloud(xyz=np.concatenate([floor, table, ceiling])), GroundOptions(threshold_m=0.05))
    assert abs(found.offset) < 1e-6 and np.flatnonzero(found.inliers).tolist() == list(range(400))


def test_other_directions_are_up() -> None:
    cloud = street()
    turned = PointCloud(xyz=cloud.xyz[:, [1, 2, 0]])  # z is axis 1 now
    found = find_ground(turned, GroundOptions(up=(0, 2, 0)))
    np.testing.assert_allclose(found.normal, TILTED[[1, 2, 0]], atol=2e-3)


def test_points_without_a_position_are_not_on_it() -> None:
    cloud = street()
    cloud.xyz[:10] = np.nan
    assert not find_ground(cloud).inliers[:10].any()


def test_three_points() -> None:
    found = find_ground(PointCloud(xyz=np.array([[0.0, 0, 1], [1, 0, 1], [0, 1, 1]])))
    np.testing.assert_allclose([*found.normal, found.offset], [0, 0, 1, -1], atol=1e-12)
    assert found.inliers.all()


def test_no_ground() -> None:
    with pytest.raises(InputError, match="three points"):
        find_ground(PointCloud(xyz=np.full((9, 3), np.nan)))
    wall = np.random.default_rng(0).random((50, 3)) * (0, 5, 5)
    for xyz in (wall, np.zeros((9, 3)), np.outer(np.arange(9.0), [1, 0, 0])):
        with pytest.raises(ResultError, match="no ground"):
            find_ground(PointCloud(xyz=xyz))


@pytest.mark.parametrize("change", [{"threshold_m": 0}, {"max_tilt_deg": 91}, {"hypotheses": 0}, {"up": (0, 0, 0)}])
def test_unfit_options(change: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        GroundOptions(**change)  # type: ignore[arg-type]
