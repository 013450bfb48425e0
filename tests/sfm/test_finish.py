"""The last task: dropped photos, colours, level, scale, uncertainty, and what is read back."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sfm_captures import OnDisk, Solved, centre_errors, rotation_errors_deg

from recon3d.core.workers import TaskFailure, WorkerOptions, run_tasks
from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.finish import (
    INFLATION,
    Finished,
    coloured,
    finish_task,
    load_finished,
    uncertainties,
    without_photos,
)
from recon3d.sfm.intrinsics import Assumptions
from recon3d.sfm.mapping import load_mapped, save_mapped
from recon3d.sfm.refine import with_errors
from recon3d.sfm.solve import describe
from recon3d.sfm.types import Mapped

KEYS = [f"shots/{k}.jpg" for k in range(7)]


def task_of(solved: Solved, folder: Path, **changes: Any) -> dict[str, Any]:
    """Arguments of the task for the refined capture, as JSON would hand them over."""
    save_mapped(folder / "input.npz", solved.refined.mapped)
    task: dict[str, Any] = {
        "model": str(folder / "input.npz"),
        "description": describe(solved.refined),
        "drop": [],
        "features": list(solved.capture.features),
        "keys": KEYS,
        "gps": [None] * 7,
        "scale": {"distance": None, "gps": "auto", "depth": None},
        "keep_gauge": False,
        "calibration": None,
        "seed": 0,
        "target": str(folder / "out"),
    }
    return dict(json.loads(json.dumps({**task, **changes})))


def finished(task: dict[str, Any]) -> Finished:
    return load_finished(Path(task["target"]), json.loads(json.dumps(finish_task(**task))))


def ring_gps(solved: Solved) -> list[list[float]]:
    """Positions of the photos on a ring of sixty metres."""
    turn = np.eye(4)
    turn[:3, :3] = 10 * Rotation.from_euler("x", -90, degrees=True).as_matrix()
    centers = solved.capture.cameras.transformed(turn).centers
    degree = 111_320.0 * np.cos(np.radians(47.0))
    return [[47.0 + north / 111_175.0, 8.0 + east / degree, 400.0 + up] for east, north, up in centers]


@pytest.fixture(scope="module")
def metric(solved: Solved, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The capture with one photo dropped and the distance between two others given."""
    task = task_of(solved, tmp_path_factory.mktemp("metric"), drop=[3])
    return finished({**task, "scale": {"distance": "shots/0.jpg,shots/6.jpg=2.5+-0.02", "gps": "auto", "depth": None}})


# ---------------------------------------------------------------- dropping photos


def test_dropped_photos_leave_consistent_tracks(solved: Solved) -> None:
    mapped = replace(solved.refined.mapped, photo=np.arange(7) + 10, camera_group=np.arange(7))
    rest = without_photos(mapped, [12, 15, 99])
    rows = np.array([0, 1, 3, 4, 6])
    np.testing.assert_array_equal(rest.photo, rows + 10)
    np.testing.assert_array_equal(rest.camera_group, rows)
    np.testing.assert_array_equal(rest.cameras.cam_from_world, mapped.cameras.cam_from_world[rows])
    assert rest.points.track_length.min() >= 2 and rest.points.obs_view.dtype == np.int32
    before = {tuple(xy) for xy, v in zip(mapped.points.obs_xy, mapped.points.obs_view, strict=True) if v == 3}
    after = {tuple(xy) for xy, v in zip(rest.points.obs_xy, rest.points.obs_view, strict=True) if v == 2}
    assert after <= before and len(after) > 0.9 * len(before)
    assert np.median(with_errors(rest).points.error_px) < 0.5, "observations still belong to their points"


def test_points_that_lose_their_second_view_go(solved: Solved) -> None:
    mapped = solved.refined.mapped
    rest = without_photos(mapped, [1, 2, 3, 4, 5])
    seen = [set(mapped.points.obs_view[mapped.points.obs_point == p]) for p in range(len(mapped.points))]
    assert len(rest.points) == sum({0, 6} <= views for views in seen) > 0
    assert (rest.points.track_length == 2).all()


