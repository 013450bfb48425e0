"""Sweeps of a moving sensor, and the registration that finds such a motion."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d.core.errors import DependencyError, InputError, ShapeError, UsageError
from recon3d.pointcloud.clouds import PointCloud, RegistrationOptions, accumulate_sweeps, register_clouds


def pose(yaw: float, x: float, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = x, y, z
    return matrix


def seen_from(world: np.ndarray, global_from_sweep: np.ndarray, time_s: float | None = None) -> PointCloud:
    xyz = (world - global_from_sweep[:3, 3]) @ global_from_sweep[:3, :3]
    return PointCloud(xyz=xyz, attributes={"intensity": np.arange(len(world), dtype=np.float32)}, time_s=time_s)


WORLD = np.random.default_rng(0).uniform((10, -20, 0), (40, 20, 5), (50, 3))
POSES = np.stack([pose(0.4, 3, 1), pose(0.3, 1.5), pose(0.1, 0, -0.5)])


def test_still_points_fall_together() -> None:
    sweeps = [seen_from(WORLD, each, 10 - 0.1 * n) for n, each in enumerate(POSES)]
    joined = accumulate_sweeps(sweeps, POSES)
    assert len(joined) == 150 and joined.time_s == 10
    for part in np.split(joined.xyz, 3):
        np.testing.assert_allclose(part, sweeps[0].xyz, atol=1e-12)
    assert joined.attributes["sweep"][[0, 50, 149]].tolist() == [0, -1, -2]
    np.testing.assert_allclose(joined.attributes["lag_s"][[0, 50, 149]], [0, 0.1, 0.2], atol=1e-6)
    assert joined.attributes["intensity"][51] == 1


def test_close_points_are_dropped_from_previous_sweeps_only() -> None:
    near = PointCloud(xyz=np.array([[3.0, 4, 9], [3, 4.01, 0], [0, 0, 0]]))
    joined = accumulate_sweeps([near, near], np.stack([np.eye(4)] * 2))
    assert joined.xyz.tolist() == [*near.xyz.tolist(), [3, 4.01, 0]]
    assert "lag_s" not in joined.attributes


def test_the_current_sweep_stands_in_for_missing_ones() -> None:
    near = PointCloud(xyz=np.array([[1.0, 0, 0], [9, 0, 0]]))
    joined = accumulate_sweeps([near], pose(1, 5)[None], n_sweeps=3)
    assert joined.xyz[:, 0].tolist() == [1, 9, 9, 9]
    assert joined.attributes["sweep"].tolist() == [0, 0, -1, -2]
    assert len(accumulate_sweeps([near, near], np.stack([np.eye(4)] * 2), n_sweeps=1)) == 2


def test_only_attributes_that_all_sweeps_have_are_kept() -> None:
    one, two = seen_from(WORLD, POSES[0]), PointCloud(xyz=WORLD)
    assert set(accumulate_sweeps([one, two], POSES[:2]).attributes) == {"sweep"}


def test_unfit_sweeps() -> None:
    cloud = PointCloud(xyz=WORLD)
    with pytest.raises(UsageError, match="no sweep"):
        accumulate_sweeps([], POSES)
    with pytest.raises(UsageError, match="no sweep"):
        accumulate_sweeps([cloud], POSES[:1], n_sweeps=0)
    with pytest.raises(ShapeError, match="do not fit the sweeps"):
        accumulate_sweeps([cloud], POSES)
    with pytest.raises(ShapeError, match="invertible"):
        accumulate_sweeps([cloud], np.zeros((1, 4, 4)))
    with pytest.raises(ShapeError, match="invertible"):
        accumulate_sweeps([cloud], np.full((1, 4, 4), np.nan))


# --- registration ---


def corner(n: int = 1500) -> np.ndarray:
    """A floor and two walls: they fix all six degrees of freedom."""
    points = np.random.default_rng(0).random((3, n, 3)) * 8
    for axis in range(3):
        points[axis, :, axis] = 0
    return points.reshape(-1, 3)


@pytest.mark.parametrize("kind", ["icp", "plane_icp", "gicp"])
@pytest.mark.parametrize("far", [0.0, 500_000.0])
def test_a_known_motion_is_found(kind: str, far: float) -> None:
    pytest.importorskip("small_gicp")
    motion = pose(0.05, 0.2, -0.1, 0.05)
    around = pose(0, far, far)
    true = around @ motion @ np.linalg.inv(around)
    target = PointCloud(xyz=corner() + np.array([far, far, 0]))
    source = target.transformed(np.linalg.inv(true))
    found = register_clouds(source, target, options=RegistrationOptions(kind=kind))  # type: ignore[arg-type]
    moved = source.transformed(np.round(found.target_from_source, 15))
    assert found.converged and found.n_inliers > 100
    assert np.linalg.norm(moved.xyz - target.xyz, axis=1).max() < 0.02


def test_a_start_helps() -> None:
    pytest.importorskip("small_gicp")
    motion = pose(1.2, 4, 2)
    source = PointCloud(xyz=corner())
    target = source.transformed(motion)
    found = register_clouds(source, target, initial=pose(1.18, 4.1, 2))
    np.testing.assert_allclose(found.target_from_source, motion, atol=5e-3)


@pytest.mark.usefixtures("without_shape_checks")
def test_unfit_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = PointCloud(xyz=corner(10))
    with pytest.raises(InputError, match="too few points"):
        register_clouds(PointCloud(xyz=np.full((99, 3), np.nan)), cloud)
    with pytest.raises(UsageError, match="rigid"):
        register_clouds(cloud, cloud, initial=np.diag([2.0, 1, 1, 1]))
    with pytest.raises(UsageError, match="options of a registration"):
        RegistrationOptions(kind="ndt")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="options of a registration"):
        RegistrationOptions(voxel_m=0)
    monkeypatch.setitem(__import__("sys").modules, "small_gicp", None)
    with pytest.raises(DependencyError, match="recon3d\\[robotics\\]"):
        register_clouds(cloud, cloud)
