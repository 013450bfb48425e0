"""Mapping of an exact capture: databases, both mappers, their conventions, and models on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from sfm_captures import (
    SIZE,
    OnDisk,
    Solved,
    cameras_at,
    centre_errors,
    cloud,
    ring_poses,
    rotation_errors_deg,
    write_capture,
)

from recon3d.core.errors import Recon3DError
from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.mapping import (
    FEW_PHOTOS,
    build_database,
    distortion_of,
    load_mapped,
    mapper_options,
    run_mapper,
    save_mapped,
    to_mapped,
)
from recon3d.sfm.matching import guess_camera
from recon3d.sfm.types import Mapped

pycolmap.logging.minloglevel = 2


def same_model(first: Mapped, second: Mapped) -> None:
    assert first.mapper == second.mapper
    for name in ("photo", "camera_group"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for kind, one, other in ((Cameras, first.cameras, second.cameras), (Points, first.points, second.points)):
        for item in fields(kind):
            a, b = getattr(one, item.name), getattr(other, item.name)
            assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes(), item.name


# ---------------------------------------------------------------- database


def test_database_holds_the_capture(capture: OnDisk, new_database: Callable[[], Path]) -> None:
    with pycolmap.Database.open(new_database()) as database:
        assert [database.num_cameras(), database.num_rigs()] == [1, 1]
        assert [database.num_images(), database.num_frames()] == [7, 7]
        assert database.num_keypoints() == 7 * 200
        assert database.num_inlier_matches() == sum(len(pair.matches) for pair in capture.pairs)
        assert database.num_verified_image_pairs() == 21
        image = database.read_image(3)
        assert (image.image_id, image.name, image.camera_id) == (3, "000002", 1)
        np.testing.assert_array_equal(database.read_keypoints(3)[:, :2], capture.xy[2])
        np.testing.assert_array_equal(database.read_matches(1, 7), capture.pairs[5].matches)
        camera = database.read_camera(1)
        assert list(camera.params) == [768, 320, 240, 0] and not camera.has_prior_focal_length


def test_database_replaces_an_older_one(capture: OnDisk, tmp_path: Path) -> None:
    path = capture.database(tmp_path / "database.db")
    build_database(path, capture.features[:2], capture.guesses[:2], [0, 0], capture.pairs[:1])
    with pycolmap.Database.open(path) as database:
        assert database.num_images() == 2 and database.num_verified_image_pairs() == 1


def test_groups_become_cameras_with_the_guess_of_their_first_photo(capture: OnDisk, tmp_path: Path) -> None:
    guesses = [guess_camera(*SIZE, focal) for focal in (None, 500.0, 510.0, None)]
    group = [2, 0, 0, 2]
    build_database(tmp_path / "d.db", capture.features[:4], guesses, group, capture.pairs[:2])
    with pycolmap.Database.open(tmp_path / "d.db") as database:
        assert [database.read_image(i).camera_id for i in (1, 2, 3, 4)] == [3, 1, 1, 3]
        assert database.read_camera(1).params[0] == 500.0 and database.read_camera(1).has_prior_focal_length
        assert database.read_camera(3).params[0] == 768.0


def test_photos_without_features_or_pairs_are_no_obstacle(capture: OnDisk, tmp_path: Path) -> None:
    empty = tmp_path / "empty.npz"
    np.savez(empty, xy=np.zeros((0, 2), np.float32), descriptors=np.zeros((0, 128), np.uint8))
    features = [*capture.features, str(empty)]
    path = tmp_path / "database.db"
    build_database(path, features, [*capture.guesses, capture.guesses[0]], [0] * 8, capture.pairs)
    (model,) = run_mapper("incremental", path, 8, 0, calibrated=False)
    np.testing.assert_array_equal(model.photo, np.arange(7))
    build_database(path, features, [*capture.guesses, capture.guesses[0]], [0] * 8, [])
    for mapper in ("incremental", "global"):
        assert run_mapper(mapper, path, 8, 0, calibrated=False) == []


# ---------------------------------------------------------------- mappers


@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_mapper_finds_the_cameras_twice_with_the_same_bits(
    mapper: str, capture: OnDisk, new_database: Callable[[], Path]
) -> None:
    (first,), (second,) = (run_mapper(mapper, new_database(), 7, 5, calibrated=False) for _ in range(2))
    same_model(first, second)
    assert first.mapper == mapper
    np.testing.assert_array_equal(first.photo, np.arange(7))
    assert rotation_errors_deg(first.cameras, capture.cameras).max() < 0.2
    assert centre_errors(first.cameras, capture.cameras).max() < 0.02, "six units away"
    assert first.cameras.K[0, 0, 0] == pytest.approx(600, rel=0.01)
    assert len(first.points) > 190 and np.isnan(first.points.sigma).all()


@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_calibrated_mapper_keeps_intrinsics_to_the_bit(mapper: str, capture: OnDisk, tmp_path: Path) -> None:
    params = [600.0, 600.0, 320.0, 240.0, -0.05, 0.0, 0.0, 0.0]
    known = {"model": "OPENCV", "width": SIZE[0], "height": SIZE[1], "params": params, "prior": True}
    path = tmp_path / "database.db"
    build_database(path, capture.features, [known] * 7, capture.group, capture.pairs)
    (model,) = run_mapper(mapper, path, 7, 0, calibrated=True)
    np.testing.assert_array_equal(model.cameras.K, capture.cameras.K)
    np.testing.assert_array_equal(model.cameras.distortion, capture.cameras.distortion)
    assert rotation_errors_deg(model.cameras, capture.cameras).max() < 0.2


def test_separate_scenes_become_models_largest_first(tmp_path: Path) -> None:
    cameras = cameras_at(ring_poses(8))
    (tmp_path / "a").mkdir()
    capture = write_capture(tmp_path / "a", cameras, cloud(120))
    sides = [[0, 2, 4], [1, 3, 5, 6, 7]]
    pairs = [pair for pair in capture.pairs if any({pair.first, pair.second} <= set(side) for side in sides)]
    path = tmp_path / "database.db"
    build_database(path, capture.features, capture.guesses, [0] * 8, pairs)
    models = run_mapper("incremental", path, 8, 0, calibrated=False)
    assert [model.photo.tolist() for model in models] == [sides[1], sides[0]]
    for model in models:
        assert rotation_errors_deg(model.cameras, cameras[model.photo]).max() < 0.5
        assert set(np.unique(model.points.obs_view)) == set(range(len(model.photo)))


def test_groups_keep_their_numbers(capture: OnDisk, tmp_path: Path) -> None:
    group = (3, 3, 1, 3, 1, 1, 1)
    path = replace(capture, group=group).database(tmp_path / "database.db")
    (model,) = run_mapper("incremental", path, 7, 0, calibrated=False)
    np.testing.assert_array_equal(model.camera_group, group)
    focal = model.cameras.K[:, 0, 0]
    assert len(set(focal[[0, 1, 3]])) == len(set(focal[[2, 4, 5, 6]])) == 1 and focal[0] != focal[2]


def test_few_photos_may_make_small_models_and_short_tracks() -> None:
    for n_photos, smallest, ignore in ((2, 2, False), (7, 2, False), (FEW_PHOTOS, 3, False), (11, 3, True)):
        options = mapper_options(n_photos, 4, calibrated=False)
        assert options.min_model_size == smallest and options.triangulation.ignore_two_view_tracks is ignore
    options = mapper_options(100, 4, calibrated=True)
    assert options.min_model_size == FEW_PHOTOS and options.random_seed == options.mapper.random_seed == 4
    assert options.num_threads == options.mapper.num_threads == 1
    assert not options.ba_refine_focal_length and not options.mapper.abs_pose_refine_focal_length


def test_two_photos_are_enough(tmp_path: Path) -> None:
    cameras = cameras_at(ring_poses(2, 25.0))
    capture = write_capture(tmp_path, cameras, cloud(150), focal_px=600.0)
    (model,) = run_mapper("incremental", capture.database(tmp_path / "d.db"), 2, 0, calibrated=True)
    assert rotation_errors_deg(model.cameras, cameras).max() < 0.5
    assert len(model.points) > 100 and (model.points.track_length == 2).all()


# ---------------------------------------------------------------- conventions


def test_observations_are_the_keypoints_of_their_photo(solved: Solved) -> None:
    points, capture = solved.mapped.points, solved.capture
    assert (np.diff(points.obs_point) >= 0).all() and points.track_length.min() >= 2
    for view in range(7):
        known = {tuple(xy) for xy in capture.xy[view].astype(np.float64)}
        assert {tuple(xy) for xy in points.obs_xy[points.obs_view == view]} <= known
    for point in range(len(points)):
        views = points.obs_view[points.obs_point == point]
        assert (np.diff(views) > 0).all(), "one observation per photo, in order"


def test_points_project_to_their_observations(solved: Solved) -> None:
    mapped = solved.mapped
    view = mapped.points.obs_view.astype(np.int64)
    pixels, depth = mapped.cameras.project(mapped.points.xyz[mapped.points.obs_point], view)
    off = np.linalg.norm(pixels - mapped.points.obs_xy, axis=1)
    assert (depth > 0).all() and np.median(off) < 0.5 and off.max() < 5
    count = np.bincount(mapped.points.obs_point)
    np.testing.assert_allclose(np.bincount(mapped.points.obs_point, off) / count, mapped.points.error_px, atol=0.05)


@pytest.mark.parametrize(
    ("model", "params", "expected"),
    [
        ("SIMPLE_PINHOLE", [500, 320, 240], [0, 0, 0, 0]),
        ("PINHOLE", [500, 510, 320, 240], [0, 0, 0, 0]),
        ("SIMPLE_RADIAL", [500, 320, 240, -0.1], [-0.1, 0, 0, 0]),
        ("RADIAL", [500, 320, 240, -0.1, 0.02], [-0.1, 0.02, 0, 0]),
        ("OPENCV", [500, 510, 320, 240, -0.1, 0.02, 0.003, -0.004], [-0.1, 0.02, 0.003, -0.004]),
    ],
)
def test_lens_models_of_colmap_mean_the_same_pixels(model: str, params: list[float], expected: list[float]) -> None:
    camera = pycolmap.Camera(model=model, width=640, height=480, params=params)
    np.testing.assert_array_equal(distortion_of(camera), expected)
    reconstruction = pycolmap.Reconstruction()
    camera.camera_id = 5
    reconstruction.add_camera_with_trivial_rig(camera)
    poses = ring_poses(2)
    for image_id, pose in zip((9, 4), poses, strict=True):
        image = pycolmap.Image(f"{image_id}", np.zeros((0, 2)), camera_id=5)
        image.image_id = image_id
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
    mapped = to_mapped(reconstruction, "global")
    np.testing.assert_array_equal(mapped.photo, [3, 8])
    np.testing.assert_array_equal(mapped.camera_group, [4, 4])
    np.testing.assert_allclose(mapped.cameras.cam_from_world, poses[::-1], atol=1e-12)
    assert (mapped.cameras.width == 640).all() and (mapped.cameras.height == 480).all() and len(mapped.points) == 0
    xyz = cloud(20)
    ours, _ = mapped.cameras.project(xyz, np.ones(20, np.int64))
    image = reconstruction.images[9]
    np.testing.assert_allclose(ours, [image.project_point(point) for point in xyz], atol=1e-9)


# ---------------------------------------------------------------- disk


def test_models_come_back_bit_by_bit(solved: Solved, tmp_path: Path) -> None:
    for name, model in (("a", solved.mapped), ("b", solved.refined.mapped)):
        save_mapped(tmp_path / f"{name}.npz", model)
        same_model(load_mapped(tmp_path / f"{name}.npz"), model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_models_without_distortion_get_a_zero_one(solved: Solved, tmp_path: Path) -> None:
    save_mapped(tmp_path / "a.npz", replace(solved.mapped, cameras=solved.mapped.cameras.pinhole(), mapper="known"))
    again = load_mapped(tmp_path / "a.npz")
    assert again.mapper == "known" and again.cameras.distortion is not None
    np.testing.assert_array_equal(again.cameras.distortion, np.zeros((7, 4)))


def test_same_model_same_file(solved: Solved, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_mapped(tmp_path / name, solved.mapped)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_folder_that_cannot_be_made_leaves_nothing(solved: Solved, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((OSError, Recon3DError)):
        save_mapped(tmp_path / "file" / "model.npz", solved.mapped)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