def test_dropping_nobody_changes_nothing(solved: Solved) -> None:
    mapped = solved.refined.mapped
    rest = without_photos(mapped, [])
    for item in fields(Points):
        np.testing.assert_array_equal(getattr(rest.points, item.name), getattr(mapped.points, item.name))


# ---------------------------------------------------------------- colours


def test_points_take_the_colour_of_their_keypoints(solved: Solved) -> None:
    mapped, capture = solved.refined.mapped, solved.capture
    points = coloured(mapped, capture.features)
    for point in range(0, len(points), 9):
        row = int(np.argmax(mapped.points.obs_point == point))
        match = (capture.xy[mapped.points.obs_view[row]] == mapped.points.obs_xy[row]).all(axis=1)
        np.testing.assert_array_equal(points.rgb[point], capture.rgb[match][0])
    assert points.rgb.dtype == np.uint8 and points.xyz is mapped.points.xyz


def test_colours_are_the_mean_over_the_photos_of_the_model(solved: Solved, tmp_path: Path) -> None:
    """Photo ``k`` is everywhere of grey ``10 k``; the model holds photos 1 and 4 only."""
    files = []
    for k in range(7):
        files.append(str(tmp_path / f"{k}.npz"))
        order = np.random.default_rng(k).permutation(200)
        np.savez(files[-1], xy=solved.capture.xy[k][order], rgb=np.full((200, 3), 10 * k, np.uint8))
    rest = without_photos(solved.refined.mapped, [0, 2, 3, 5, 6])
    assert (coloured(rest, files).rgb == 25).all()


# ---------------------------------------------------------------- uncertainty


def test_sigmas_follow_the_priors_of_the_adjustment(solved: Solved) -> None:
    mapped = solved.refined.mapped
    base = solved.refined.assumed
    known = replace(base, calibration=np.array([600.0, 600, 320, 240, -0.05, 0, 0, 0]))
    exif = replace(base, focal_px=np.array([600.0]))
    free = replace(base, free_centre=True, free_radial2=True)
    found = [uncertainties(mapped, assumed) for assumed in (known, free, exif, base)]
    calibrated, estimated, stated, assumed_centred = ((each.pose_sigma**2).sum() for each in found)
    # A principal point that is only believed counts with its whole prior, one that the photos give with less.
    assert 3 * calibrated < estimated < 0.5 * stated < stated < assumed_centred
    assert all(each.noise_px == pytest.approx(0.3, rel=0.05) for each in found)
    assert all(np.isfinite(each.pose_sigma).all() and (each.pose_sigma > 0).all() for each in found)


def test_sigma_covers_the_true_error(solved: Solved, metric: Finished) -> None:
    """Centres after the best similarity are within the inflated sigmas, and not far below them."""
    sigma = np.linalg.norm(metric.pose_sigma[:, 3:], axis=1)
    rows = metric.mapped.photo
    truth = solved.capture.cameras[rows]
    unit = np.linalg.norm(truth.centers[0] - truth.centers[-1]) / 2.5
    off = centre_errors(metric.mapped.cameras, truth) / unit
    assert INFLATION == 2.0 and np.sqrt((off**2).mean()) < np.sqrt((sigma**2).mean()) < 30 * np.sqrt((off**2).mean())


# ---------------------------------------------------------------- the whole task


def test_known_distance_makes_the_scene_metric(metric: Finished) -> None:
    centers = metric.mapped.cameras.centers
    assert np.linalg.norm(centers[0] - centers[-1]) == pytest.approx(2.5, rel=1e-9)
    assert metric.scale.kind == "metric" and "shots/0.jpg" in metric.scale.source
    assert metric.scale.interval_95 is not None
    low, high = metric.scale.interval_95
    assert 0.95 < low < 1 - 0.007 and 1 + 0.007 < high < 1.05, "2 cm in 2.5 m, and the cameras on top"


