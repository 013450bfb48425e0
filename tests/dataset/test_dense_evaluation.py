"""Sensor depth and reference points of every photo set that has them: the truth scores well, and fuses to itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon3d.dense.fuse import fuse_with_stats
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.points_fusion import fuse_points
from recon3d.dense.types import DepthMap
from recon3d.evaluation.depth import evaluate_depth, find_true_depth, near_steps, read_depth_png
from recon3d.evaluation.points import SeenSpace, evaluate_points
from recon3d.evaluation.surface import sample_mesh
from recon3d.evaluation.truth import Truth, read_truth
from recon3d.formats.ply import read_ply

ROOT = Path(os.environ.get("RECON3D_DATASETS", Path(__file__).resolve().parents[3] / "shared" / "datasets"))
WITH_DEPTH = sorted(
    path.parents[1] for path in ROOT.glob("photos/*/gt/fused_points.ply") if (path.parent / "depth").is_dir()
)
REFERENCES = sorted(ROOT.glob("photos/*/gt/*_points.ply"))
pytestmark = [
    pytest.mark.dataset,
    pytest.mark.skipif(not REFERENCES, reason=f"no photos/*/gt/*_points.ply below {ROOT}"),
]
each_depth = pytest.mark.parametrize("folder", WITH_DEPTH or [ROOT], ids=lambda path: path.name)
needs_depth = pytest.mark.skipif(not WITH_DEPTH, reason="no set with depth maps and fused points")
N_MAPS = 12


def points_of(path: Path) -> np.ndarray:
    vertices = read_ply(path).vertices
    return np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], -1)


def some_maps(folder: Path) -> tuple[Truth, list[tuple[DepthMap, np.ndarray]], list[int]]:
    """A dozen maps spread over the set, at half the size to be quick."""
    truth = read_truth(folder / "gt" / "cameras.json")
    paths = find_true_depth(truth, folder / "gt" / "depth")
    rows = [row for row, name in enumerate(truth.names) if name in paths]
    rows = rows[:: max(1, len(rows) // N_MAPS)]
    maps = []
    for row in rows:
        z = read_depth_png(paths[truth.names[row]])[::2, ::2]
        rgb = np.asarray(Image.open(folder / "images" / truth.names[row]).convert("RGB"))[::2, ::2]
        maps.append((DepthMap(z, (0.004 * z * z).astype(np.float32)), np.ascontiguousarray(rgb)))
    return truth, maps, rows


@pytest.mark.parametrize("path", REFERENCES or [ROOT], ids=lambda path: path.parents[1].name)
def test_reference_points_against_themselves(path: Path) -> None:
    points = points_of(path)
    tau = float(np.linalg.norm(np.ptp(points, axis=0))) / 200
    errors = evaluate_points(points, points, tau)
    assert (errors.precision, errors.recall, errors.f_score) == (1.0, 1.0, 1.0)
    moved = evaluate_points(points + np.array([0.0, 0.0, 3 * tau]), points, tau)
    assert 0 < moved.f_score < 1
    assert moved.accuracy_mean > 0


@needs_depth
@each_depth
def test_true_depth_against_itself(folder: Path) -> None:
    _, maps, _ = some_maps(folder)
    depths = [depth.depth_z for depth, _ in maps]
    errors = evaluate_depth([(z, z) for z in depths], "metric")
    assert (errors.abs_rel, errors.delta_1_05, errors.coverage) == (0.0, 1.0, 1.0)
    assert 0 < np.mean([near_steps(z).mean() for z in depths]) < 0.5
    scaled = evaluate_depth([(1.1 * z, z) for z in depths], "median")
    assert scaled.abs_rel < 1e-5


@needs_depth
@each_depth
def test_wrong_poses_show_in_the_seen_space(folder: Path) -> None:
    truth, maps, rows = some_maps(folder)
    reference = points_of(folder / "gt" / "fused_points.ply")
    cameras = truth.cameras[np.array(rows)]
    depths = tuple(depth.depth_z for depth, _ in maps)
    inside = SeenSpace(cameras, depths).contains(reference)
    turned = replace(cameras, cam_from_world=np.diag([1.0, -1.0, -1.0, 1.0]) @ cameras.cam_from_world)
    assert inside.mean() > 0.5
    assert SeenSpace(turned, depths).contains(reference).mean() < 0.5 * inside.mean()


@needs_depth
@each_depth
def test_sensor_depth_fuses_to_the_reference(folder: Path) -> None:
    truth, maps, rows = some_maps(folder)
    reference = points_of(folder / "gt" / "fused_points.ply")
    cameras = truth.cameras[np.array(rows)]
    seen = SeenSpace(cameras, tuple(depth.depth_z for depth, _ in maps))
    size = float(np.linalg.norm(np.ptp(reference, axis=0)))
    tau = size / 100
    mesh, stats = fuse_with_stats(maps, cameras.pinhole(), FusionOptions(voxel_size=tau / 3, min_views=2))
    of_mesh = evaluate_points(sample_mesh(mesh.vertices, mesh.faces, 50_000), reference, tau, seen)
    of_points = evaluate_points(fuse_points(maps, cameras.pinhole()).xyz, reference, tau, seen)
    assert not stats.closed
    assert of_mesh.precision > 0.8
    assert of_points.precision > 0.8
    assert of_mesh.accuracy_median < tau / 2
