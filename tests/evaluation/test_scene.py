"""Depth, points, mesh and splats of a scene folder against truth made from the same scene."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from depth_truth import cameras_at, render, ring, sphere
from PIL import Image

from recon3d.core.errors import FormatError
from recon3d.dense.types import DepthMap
from recon3d.evaluation.scene import (
    align_scene,
    evaluate_scene_depth,
    evaluate_scene_points,
    has_depth,
    held_out_errors,
)
from recon3d.evaluation.truth import Truth, read_truth
from recon3d.formats.ply import write_ply
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians
from recon3d.render.gaussians.files import save_gaussians
from recon3d.render.mesh.files import save_mesh
from recon3d.render.mesh.types import Mesh
from recon3d.scene import Points, Scene, View
from recon3d.scene_dense import save_depth

N, SIZE, FACTOR = 5, 60, 2.5
K1 = -0.05


def on_sphere(n: int) -> np.ndarray:
    z = 1 - 2 * (np.arange(n) + 0.5) / n
    angle, r = np.pi * (3 - np.sqrt(5)) * np.arange(n), np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], -1)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Truth, Path]:
    """A unit sphere, photographed with a bent lens; the truth lives in a world 2.5 times as large, shifted."""
    folder, gt = tmp_path_factory.mktemp("scene"), tmp_path_factory.mktemp("gt")
    pinhole = cameras_at(ring(N), SIZE)
    bent = np.zeros((N, 4))
    bent[:, 0] = K1
    cameras = Cameras(pinhole.cam_from_world, pinhole.K, pinhole.width, pinhole.height, bent)
    xyz = on_sphere(300)
    none = np.zeros(0, np.int32)
    points = Points(xyz, np.zeros((300, 3), np.uint8), np.zeros(300), np.zeros(300), none, none, np.zeros((0, 2)))
    views = tuple(View(f"{i}.jpg", "registered", width=SIZE, height=SIZE, camera_group=0, model=0) for i in range(N))
    scene = Scene(views, cameras, pinhole, points, np.zeros((N, 6))).save(folder)
    for view, (depth, _) in zip(views, render(pinhole, [sphere((0, 0, 0), 1)], 0.01), strict=True):
        save_depth(folder, view.key, depth)
    return scene, write_truth(cameras, gt), gt


def write_truth(cameras: Cameras, gt: Path) -> Truth:
    larger = np.diag([FACTOR, FACTOR, FACTOR, 1.0])
    larger[:3, 3] = 1.0, -2.0, 0.5
    moved = cameras.transformed(larger)
    (gt / "depth").mkdir()
    images = []
    for i in range(N):
        dist = [K1, 0, 0, 0]
        entry = {"name": f"{i}.jpg", "width": SIZE, "height": SIZE, "K": moved.K[i].tolist(), "dist": dist}
        images.append(entry | {"w2c": moved.cam_from_world[i, :3].tolist()})
        millimetres = np.round(1000 * FACTOR * bent_depth(cameras, i)).astype(np.uint16)
        Image.fromarray(millimetres).save(gt / "depth" / f"{i}.png")
    (gt / "cameras.json").write_text(json.dumps({"set": "ball", "unit": "metre", "images": images}))
    reference = FACTOR * on_sphere(20_000) + larger[:3, 3]
    write_ply(gt / "fused_points.ply", {axis: reference[:, k].astype(np.float32) for k, axis in enumerate("xyz")})
    return read_truth(gt / "cameras.json")


def bent_depth(cameras: Cameras, row: int) -> np.ndarray:
    """Depth of the sphere at the pixels of the photo with its distortion, which the ray caster does not know."""
    from recon3d.render.cameras import undistort

    K, pose = cameras.K[row], cameras.cam_from_world[row]
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    normalized = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1]], -1).reshape(-1, 2)
    assert cameras.distortion is not None
    straight = undistort(normalized, np.repeat(cameras.distortion[row : row + 1], len(normalized), axis=0))
    rays = np.concatenate([straight, np.ones((len(straight), 1))], 1) @ pose[:3, :3]
    return np.nan_to_num(sphere((0, 0, 0), 1)(-pose[:3, :3].T @ pose[:3, 3], rays)).reshape(SIZE, SIZE)


def test_depth_is_exact_through_the_lens_and_the_scale(case: tuple[Scene, Truth, Path]) -> None:
    errors = evaluate_scene_depth(*case)
    assert errors is not None
    assert errors.n_images == N
    assert errors.scale == pytest.approx(FACTOR)
    assert errors.abs_rel < 2e-3
    assert errors.delta_1_05 > 0.999
    assert errors.coverage > 0.97
    without_lens = replace(case[0], cameras=case[0].cameras.pinhole())
    ignored = evaluate_scene_depth(without_lens, *case[1:])
    assert ignored is not None
    assert ignored.abs_rel > 2 * errors.abs_rel


def test_scale_modes_of_depth(case: tuple[Scene, Truth, Path]) -> None:
    metric = evaluate_scene_depth(*case, "metric")
    median = evaluate_scene_depth(*case, "median")
    assert metric is not None
    assert median is not None
    assert metric.abs_rel == pytest.approx(1 - 1 / FACTOR, abs=1e-3)
    assert median.abs_rel < 2e-3


def test_photos_without_a_map_count_in_the_coverage(case: tuple[Scene, Truth, Path], tmp_path: Path) -> None:
    scene, truth, gt = case
    half = scene.save(tmp_path)
    save_depth(tmp_path, "0.jpg", DepthMap(*(np.full((SIZE, SIZE), 3.0, np.float32) for _ in range(2))))
    errors = evaluate_scene_depth(half, truth, gt, "median")
    assert errors is not None
    assert errors.n_images == 1
    assert errors.coverage == pytest.approx(1 / N)


def test_nothing_to_compare(case: tuple[Scene, Truth, Path], tmp_path: Path) -> None:
    scene, truth, gt = case
    assert evaluate_scene_depth(scene, truth, tmp_path) is None
    assert evaluate_scene_points(scene, truth, tmp_path, (0.1,)) is None
    bare = scene.save(tmp_path / "bare")
    assert not has_depth(bare)
    assert evaluate_scene_depth(bare, truth, gt) is None
    other = replace(truth, names=tuple(f"other{i}.jpg" for i in range(N)))
    assert align_scene(scene, other) is None
    assert evaluate_scene_points(scene, other, gt, (0.1,)) is None


def test_points_mesh_and_splats(case: tuple[Scene, Truth, Path], tmp_path: Path) -> None:
    scene, truth, gt = case
    full = scene.save(tmp_path)
    dense = {axis: on_sphere(2000)[:, k].astype(np.float32) for k, axis in enumerate("xyz")}
    write_ply(tmp_path / "points_dense.ply", dense)
    mesh_of_sphere(tmp_path / "mesh.glb", 1.01)
    splats_on_sphere(tmp_path / "splats.ply")
    errors = evaluate_scene_points(full, truth, gt, (0.05, 0.1))
    assert errors is not None
    assert (errors.reference, errors.recall_only) == ("fused_points.ply", False)
    assert list(errors.results) == ["points", "points_dense", "mesh", "splats"]
    assert [one.tau for one in errors.results["mesh"]] == [0.05, 0.1]
    assert errors.results["mesh"][0].accuracy_median == pytest.approx(0.01 * FACTOR, rel=0.5)
    assert errors.results["mesh"][1].precision == 1.0
    assert errors.results["points_dense"][0].precision == 1.0
    assert errors.results["splats"][0].precision == 1.0  # the transparent ones are not counted
    assert errors.results["points"][0].recall < errors.results["points_dense"][0].recall


def mesh_of_sphere(path: Path, radius: float) -> None:
    from scipy.spatial import ConvexHull

    vertices = radius * on_sphere(3000)
    faces = ConvexHull(vertices).simplices.astype(np.int32)
    save_mesh(path, Mesh(vertices.astype(np.float32), faces))


def splats_on_sphere(path: Path) -> None:
    means = torch.tensor(np.concatenate([on_sphere(500), 0.5 * on_sphere(500)]), dtype=torch.float32)
    logits = torch.cat([torch.full((500,), 2.0), torch.full((500,), -2.0)])
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(1000, 1)
    save_gaussians(path, Gaussians(means, quats, torch.full((1000, 3), -3.0), logits, torch.zeros(1000, 1, 3)))


def test_sparse_references_judge_recall_only(case: tuple[Scene, Truth, Path], tmp_path: Path) -> None:
    scene, truth, gt = case
    (tmp_path / "reference_points.ply").write_bytes((gt / "fused_points.ply").read_bytes())
    errors = evaluate_scene_points(scene, truth, tmp_path, (0.1,))
    assert errors is not None
    assert errors.recall_only
    assert errors.to_json()["results"]["points"][0]["recall"] > 0


def test_damaged_reference(case: tuple[Scene, Truth, Path], tmp_path: Path) -> None:
    write_ply(tmp_path / "fused_points.ply", {"a": np.zeros(3, np.float32)})
    with pytest.raises(FormatError, match="no points"):
        evaluate_scene_points(*case[:2], tmp_path, (0.1,))


def test_held_out_photos_of_the_metrics(case: tuple[Scene, Truth, Path]) -> None:
    scene = case[0]
    assert held_out_errors(scene) is None
    assert held_out_errors(replace(scene, metrics={"splats": {"held_out": []}})) is None
    record = {"key": "0.jpg", "psnr": 24.0, "ssim": 0.8, "psnr_fit": 25.0, "ssim_fit": 0.82}
    errors = held_out_errors(replace(scene, metrics={"splats": {"held_out": [record]}}))
    assert errors is not None
    assert errors.mean("psnr_fit") == 25.0
    with pytest.raises(FormatError):
        held_out_errors(replace(scene, metrics={"splats": {"held_out": [{"key": "0.jpg"}]}}))
