"""What clouds, neighbours and voxels keep whatever the points are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.clouds import (
    PointCloud,
    estimate_normals,
    radius_inliers,
    statistical_inliers,
    voxel_downsample,
    voxelise,
)

SEEDS = st.integers(0, 9999)


def cloud(seed: int, n: int = 60) -> PointCloud:
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0, 3, (n, 3))
    xyz[rng.random(n) < 0.1] = np.nan
    normals = rng.normal(size=(n, 3))
    return PointCloud(
        xyz=xyz,
        attributes={
            "normals": (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
            "label": rng.integers(0, 4, n),
            "intensity": rng.random(n).astype(np.float32),
        },
        frame="map",
        time_s=1.5,
    )


def rigid(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    turn = turn * np.sign(np.diag(upper))
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, rng.normal(0, 10, 3)
    return matrix


@settings(max_examples=25)
@given(SEEDS)
def test_there_and_back_again(seed: int) -> None:
    here, matrix = cloud(seed), rigid(seed)
    back = here.transformed(matrix, frame="other").transformed(np.linalg.inv(matrix))
    np.testing.assert_allclose(back.xyz, here.xyz, atol=1e-9)
    np.testing.assert_allclose(back.attributes["normals"], here.attributes["normals"], atol=1e-5)
    assert back.frame == "other" and back.time_s == 1.5


@settings(max_examples=25)
@given(SEEDS)
def test_two_motions_are_their_product(seed: int) -> None:
    here, first, second = cloud(seed), rigid(seed), rigid(seed + 1)
    twice, once = here.transformed(first).transformed(second), here.transformed(second @ first)
    np.testing.assert_allclose(twice.xyz, once.xyz, atol=1e-9)
    np.testing.assert_allclose(twice.attributes["normals"], once.attributes["normals"], atol=1e-5)


@settings(max_examples=25)
@given(SEEDS, st.floats(-1e7, 1e7))
def test_a_local_origin_is_added_back_exactly_enough(seed: int, far: float) -> None:
    there = PointCloud(xyz=cloud(seed).xyz + far)
    local, origin = there.local()
    np.testing.assert_array_equal(origin, np.rint(origin))
    np.testing.assert_allclose(local.xyz + origin, there.xyz, atol=1e-8)
    assert np.nanmax(np.abs(local.xyz)) < 20 and local.frame == "sensor_local"


@settings(max_examples=25)
@given(SEEDS)
def test_selections_follow_each_other(seed: int) -> None:
    here, rng = cloud(seed), np.random.default_rng(seed)
    rows = rng.permutation(60)[:20]
    mask = rng.random(20) < 0.5
    twice, once = here.selected(rows).selected(mask), here.selected(rows[mask])
    np.testing.assert_array_equal(twice.xyz, once.xyz)
    for name, values in once.attributes.items():
        np.testing.assert_array_equal(twice.attributes[name], values)


@settings(max_examples=25)
@given(SEEDS, st.floats(0.2, 3))
def test_voxels_of_voxels_are_themselves(seed: int, size: float) -> None:
    first = voxel_downsample(cloud(seed), size, keep="first")
    again = voxel_downsample(first, size, keep="first")
    np.testing.assert_array_equal(again.xyz, first.xyz)
    assert voxelise(first, size).count.tolist() == [1] * len(first)


@settings(max_examples=20)
@given(SEEDS, st.floats(0.2, 3))
def test_the_order_of_points_changes_means_by_rounding_only(seed: int, size: float) -> None:
    here = cloud(seed)
    mixed = here.selected(np.random.default_rng(seed).permutation(60))
    one, other = voxel_downsample(here, size), voxel_downsample(mixed, size)
    np.testing.assert_allclose(one.xyz, other.xyz, atol=1e-12)
    np.testing.assert_allclose(one.attributes["intensity"], other.attributes["intensity"], atol=1e-6)


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 8), st.floats(0.5, 4))
def test_neighbours_are_counted_as_by_hand(seed: int, least: int, radius: float) -> None:
    here = cloud(seed)
    finite = np.isfinite(here.xyz).all(1)
    gaps = np.linalg.norm(here.xyz[:, None] - here.xyz[None], axis=2)
    others = (gaps <= radius).sum(1) - 1
    assert np.array_equal(radius_inliers(here, radius, least=least), finite & (others >= least))


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 8), st.floats(0.5, 3))
def test_mean_distances_are_compared_as_by_hand(seed: int, k: int, ratio: float) -> None:
    here = cloud(seed)
    rows = np.flatnonzero(np.isfinite(here.xyz).all(1))
    gaps = np.sort(np.linalg.norm(here.xyz[rows, None] - here.xyz[None, rows], axis=2), axis=1)
    mean = gaps[:, 1 : k + 1].mean(1)
    limit = mean.mean() + ratio * mean.std()
    found = statistical_inliers(here, k=k, ratio=ratio)
    sure = np.abs(mean - limit) > 1e-9
    assert np.array_equal(found[rows][sure], (mean <= limit)[sure]) and not np.delete(found, rows).any()


@settings(max_examples=15)
@given(SEEDS, st.integers(3, 12))
def test_normals_are_unit_and_face_the_viewpoint(seed: int, k: int) -> None:
    here, eye = cloud(seed), np.array([20.0, -5.0, 3.0])
    normals = estimate_normals(here, k=k, viewpoint=tuple(eye)).attributes["normals"]
    finite = np.isfinite(here.xyz).all(1)
    np.testing.assert_allclose(np.linalg.norm(normals[finite], axis=1), 1, atol=1e-5)
    assert ((eye - here.xyz[finite]) * normals[finite]).sum(1).min() > -1e-4
    assert np.isnan(normals[~finite]).all()


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("name", ["normals", "label", "intensity"])
def test_attributes_of_another_length_are_refused(name: str) -> None:
    with pytest.raises(ShapeError, match=f"the attribute '{name}' does not match the points"):
        cloud(0).with_attributes(**{name: np.zeros(59)})


def test_a_missing_attribute_names_those_that_are_there() -> None:
    with pytest.raises(UsageError, match=r"no attribute 'rgb'; expected: one of \['intensity', 'label', 'normals'\]"):
        cloud(0).attribute("rgb")
