from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sfm_captures import cameras_at, cloud, observe, ring_poses

from recon3d.feedforward.engine.placing import with_camera
from recon3d.feedforward.engine.resection import MIN_INLIERS, Matched, confirm, matches_with_points
from recon3d.render.cameras import Cameras
from recon3d.sfm.features import save_features
from recon3d.sfm.finish import without_photos
from recon3d.sfm.types import Mapped

N, LEFT = 5, 2


def whole(n_points: int = 60, size: float = 1.0) -> Mapped:
    cameras = cameras_at(ring_poses(N))
    points = observe(cameras, size * cloud(n_points))
    return Mapped("incremental", np.arange(N), cameras, np.zeros(N, np.int64), points)


def left_out(n_points: int = 60, size: float = 1.0) -> tuple[Mapped, Cameras, Matched]:
    """A model without its third photo, the lens of that, and its matches."""
    full = whole(n_points, size)
    mapped = without_photos(full, [LEFT])
    xy = full.cameras.project(mapped.points.xyz, np.full(len(mapped.points), LEFT))[0]
    noise = np.random.default_rng(0).standard_normal(xy.shape) * 0.3
    return mapped, full.cameras[LEFT : LEFT + 1], Matched(xy + noise, np.arange(len(xy)))


def turned(pose: np.ndarray, degrees: float) -> np.ndarray:
    out = pose.copy()
    out[:3] = Rotation.from_rotvec([0, np.radians(degrees), 0]).as_matrix() @ out[:3]
    return out


def test_matches_confirm_and_sharpen_a_rough_prediction() -> None:
    mapped, lens, matched = left_out()
    true = lens.cam_from_world[0]
    found = confirm(matched, mapped, lens, turned(true, 3.0), 0)
    assert found.pose is not None and found.inliers.sum() == len(matched.xy)
    assert np.abs(found.pose - true).max() < 0.02 and "60 matches" in found.reason


def test_wrong_matches_are_no_inliers() -> None:
    mapped, lens, matched = left_out()
    wrong = np.arange(len(matched.xy)) % 3 == 0
    shuffled = matched.point.copy()
    shuffled[wrong] = np.roll(shuffled[wrong], 1)
    found = confirm(replace(matched, point=shuffled), mapped, lens, lens.cam_from_world[0], 0)
    assert found.pose is not None and found.inliers[~wrong].all() and found.inliers[wrong].sum() <= 2


def test_a_prediction_that_is_far_off_is_not_confirmed() -> None:
    mapped, lens, matched = left_out()
    found = confirm(matched, mapped, lens, turned(lens.cam_from_world[0], 30.0), 0)
    assert found.pose is None and not found.inliers.any() and "near the network's prediction" in found.reason


def test_few_matches_confirm_nothing() -> None:
    mapped, lens, matched = left_out(MIN_INLIERS - 1)
    found = confirm(matched, mapped, lens, lens.cam_from_world[0], 0)
    assert found.pose is None and f"only {MIN_INLIERS - 1} matches" in found.reason


def test_matches_on_a_small_spot_leave_the_camera_uncertain() -> None:
    mapped, lens, matched = left_out(size=0.03)
    found = confirm(matched, mapped, lens, lens.cam_from_world[0], 0)
    assert found.pose is None and "uncertain" in found.reason


def test_matches_at_random_confirm_nothing() -> None:
    mapped, lens, matched = left_out()
    rng = np.random.default_rng(3)
    found = confirm(replace(matched, point=rng.permutation(matched.point)), mapped, lens, lens.cam_from_world[0], 0)
    assert found.pose is None


def test_a_pose_of_the_matches_that_contradicts_the_network_is_not_taken() -> None:
    mapped, lens, matched = left_out()
    far = lens.cam_from_world[0].copy()
    far[2, 3] *= 1.5  # three units further back on its axis: pixels hardly move, but the place is another
    found = confirm(matched, mapped, lens, far, 0)
    assert found.pose is None and "disagree" in found.reason


def test_points_are_found_by_the_features_of_placed_photos(tmp_path: Path) -> None:
    mapped, _, matched = left_out(30)
    rng = np.random.default_rng(0)
    descriptors = rng.integers(0, 256, (30, 128)).astype(np.float64)
    descriptors = np.rint(512 * descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)).astype(np.uint8)
    files = [str(tmp_path / f"{i}.npz") for i in range(N)]
    for row, photo in enumerate(mapped.photo.tolist()):
        xy = mapped.points.obs_xy[mapped.points.obs_view == row].astype(np.float32)
        save_features(Path(files[photo]), xy, descriptors, np.zeros((30, 3), np.uint8))
    save_features(Path(files[LEFT]), matched.xy.astype(np.float32), descriptors, np.zeros((30, 3), np.uint8))
    rounded = replace(
        mapped, points=replace(mapped.points, obs_xy=mapped.points.obs_xy.astype(np.float32).astype(float))
    )
    found = matches_with_points(files, LEFT, rounded, [0, 1])
    assert found.point.tolist() == list(range(30)) and found.xy == pytest.approx(matched.xy, abs=1e-3)


def test_a_new_camera_takes_its_row_and_sees_its_points() -> None:
    mapped, lens, matched = left_out()
    found = confirm(matched, mapped, lens, lens.cam_from_world[0], 0)
    joined = with_camera(mapped, LEFT, 7, lens, matched, found)
    assert joined.photo.tolist() == [0, 1, 2, 3, 4] and joined.camera_group.tolist() == [0, 0, 7, 0, 0]
    assert (joined.points.obs_view == LEFT).sum() == found.inliers.sum()
    assert (np.diff(joined.points.obs_point) >= 0).all()
    for old, new in ((0, 0), (1, 1), (2, 3), (3, 4)):
        assert joined.cameras.cam_from_world[new].tobytes() == mapped.cameras.cam_from_world[old].tobytes()
        before, after = (
            model.points.obs_xy[model.points.obs_view == row] for model, row in ((mapped, old), (joined, new))
        )
        assert before.tobytes() == after.tobytes()
