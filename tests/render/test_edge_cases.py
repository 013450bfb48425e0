"""Colours, frames, paths and their files at the edges of what they take."""

from __future__ import annotations

import contextlib
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from random_scenes import random_cameras, unchecked
from scipy.spatial.transform import Rotation

from recon3d.core.errors import FormatError, UsageError
from recon3d.render.cameras import Cameras, distort
from recon3d.render.colormap import NO_VALUE, Colormap, colour_table, colourise, value_range
from recon3d.render.focus import find_focus
from recon3d.render.orbits import orbit, orbit_points
from recon3d.render.trajectories import CameraPath, focal_per_diagonal, framed, look_at, poses_from, through, usual_size
from recon3d.render.trajectory_files import read_path_file
from recon3d.render.views import ViewOptions, normals_from_depth, to_srgb8

UP = np.array([0.0, 0.0, 1.0])
SIZE = (64, 48)
Array = np.ndarray[Any, Any]
seeds = st.integers(0, 10_000)
few = settings(max_examples=20)


def ring(azimuth_deg: Array, radius: float = 4.0, height: float = 1.0) -> Cameras:
    a = np.radians(azimuth_deg)
    eyes = np.stack([radius * np.cos(a), radius * np.sin(a), np.full(len(a), height)], axis=1)
    return framed(look_at(eyes, np.zeros(3), UP), np.full(len(a), 0.9), SIZE)


@pytest.mark.parametrize("name", ["viridis", "magma"])
def test_the_ends_of_a_map_are_its_first_and_last_colour(name: Colormap) -> None:
    table = colour_table(name)
    assert table.shape == (256, 3) and table.dtype == np.uint8
    painted = colourise(np.linspace(2, 5, 256)[None], 2.0, 5.0, name)
    assert np.array_equal(painted[0], table)
    assert not (table == NO_VALUE).all(axis=1).any()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e308, -1e308])
