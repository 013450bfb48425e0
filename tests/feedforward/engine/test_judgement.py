from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sfm_captures import cameras_at, cloud, ring_poses

from recon3d.feedforward.engine.judgement import judge
from recon3d.render.cameras import Cameras
from recon3d.sfm.solve import known_model
from recon3d.sfm.types import Mapped, Pair

N = 5


def capture(n_points: int = 80, noise_px: float = 0.5) -> tuple[Cameras, list[Pair]]:
    """Cameras on an arc and the matches that they would find."""
    cameras, xyz = cameras_at(ring_poses(N)), cloud(n_points)
    rng = np.random.default_rng(0)
    seen = [
        cameras.project(xyz, np.full(n_points, i))[0] + noise_px * rng.standard_normal((n_points, 2)) for i in range(N)
    ]
    index = np.stack([np.arange(n_points)] * 2, 1)
    pairs = [
        Pair(i, j, index, np.stack([seen[i], seen[j]], 1), n_points, n_points // 3, "CALIBRATED")
        for i in range(N)
        for j in range(i + 1, N)
    ]
    return cameras, pairs


def model(cameras: Cameras, turn_deg: float = 0.0, rows: slice = slice(None)) -> Mapped:
    poses = cameras.cam_from_world.copy()
    turns = np.radians(turn_deg) * np.random.default_rng(1).standard_normal((N, 3))
    poses[rows, :3] = (Rotation.from_rotvec(turns).as_matrix() @ poses[:, :3])[rows]
    return known_model(replace(cameras, cam_from_world=poses), np.arange(N), np.zeros(N, np.int64))


@pytest.mark.parametrize(("turn_deg", "grade"), [(0.0, "good"), (1.5, "rough"), (20.0, "contradicted")])
def test_the_grade_follows_the_error_of_the_cameras(turn_deg: float, grade: str) -> None:
    cameras, pairs = capture()
    judged = judge(model(cameras, turn_deg), pairs)
    assert judged.grade == grade and judged.numbers["n_matches"] == 800
    assert f"{100 * judged.numbers['good_share']:.0f} % of 800" in judged.text


def test_one_photo_in_the_wrong_place_is_dropped_and_the_others_stay() -> None:
    cameras, pairs = capture()
    judged = judge(model(cameras, 25.0, slice(2, 3)), pairs)
    assert [drop.photo for drop in judged.drop] == [2] and judged.grade == "rough"
    assert "contradict" in judged.drop[0].reason


def test_few_matches_confirm_nothing() -> None:
    cameras, pairs = capture(n_points=2)
    judged = judge(model(cameras), pairs)
    assert judged.grade == "unconfirmed" and "only 20 feature matches" in judged.text


def test_matches_without_parallax_confirm_no_distance() -> None:
    cameras, pairs = capture()
    flat = [replace(pair, n_homography=len(pair.matches)) for pair in pairs]
    judged = judge(model(cameras), flat)
    assert judged.grade == "unconfirmed" and "no parallax" in judged.text


def test_cameras_that_look_from_the_other_side_are_contradicted_although_their_lines_fit() -> None:
    cameras, pairs = capture()
    mirrored = cameras.cam_from_world.copy()
    mirrored[:, :3, 3] *= -1  # the same epipolar lines, with all points behind the cameras
    judged = judge(model(replace(cameras, cam_from_world=mirrored)), pairs)
    assert judged.grade == "contradicted" and judged.numbers["epipolar_px"] < 2.0


def test_small_motion_is_no_excuse() -> None:
    """Matches that hardly move lie near every epipolar line: they must fit to a part of their motion."""
    cameras, pairs = capture(noise_px=0.1)
    near = [
        replace(pair, xy=np.stack([pair.xy[:, 0], pair.xy[:, 0] + 0.05 * (pair.xy[:, 1] - pair.xy[:, 0])], 1))
        for pair in pairs
    ]
    assert judge(model(cameras, 40.0), near).grade == "contradicted"


def test_a_photo_without_matches_is_not_placed_among_confirmed_ones() -> None:
    cameras, pairs = capture()
    judged = judge(model(cameras), [pair for pair in pairs if 4 not in (pair.first, pair.second)])
    assert judged.grade == "good" and [drop.photo for drop in judged.drop] == [4]
    assert "only 0 matches" in judged.drop[0].reason


def test_where_most_photos_have_no_matches_none_is_measured_by_the_others() -> None:
    cameras, pairs = capture()
    judged = judge(model(cameras), pairs[:1])
    assert judged.grade == "unconfirmed" and judged.drop == () and "too few of the photos" in judged.text
