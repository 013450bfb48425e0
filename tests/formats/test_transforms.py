"""transforms.json: axes by hand, intrinsics from wherever they stand, and strict checks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_scenes import random_cameras

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.transforms import parse_transforms, read_transforms, write_transforms
from recon3d.scene_convert import cameras_from_transforms, transforms_from_cameras

# a camera at (1, 2, 3) that looks along world +y with world z up: OpenGL x = +x, y = +z, backward = -y
BY_HAND = [[1, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3], [0, 0, 0, 1]]


def frame(**changes: Any) -> dict[str, Any]:
    value = {"file_path": "a.jpg", "transform_matrix": BY_HAND, "w": 640, "h": 480, "fl_x": 500, "cx": 310, "cy": 250}
    return {key: entry for key, entry in {**value, **changes}.items() if entry is not None}


def parse(*frames: Any, **top: Any) -> Any:
    return parse_transforms(json.dumps({"frames": list(frames), **top}).encode())


def test_axes_by_hand() -> None:
    cameras = cameras_from_transforms(parse(frame()))
    np.testing.assert_allclose(cameras.centers, [[1, 2, 3]])
    # 4 m ahead (+y), 1 m to the right (+x), 2 m up (+z): right of and above the principal point
    xy, depth = cameras.project(np.array([[2.0, 6, 5]]), np.array([0]))
    np.testing.assert_allclose(depth, [4])
    np.testing.assert_allclose(xy, [[310 + 500 / 4, 250 - 500 * 2 / 4]])
    assert cameras.distortion is None


def test_written_by_hand(tmp_path: Path) -> None:
    write_transforms(tmp_path / "t.json", parse(frame(k1=0.1, p2=-0.02)))
    value = json.loads((tmp_path / "t.json").read_text())
    assert value["camera_model"] == "OPENCV" and "applied_transform" not in value
    assert value["frames"] == [frame(transform_matrix=BY_HAND, fl_y=500, k1=0.1, k2=0, p1=0, p2=-0.02)]


def test_round_trip_of_random_cameras(tmp_path: Path) -> None:
    cameras = random_cameras(5, 6)
    names = [f"images/{i}.jpg" for i in range(6)]
    write_transforms(tmp_path / "t.json", transforms_from_cameras(cameras, names, "points.ply"))
    transforms = read_transforms(tmp_path / "t.json")
    back = cameras_from_transforms(transforms)
    assert transforms.names == tuple(names) and transforms.ply_file_path == "points.ply"
    np.testing.assert_allclose(back.cam_from_world, cameras.cam_from_world, atol=1e-14)
    assert np.array_equal(back.K, cameras.K) and np.array_equal(back.width, cameras.width)
    assert np.array_equal(back.distortion, cameras.distortion)


def test_intrinsics_once_for_all() -> None:
    bare = {"file_path": "a.jpg", "transform_matrix": BY_HAND}
    shared = {"w": 640, "h": 480, "fl_x": 500, "fl_y": 510, "cx": 1, "cy": 2, "k1": 0.1, "camera_model": "OPENCV"}
    transforms = parse(bare, {**bare, "fl_x": 600}, **shared)
    assert transforms.K[:, 0, 0].tolist() == [500, 600] and transforms.K[:, 1, 1].tolist() == [510, 510]
    assert transforms.distortion[:, 0].tolist() == [0.1, 0.1]


def test_field_of_view_and_a_centre_that_is_not_given() -> None:
    transforms = parse(frame(fl_x=None, cx=None, cy=None), camera_angle_x=math.pi / 2)
    np.testing.assert_allclose(transforms.K[0], [[320, 0, 320], [0, 320, 240], [0, 0, 1]])


def test_the_applied_transform_is_handed_on(tmp_path: Path) -> None:
    applied = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 5]]
    transforms = parse(frame(), applied_transform=applied)
    write_transforms(tmp_path / "t.json", transforms)
    again = read_transforms(tmp_path / "t.json").applied_transform
    assert again is not None and again.tolist() == applied
    np.testing.assert_allclose(cameras_from_transforms(transforms).centers, [[1, 2, 3]])


def test_three_rows_are_enough() -> None:
    assert np.array_equal(parse(frame(transform_matrix=BY_HAND[:3])).cam_from_world, parse(frame()).cam_from_world)


def test_rounded_rotations_become_rotations_again() -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[0.8661, -0.5], [0.5, 0.8661]]
    rotation = parse(frame(transform_matrix=turn.tolist())).cam_from_world[0, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)


def test_no_frames() -> None:
    assert len(cameras_from_transforms(parse())) == 0


def scaled(factor: float) -> list[list[float]]:
    return (np.diag([factor, factor, factor, 1]) @ np.array(BY_HAND)).tolist()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"transform_matrix": scaled(2)}, "frame 0: transform_matrix is not rigid"),
        ({"transform_matrix": scaled(-1)}, "not rigid"),
        ({"transform_matrix": scaled(1e300)}, "not rigid"),
        ({"transform_matrix": [[1, 0], [0, 1]]}, "wrong shape"),
        ({"transform_matrix": [[*row[:3], "1"] for row in BY_HAND]}, "not a finite number"),
        ({"transform_matrix": None}, "'transform_matrix' is wrong"),
        ({"file_path": None}, "'file_path' is wrong"),
        ({"file_path": 3}, "'file_path' is wrong"),
        ({"w": None}, "'w' is wrong"),
        ({"w": 0}, "'w' is wrong"),
        ({"h": 480.5}, "'h' is wrong"),
        ({"fl_x": None}, "'fl_x' is wrong"),
        ({"fl_x": 0}, "not positive"),
        ({"fl_y": -1}, "not positive"),
        ({"fl_x": None, "camera_angle_x": 4}, "not positive"),
        ({"camera_model": "OPENCV_FISHEYE"}, "unsupported lens model"),
        ({"is_fisheye": True}, "unsupported lens model"),
        ({"k3": 0.1}, "unsupported lens model"),
        ({"k1": "0.1"}, "'k1' is wrong"),
    ],
)
def test_bad_frames(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse(frame(**changes))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"frames": {}}', b'{"frames": [1]}', b'{"frames": [[]]}'])
def test_bad_files(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_transforms(data)


def test_a_zero_k3_is_fine() -> None:
    assert len(parse(frame(k3=0, k4=0.0)).names) == 1


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_transforms(tmp_path / "absent.json")
