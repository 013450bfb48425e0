"""Crops, voxels, sweeps, ground and registration on cases with a known answer."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import DependencyError, InputError
from recon3d.pointcloud.clouds import (
    GroundOptions,
    PointCloud,
    RegistrationOptions,
    accumulate_sweeps,
    crop_box,
    crop_radius,
    estimate_normals,
    find_ground,
    radius_inliers,
    register_clouds,
    statistical_inliers,
    voxel_downsample,
    voxelise,
)


def cloud(seed: int, n: int = 200, spread: float = 5.0) -> PointCloud:
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0, spread, (n, 3))
    xyz[rng.random(n) < 0.05] = np.nan
    return PointCloud(xyz=xyz, attributes={"row": np.arange(n)}, frame="vehicle", time_s=3.0)


def pose(yaw: float, x: float, y: float, z: float = 0.0) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


# --- crops ---


@settings(max_examples=30)
@given(st.integers(0, 999), st.tuples(*[st.floats(-6, 0)] * 3), st.tuples(*[st.floats(0.1, 6)] * 3))
def test_a_box_keeps_what_lies_in_it_in_order(seed: int, lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
    given_ = cloud(seed)
    kept = crop_box(given_, lower, upper).attributes["row"]
    want = [row for row, p in enumerate(given_.xyz) if all(a <= v < b for a, v, b in zip(lower, p, upper, strict=True))]
    assert kept.tolist() == want


@settings(max_examples=20)
@given(st.integers(0, 999), st.floats(-3, 3))
def test_two_halves_make_the_whole(seed: int, cut: float) -> None:
    given_, inf = cloud(seed), np.inf
    left = crop_box(given_, (-inf, -inf, -inf), (cut, inf, inf))
    right = crop_box(given_, (cut, -inf, -inf), (inf, inf, inf))
    assert len(left) + len(right) == len(given_.finite())
    assert left.frame == right.frame == "vehicle" and left.time_s == 3.0


@settings(max_examples=20)
@given(st.integers(0, 999), st.floats(0.5, 12), st.booleans())
def test_a_circle_keeps_what_is_near_enough(seed: int, radius: float, planar: bool) -> None:
    given_, centre = cloud(seed), (1.0, -2.0, 0.5)
    away = given_.xyz - centre
    distance = np.linalg.norm(away[:, :2] if planar else away, axis=1)
    kept = crop_radius(given_, radius, centre, planar=planar).attributes["row"]
    assert kept.tolist() == np.flatnonzero(distance <= radius).tolist()


@pytest.mark.parametrize("n", [0, 1])
def test_crops_of_few_points(n: int) -> None:
    few = PointCloud(xyz=np.zeros((n, 3)))
    assert len(crop_box(few, (-1, -1, -1), (1, 1, 1))) == n == len(crop_radius(few, 1.0))
    assert len(crop_box(few, (1, 1, 1), (2, 2, 2))) == 0


# --- voxels ---


def test_of_points_that_collide_the_first_stays_whatever_comes_later() -> None:
    xyz = np.array([[0.9, 0, 0], [0.1, 0, 0], [0.5, 0, 0], [1.0, 0, 0], [-0.1, 0, 0]])
    voxels = voxelise(PointCloud(xyz=xyz), 1.0)
    assert voxels.indices[:, 0].tolist() == [-1, 0, 1]
    assert voxels.first.tolist() == [4, 0, 3] and voxels.count.tolist() == [1, 3, 1]
    swapped = voxelise(PointCloud(xyz=xyz[[1, 0, 2, 3, 4]]), 1.0)
    assert swapped.first.tolist() == [4, 0, 3]  # another point, in the same row
    assert voxel_downsample(PointCloud(xyz=xyz), 1.0, keep="first").xyz[:, 0].tolist() == [-0.1, 0.9, 1.0]


@settings(max_examples=25)
@given(st.integers(0, 999), st.floats(0.3, 4))
def test_downsampling_is_the_mean_of_each_voxel(seed: int, size: float) -> None:
    given_ = cloud(seed)
    found = voxel_downsample(given_, size)
    finite = given_.finite()
    cells = np.floor(finite.xyz / size)
    means = [finite.xyz[(cells == cell).all(1)].mean(0) for cell in np.unique(cells, axis=0)]
    assert np.allclose(found.xyz, np.array(means).reshape(-1, 3))


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(-5, 5))
def test_a_shift_by_whole_voxels_shifts_the_indices(seed: int, shift: int) -> None:
    given_ = cloud(seed).finite()
    exact = PointCloud(xyz=np.rint(given_.xyz * 64) / 64)
    moved = PointCloud(xyz=exact.xyz + 0.5 * shift)
    one, other = voxelise(exact, 0.5), voxelise(moved, 0.5)
    assert np.array_equal(one.indices + shift, other.indices)
    assert np.array_equal(one.voxel_of_point, other.voxel_of_point)


def test_all_points_in_one_voxel_and_no_point() -> None:
    same = PointCloud(xyz=np.full((1000, 3), 0.25))
    assert len(voxel_downsample(same, 1.0)) == 1 and voxelise(same, 1.0).count.tolist() == [1000]
    none = PointCloud(xyz=np.full((4, 3), np.nan))
    assert len(voxel_downsample(none, 1.0)) == 0 and voxelise(none, 1.0).voxel_of_point.tolist() == [-1] * 4


# --- sweeps ---


def test_a_wall_seen_while_driving_stands_still() -> None:
    """The vehicle drives 2 m forward and turns left between sweeps; by hand, a point ahead at 10 m is then at 8 m."""
    before = PointCloud(xyz=np.array([[10.0, 0, 0], [10, 4, 1]]), time_s=0.0)
    now = PointCloud(xyz=np.array([[8.0, 0, 0]]), time_s=0.5)
    straight = accumulate_sweeps([now, before], np.stack([pose(0, 2, 0), pose(0, 0, 0)]))
    assert np.allclose(straight.xyz, [[8, 0, 0], [8, 0, 0], [8, 4, 1]])
    turned = accumulate_sweeps([now, before], np.stack([pose(np.pi / 2, 2, 0), pose(0, 0, 0)]))
    assert np.allclose(turned.xyz, [[8, 0, 0], [0, -8, 0], [4, -8, 1]], atol=1e-12)
    assert turned.attributes["sweep"].tolist() == [0, -1, -1]
    assert np.allclose(turned.attributes["lag_s"], [0, 0.5, 0.5])


@settings(max_examples=20)
@given(st.integers(0, 999), st.floats(-3, 3), st.floats(-50, 50), st.floats(-50, 50))
def test_only_the_motion_between_sweeps_counts(seed: int, yaw: float, x: float, y: float) -> None:
    sweeps = [PointCloud(xyz=cloud(seed + k, 40, 20.0).finite().xyz) for k in range(3)]
    poses = np.stack([pose(0.1 * k, -1.5 * k, 0.3 * k) for k in range(3)])
    here = accumulate_sweeps(sweeps, poses)
    elsewhere = accumulate_sweeps(sweeps, pose(yaw, x, y, 7.0) @ poses)
    assert np.allclose(here.xyz, elsewhere.xyz, atol=1e-9)


@pytest.mark.parametrize("close", [0.0, 5.0, 30.0])
def test_close_points_of_former_sweeps_are_the_vehicle(close: float) -> None:
    ring = np.array([[r, 0.0, 3.0] for r in (1.0, 5.0, 5.1, 20.0, 40.0)])
    joined = accumulate_sweeps([PointCloud(xyz=ring)] * 2, np.stack([np.eye(4)] * 2), close_m=close)
    assert joined.xyz[5:, 0].tolist() == [r for r in (1.0, 5.0, 5.1, 20.0, 40.0) if r > close]


# --- ground ---


def scene(tilt: float, outliers: float, seed: int = 0, n: int = 2000) -> tuple[PointCloud, np.ndarray]:
    rng = np.random.default_rng(seed)
    normal = np.array([np.sin(tilt), 0, np.cos(tilt)])
    xy = rng.uniform(-20, 20, (n, 2))
    ground = np.column_stack([xy, (-1.6 - xy[:, 0] * normal[0]) / normal[2] + rng.normal(0, 0.02, n)])
    above = rng.uniform((-20, -20, 0), (20, 20, 8), (int(outliers * n), 3))
    return PointCloud(xyz=np.concatenate([ground, above])), normal


@pytest.mark.parametrize("tilt", [0.0, 0.1, -0.2])
@pytest.mark.parametrize("outliers", [0.0, 0.5, 1.5])
def test_outliers_above_do_not_lift_the_ground(tilt: float, outliers: float) -> None:
    given_, normal = scene(tilt, outliers)
    found = find_ground(given_, GroundOptions(threshold_m=0.15))
    assert np.degrees(np.arccos(min(found.normal @ normal, 1.0))) < 0.3
    assert abs(found.offset - 1.6) < 0.02 and found.inliers[:2000].mean() > 0.99
    heights = found.heights(given_.xyz)
    assert np.array_equal(found.inliers, np.abs(heights) <= 0.15)


def test_a_few_points_below_do_not_pull_the_ground_down() -> None:
    given_, _ = scene(0.0, 0.3)
    rng = np.random.default_rng(1)
    below = rng.uniform((-20, -20, -4), (20, 20, -2.2), (60, 3))
    found = find_ground(PointCloud(xyz=np.concatenate([given_.xyz, below])))
    assert abs(found.offset - 1.6) < 0.03


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_points_for_a_plane(n: int) -> None:
    with pytest.raises(InputError, match="three points; got: "):
        find_ground(PointCloud(xyz=np.zeros((n, 3))))


# --- neighbours ---


@settings(max_examples=15)
@given(st.integers(0, 999))
def test_normals_turn_with_the_cloud(seed: int) -> None:
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-3, 3, (120, 2))
    plain = PointCloud(xyz=np.column_stack([xy, 0.2 * xy[:, 0] + 9]))
    turn = pose(rng.uniform(-3, 3), 0, 0)
    one, other = estimate_normals(plain), estimate_normals(plain.transformed(turn))
    assert np.allclose(one.attributes["normals"] @ turn[:3, :3].T, other.attributes["normals"], atol=1e-4)
    assert (one.attributes["normals"][:, 2] < 0).all()  # towards the sensor below


def test_lonely_points_are_outliers_of_both_tests() -> None:
    rng = np.random.default_rng(0)
    xyz = np.concatenate([rng.uniform(0, 1, (500, 3)), [[9.0, 9, 9], [-9, 0, 3]]])
    for keep in (statistical_inliers(PointCloud(xyz=xyz)), radius_inliers(PointCloud(xyz=xyz), 0.5)):
        assert keep[:500].mean() > 0.97 and not keep[500:].any()


# --- registration ---


def corner(n: int = 1200) -> PointCloud:
    rng = np.random.default_rng(0)
    floor = np.column_stack([rng.uniform(0, 8, (n, 2)), np.zeros(n)])
    walls = [np.column_stack([np.zeros(n), rng.uniform(0, 8, n), rng.uniform(0, 4, n)])]
    walls.append(np.column_stack([rng.uniform(0, 8, n), np.zeros(n), rng.uniform(0, 4, n)]))
    return PointCloud(xyz=np.concatenate([floor, *walls]))


def test_registration_undoes_a_known_motion_and_reports_it() -> None:
    pytest.importorskip("small_gicp")
    target = corner()
    motion = pose(0.05, 0.15, -0.1, 0.05)
    source = target.transformed(np.linalg.inv(motion))
    found = register_clouds(source, target)
    assert found.converged and found.n_inliers > 100
    assert np.allclose(found.target_from_source, motion, atol=0.01)
    turn = found.target_from_source[:3, :3]
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-9) and np.isclose(np.linalg.det(turn), 1)


def test_points_without_a_position_do_not_disturb_it() -> None:
    pytest.importorskip("small_gicp")
    target = corner()
    holes = target.xyz.copy()
    holes[::7] = np.nan
    found = register_clouds(PointCloud(xyz=holes), target)
    assert np.allclose(found.target_from_source, np.eye(4), atol=0.02)


def test_registration_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "small_gicp", None)
    with pytest.raises(DependencyError) as caught:
        register_clouds(corner(), corner(), options=RegistrationOptions(kind="icp"))
    assert "registration needs the package small-gicp" in str(caught.value)
    assert caught.value.fix == "pip install 'recon3d[robotics]'"


def test_few_points_are_told_before_the_package_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "small_gicp", None)
    with pytest.raises(InputError, match="too few points to register; got: 2 and 3600; expected: 10 in each"):
        register_clouds(PointCloud(xyz=np.zeros((2, 3))), corner())
