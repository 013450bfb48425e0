"""What users have as clouds, as rows for the network: positions, intensities, the height of the sensor."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from small_detection import MOUNT, frame_of

from recon3d.core.errors import InputError, ShapeError
from recon3d.pointcloud.clouds import PointCloud
from recon3d.pointcloud.detection import AUTO, SensorOptions
from recon3d.pointcloud.detection.clouds import SensorCloud, cloud_rows, sensor_cloud

ROWS = np.array([[1.0, 2.0, 3.0, 0.5], [4.0, 5.0, 6.0, 1.0]])
STREET = frame_of([(0, 6.0, 0.0, 0.0)]).points
SENSOR = SensorOptions()


def _checked(
    rows: np.ndarray, sensor: SensorOptions = SENSOR, mount: float | None = None, brightest: float | None = None
) -> SensorCloud:
    return sensor_cloud(rows, sensor, mount_m=mount, intensity_max=brightest)


def test_arrays_of_any_numbers_become_single_precision() -> None:
    for kind in (np.float64, np.float32, np.int32, np.uint8, np.float16):
        rows = cloud_rows(ROWS.astype(kind))
        assert rows.dtype == np.float32 and np.allclose(rows, ROWS.astype(kind), atol=1e-3)


def test_missing_columns_are_zeros_and_further_ones_fall() -> None:
    assert np.array_equal(cloud_rows(ROWS[:, :3])[:, 3], [0, 0])
    wide = np.column_stack([ROWS, [7, 8]])
    assert cloud_rows(wide).shape == (2, 4)
    assert np.array_equal(cloud_rows(wide, ("intensity", "sweep"))[:, 4], [7, 8])
    assert cloud_rows(ROWS, ("intensity", "sweep")).shape == (2, 5)


def test_a_cloud_gives_its_attributes_by_name() -> None:
    cloud = PointCloud(xyz=ROWS[:, :3], attributes={"sweep": np.array([1, 2]), "intensity": ROWS[:, 3]})
    assert np.array_equal(cloud_rows(cloud), ROWS.astype(np.float32))
    assert np.array_equal(cloud_rows(cloud, ("sweep", "missing"))[:, 3:], [[1, 0], [2, 0]])


def test_of_an_attribute_with_columns_the_first_is_taken() -> None:
    cloud = PointCloud(xyz=ROWS[:, :3], attributes={"rgb": np.array([[9, 1, 2], [8, 3, 4]], np.uint8)})
    assert np.array_equal(cloud_rows(cloud, ("rgb",))[:, 3], [9, 8])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rows_without_a_position_fall(bad: float, axis: int) -> None:
    rows = ROWS.copy()
    rows[0, axis] = bad
    assert np.array_equal(cloud_rows(rows), ROWS[1:].astype(np.float32))


def test_an_intensity_that_is_no_number_is_zero() -> None:
    rows = ROWS.copy()
    rows[0, 3] = np.nan
    assert np.array_equal(cloud_rows(rows)[:, 3], [0, 1])


def test_positions_beyond_reason_stay_finite() -> None:
    assert np.isfinite(cloud_rows(np.array([[1e300, 0, 0, 0]]))).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((5, 2)),
        np.zeros(5),
        np.zeros((2, 5, 3)),
        np.array(3.0),
        np.zeros((4, 4), complex),
        np.zeros((4, 4), bool),
        np.array([["1"] * 4]),
    ],
)
def test_tables_of_another_shape_or_kind(wrong: np.ndarray) -> None:
    with pytest.raises(ShapeError, match=r"x, y, z, intensity"):
        cloud_rows(wrong)


def test_empty_tables() -> None:
    assert cloud_rows(np.zeros((0, 4))).shape == (0, 4)
    assert cloud_rows(np.zeros((0, 3))).shape == (0, 4)
    assert cloud_rows(PointCloud(xyz=np.zeros((0, 3)), attributes={})).shape == (0, 4)


def test_intensities_become_shares_of_the_brightest() -> None:
    rows = ROWS * [1, 1, 1, 200]
    assert np.allclose(_checked(rows, brightest=200).points[:, 3], ROWS[:, 3])
    assert np.allclose(_checked(rows, SensorOptions(intensity_max=200)).points[:, 3], ROWS[:, 3])
    both = _checked(rows, SensorOptions(intensity_max=7), brightest=200)
    assert np.allclose(both.points[:, 3], ROWS[:, 3])  # what is given goes before what was learnt with


@pytest.mark.parametrize(("brightest", "hint"), [(200, "255"), (60_000, "65535")])
def test_brighter_points_than_declared_name_the_option(brightest: float, hint: str) -> None:
    with pytest.raises(InputError, match="intensity_max") as caught:
        _checked(ROWS * [1, 1, 1, brightest])
    assert hint in str(caught.value)


def test_rounding_above_the_brightest_is_no_error() -> None:
    assert _checked(ROWS * [1, 1, 1, 1.01]).points[:, 3].max() == pytest.approx(1.01)
    with pytest.raises(InputError):
        _checked(ROWS * [1, 1, 1, 1.05])


def test_the_rows_given_stay_as_they_were() -> None:
    rows = (ROWS * [1, 1, 1, 100]).astype(np.float32)
    before = rows.copy()
    _checked(rows, brightest=100)
    assert np.array_equal(rows, before)


def test_the_height_is_the_declared_one_the_given_one_or_the_found_one() -> None:
    assert _checked(STREET).mount_m == SENSOR.mount_m
    assert _checked(STREET, mount=1.5).mount_m == 1.5
    lower = STREET - np.float32([0, 0, 0.4, 0])
    assert _checked(lower, mount=AUTO).mount_m == pytest.approx(MOUNT + 0.4, abs=0.05)


def test_without_ground_the_declared_height_holds() -> None:
    sky = STREET + np.float32([0, 0, 0, 0])
    sky[:, :2] += 500
    checked = _checked(sky, mount=AUTO)
    assert checked.ground_m is None and checked.mount_m == SENSOR.mount_m
    assert "no ground" in checked.warnings[0]


def test_an_empty_cloud_is_no_reason_to_warn() -> None:
    checked = _checked(np.zeros((0, 4)))
    assert checked.warnings == () and checked.ground_m is None and len(checked.points) == 0


@pytest.mark.parametrize(("lift", "warned"), [(0.0, False), (0.4, False), (-0.4, False), (0.9, True), (-0.9, True)])
def test_a_ground_elsewhere_is_said_beyond_a_tolerance(lift: float, warned: bool) -> None:
    checked = _checked(STREET + np.float32([0, 0, lift, 0]))
    assert bool(checked.warnings) == warned
    if warned:
        assert f"{MOUNT - lift:.1f}" in checked.warnings[0] and "--mount auto" in checked.warnings[0]


def test_warnings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        checked = _checked(STREET - np.float32([0, 0, 1, 0]))
    assert caplog.messages == list(checked.warnings)