def test_dropped_photo_is_gone_and_the_rest_is_adjusted(solved: Solved, metric: Finished) -> None:
    rows = np.array([0, 1, 2, 4, 5, 6])
    np.testing.assert_array_equal(metric.mapped.photo, rows)
    assert rotation_errors_deg(metric.mapped.cameras, solved.capture.cameras[rows]).max() < 0.15
    assert len(metric.twins) == len(metric.pose_sigma) == 6
    error = with_errors(metric.mapped).points.error_px
    np.testing.assert_allclose(error, metric.mapped.points.error_px, atol=1e-6)
    assert np.median(error) < 0.5 and set(metric.metrics) == {"noise_px", "redundancy", "level", "scale"}


def test_world_is_level_and_remembers_where_it_came_from(solved: Solved, metric: Finished) -> None:
    up = -metric.mapped.cameras.cam_from_world[:, 1, :3].mean(axis=0)
    assert up[2] > 0.98 * np.linalg.norm(up)
    moved = solved.refined.mapped.cameras[metric.mapped.photo].transformed(metric.world_from_sfm)
    size = np.linalg.norm(metric.mapped.points.xyz.std(axis=0))
    assert np.linalg.norm(moved.centers - metric.mapped.cameras.centers, axis=1).max() < 0.02 * size
    factor = np.cbrt(np.linalg.det(metric.world_from_sfm[:3, :3]))
    rotation = metric.world_from_sfm[:3, :3] / factor
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_points_are_coloured_and_have_sigmas_in_world_units(solved: Solved, metric: Finished) -> None:
    assert len(np.unique(metric.mapped.points.rgb, axis=0)) > 150
    sigma = metric.mapped.points.sigma
    assert np.isfinite(sigma).all() and (sigma > 0).all()
    pixel = np.linalg.norm(metric.mapped.cameras.centers, axis=1).mean() / 600
    assert 0.1 * pixel < np.median(sigma) < 5 * pixel


def test_twins_are_pinhole_cameras_at_the_same_places(metric: Finished) -> None:
    assert metric.twins.distortion is None
    np.testing.assert_array_equal(metric.twins.cam_from_world, metric.mapped.cameras.cam_from_world)
    assert metric.twins.width.dtype == np.int64 and (metric.twins.width > 500).all()


def test_kept_frame_is_that_of_the_model(solved: Solved, tmp_path: Path) -> None:
    """Even where GPS knows better: the model is level, so that GPS could turn and scale it."""
    level = finished(task_of(solved, tmp_path)).mapped
    levelled = replace(solved, refined=replace(solved.refined, mapped=level))
    kept = finished(task_of(levelled, tmp_path, keep_gauge=True, gps=ring_gps(solved)))
    np.testing.assert_array_equal(kept.world_from_sfm, np.eye(4))
    np.testing.assert_array_equal(kept.mapped.cameras.cam_from_world, level.cameras.cam_from_world)
    np.testing.assert_array_equal(kept.mapped.points.xyz, level.points.xyz)
    assert kept.scale.kind == "relative" and kept.scale.interval_95 is None and "level" not in kept.metrics


