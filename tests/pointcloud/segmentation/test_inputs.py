"""From a user's cloud to a segmenter's input: what is taken for granted is checked, and said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_segmentation import ROOM, STREET, room_rows, street_rows

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.segmentation.inputs import Cloud, CloudOptions, ReadyCloud, check_views, ready_cloud
from recon3d.pointcloud.segmentation.spec import SegmenterSpec


def ready(cloud: Cloud, spec: SegmenterSpec, **options: float) -> ReadyCloud:
    return ready_cloud(cloud, spec, CloudOptions(**options))


def room_cloud(**changed: np.ndarray) -> PointCloud:
    rows = room_rows(1)
    return PointCloud(xyz=rows[:, :3].copy(), attributes={"rgb": rows[:, 3:].astype(np.uint8), **changed})


def sweep(**changed: np.ndarray) -> PointCloud:
    rows = street_rows(1)
    return PointCloud(xyz=rows[:, :3].copy(), attributes={"intensity": rows[:, 3].astype(np.float32), **changed})


def test_columns_become_what_the_model_reads() -> None:
    room, street = ready(room_rows(1), ROOM).sample, ready(street_rows(1), STREET).sample
    assert np.asarray(room.color) == pytest.approx(room_rows(1)[:, 3:].astype(np.float32))
    assert room.strength is None and room.normal is None
    assert np.asarray(street.strength) == pytest.approx(street_rows(1)[:, 3].astype(np.float32))
    assert street.color is None and np.array_equal(street.xyz, street_rows(1)[:, :3])


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32])
def test_all_numbers_are_columns(kind: type) -> None:
    found = ready((room_rows(1) * 10).clip(0, 255).astype(kind), replace(ROOM, features=("one", "height")))
    assert found.sample.xyz.dtype == np.float64 and found.kept.all()


def test_more_columns_than_needed_are_left_out() -> None:
    wide = np.column_stack([street_rows(1), np.full(400, 7.0)])
    assert np.array_equal(
        np.asarray(ready(wide, STREET).sample.strength), ready(street_rows(1), STREET).sample.strength
    )


@pytest.mark.parametrize("shape", [(4, 2), (4, 0)])
def test_other_tables_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="wrong shape"):
        ready(np.zeros(shape), STREET)


@pytest.mark.parametrize("kind", ["U3", "bool", "complex128"])
def test_other_kinds_of_values_are_refused(kind: str) -> None:
    with pytest.raises(ShapeError, match="wrong shape"):
        ready(np.zeros((3, 4), kind), STREET)


def test_points_without_a_position_are_not_kept() -> None:
    rows = room_rows(1)
    rows[3, 0], rows[5, 1], rows[7, 2] = np.nan, -np.inf, np.inf
    found = ready(rows, ROOM)
    assert np.flatnonzero(~found.kept).tolist() == [3, 5, 7]
    assert len(found.sample) == 397 and np.isfinite(found.sample.xyz).all()


def test_a_cloud_of_nothing_but_nan_is_empty() -> None:
    found = ready(np.full((5, 4), np.nan), STREET)
    assert len(found.sample) == 0 and not found.kept.any()


def test_the_reach_is_a_sphere_around_the_sensor_and_is_counted() -> None:
    rows = np.array([[20.0, 0, 0, 0.5], [12.0, 16.0, 0.1, 0.5], [0, 0, -21.0, 0.5], [0, -19.0, 1.0, 0.5]])
    found = ready(rows, STREET)
    assert found.kept.tolist() == [True, False, False, True]
    assert found.notes[0] == "2 points beyond 20 m have no label"
    assert ready(rows, replace(STREET, max_distance_m=None)).kept.all()


def test_colours_that_are_not_numbers_are_black() -> None:
    rows = room_rows(1)
    rows[0, 3:] = np.nan
    assert np.asarray(ready(rows, ROOM).sample.color)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("values", [[-1.0, 0.0, 0.0], [256.0, 0.0, 0.0], [65535.0, 3.0, 3.0]])
def test_colours_out_of_range_are_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="colours are out of range"):
        ready(np.array([[1.0, 2.0, 3.0, *values]]), ROOM)


def test_colours_from_0_to_1_are_refused_but_dark_bytes_are_not() -> None:
    with pytest.raises(InputError, match="0 to 255"):
        ready(np.array([[1.0, 2.0, 3.0, 0.1, 0.2, 1.0]]), ROOM)
    dark = PointCloud(xyz=np.ones((2, 3)), attributes={"rgb": np.ones((2, 3), np.uint8)})
    assert np.asarray(ready(dark, ROOM).sample.color).max() == 1


def test_colours_that_are_missing_are_named() -> None:
    with pytest.raises(InputError, match="needs colours") as caught:
        ready(PointCloud(xyz=np.ones((2, 3)), attributes={"intensity": np.ones(2, np.float32)}), ROOM)
    assert "intensity" in str(caught.value) and "outdoor" in str(caught.value)


def test_normals_become_unit_vectors() -> None:
    long = np.tile(np.float32([0, 3, 4]), (400, 1))
    found = np.asarray(ready(room_cloud(normals=long), ROOM).sample.normal)
    assert found == pytest.approx(long / 5)


def test_some_missing_normals_are_zero_and_many_mean_none() -> None:
    normals = np.tile(np.float32([0, 0, 1]), (400, 1))
    normals[:100] = np.nan
    found = np.asarray(ready(room_cloud(normals=normals), ROOM).sample.normal)
    assert (found[:100] == 0).all() and (found[100:, 2] == 1).all()
    normals[:250] = np.nan
    assert ready(room_cloud(normals=normals), ROOM).sample.normal is None


def test_a_model_without_normals_or_colours_does_not_ask_for_them() -> None:
    bare = ready(PointCloud(xyz=room_rows(1)[:, :3].copy(), attributes={}), replace(ROOM, features=("one", "height")))
    assert bare.sample.color is None and bare.sample.normal is None


@pytest.mark.parametrize(("brightest", "given"), [(1.0, None), (255.0, None), (255.0, 255.0), (65535.0, 65535.0)])
def test_intensities_become_shares(brightest: float, given: float | None) -> None:
    rows = street_rows(2) * (1, 1, 1, brightest)
    options = {} if given is None else {"intensity_max": given}
    found = ready(rows, STREET, **options)
    assert np.asarray(found.sample.strength) == pytest.approx(street_rows(2)[:, 3], abs=1e-6)
    assert any("255" in note for note in found.notes) == (brightest == 255 and given is None)


def test_a_little_over_the_brightest_is_cut() -> None:
    rows = street_rows(3)
    rows[0, 3] = 1.01
    assert np.asarray(ready(rows, STREET).sample.strength).max() == 1


@pytest.mark.parametrize(("value", "given"), [(300.0, None), (2.0, 1.0), (-0.1, None), (0.5, -1.0), (0.5, 0.0)])
def test_intensities_out_of_range_are_refused(value: float, given: float | None) -> None:
    rows = street_rows(4)
    rows[0, 3] = value
    options = {} if given is None else {"intensity_max": given}
    with pytest.raises(InputError, match="intensities are out of range"):
        ready(rows, STREET, **options)


def test_intensities_that_are_no_numbers_are_dark() -> None:
    rows = street_rows(5)
    rows[0, 3] = np.nan
    assert np.asarray(ready(rows, STREET).sample.strength)[0] == 0


def test_the_mount_height_lifts_the_points_to_where_the_model_knows_them() -> None:
    low, known = ready(street_rows(6) - (0, 0, 1, 0), STREET, mount_m=2.7), ready(street_rows(6), STREET)
    assert low.sample.xyz == pytest.approx(known.sample.xyz) and low.notes == known.notes == ()


@pytest.mark.parametrize(("offset", "noted"), [(-3.0, True), (-0.9, False), (0.0, False), (4.0, True)])
def test_a_mount_height_that_the_ground_contradicts_is_noted(offset: float, noted: bool) -> None:
    spec = replace(STREET, max_distance_m=None)
    found = ready(street_rows(7) + np.array([0, 0, offset, 0]), spec)
    assert any("--mount" in note for note in found.notes) == noted


def test_a_cloud_away_from_the_sensor_is_noted() -> None:
    far = street_rows(8) + np.array([100.0, 0, 0, 0])
    assert any("frame of the sensor" in note for note in ready(far, replace(STREET, max_distance_m=None)).notes)


def test_rooms_in_other_units_are_noted_or_refused() -> None:
    with pytest.raises(InputError, match="no room"):
        ready(room_rows(1) * (1000, 1000, 1000, 1, 1, 1), ROOM)
    tiny = ready(room_rows(1) * (0.1, 0.1, 0.1, 1, 1, 1), ROOM)
    assert any("units metres" in note for note in tiny.notes)
    assert ready(room_rows(1), ROOM).notes == ()


def test_a_room_stands_on_its_floor_afterwards() -> None:
    found = ready(room_rows(9) + np.array([5e5, 5e6, 300, 0, 0, 0]), ROOM).sample
    assert np.percentile(found.xyz[:, 2], 1) == pytest.approx(0, abs=1e-6)
    assert np.abs(found.xyz[:, :2]).max() < 1.6


def test_the_cloud_of_the_caller_is_not_changed() -> None:
    cloud, rows = sweep(), street_rows(1)
    before = rows.copy()
    ready(cloud, STREET, mount_m=3.0), ready(rows, STREET, mount_m=3.0)
    assert np.array_equal(rows, before) and np.array_equal(cloud.xyz, before[:, :3])


@pytest.mark.parametrize("views", [0, -1, 9])
def test_views_are_bounded(views: int) -> None:
    with pytest.raises(UsageError, match="1 to 8"):
        check_views(views)
    check_views(8)
