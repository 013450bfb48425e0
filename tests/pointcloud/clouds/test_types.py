"""The cloud itself: rows, attributes, frames and the local origin."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.clouds import PointCloud

QUARTER_TURN = np.array([[0.0, -1, 0, 10], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def cloud(n: int = 4) -> PointCloud:
    xyz = np.arange(3.0 * n).reshape(n, 3)
    return PointCloud(xyz=xyz, attributes={"intensity": np.arange(n, dtype=np.float32)}, frame="map", time_s=2.0)


def test_selected_rows_keep_their_attributes_and_the_frame() -> None:
    chosen = cloud().selected(np.array([2, 0]))
    assert chosen.xyz[:, 0].tolist() == [6, 0]
    assert chosen.attributes["intensity"].tolist() == [2, 0]
    assert (chosen.frame, chosen.time_s, len(chosen)) == ("map", 2.0, 2)


def test_masks_and_slices_select_too() -> None:
    assert len(cloud().selected(cloud().xyz[:, 0] > 3)) == 2
    assert len(cloud().selected(slice(0, 1))) == 1


def test_points_without_a_position_are_dropped_on_request() -> None:
    xyz = cloud().xyz.copy()
    xyz[1, 2] = np.nan
    assert PointCloud(xyz=xyz).finite().xyz[:, 0].tolist() == [0, 6, 9]


def test_attributes_are_added_and_found() -> None:
    more = cloud().with_attributes(label=np.arange(4))
    assert sorted(more.attributes) == ["intensity", "label"]
    assert more.attribute("label")[3] == 3
    assert "label" not in cloud().attributes
    with pytest.raises(UsageError, match="'ring'"):
        more.attribute("ring")


def test_positions_and_normals_turn() -> None:
    normals = np.array([[1.0, 0, 0]], np.float32)
    moved = PointCloud(xyz=np.array([[1.0, 0, 5]]), attributes={"normals": normals}).transformed(
        QUARTER_TURN, frame="vehicle"
    )
    np.testing.assert_allclose(moved.xyz, [[10, 1, 5]])
    np.testing.assert_allclose(moved.attributes["normals"], [[0, 1, 0]], atol=1e-7)
    assert moved.frame == "vehicle"
    assert moved.attributes["normals"].dtype == np.float32


def test_normals_stay_perpendicular_under_a_stretch() -> None:
    slope = PointCloud(xyz=np.zeros((1, 3)), attributes={"normals": np.array([[1.0, 0, 1]]) / np.sqrt(2)})
    normal = slope.transformed(np.diag([2.0, 1, 1, 1])).attributes["normals"][0]
    np.testing.assert_allclose(normal @ [2, 0, -1], 0, atol=1e-12)  # the stretched tangent
    np.testing.assert_allclose(np.linalg.norm(normal), 1)


def test_a_local_origin_keeps_centimetres_of_map_coordinates() -> None:
    xyz = np.array([[637012.24, 5428028.31, 431.66], [637013.25, 5428028.32, 431.67]])
    local, origin = PointCloud(xyz=xyz, frame="utm").local()
    np.testing.assert_allclose(local.xyz.astype(np.float32) + origin, xyz, atol=1e-6)
    assert local.frame == "utm_local"
    assert (origin == np.rint(origin)).all()


def test_clouds_without_a_point_have_a_local_origin() -> None:
    empty, origin = PointCloud(xyz=np.zeros((0, 3))).local()
    assert len(empty) == 0
    assert origin.tolist() == [0, 0, 0]


@pytest.mark.usefixtures("without_shape_checks")
def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"float32 \[4, 2\]"):
        PointCloud(xyz=np.zeros((4, 2), np.float32))
    with pytest.raises(ShapeError, match="'label'"):
        PointCloud(xyz=np.zeros((4, 3)), attributes={"label": np.zeros(3)})
    with pytest.raises(ShapeError, match="affine"):
        cloud().transformed(np.ones((4, 4)))