@pytest.mark.parametrize("limits", [(0.0, 2.0), (2.0, 0.0), (1.0, 1.0), (0.0, 1e-310)])
def test_any_number_is_painted_without_a_warning(value: float, limits: tuple[float, float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        painted = colourise(np.array([[value, limits[0]]]), *limits)
    table, (low, high) = colour_table("viridis"), limits
    wanted = table[255 if (value > 0) == (high >= low) else 0] if np.isfinite(value) else NO_VALUE
    assert painted[0, 0].tolist() == list(wanted)
    assert painted[0, 1].tolist() == table[0].tolist()


@few
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_a_higher_value_never_gets_an_earlier_colour(values: list[float]) -> None:
    table = {tuple(colour): place for place, colour in enumerate(colour_table("magma").tolist())}
    painted = colourise(np.sort(values)[None], -500.0, 500.0, "magma")[0]
    assert (np.diff([table[tuple(colour)] for colour in painted.tolist()]) >= 0).all()


def test_pictures_without_pixels_and_the_tails_of_a_range() -> None:
    assert colourise(np.zeros((0, 3)), 0.0, 1.0).shape == (0, 3, 3)
    assert value_range(np.zeros((0,))) == (0.0, 1.0)
    low, high = value_range(np.append(np.arange(101.0), np.nan), 10)
    assert (low, high) == (10.0, 90.0)


def test_linear_colours_are_encoded_as_the_standard_says() -> None:
    values = np.array([0.0, 0.0031308, 0.05, 0.31, 0.5, 1.0, 7.0, -1.0])
    image = np.repeat(values[None, :, None], 3, axis=2)
    assert to_srgb8(image, "linear")[0, :, 0].tolist() == [0, 10, 63, 151, 188, 255, 255, 0]
    assert to_srgb8(image)[0, :, 0].tolist() == [0, 1, 13, 79, 128, 255, 255, 0]


@few
@given(seeds)
def test_normals_of_any_plane_are_unit_and_towards_the_camera(seed: int) -> None:
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=3) * [1, 1, 0] + [0, 0, -2]
    normal /= np.linalg.norm(normal)
    K = np.array([[60.0, 0, 16], [0, 70, 12], [0, 0, 1]])
    x, y = np.meshgrid((np.arange(32) + 0.5 - 16) / 60, (np.arange(24) + 0.5 - 12) / 70)
    rays = np.stack([x, y, np.ones_like(x)], axis=2)
    depth = (-3 / (rays @ normal)).astype(np.float32)
    found = normals_from_depth(np.where(depth > 0, depth, np.nan).astype(np.float32), K)
    known = np.isfinite(found).all(axis=2)
    assert known.any() and np.allclose(np.linalg.norm(found[known], axis=1), 1, atol=1e-5)
    assert (found @ normal)[known].min() > 0.99
    assert ((found * rays).sum(axis=2)[known] < 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_a_line_of_pixels_has_no_normals(shape: tuple[int, int]) -> None:
    assert np.isnan(normals_from_depth(np.ones(shape, np.float32), np.eye(3))).all()


@pytest.mark.parametrize("background", [(0.0, 0.0, 1.5), (-0.1, 0.0, 0.0), (np.nan, 0.0, 0.0)])
def test_backgrounds_are_colours(background: tuple[float, float, float]) -> None:
    with pytest.raises(UsageError, match=r"a background colour is out of range; got: .*; expected: three in 0\.\.1"):
        ViewOptions(background=background)


def test_frames_of_something_unknown_are_refused() -> None:
    given = {**vars(ViewOptions()), "what": "heat"}
    with pytest.raises(UsageError, match="no such thing; got: heat; expected: colour, depth, alpha, normal"):
        unchecked(ViewOptions, **given)


def path_file(folder: Path, **changes: object) -> Path:
    """A valid file of two poses, with changes; None takes a key away."""
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    value: dict[str, object] = {
        "cam_from_world": [np.eye(4).tolist(), pose.tolist()],
        "K": [[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]],
        "width": 64,
        "height": 48,
    }
    value |= changes
    path = folder / "p.JSON"
    path.write_text(json.dumps({key: each for key, each in value.items() if each is not None}))
    return path


def matrix(row: int, column: int, value: float) -> list[list[float]]:
    K = [[50.0, 0.0, 32.0], [0.0, 50.0, 24.0], [0.0, 0.0, 1.0]]
    K[row][column] = value
    return K


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"K": matrix(0, 1, 3.0)},
            "K is no intrinsic matrix of a pinhole camera; expected: positive focal lengths, no",
        ),
        ({"K": matrix(1, 0, -0.1)}, "K is no intrinsic matrix"),
        ({"K": matrix(0, 0, 0.0)}, "K is no intrinsic matrix"),
        ({"K": matrix(1, 1, -50.0)}, "K is no intrinsic matrix"),
        ({"K": matrix(2, 2, 2.0)}, "K is no intrinsic matrix"),
        ({"K": [matrix(0, 1, 0.0)]}, "K: wrong shape; got: 1 entries; expected: a list of 2"),
        ({"K": [[]]}, "K: wrong shape"),
        ({"K": 5}, "'K' is wrong; got: 5; expected: list"),
        ({"width": 0}, "'width' is wrong; got: 0"),
        ({"width": 2.5}, "'width' is wrong"),
        ({"width": True}, "'width' is wrong"),
        ({"width": 1e30}, "'width' is wrong"),
        ({"height": None}, "'height' is wrong; got: None"),
        ({"cam_from_world": None}, "'cam_from_world' is wrong"),
        ({"cam_from_world": {}}, "'cam_from_world' is wrong; got: {}; expected: list"),
        ({"cam_from_world": [np.eye(3).tolist()]}, "cam_from_world: wrong shape; got: 3 entries"),
        ({"cam_from_world": [np.diag([1.0, 1, 1, 2]).tolist()]}, "pose 0 is not rigid"),
        ({"cam_from_world": [np.diag([1e308, 1, 1, 1]).tolist()]}, "pose 0 is not rigid"),
        ({"cam_from_world": [np.eye(4).tolist(), (2 * np.eye(4)).tolist()]}, "pose 1 is not rigid"),
        ({"frames": 3}, "'frames' is wrong"),
    ],
)
def test_damaged_paths_are_refused_with_the_reason(tmp_path: Path, changes: dict[str, object], text: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_path_file(path_file(tmp_path, **changes), SIZE, 0.8)
    assert text in str(caught.value)


def test_the_ending_may_be_in_capitals_and_sizes_whole_floats(tmp_path: Path) -> None:
    found = read_path_file(path_file(tmp_path, width=64.0), SIZE, 0.8)
    assert found.width.tolist() == [64, 64] and found.centers[1].tolist() == [-1, -2, -3]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0 0 0 0 0 0 0 0", "the quaternion is not of unit length"),
        ("0 1 2 3 0 0 0", "not a pose"),
        ("0 1 2 3 0 0 0 1 1", "not a pose"),
        ("x 1 2 3 0 0 0 1", "not a number"),
        ("0 1 2 3 0 0 nan 1", "not a finite number"),
    ],
)
def test_damaged_trajectories_name_their_line(tmp_path: Path, line: str, text: str) -> None:
    (tmp_path / "p.txt").write_text(f"# a comment\n0 1 2 3 0 0 0 1\n{line}\n")
    with pytest.raises(FormatError, match=f"line 3: {text}"):
        read_path_file(tmp_path / "p.txt", SIZE, 0.8)


