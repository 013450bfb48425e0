"""Every exported camera reprojects the points to within 0.01 px of the internal value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from random_scenes import random_scene

from recon3d.formats.colmap import read_colmap, write_colmap
from recon3d.formats.ply import read_ply
from recon3d.formats.transforms import read_transforms
from recon3d.formats.tum import read_tum
from recon3d.render.cameras import Cameras
from recon3d.scene import Scene
from recon3d.scene_convert import cameras_from_colmap, cameras_from_transforms, pinhole_points, points_from_colmap
from recon3d.scene_io import output_name

SEEDS = pytest.mark.parametrize("seed", range(3))
DISTORTED = pytest.mark.parametrize("distorted", [True, False])


def worst_px(first: Cameras, second: Cameras, xyz: np.ndarray) -> float:
    """Largest distance between the projections of all points into all cameras of both batches."""
    camera = np.repeat(np.arange(len(first)), len(xyz))
    points = np.tile(xyz, (len(first), 1))
    return float(np.abs(first.project(points, camera)[0] - second.project(points, camera)[0]).max())


@pytest.fixture
def saved(tmp_path: Path, seed: int, distorted: bool) -> Scene:
    return random_scene(seed, 5, 60, distorted).save(tmp_path)


@SEEDS
@DISTORTED
def test_all_cameras_of_the_folder(saved: Scene) -> None:
    folder, xyz = saved.root, saved.points.xyz
    assert folder is not None
    distorted = cameras_from_colmap(read_colmap(folder / "colmap_distorted"))
    assert worst_px(distorted, saved.cameras, xyz) < 1e-9
    pinhole = [
        cameras_from_colmap(read_colmap(folder / "colmap")),
        cameras_from_transforms(read_transforms(folder / "transforms.json")),
    ]
    for cameras in pinhole:
        assert worst_px(cameras, saved.pinhole_cameras, xyz) < 1e-9
        assert np.array_equal(cameras.width, saved.pinhole_cameras.width)
        assert cameras.distortion is None


@SEEDS
@DISTORTED
def test_poses_of_the_trajectory_reproject(saved: Scene) -> None:
    assert saved.root is not None
    trajectory = read_tum(saved.root / "trajectory.tum")
    cam_from_world = np.linalg.inv(trajectory.world_from_cam)
    twin = saved.pinhole_cameras
    assert worst_px(Cameras(cam_from_world, twin.K, twin.width, twin.height), twin, saved.points.xyz) < 1e-9
    assert trajectory.names == tuple(f"images/{output_name(view.key)}" for view in saved.registered)


@SEEDS
@DISTORTED
@pytest.mark.parametrize("binary", [True, False])
def test_pycolmap_projects_as_we_do(saved: Scene, tmp_path: Path, binary: bool) -> None:
    names = {"colmap": saved.pinhole_cameras, "colmap_distorted": saved.cameras}
    for name, cameras in names.items():
        model = read_colmap(tmp_path / name)
        folder = tmp_path / f"{name}_{binary}"
        write_colmap(folder, model, binary)
        theirs = pycolmap.Reconstruction(str(folder))
        for row in range(len(cameras)):
            image = theirs.images[row + 1]
            pixels, _ = cameras.project(saved.points.xyz, np.full(len(saved.points), row))
            lens = theirs.cameras[image.camera_id]
            other = lens.img_from_cam(np.array([image.cam_from_world() * each for each in saved.points.xyz]))
            assert np.abs(other - pixels).max() < 1e-8


@SEEDS
@DISTORTED
def test_features_of_both_models_are_projections(saved: Scene) -> None:
    assert saved.root is not None
    for name, cameras in (("colmap", saved.pinhole_cameras), ("colmap_distorted", saved.cameras)):
        points = points_from_colmap(read_colmap(saved.root / name))
        pixels, _ = cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
        assert np.abs(pixels - points.obs_xy).max() < 1e-6


@SEEDS
@DISTORTED
def test_pinhole_features_undo_the_lens(seed: int, distorted: bool) -> None:
    scene = random_scene(seed, distorted=distorted)
    points = pinhole_points(scene)
    pixels, _ = scene.pinhole_cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
    np.testing.assert_allclose(points.obs_xy, pixels, atol=1e-6)


@SEEDS
@DISTORTED
def test_the_point_cloud(saved: Scene) -> None:
    assert saved.root is not None
    vertices = read_ply(saved.root / "points.ply").vertices
    assert np.array_equal(np.stack([vertices[axis] for axis in "xyz"], -1), saved.points.xyz)
    assert np.array_equal(np.stack([vertices[name] for name in ("red", "green", "blue")], -1), saved.points.rgb)
    assert np.array_equal(vertices["track_length"], saved.points.track_length)
    assert np.array_equal(vertices["sigma"], saved.points.sigma, equal_nan=True)


def test_observations_beyond_the_fold_of_a_lens_stay_out_of_the_pinhole_model(tmp_path: Path) -> None:
    scene = random_scene(0)
    xy = scene.points.obs_xy.copy()
    lens = np.tile(np.array([-1 / 3, 0, 0, 0]), (4, 1))
    xy[7] = [1e5, 0]
    scene = replace(scene, cameras=replace(scene.cameras, distortion=lens), points=replace(scene.points, obs_xy=xy))
    kept = pinhole_points(scene)
    assert len(kept.obs_xy) == len(xy) - 1 and len(kept) == len(scene.points)
    scene.save(tmp_path)
    assert np.array_equal(Scene.load(tmp_path).points.obs_xy, xy)


def test_lenses_are_shared_within_a_group_and_as_simple_as_they_can_be(tmp_path: Path) -> None:
    scene = random_scene(1, 4)
    K = np.tile(scene.cameras.K[:1], (4, 1, 1))
    K[1:, 1, 1] = K[1:, 0, 0]
    lens = np.array([[0.1, 0, 0, 0], [0.1, 0, 0, 0], [0.1, 0.2, 0, 0], [0, 0, 0, 0]])
    sizes = np.full(4, 640), np.full(4, 480)
    cameras = Cameras(scene.cameras.cam_from_world, K, *sizes, lens)
    replace(scene, cameras=cameras).save(tmp_path)
    lenses = read_colmap(tmp_path / "colmap_distorted").cameras
    assert [each.model for each in lenses] == ["OPENCV", "SIMPLE_RADIAL", "RADIAL", "PINHOLE"]
    same = replace(cameras, K=K[[1] * 4], distortion=lens[[1] * 4])
    groups = iter((3, 3, 4, 3))
    views = tuple(replace(v, camera_group=next(groups)) if v.status == "registered" else v for v in scene.views)
    replace(scene, cameras=same, views=views).save(tmp_path)
    model = read_colmap(tmp_path / "colmap_distorted")
    assert [image.camera_id for image in model.images] == [1, 1, 2, 1]
