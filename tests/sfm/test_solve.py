"""Worker tasks of the camera search on an exact capture, and what they hand on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.spatial.transform import Rotation
from sfm_captures import (
    SIZE,
    OnDisk,
    Solved,
    cameras_at,
    centre_errors,
    ring_poses,
    rotation_errors_deg,
)

from recon3d.core.workers import WorkerOptions, run_tasks
from recon3d.render.cameras import Cameras
from recon3d.sfm.intrinsics import Assumptions, assume
from recon3d.sfm.mapping import load_mapped, save_mapped
from recon3d.sfm.solve import (
    Capture,
    assumptions_of,
    describe,
    known_model,
    known_poses_task,
    no_points,
    similarity,
    solve_task,
    with_calibration,
)

CALIBRATION = "600,600,320,240,-0.05,0,0,0"


def as_capture(made: OnDisk, principal_point: str = "fixed", calibration: str | None = None) -> Capture:
    return Capture(
        features=made.features,
        cameras=made.guesses,
        group=made.group,
        pairs=str(made.pairs_file),
        seed=3,
        principal_point=principal_point,
        calibration=calibration,
    )


def calibrated_capture(made: OnDisk) -> Capture:
    params = [float(part) for part in CALIBRATION.split(",")]
    camera = {"model": "OPENCV", "width": SIZE[0], "height": SIZE[1], "params": params, "prior": True}
    return replace(as_capture(made, calibration=CALIBRATION), cameras=(camera,) * 7)


# ---------------------------------------------------------------- captures


def test_capture_survives_json(capture: OnDisk) -> None:
    given_capture = as_capture(capture, "auto", CALIBRATION)
    again = Capture.from_json(json.loads(json.dumps(asdict(given_capture))))
    assert asdict(again)["group"] == (0,) * 7
    assert json.dumps(asdict(again)) == json.dumps(asdict(given_capture))
    np.testing.assert_array_equal(again.focal_px(), np.full(7, np.nan))


def test_focal_lengths_are_those_that_exif_stated(capture: OnDisk) -> None:
    cameras = tuple({**guess, "prior": k % 2 == 1} for k, guess in enumerate(capture.guesses))
    focal = replace(as_capture(capture), cameras=cameras).focal_px()
    np.testing.assert_array_equal(focal, [np.nan, 768, np.nan, 768, np.nan, 768, np.nan])


# ---------------------------------------------------------------- tasks


@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_task_solves_the_capture(mapper: str, capture: OnDisk, tmp_path: Path) -> None:
    value = solve_task(asdict(as_capture(capture)), mapper, str(tmp_path / "models"))
    (described,) = json.loads(json.dumps(value))["models"]
    assert described["file"] == "0.npz" and described["n_photos"] == 7 and described["n_points"] > 190
    assert described["noise_px"] == pytest.approx(0.3, rel=0.1) and described["notes"] == []
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["0.npz"], "no database is left"
    model = load_mapped(tmp_path / "models" / "0.npz")
    assert model.mapper == mapper and len(model.points) == described["n_points"]
    assert rotation_errors_deg(model.cameras, capture.cameras).max() < 0.1
    assert centre_errors(model.cameras, capture.cameras).max() < 0.01
    assert model.cameras.distortion is not None
    assert model.cameras.distortion[0, 0] == pytest.approx(-0.05, abs=0.02)


def test_workers_give_the_same_bits(capture: OnDisk, tmp_path: Path) -> None:
    """Every worker has one thread; this process may have more, which adds in another order."""
    tasks = [
        {"capture": asdict(as_capture(capture)), "mapper": "incremental", "target": str(tmp_path / name)}
        for name in ("a", "b")
    ]
    first, second = run_tasks("recon3d.sfm.solve:solve_task", tasks, WorkerOptions(n_workers=1))
    assert first == second and "models" in first
    assert (tmp_path / "a" / "0.npz").read_bytes() == (tmp_path / "b" / "0.npz").read_bytes()


def test_known_calibration_is_used_exactly(capture: OnDisk, tmp_path: Path) -> None:
    value = solve_task(asdict(calibrated_capture(capture)), "incremental", str(tmp_path))
    (described,) = value["models"]
    model = load_mapped(tmp_path / "0.npz")
    np.testing.assert_allclose(model.cameras.K, capture.cameras.K, rtol=1e-14)
    np.testing.assert_array_equal(model.cameras.distortion, capture.cameras.distortion)
    assert described["gains"] == {} and described["notes"] == [] and described["cropped_groups"] == []
    assert rotation_errors_deg(model.cameras, capture.cameras).max() < 0.1


def test_capture_without_pairs_has_no_models(capture: OnDisk, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "pairs.npz",
        head=np.zeros((0, 4), np.int64),
        config=np.zeros(0, "U32"),
        offset=np.zeros(1, np.int64),
        matches=np.zeros((0, 2), np.int64),
        xy=np.zeros((0, 2, 2)),
    )
    lonely = replace(as_capture(capture), pairs=str(tmp_path / "pairs.npz"))
    for mapper in ("incremental", "global"):
        assert solve_task(asdict(lonely), mapper, str(tmp_path / mapper)) == {"models": []}


def test_known_poses_keep_their_frame_and_improve(capture: OnDisk, tmp_path: Path) -> None:
    """Poses that are known to a tenth of a degree, in metres far from the origin."""
    shift = np.diag([3.0, 3.0, 3.0, 1.0])
    shift[:3, 3] = [100.0, -50.0, 7.0]
    truth = capture.cameras.transformed(shift)
    rng = np.random.default_rng(0)
    poses = truth.cam_from_world.copy()
    poses[:, :3, :3] = Rotation.from_rotvec(0.002 * rng.standard_normal((7, 3))).as_matrix() @ poses[:, :3, :3]
    poses[:, :3, 3] = -np.einsum("nij,nj->ni", poses[:, :3, :3], truth.centers + 0.01 * rng.standard_normal((7, 3)))
    photos = np.array([0, 1, 2, 4, 5, 6])
    known = known_model(replace(truth, cam_from_world=poses)[photos], photos, np.zeros(6, np.int64))
    save_mapped(tmp_path / "poses.npz", known)
    value = known_poses_task(asdict(as_capture(capture)), str(tmp_path / "poses.npz"), str(tmp_path / "known"))
    (described,) = value["models"]
    model = load_mapped(tmp_path / "known" / described["file"])
    np.testing.assert_array_equal(model.photo, photos)
    assert model.mapper == "known" and described["n_photos"] == 6 and len(model.points) > 190
    assert np.linalg.norm(model.cameras.centers - truth.centers[photos], axis=1).max() < 0.05
    assert np.median(np.linalg.norm(model.points.xyz.mean(axis=0) - shift[:3, 3])) < 1.0
    before = rotation_errors_deg(known.cameras, truth[photos]).max()
    assert rotation_errors_deg(model.cameras, truth[photos]).max() < 0.5 * before


# ---------------------------------------------------------------- descriptions


def assumed_of(solved: Solved, **changes: object) -> Assumptions:
    return replace(solved.refined.assumed, **changes)


def test_description_holds_what_the_covariance_and_the_report_need(solved: Solved) -> None:
    described = describe(solved.refined)
    assert described["n_photos"] == 7 and described["n_points"] == len(solved.refined.mapped.points)
    assert described["noise_px"] == pytest.approx(solved.refined.adjusted.sigma_px, abs=1e-4)
    assert described["exif_focal_px"] == [None] and described["cropped_groups"] == []
    assert described["free_principal_point"] is False and described["free_radial2"] is False
    assert set(described["gains"]) == {"free_radial2", "free_centre"}


@pytest.mark.parametrize("free", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("cropped", [(False, False), (False, True), (True, True)])
def test_assumptions_survive_their_description(
    solved: Solved, free: tuple[bool, bool], cropped: tuple[bool, bool]
) -> None:
    groups = np.array([5, 2, 5, 2, 5, 2, 5])
    mapped = replace(solved.refined.mapped, camera_group=groups)
    assumed = Assumptions(
        np.tile(np.array([[640.0, 480.0]]), (2, 1)), np.array([np.nan, 612.25]), np.array(cropped), *free
    )
    refined = replace(solved.refined, mapped=mapped, assumed=assumed, unshared=np.array([False, True]))
    described = json.loads(json.dumps(describe(refined)))
    assert described["unshared_groups"] == [5]
    again = assumptions_of(described, mapped, None)
    for name in ("size", "focal_px", "cropped", "free_centre", "free_radial2"):
        np.testing.assert_array_equal(getattr(again, name), getattr(assumed, name))
    assert again.calibration is None


def test_assumptions_of_groups_that_lost_their_photos_are_left_out(solved: Solved) -> None:
    mapped = replace(solved.refined.mapped, camera_group=np.array([0, 0, 4, 4, 7, 7, 7]))
    cropped = np.array([False, True, False])
    assumed = Assumptions(np.tile(np.array([[640.0, 480.0]]), (3, 1)), np.array([500.0, np.nan, 700.0]), cropped)
    refined = replace(solved.refined, mapped=mapped, assumed=assumed, unshared=np.zeros(3, bool))
    described = json.loads(json.dumps(describe(refined)))
    rest = np.array([2, 3, 4, 5])
    fewer = replace(
        mapped, photo=mapped.photo[rest], cameras=mapped.cameras[rest], camera_group=mapped.camera_group[rest]
    )
    again = assumptions_of(described, fewer, None)
    np.testing.assert_array_equal(again.focal_px, [np.nan, 700])
    np.testing.assert_array_equal(again.cropped, [True, False])
    assert again.size.shape == (2, 2)


def test_calibration_is_remembered(solved: Solved) -> None:
    again = assumptions_of(describe(solved.refined), solved.refined.mapped, CALIBRATION)
    np.testing.assert_array_equal(again.calibration, [600, 600, 320, 240, -0.05, 0, 0, 0])
    start = assume(solved.mapped.cameras, np.zeros(7, np.int64), np.full(7, np.nan))
    np.testing.assert_array_equal(again.size, start.size)


# ---------------------------------------------------------------- similarity


def random_similarity(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.eye(4)
    out[:3, :3] = np.exp(rng.uniform(-3, 3)) * Rotation.random(random_state=seed % 2**31).as_matrix()
    out[:3, 3] = rng.uniform(-50, 50, 3)
    return out


@given(st.integers(0, 2**30), st.integers(2, 7))
def test_similarity_of_moved_cameras_is_exact(seed: int, n: int) -> None:
    cameras, wanted = cameras_at(ring_poses(n)), random_similarity(seed)
    found = similarity(cameras, cameras.transformed(wanted))
    np.testing.assert_allclose(found, wanted, atol=1e-9 * np.abs(wanted).max())
    np.testing.assert_allclose(cameras.transformed(found).centers, cameras.transformed(wanted).centers, atol=1e-8)


def test_similarity_does_not_need_centres_off_a_line() -> None:
    poses = ring_poses(5)
    poses[:, :3, 3] = -np.einsum("nij,nj->ni", poses[:, :3, :3], np.linspace(0, 4, 5)[:, None] * [1.0, 2.0, -1.0])
    wanted = random_similarity(8)
    found = similarity(cameras_at(poses), cameras_at(poses).transformed(wanted))
    np.testing.assert_allclose(found, wanted, atol=1e-9 * np.abs(wanted).max())


def test_similarity_of_cameras_in_one_place_keeps_their_size() -> None:
    poses = ring_poses(3)
    poses[:, :3, 3] = 0.0
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0.2, -0.4, 0.9]).as_matrix()
    turn[:3, 3] = [1.0, 2.0, 3.0]
    found = similarity(cameras_at(poses), cameras_at(poses).transformed(turn))
    np.testing.assert_allclose(found, turn, atol=1e-9)


def test_similarity_is_a_proper_rotation_even_for_contradictions() -> None:
    cameras = cameras_at(ring_poses(3))
    poses = cameras.cam_from_world.copy()
    poses[:, :3, :3] = Rotation.random(3, random_state=1).as_matrix()
    found = similarity(cameras, Cameras(poses, cameras.K, cameras.width, cameras.height))
    assert np.linalg.det(found[:3, :3]) != 0
    rotation = found[:3, :3] / np.cbrt(np.linalg.det(found[:3, :3]))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_similarity_balances_noise() -> None:
    cameras, wanted = cameras_at(ring_poses(7)), random_similarity(5)
    target = cameras.transformed(wanted)
    rng, poses = np.random.default_rng(0), target.cam_from_world.copy()
    size = np.cbrt(np.linalg.det(wanted[:3, :3]))
    poses[:, :3, 3] += 0.01 * size * rng.standard_normal((7, 3))
    found = similarity(cameras, replace(target, cam_from_world=poses))
    assert np.cbrt(np.linalg.det(found[:3, :3])) == pytest.approx(size, rel=0.01)
    off = cameras.transformed(found).centers - replace(target, cam_from_world=poses).centers
    np.testing.assert_allclose(off.mean(axis=0), 0, atol=1e-9 * size)


def test_exact_poses_stay_to_the_bit(capture: OnDisk, tmp_path: Path) -> None:
    truth, photos = capture.cameras, np.arange(6)
    known = known_model(truth[photos], photos, np.zeros(6, np.int64))
    save_mapped(tmp_path / "poses.npz", known)
    task = (asdict(as_capture(capture)), str(tmp_path / "poses.npz"), str(tmp_path / "known"))
    value = known_poses_task(*task, exact=True)
    model = load_mapped(tmp_path / "known" / value["models"][0]["file"])
    assert np.array_equal(model.cameras.cam_from_world, known.cameras.cam_from_world)
    assert np.array_equal(model.cameras.K, known.cameras.K)
    assert len(model.points) > 190 and model.points.mean_error_px < 1.0


def test_models_of_known_poses_have_no_points() -> None:
    assert len(no_points()) == 0 and no_points().obs_xy.shape == (0, 2)
    model = known_model(cameras_at(ring_poses(3)), np.array([1, 4, 5]), np.array([0, 0, 1]))
    assert model.mapper == "known" and len(model.points) == 0
    np.testing.assert_array_equal(model.photo, [1, 4, 5])
    np.testing.assert_array_equal(model.camera_group, [0, 0, 1])


def test_known_intrinsics_replace_those_of_a_pose_file() -> None:
    cameras = Cameras(
        np.tile(np.eye(4), (2, 1, 1)), np.tile(np.eye(3), (2, 1, 1)), np.array([640, 640]), np.array([480, 480])
    )
    given = known_model(cameras, np.array([0, 1]), np.array([0, 0]))
    assert with_calibration(given, None) is given
    found = with_calibration(given, "500,510,320,240,0.1,0,0,0.01").cameras
    np.testing.assert_array_equal(found.K[1], [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    np.testing.assert_array_equal(found.distortion, [[0.1, 0, 0, 0.01]] * 2)