@few
@given(
    st.dictionaries(
        st.sampled_from(["cam_from_world", "K", "width", "height", "frames"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
            max_leaves=8,
        ),
        min_size=1,
    )
)
def test_any_json_in_any_place_is_a_path_or_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object]
) -> None:
    path = path_file(tmp_path_factory.mktemp("paths"), **changes)
    with contextlib.suppress(FormatError):
        assert len(read_path_file(path, SIZE, 0.8)) > 0


@few
@given(seeds)
def test_paths_look_at_their_target_from_any_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    eyes, target = rng.normal(size=(5, 3)), rng.normal(size=3)
    up = rng.normal(size=3)
    poses = look_at(eyes, target, up)
    assert np.allclose(np.linalg.det(poses[:, :3, :3]), 1)
    assert np.allclose(poses[:, 0, :3] @ up, 0, atol=1e-9)  # no roll
    assert (poses[:, 1, :3] @ up < 0).all()
    again = poses_from(poses[:, :3, :3], eyes)
    assert np.allclose(again, poses)
    scaled = look_at(3 * eyes, 3 * target, 7 * up)
    assert np.allclose(scaled[:, :3, :3], poses[:, :3, :3])


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_frames_have_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=f"must be positive; got: {size[0]}x{size[1]}"):
        framed(np.eye(4)[None], np.ones(1), size)
    with pytest.raises(UsageError, match="must be positive"):
        orbit_points(np.zeros((1, 3)), 3, size)


@few
@given(seeds, st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 2000))
def test_the_usual_size_fits_and_keeps_its_shape(seed: int, width: int, height: int, side: int) -> None:
    cameras = framed(np.eye(4)[None], np.ones(1), (width, height))
    w, h = usual_size(cameras, side)
    assert min(w, h) >= 1 and max(w, h) <= max(side, 1) and w <= width and h <= height
    scale = min(1.0, side / max(width, height))
    assert abs(w - width * scale) <= 1 and abs(h - height * scale) <= 1


def test_the_focal_length_is_the_mean_of_both_per_diagonal() -> None:
    K = np.array([[[300.0, 0, 10], [0, 500, 10], [0, 0, 1]]])
    cameras = Cameras(np.eye(4)[None], K, np.array([300]), np.array([400]))
    assert focal_per_diagonal(cameras).tolist() == [0.8]


