"""What an evaluation must see and what it must not see."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from recon3d.evaluation import CameraErrors, Estimate, Truth, camera_table, evaluate_cameras
from recon3d.render.cameras import Cameras

from .conftest import make_truth
from .test_alignment import similarity


def with_poses(estimate: Estimate, poses: np.ndarray) -> Estimate:
    return replace(estimate, cameras=replace(estimate.cameras, cam_from_world=poses))


def numbers(errors: CameraErrors) -> list[float]:
    absolute, intrinsics = errors.absolute, errors.intrinsics
    assert absolute is not None
    assert absolute.center_percent is not None
    assert intrinsics is not None
    center, rotation = absolute.center_percent, absolute.rotation_deg
    areas = [*errors.auc.values(), *errors.auc_binned.values(), errors.rra_5, errors.rta_5]
    stats = [center.mean, center.median, center.rmse, center.max, absolute.ate, rotation.mean, rotation.median]
    return [*areas, *stats, rotation.max, intrinsics.focal_percent, intrinsics.principal_point_px]


def text_of(errors: CameraErrors) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(camera_table(errors))
    return console.export_text()


def test_truth_against_itself_is_perfect(truth: Truth, perfect: Estimate) -> None:
    errors = evaluate_cameras(truth, perfect)
    assert errors.n_registered == errors.n_photos == 8
    assert list(errors.auc.values()) == pytest.approx([100.0] * 4, abs=1e-6)
    assert list(errors.auc_binned.values()) == [100.0] * 4
    assert errors.rra_5 == errors.rta_5 == 100.0
    assert np.abs(numbers(errors)[10:]).max() < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_a_similarity_changes_no_number(truth: Truth, perfect: Estimate, seed: int) -> None:
    rng = np.random.default_rng(seed)
    poses = truth.cameras.cam_from_world.copy()
    poses[:, :3, 3] += 0.05 * rng.normal(size=(8, 3))
    before = evaluate_cameras(truth, with_poses(perfect, poses))
    moved = with_poses(perfect, poses).cameras.transformed(similarity(7.5, seed))
    after = evaluate_cameras(truth, replace(perfect, cameras=moved))
    assert numbers(after) == pytest.approx(numbers(before), abs=1e-6)


def test_camera_to_world_matrices_are_seen(truth: Truth, perfect: Estimate) -> None:
    errors = evaluate_cameras(truth, with_poses(perfect, truth.cameras.world_from_cam))
    assert errors.auc[30] < 50.0


def test_a_y_up_camera_is_seen(truth: Truth, perfect: Estimate) -> None:
    flipped = np.diag([1.0, -1.0, -1.0, 1.0]) @ truth.cameras.cam_from_world
    errors = evaluate_cameras(truth, with_poses(perfect, flipped))
    assert errors.absolute is not None
    assert errors.absolute.rotation_deg.median == pytest.approx(180.0)
    assert errors.auc[30] < 50.0


def test_half_a_pixel_is_seen(truth: Truth, perfect: Estimate) -> None:
    K = truth.cameras.K.copy()
    K[:, :2, 2] -= 0.5
    errors = evaluate_cameras(truth, replace(perfect, cameras=replace(truth.cameras, K=K)))
    assert errors.intrinsics is not None
    assert errors.intrinsics.principal_point_px == pytest.approx(np.sqrt(0.5))
    assert errors.intrinsics.principal_point_max_px == pytest.approx(np.sqrt(0.5))


def test_focal_error_is_signed_and_follows_the_image_size(truth: Truth, perfect: Estimate) -> None:
    K = truth.cameras.K * np.array([[0.45], [0.45], [1.0]])
    half = Cameras(truth.cameras.cam_from_world, K, truth.cameras.width // 2, truth.cameras.height // 2)
    errors = evaluate_cameras(truth, replace(perfect, cameras=half))
    assert errors.intrinsics is not None
    assert errors.intrinsics.focal_percent == pytest.approx(-10.0)


def test_one_photo_less(truth: Truth) -> None:
    kept = np.arange(7)
    errors = evaluate_cameras(truth, Estimate(truth.names[:7], truth.cameras[kept]))
    assert errors.unregistered == ("p7.jpg",)
    # 21 of 28 pairs are left.
    assert errors.auc[3] == pytest.approx(75.0)
    assert errors.rra_5 == errors.rta_5 == 75.0
    assert errors.absolute is not None
    assert errors.absolute.ate < 1e-9


def test_scene_scale_comes_from_all_photos(truth: Truth) -> None:
    whole = evaluate_cameras(truth, Estimate(truth.names, truth.cameras))
    part = evaluate_cameras(truth, Estimate(truth.names[:3], truth.cameras[np.arange(3)]))
    assert part.scene_scale == whole.scene_scale


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_photos_cannot_be_aligned(truth: Truth, n: int) -> None:
    errors = evaluate_cameras(truth, Estimate(truth.names[:n], truth.cameras[np.arange(n)]))
    assert errors.absolute is None
    assert (errors.intrinsics is None) == (n == 0)


def test_a_refusal_scores_zero(truth: Truth) -> None:
    errors = evaluate_cameras(truth, Estimate.empty())
    assert errors.n_registered == 0
    assert set(errors.auc.values()) == {0.0}
    assert len(errors.unregistered) == 8


def test_a_registered_outlier_is_reported_and_nothing_else_changes(truth: Truth, perfect: Estimate) -> None:
    rows = np.array([*range(8), 0])
    errors = evaluate_cameras(truth, Estimate((*truth.names, "other.jpg"), truth.cameras[rows]))
    assert errors.outliers_registered == ("other.jpg",)
    assert errors.unknown == ()
    assert numbers(errors) == numbers(evaluate_cameras(truth, perfect))
    assert "other.jpg" in text_of(errors)


def test_keys_match_by_base_name_only_where_unique(truth: Truth) -> None:
    keys = ("left/p0.jpg", "right/p0.jpg", "left/p1.jpg", "p2.jpg", "left/p2.jpg", "extra.jpg")
    estimate = Estimate(keys, truth.cameras[np.arange(6)])
    assert estimate.rows(truth) == {"p1.jpg": 2, "p2.jpg": 3}
    assert evaluate_cameras(truth, estimate).unknown == ("left/p0.jpg", "right/p0.jpg", "left/p2.jpg", "extra.jpg")


def test_centres_on_a_line_take_their_rotation_from_orientations() -> None:
    truth = make_truth(line=True)
    moved = truth.cameras.transformed(similarity(0.2, 1))
    errors = evaluate_cameras(truth, Estimate(truth.names, moved))
    assert errors.absolute is not None
    assert errors.absolute.rotation_from == "orientations"
    assert errors.absolute.ate < 1e-9
    assert errors.absolute.rotation_deg.max < 1e-6


def test_pure_rotation_has_no_centre_errors(truth: Truth) -> None:
    poses = truth.cameras.cam_from_world.copy()
    poses[:, :3, 3] = 0.0
    still = replace(truth, cameras=replace(truth.cameras, cam_from_world=poses), expect_refusal=True)
    errors = evaluate_cameras(still, Estimate(truth.names, still.cameras))
    assert errors.expected_refusal
    assert errors.auc[3] == pytest.approx(100.0)
    assert errors.absolute is not None
    assert errors.absolute.center_percent is None
    assert errors.absolute.rotation_deg.max < 1e-6
    assert "refusal" in text_of(errors)


def test_json_holds_every_number_and_no_nan(truth: Truth) -> None:
    single = truth.restricted(["p3.jpg"], "one")
    value = evaluate_cameras(single, Estimate(truth.names, truth.cameras)).to_json()
    text = json.dumps(value, allow_nan=False)
    assert json.loads(text) == value
    assert value["auc"] == {"3": None, "5": None, "10": None, "30": None}
    assert value["subset"] == "one"
    assert value["n_photos"] == value["n_registered"] == 1


def test_table_prints_metres_only_for_a_metric_reference(truth: Truth, perfect: Estimate) -> None:
    poses = truth.cameras.cam_from_world.copy()
    poses[0, 0, 3] += 0.1
    metric = text_of(evaluate_cameras(truth, with_poses(perfect, poses)))
    relative = text_of(evaluate_cameras(replace(truth, unit="arbitrary"), with_poses(perfect, poses)))
    assert " mm" in metric
    assert " mm" not in relative
    assert "8 of 8" in metric
