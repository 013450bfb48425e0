"""Normals and outliers against surfaces whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d.core.errors import UsageError
from recon3d.pointcloud.clouds import PointCloud, estimate_normals, radius_inliers, statistical_inliers

FAR = np.array([512_000.0, 5_403_000, 300])  # map coordinates


def sphere(n: int = 2000) -> np.ndarray:
    xyz = np.random.default_rng(0).normal(size=(n, 3))
    return xyz / np.linalg.norm(xyz, axis=1, keepdims=True)


@pytest.mark.parametrize("shift", [np.zeros(3), FAR])
def test_normals_of_a_sphere_face_its_middle(shift: np.ndarray) -> None:
    xyz = sphere()
    found = estimate_normals(PointCloud(xyz=xyz + shift), viewpoint=tuple(shift)).attributes["normals"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    cosine = -(found * xyz).sum(1)
    assert cosine.min() > 0.95 and np.median(cosine) > 0.998


def test_normals_of_a_plane_are_exact_and_upwards() -> None:
    xy = np.random.default_rng(1).random((300, 2))
    xyz = np.column_stack([xy, 0.5 * xy[:, 0]])
    found = estimate_normals(PointCloud(xyz=xyz), viewpoint=None).attributes["normals"]
    np.testing.assert_allclose(found, np.tile(np.array([-0.5, 0, 1]) / 1.25**0.5, (300, 1)), atol=1e-5)


def test_normals_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = PointCloud(xyz=sphere(200))
    whole = estimate_normals(cloud).attributes["normals"]
    monkeypatch.setattr("recon3d.pointcloud.clouds.neighbours._BLOCK", 13)
    assert np.array_equal(whole, estimate_normals(cloud).attributes["normals"])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_points_have_no_normals(n: int) -> None:
    found = estimate_normals(PointCloud(xyz=np.zeros((n, 3)))).attributes["normals"]
    assert found.shape == (n, 3) and np.isnan(found).all()


def test_points_without_a_position_have_no_normal() -> None:
    xyz = sphere(100)
    xyz[7, 1] = np.inf
    found = estimate_normals(PointCloud(xyz=xyz)).attributes["normals"]
    assert np.flatnonzero(np.isnan(found).any(1)).tolist() == [7]


def test_equal_points_have_finite_normals_and_are_inliers() -> None:
    cloud = PointCloud(xyz=np.ones((40, 3)))
    assert np.isfinite(estimate_normals(cloud).attributes["normals"]).all()
    assert statistical_inliers(cloud).all() and radius_inliers(cloud, 0.1).all()


def with_strays() -> PointCloud:
    xyz = np.concatenate([sphere(500), [[9.0, 0, 0], [0, -8, 0], [np.nan, 0, 0]]])
    return PointCloud(xyz=xyz + FAR)


def test_statistical_outliers() -> None:
    keep = statistical_inliers(with_strays(), k=8, ratio=3)
    assert not keep[500:].any() and keep[:500].mean() > 0.97


def test_radius_outliers_count_their_neighbours() -> None:
    keep = radius_inliers(with_strays(), 0.5, least=3)
    assert not keep[500:].any() and keep[:500].all()
    line = PointCloud(xyz=np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [4, 0, 0]]))
    assert radius_inliers(line, 1.0, least=1).tolist() == [True, True, True, False]
    assert radius_inliers(line, 1.0, least=2).tolist() == [False, True, False, False]
    assert not radius_inliers(line, 100.0, least=4).any()


def test_few_points() -> None:
    assert statistical_inliers(PointCloud(xyz=np.zeros((0, 3)))).shape == (0,)
    assert statistical_inliers(PointCloud(xyz=np.zeros((1, 3)))).tolist() == [True]
    assert radius_inliers(PointCloud(xyz=np.zeros((1, 3))), 1.0).tolist() == [False]


def test_unfit_arguments() -> None:
    cloud = PointCloud(xyz=np.zeros((5, 3)))
    with pytest.raises(UsageError, match="three points"):
        estimate_normals(cloud, k=2)
    with pytest.raises(UsageError, match="outliers"):
        statistical_inliers(cloud, k=0)
    with pytest.raises(UsageError, match="outliers"):
        statistical_inliers(cloud, ratio=float("nan"))
    for radius in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="radius"):
            radius_inliers(cloud, radius)


@pytest.mark.parametrize("k", [3, 8])
def test_repeated_points_change_no_answer(k: int) -> None:
    rng = np.random.default_rng(0)
    xyz = np.concatenate([rng.normal(size=(40, 3)), np.zeros((30, 3)), -np.zeros((30, 3)), rng.normal(size=(40, 3))])
    here = PointCloud(xyz=xyz, attributes={})
    distance = np.sort(np.linalg.norm(xyz[:, None] - xyz[None], axis=2), axis=1)
    mean = distance[:, 1 : k + 1].mean(1)
    expected = mean <= mean.mean() + 0.5 * mean.std()
    np.testing.assert_array_equal(statistical_inliers(here, k=k, ratio=0.5), expected)
    np.testing.assert_array_equal(radius_inliers(here, 0.5, least=k), distance[:, k] <= 0.5)


def test_many_points_at_one_place_take_no_quadratic_time() -> None:
    here = PointCloud(xyz=np.full((40_000, 3), 7.0), attributes={})  # quadratic time would be minutes
    assert statistical_inliers(here).all() and radius_inliers(here, 0.1).all()
    assert np.isfinite(estimate_normals(here.selected(np.arange(2000))).attributes["normals"]).all()
