"""Voxels: the rule where points collide, the maps both ways, bounds, and what cannot be voxelised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import InputError, UsageError
from recon3d.pointcloud.clouds import PointCloud, Voxels, crop_box, crop_radius, voxel_downsample, voxelise


def random_cloud(seed: int, n: int, spread: float = 1.0) -> PointCloud:
    rng = np.random.default_rng(seed)
    xyz = rng.normal(size=(n, 3)) * spread
    xyz[rng.random(n) < 0.1] = np.nan
    return PointCloud(xyz=xyz, attributes={"label": rng.integers(0, 5, n)})


def assert_maps_agree(cloud: PointCloud, voxels: Voxels) -> None:
    """Every point is in the voxel that its position says, once; the voxels are sorted and occupied."""
    inside = voxels.voxel_of_point >= 0
    want = np.floor((cloud.xyz[inside] - voxels.origin) / voxels.size)
    assert np.array_equal(voxels.indices[voxels.voxel_of_point[inside]], want)
    assert np.array_equal(np.sort(voxels.points), np.flatnonzero(inside))
    assert np.array_equal(np.repeat(np.arange(len(voxels)), voxels.count), voxels.voxel_of_point[voxels.points])
    assert (voxels.count > 0).all()
    rows = voxels.indices.tolist()
    assert rows == sorted(rows) and len({tuple(row) for row in rows}) == len(rows)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 60), st.floats(0.01, 10))
def test_maps_are_exact(seed: int, n: int, size: float) -> None:
    cloud = random_cloud(seed, n)
    voxels = voxelise(cloud, size)
    assert_maps_agree(cloud, voxels)
    assert np.array_equal(voxels.voxel_of_point < 0, np.isnan(cloud.xyz[:, 0]))


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 60))
def test_the_least_row_stands_for_a_voxel(seed: int, n: int) -> None:
    cloud = random_cloud(seed, n)
    voxels = voxelise(cloud, 0.7)
    for number, first in enumerate(voxels.first):
        assert first == np.flatnonzero(voxels.voxel_of_point == number)[0]


def test_bounds_are_those_of_a_detector() -> None:
    xyz = np.array([[0.0, 0, 0], [0.99, 0, 0], [1, 0, 0], [-1e-9, 0, 0], [0.5, 0.5, 0.5]])
    voxels = voxelise(PointCloud(xyz=xyz), 0.5, lower=(0, 0, 0), upper=(1, 1, 1))
    assert voxels.voxel_of_point.tolist() == [0, 1, -1, -1, 2]
    assert voxels.indices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 1]]
    np.testing.assert_allclose(voxels.centres[1], [0.75, 0.25, 0.25])


def test_means_are_those_of_the_points() -> None:
    cloud = random_cloud(1, 300)
    voxels = voxelise(cloud, 1.0)
    found = voxels.means(cloud.xyz)
    for number in range(len(voxels)):
        np.testing.assert_allclose(found[number], cloud.xyz[voxels.voxel_of_point == number].mean(0))
    assert voxels.means(cloud.attributes["label"]).shape == (len(voxels),)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = random_cloud(2, 500)
    whole = voxelise(cloud, 0.3)
    monkeypatch.setattr("recon3d.pointcloud.clouds.voxels._BLOCK", 17)
    parts = voxelise(cloud, 0.3)
    assert np.array_equal(whole.indices, parts.indices) and np.array_equal(whole.points, parts.points)


def test_one_voxel_no_point_and_one_point() -> None:
    full = voxelise(PointCloud(xyz=np.zeros((50, 3))), 0.1)
    assert (len(full), full.count.tolist(), full.first.tolist()) == (1, [50], [0])
    none = voxelise(PointCloud(xyz=np.zeros((0, 3))), 0.1)
    assert len(none) == 0 and none.means(np.zeros((0, 3))).shape == (0, 3)
    assert len(voxelise(PointCloud(xyz=np.full((4, 3), np.nan)), 0.1)) == 0
    assert voxelise(PointCloud(xyz=np.full((1, 3), -0.05)), 0.1).indices.tolist() == [[-1, -1, -1]]


def test_anisotropic_sizes() -> None:
    voxels = voxelise(PointCloud(xyz=np.array([[0.9, 0.9, 0.9]])), (0.5, 0.25, 10))
    assert voxels.indices.tolist() == [[1, 3, 0]]


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf, (1, 2), (1, 1, 0)])
def test_unfit_sizes(size: float) -> None:
    with pytest.raises(UsageError):
        voxelise(PointCloud(xyz=np.zeros((1, 3))), size)


@pytest.mark.parametrize("upper", [(0, 1, 1), (1, 1), (np.nan, 1, 1)])
def test_unfit_bounds(upper: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        voxelise(PointCloud(xyz=np.zeros((1, 3))), 0.1, lower=(0, 0, 0), upper=upper)


@pytest.mark.parametrize("far", [1e9, 1e300])
def test_voxels_that_are_too_small(far: float) -> None:
    cloud = PointCloud(xyz=np.array([[0.0, 0, 0], [far, far, far]]))
    with pytest.raises(InputError, match="too small"):
        voxelise(cloud, 1e-3)


def test_downsampled_attributes() -> None:
    cloud = PointCloud(
        xyz=np.array([[0.1, 0, 0], [0.3, 0, 0], [5, 0, 0]]),
        attributes={
            "intensity": np.array([0, 1, 2], np.float32),
            "rgb": np.array([[0, 0, 0], [255, 9, 4], [1, 2, 3]], np.uint8),
            "normals": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
            "label": np.array([7, 8, 9]),
        },
        frame="map",
    )
    mean, first = voxel_downsample(cloud, 1.0), voxel_downsample(cloud, 1.0, keep="first")
    np.testing.assert_allclose(mean.xyz, [[0.2, 0, 0], [5, 0, 0]])
    assert mean.attributes["intensity"].tolist() == [0.5, 2]
    assert mean.attributes["rgb"].tolist() == [[128, 4, 2], [1, 2, 3]]
    np.testing.assert_allclose(mean.attributes["normals"][0], [0.5**0.5, 0.5**0.5, 0], atol=1e-7)
    assert mean.attributes["label"].tolist() == [7, 9] and mean.frame == "map"
    assert first.xyz.tolist() == [[0.1, 0, 0], [5, 0, 0]] and first.attributes["intensity"].tolist() == [0, 2]


@pytest.mark.usefixtures("without_shape_checks")
def test_only_two_points_can_stand_for_a_voxel() -> None:
    with pytest.raises(UsageError, match="mean or first"):
        voxel_downsample(random_cloud(0, 5), 1.0, keep="last")  # type: ignore[arg-type]


def test_crops() -> None:
    xyz = np.array([[0.0, 0, 0], [1, 1, 1], [3, 4, 100], [np.nan, 0, 0], [0, 0, np.nan]])
    cloud = PointCloud(xyz=xyz, attributes={"row": np.arange(5)})
    assert crop_box(cloud, (0, 0, 0), (1, 2, 2)).attributes["row"].tolist() == [0]
    assert crop_box(cloud, (-np.inf, 0, 0), (np.inf, 5, np.inf)).attributes["row"].tolist() == [0, 1, 2]
    assert crop_radius(cloud, 5).attributes["row"].tolist() == [0, 1, 2]
    assert crop_radius(cloud, 5, planar=False).attributes["row"].tolist() == [0, 1]
    assert crop_radius(cloud, 0.1, (1, 1, 0)).attributes["row"].tolist() == [1]


def test_unfit_crops() -> None:
    cloud = PointCloud(xyz=np.zeros((1, 3)))
    for lower, upper in (((0, 0, 0), (1, 0, 1)), ((0, 0), (1, 1)), ((0, 0, np.nan), (1, 1, 1))):
        with pytest.raises(UsageError):
            crop_box(cloud, lower, upper)
    for radius, centre in ((0, (0, 0, 0)), (np.nan, (0, 0, 0)), (1, (0, 0))):
        with pytest.raises(UsageError):
            crop_radius(cloud, radius, centre)