def test_a_ride_backwards_is_the_ride_from_its_end() -> None:
    cameras = random_cameras(5, 6).pinhole()
    one = through(cameras, 25, SIZE, 2.0).cameras.cam_from_world
    other = through(cameras[::-1], 25, SIZE, 2.0).cameras.cam_from_world
    hits = [(one == pose).all(axis=(1, 2)).argmax() for pose in cameras.cam_from_world]
    back = [(other == pose).all(axis=(1, 2)).argmax() for pose in cameras.cam_from_world]
    assert np.abs(np.array(hits) + back - 24).max() <= 1
    assert len(CameraPath(cameras, True, "a path")) == 6


@few
@given(seeds, st.floats(0.01, 100))
def test_a_scaled_world_has_the_same_ride(seed: int, scale: float) -> None:
    cameras = random_cameras(seed, 4).pinhole()
    similarity = np.diag([scale, scale, scale, 1.0])
    moved = through(cameras.transformed(similarity), 12, SIZE).cameras
    wanted = through(cameras, 12, SIZE).cameras.transformed(similarity)
    assert np.allclose(moved.cam_from_world[:, :3, :3], wanted.cam_from_world[:, :3, :3], atol=1e-6)
    assert np.allclose(moved.centers, wanted.centers, atol=1e-6 * scale * 10)


def test_cameras_that_turn_in_one_place_turn_evenly() -> None:
    """Their centres differ by rounding, which must not count as a way to go."""
    turns = Rotation.from_euler("zy", np.stack([np.arange(0, 90, 15.0), np.full(6, 3.0)], 1), degrees=True).as_matrix()
    cameras = framed(poses_from(turns, np.tile([123.4, -56.7, 8.9], (6, 1))), np.full(6, 0.9), SIZE)
    path = through(cameras, 51, SIZE).cameras.cam_from_world[:, :3, :3]
    steps = Rotation.from_matrix(path[1:] @ path[:-1].transpose(0, 2, 1)).magnitude()
    assert steps.max() < 1.25 * steps.min()


@few
@given(seeds)
def test_the_order_of_the_cameras_does_not_move_the_focus(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cameras = ring(rng.uniform(0, 360, 9), rng.uniform(2, 6))
    one, other = find_focus(cameras), find_focus(cameras[rng.permutation(9)])
    assert np.allclose(one.target, other.target, atol=1e-6)
    assert np.allclose(one.up, other.up) and one.is_inward == other.is_inward


@pytest.mark.parametrize("n", [1, 2, 5])
def test_cameras_in_one_place_look_one_unit_ahead(n: int) -> None:
    cameras = ring(np.full(n, 20.0))
    focus = find_focus(cameras)
    ahead = focus.target - cameras.centers[0]
    assert np.linalg.norm(ahead) == pytest.approx(1.0, rel=1e-6)
    assert np.allclose(ahead, cameras.cam_from_world[0, 2, :3], atol=1e-6)
    assert np.isfinite(orbit(cameras, 5, SIZE).cameras.cam_from_world).all()


@pytest.mark.parametrize("roll", [0.0, 90.0, 180.0, 270.0])
def test_photos_on_their_side_have_a_roll_of_quarter_turns(roll: float) -> None:
    """The ring stands upright in the world, so its axis is level, and each photo is turned about its own axis."""
    a = np.radians(np.linspace(-60, 60, 13))
    eyes = np.stack([3 * np.cos(a), np.zeros(13), 3 * np.sin(a)], axis=1)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", roll, degrees=True).as_matrix()
    cameras = framed(turn @ look_at(eyes, np.zeros(3), np.array([0.0, 1.0, 0.0])), np.full(13, 0.9), SIZE)
    focus = find_focus(cameras)
    assert focus.is_inward and np.allclose(focus.target, 0, atol=0.3)
    quarter = focus.roll / (np.pi / 2)
    assert quarter == pytest.approx(round(quarter))
    path = orbit(cameras, 9, SIZE).cameras
    for pose in path.cam_from_world:
        nearest = int(np.argmin(np.linalg.norm(cameras.centers + pose[:3, :3].T @ pose[:3, 3], axis=1)))
        between = Rotation.from_matrix(pose[:3, :3] @ cameras.cam_from_world[nearest, :3, :3].T)
        assert np.degrees(between.magnitude()) < 50


@pytest.mark.parametrize("points", [np.zeros((1, 3)), np.full((5, 3), 2.0), np.array([[np.inf] * 3, [1.0, 2, 3]])])
@pytest.mark.parametrize("elevation", [-80.0, 0.0, 60.0])
def test_a_point_is_circled_at_the_elevation_that_is_asked_for(points: Array, elevation: float) -> None:
    path = orbit_points(points, 6, SIZE, elevation_deg=elevation)
    middle = points[np.isfinite(points).all(axis=1)][0]
    offset = path.cameras.centers - middle
    distance = np.linalg.norm(offset, axis=1)
    assert np.allclose(distance, distance[0]) and distance[0] > 0.5
    assert np.allclose(np.degrees(np.arcsin(offset[:, 2] / distance)), elevation)
    pixels, depth = path.cameras.project(np.tile(middle, (6, 1)), np.arange(6))
    assert np.allclose(pixels, [32, 24]) and np.allclose(depth, distance)


@pytest.mark.parametrize("loop", [True, False])
def test_cameras_right_above_their_target_are_orbited_too(loop: bool) -> None:
    eyes = np.array([[0.0, 0.01, 5], [0.01, 0.0, 5], [-0.01, -0.01, 5]])
    cameras = framed(look_at(eyes, np.zeros(3), np.array([0.0, 1.0, 0.0])), np.full(3, 0.9), SIZE)
    poses = orbit(cameras, 8, SIZE, loop=loop).cameras.cam_from_world
    assert np.allclose(poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1), np.eye(3), atol=1e-9)


