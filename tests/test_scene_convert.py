"""Conversions between COLMAP models, transforms.json and our cameras and points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from random_scenes import random_cameras, random_points, random_scene, same_bits

from recon3d.formats.colmap import read_colmap
from recon3d.scene_convert import (
    cameras_from_colmap,
    cameras_from_transforms,
    colmap_from_cameras,
    pinhole_points,
    points_from_colmap,
    transforms_from_cameras,
)

LENSES = {
    "SIMPLE_PINHOLE": [500, 320, 240],
    "PINHOLE": [500, 520, 310, 250],
    "SIMPLE_RADIAL": [500, 320, 240, -0.1],
    "RADIAL": [500, 320, 240, -0.1, 0.03],
    "OPENCV": [500, 510, 310, 250, -0.1, 0.03, 0.002, -0.001],
}


@pytest.mark.parametrize("lens", LENSES)
def test_synthetic_models_of_pycolmap_reproject_to_their_features(tmp_path: Path, lens: str) -> None:
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig = 1, 2, 3
    options.num_points3D = 30
    options.num_points2D_without_point3D = 4
    options.camera_model_id = pycolmap.CameraModelId.__members__[lens]
    options.camera_params = [float(value) for value in LENSES[lens]]
    options.camera_width, options.camera_height = 640, 480
    pycolmap.synthesize_dataset(options).write(str(tmp_path))
    model = read_colmap(tmp_path)
    cameras, points = cameras_from_colmap(model), points_from_colmap(model)
    assert len(cameras) == 6 and len(points) > 0
    assert (cameras.distortion is None) == lens.endswith("PINHOLE")
    pixels, depth_z = cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
    assert (depth_z > 0).all()
    np.testing.assert_allclose(pixels, points.obs_xy, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_points_keep_their_order_and_tracks(seed: int) -> None:
    cameras = random_cameras(seed, 5)
    points = random_points(seed, cameras, 30)
    model = colmap_from_cameras(cameras, [f"{i}.jpg" for i in range(5)], points)
    back = points_from_colmap(model, points.sigma)
    for name in ("xyz", "rgb", "error_px", "sigma", "obs_point", "obs_view", "obs_xy"):
        assert same_bits(getattr(back, name), getattr(points, name)), name


def test_features_link_back_to_the_points_that_they_show() -> None:
    cameras = random_cameras(0, 3)
    model = colmap_from_cameras(cameras, ["a", "b", "c"], random_points(0, cameras, 10))
    image_of = {image.id: image for image in model.images}
    points = model.points
    for row, (start, end) in enumerate(zip(points.track_offsets[:-1], points.track_offsets[1:], strict=True)):
        for image_id, feature in zip(points.track_image_ids[start:end], points.track_point2D[start:end], strict=True):
            assert image_of[int(image_id)].point3D_ids[feature] == points.ids[row]


def test_rotations_survive_as_quaternions() -> None:
    cameras = random_cameras(7, 50)
    model = colmap_from_cameras(cameras, [str(i) for i in range(50)], random_points(0, cameras, 0))
    back = cameras_from_colmap(model)
    np.testing.assert_allclose(back.cam_from_world, cameras.cam_from_world, atol=2e-15, rtol=0)
    assert same_bits(back.K, cameras.K) and same_bits(back.distortion, cameras.distortion)


def test_transforms_of_pinhole_cameras_have_no_distortion() -> None:
    cameras = random_cameras(0, 3, distorted=False)
    transforms = transforms_from_cameras(cameras, ["a", "b", "c"])
    assert not transforms.distortion.any() and transforms.ply_file_path == ""
    assert cameras_from_transforms(transforms).distortion is None


def test_a_camera_without_distortion_only_changes_its_intrinsics() -> None:
    scene = random_scene(0, distorted=False)
    same = replace(scene, pinhole_cameras=scene.cameras)
    np.testing.assert_allclose(pinhole_points(same).obs_xy, scene.points.obs_xy, atol=1e-10)