def test_sigmas_turn_and_grow_with_the_world(solved: Solved, tmp_path: Path, metric: Finished) -> None:
    kept = finished(task_of(solved, tmp_path, keep_gauge=True, drop=[3]))
    factor = np.cbrt(np.linalg.det(metric.world_from_sfm[:3, :3]))
    np.testing.assert_allclose(metric.pose_sigma[:, :3], kept.pose_sigma[:, :3], rtol=1e-9)
    before, after = kept.pose_sigma[:, 3:], metric.pose_sigma[:, 3:]
    np.testing.assert_allclose((after**2).sum(axis=1), factor**2 * (before**2).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(metric.mapped.points.sigma, factor * kept.mapped.points.sigma, rtol=1e-9)


def test_gps_makes_the_scene_metric(solved: Solved, tmp_path: Path) -> None:
    gps = ring_gps(solved)
    found = finished(task_of(solved, tmp_path, gps=gps))
    assert found.scale.kind == "metric" and "GPS" in found.scale.source
    spread = np.linalg.norm(found.mapped.cameras.centers - found.mapped.cameras.centers[0], axis=1)
    truth = 10 * np.linalg.norm(solved.capture.cameras.centers - solved.capture.cameras.centers[0], axis=1)
    np.testing.assert_allclose(spread[1:], truth[1:], rtol=0.02)
    off = finished({**task_of(solved, tmp_path, gps=gps), "scale": {"distance": None, "gps": "off", "depth": None}})
    assert off.scale.kind == "relative"


def test_whole_cameras_can_be_dropped(solved: Solved, tmp_path: Path) -> None:
    """The outlier photo often is the only one of its camera."""
    mapped = replace(solved.refined.mapped, camera_group=np.array([0, 0, 0, 5, 0, 0, 0]))
    assumed = Assumptions(np.tile(np.array([[640.0, 480.0]]), (2, 1)), np.array([np.nan, 700.0]), np.zeros(2, bool))
    refined = replace(solved.refined, mapped=mapped, assumed=assumed, unshared=np.zeros(2, bool))
    found = finished(task_of(replace(solved, refined=refined), tmp_path, drop=[3]))
    np.testing.assert_array_equal(found.mapped.camera_group, np.zeros(6, np.int64))
    assert rotation_errors_deg(found.mapped.cameras, solved.capture.cameras[found.mapped.photo]).max() < 0.15


def test_everything_comes_back_from_disk(solved: Solved, tmp_path: Path) -> None:
    task = task_of(solved, tmp_path)
    value = finish_task(**task)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.npz", "rest.npz"]
    again = json.loads(json.dumps(value))
    first, second = (load_finished(tmp_path / "out", each) for each in (value, again))
    for name in ("pose_sigma", "world_from_sfm"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert first.scale == second.scale and first.warnings == second.warnings and first.metrics == second.metrics
    on_disk: Mapped = load_mapped(tmp_path / "out" / "model.npz")
    for item in fields(Points):
        np.testing.assert_array_equal(getattr(on_disk.points, item.name), getattr(second.mapped.points, item.name))
    for item in fields(Cameras):
        old, new = getattr(first.twins, item.name), getattr(second.twins, item.name)
        assert (old is None and new is None) or old.tobytes() == new.tobytes()


def test_workers_give_the_same_bits_and_mistakes_are_told(solved: Solved, capture: OnDisk, tmp_path: Path) -> None:
    task = task_of(solved, tmp_path, drop=[1])
    wrong = {**task, "scale": {"distance": "shots/0.jpg,nowhere.jpg=1", "gps": "auto", "depth": None}}
    tasks = [{**task, "target": str(tmp_path / name)} for name in ("a", "b")]
    done = run_tasks("recon3d.sfm.finish:finish_task", [*tasks, wrong], WorkerOptions(n_workers=1))
    assert done[0] == done[1] and not isinstance(done[0], TaskFailure)
    for name in ("model.npz", "rest.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert isinstance(done[2], TaskFailure) and done[2].error == "UsageError" and "nowhere.jpg" in done[2].reason
    assert not (tmp_path / "out").exists() and len(capture.features) == 7


@pytest.mark.parametrize("metric", [True, False])
def test_cameras_of_a_network_keep_their_points_and_have_no_sigma(solved: Solved, tmp_path: Path, metric: bool) -> None:
    mapped = replace(solved.refined.mapped, mapper="network")
    points = replace(mapped.points, sigma=np.full(len(mapped.points), 0.25))
    task = task_of(solved, tmp_path, description={"metric": metric}, features=[""] * 7, drop=[2])
    save_mapped(tmp_path / "input.npz", replace(mapped, points=points))
    done = finished(task)
    factor = np.cbrt(np.linalg.det(done.world_from_sfm[:3, :3]))
    assert np.isnan(done.pose_sigma).all() and 2 not in done.mapped.photo
    assert done.mapped.points.sigma == pytest.approx(0.25 * factor)
    assert done.scale.kind == ("metric" if metric else "relative")
    assert (factor == pytest.approx(1.0)) == metric
