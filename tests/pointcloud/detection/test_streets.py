"""Generated streets as frames: of the classes and kinds that are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from small_detection import NAMES

from recon3d.pointcloud.boxes import points_in_boxes
from recon3d.pointcloud.detection import LabelledFrame, StreetFrames
from recon3d.pointcloud.detection.streets import STREET_KINDS, street_frame
from recon3d.pointcloud.worlds import StreetOptions, generate_street

COARSE = StreetOptions(beams="16", azimuth_step_deg=1.0, sector_deg=90.0, density=2.0)


@pytest.fixture(scope="module")
def frames() -> list[LabelledFrame]:
    made = StreetFrames(count=6, kinds=((COARSE, 1.0),), seed=3)
    return [made.frame(index) for index in range(6)]


def test_points_have_four_columns_in_single_precision(frames: list[LabelledFrame]) -> None:
    for frame in frames:
        assert frame.points.dtype == np.float32 and frame.points.shape[1] == 4 and len(frame.points) > 500
        assert np.isfinite(frame.points).all() and 0 <= frame.points[:, 3].min() <= frame.points[:, 3].max() <= 1


def test_boxes_hold_points_and_stand_near_the_ground(frames: list[LabelledFrame]) -> None:
    assert sum(len(frame.boxes) for frame in frames) > 10
    for frame in frames:
        wide = frame.boxes.boxes + np.array([0, 0, 0, 0.3, 0.3, 0.3, 0])  # the sensor is not exact
        assert (points_in_boxes(frame.points, wide).sum(1) >= 1).all()
        bottom = frame.boxes.boxes[:, 2] - frame.boxes.boxes[:, 5] / 2 + frame.mount_m
        assert (np.abs(bottom) < 3).all()  # the road may rise


def test_all_points_lie_in_the_sector(frames: list[LabelledFrame]) -> None:
    for frame in frames:
        assert (np.abs(np.arctan2(frame.points[:, 1], frame.points[:, 0])) < np.radians(47)).all()


def test_seeds_have_nothing_in_common_and_names_tell_them() -> None:
    one, other = (street_frame(seed, COARSE, NAMES) for seed in (1, 2))
    assert one.name != other.name and len(one.points) != len(other.points)
    assert np.array_equal(one.points, street_frame(1, COARSE, NAMES).points)


def test_a_frame_is_the_street_of_its_seed() -> None:
    street, frame = generate_street(4, COARSE), street_frame(4, COARSE, NAMES)
    assert np.allclose(frame.points[:, :3], street.cloud.xyz, atol=1e-4)
    assert np.allclose(frame.boxes.boxes, street.boxes.boxes)
    assert frame.mount_m == pytest.approx(-float(street.ground.height(np.zeros((1, 2)))[0]))


def test_other_classes_are_left_out() -> None:
    everything, people = street_frame(4, COARSE, NAMES), street_frame(4, COARSE, ("pedestrian",))
    wanted = everything.boxes.labels == NAMES.index("pedestrian")
    assert people.boxes.names == ("pedestrian",) and len(people.boxes) == wanted.sum()
    assert np.array_equal(people.boxes.boxes, everything.boxes.boxes[wanted])


def test_kinds_are_taken_by_their_shares() -> None:
    near = StreetOptions(beams="16", azimuth_step_deg=2.0, sector_deg=90.0, max_range_m=20.0)
    far = StreetOptions(beams="16", azimuth_step_deg=2.0, sector_deg=90.0, min_range_m=21.0)
    for shares, count, wanted in (((1.0, 0.0), 1, {True}), ((0.0, 1.0), 1, {False}), ((1.0, 1.0), 4, {True, False})):
        mixed = StreetFrames(count=count, kinds=tuple(zip((near, far), shares, strict=True)), seed=2)
        reaches = [float(np.linalg.norm(mixed.frame(row).points[:, :3], axis=1).max()) for row in range(count)]
        assert {reach <= 20.1 for reach in reaches} == wanted


def test_the_usual_kinds_show_several_sensors() -> None:
    assert sum(share for _, share in STREET_KINDS) == pytest.approx(1.0)
    assert len({options.beams for options, _ in STREET_KINDS}) >= 3
    assert any(options.sector_deg > 90 for options, _ in STREET_KINDS)  # so that a look has neighbours