@few
@given(seeds)
def test_lenses_without_coefficients_do_nothing_and_turn_with_the_picture(seed: int) -> None:
    """Radial lenses are the same all around; tangential ones are not."""
    rng = np.random.default_rng(seed)
    points, angle = rng.uniform(-0.5, 0.5, (6, 2)), rng.uniform(0, 6)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert np.array_equal(distort(points, np.zeros((6, 4))), points)
    radial = np.tile([0.1, -0.05, 0, 0], (6, 1))
    assert np.allclose(distort(points @ turn.T, radial), distort(points, radial) @ turn.T)


@few
@given(seeds)
def test_two_similarities_are_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cameras, parts = random_cameras(seed), []
    for _ in range(2):
        part = np.eye(4)
        part[:3, :3] = Rotation.random(random_state=rng).as_matrix() * rng.uniform(0.2, 5)
        part[:3, 3] = rng.normal(size=3)
        parts.append(part)
    one = cameras.transformed(parts[0]).transformed(parts[1])
    assert np.allclose(one.cam_from_world, cameras.transformed(parts[1] @ parts[0]).cam_from_world)
    back = cameras.transformed(parts[0]).transformed(np.linalg.inv(parts[0]))
    assert np.allclose(back.cam_from_world, cameras.cam_from_world)


@pytest.mark.parametrize(("side", "wanted"), [(1, (1, 1)), (7, (7, 5)), (10_000, (640, 480))])
def test_limits_keep_at_least_a_pixel(side: int, wanted: tuple[int, int]) -> None:
    cameras = framed(np.eye(4)[None], np.ones(1), (640, 480)).limited(side)
    assert (cameras.width[0], cameras.height[0]) == wanted


def test_descriptions_say_what_the_path_is() -> None:
    inward, few_degrees = ring(np.linspace(0, 330, 12)), ring(np.linspace(0, 60, 9))
    texts = [
        orbit(one, 6, SIZE, loop=loop).description
        for one, loop in itertools.product((inward, few_degrees), (True, False))
    ]
    assert "once round" in texts[0] and texts[0] == texts[1]
    assert "to and fro" in texts[2] and "to and fro" not in texts[3] and "degrees that were photographed" in texts[3]
