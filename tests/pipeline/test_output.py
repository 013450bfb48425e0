"""What a finished run writes and returns."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recon3d.evaluation import Estimate, evaluate_cameras, read_truth
from recon3d.formats.colmap import read_colmap
from recon3d.formats.ply import read_ply
from recon3d.formats.transforms import read_transforms
from recon3d.formats.tum import read_tum
from recon3d.scene import Scene

from .conftest import N_PHOTOS, WIDTH, Run

TOP = {
    ".recon3d",
    "colmap",
    "colmap_distorted",
    "images",
    "points.ply",
    "report.html",
    "scene.json",
    "trajectory.tum",
    "transforms.json",
}


def equal(a: Any, b: Any) -> bool:
    """Compare values field by field and arrays bit by bit."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return bool(a == b)


def test_output_folder_is_that_of_the_design(first: Run) -> None:
    assert {path.name for path in first.out.iterdir()} == TOP
    models = {"cameras.bin", "images.bin", "points3D.bin"}
    for name in ("colmap", "colmap_distorted"):
        assert {path.name for path in (first.out / name).iterdir()} == models
    names = {f"{path.stem}_jpg.jpg" for path in first.photos.iterdir()}
    assert {path.name for path in (first.out / "images").iterdir()} == names


def test_all_photos_are_placed(first: Run) -> None:
    assert [view.key for view in first.scene.views] == sorted(path.name for path in first.photos.iterdir())
    assert {view.status for view in first.scene.views} == {"registered"}
    assert {view.camera_group for view in first.scene.views} == {0}
    assert first.scene.provenance["failed_checks"] == []
    assert first.scene.root == first.out


def test_loaded_scene_is_the_returned_one(first: Run) -> None:
    loaded = Scene.load(first.out)
    for item in fields(Scene):
        if item.name not in ("metrics", "provenance"):
            assert equal(getattr(loaded, item.name), getattr(first.scene, item.name)), item.name
    for name in ("metrics", "provenance"):
        assert loaded.__dict__[name] == json.loads(json.dumps(first.scene.__dict__[name]))


def test_poses_agree_with_the_truth(first: Run, repository: Path) -> None:
    keys = [view.key for view in first.scene.registered]
    truth = read_truth(repository / "data/demo_photos_cameras.json").restricted(keys)
    errors = evaluate_cameras(truth, Estimate.from_scene(first.scene))
    assert errors.n_registered == N_PHOTOS
    assert errors.auc[5] > 90.0
    assert errors.absolute is not None
    assert errors.absolute.rotation_deg.max < 1.0


def test_scene_is_levelled_and_relative(first: Run) -> None:
    """The photographer stood upright: world z is up in every photo, and the points lie below the horizon and above."""
    up = first.scene.cameras.cam_from_world[:, 1, 2]  # y of the camera points down
    assert up.max() < -0.9
    assert (first.scene.scale.kind, first.scene.scale.unit) == ("relative", "units")


def test_points_have_colours_errors_and_sigmas(first: Run) -> None:
    points = first.scene.points
    assert len(points) > 500
    assert points.error_px.mean() < 1.0
    assert np.isfinite(points.sigma).mean() > 0.9
    assert points.rgb.std(axis=0).min() > 10  # a colourful yard
    assert points.track_length.min() >= 2
    ply = read_ply(first.out / "points.ply")
    np.testing.assert_allclose(ply.vertices["x"], points.xyz[:, 0], rtol=1e-6, atol=1e-6)


def test_poses_have_uncertainties_that_cover_the_errors(first: Run) -> None:
    sigma = first.scene.pose_sigma
    assert np.isfinite(sigma).all()
    assert 0.001 < np.median(sigma[:, :3]) < 1.0  # degrees


def test_points_reproject_in_all_exports(first: Run) -> None:
    """The undistorted model sees every point where the pinhole twin of the scene does, within 0.01 px."""
    scene, model = first.scene, read_colmap(first.out / "colmap")
    view, point = scene.points.obs_view.astype(np.int64), scene.points.obs_point
    wanted, _ = scene.pinhole_cameras.project(scene.points.xyz[point], view)
    names = [image.name for image in model.images]
    assert names == [f"{Path(view.key).stem}_jpg.jpg" for view in scene.registered]
    transforms = read_transforms(first.out / "transforms.json")
    for row in range(len(scene.cameras)):
        seen = view == row
        pose = transforms.cam_from_world[row]
        local = scene.points.xyz[point[seen]] @ pose[:3, :3].T + pose[:3, 3]
        pixels = (local @ transforms.K[row].T)[:, :2] / local[:, 2:]
        np.testing.assert_allclose(pixels, wanted[seen], atol=0.01)


def test_pycolmap_opens_both_models(first: Run) -> None:
    import pycolmap

    for name in ("colmap", "colmap_distorted"):
        model = pycolmap.Reconstruction(first.out / name)
        assert (model.num_reg_images(), model.num_points3D()) == (N_PHOTOS, len(first.scene.points))
        assert model.compute_mean_reprojection_error() < 1.0


def test_images_have_the_size_of_their_pinhole_cameras(first: Run) -> None:
    for row, path in enumerate(sorted((first.out / "images").iterdir())):
        with Image.open(path) as image:
            assert image.size == (first.scene.pinhole_cameras.width[row], first.scene.pinhole_cameras.height[row])
            assert abs(image.width - WIDTH) <= 0.1 * WIDTH


def test_trajectory_holds_the_camera_centres(first: Run) -> None:
    trajectory = read_tum(first.out / "trajectory.tum")
    np.testing.assert_allclose(trajectory.world_from_cam[:, :3, 3], first.scene.cameras.centers, atol=1e-6)


def test_manifest_lists_every_file_with_its_hash(first: Run) -> None:
    document = json.loads((first.out / "scene.json").read_text())
    written = {
        path.relative_to(first.out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in first.out.rglob("*")
        if path.is_file() and ".recon3d" not in path.parts and path.name not in ("scene.json", "report.html")
    }
    assert {name: entry["sha256"] for name, entry in document["files"].items()} == written
    hashes = {view["key"]: view["sha256"] for view in document["views"]}
    assert hashes == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in first.photos.iterdir()}


def test_provenance_states_options_plan_and_versions(first: Run) -> None:
    provenance = first.scene.provenance
    assert provenance["options"]["sfm"]["seed"] == 0
    assert not {"quiet", "threads"} & set(provenance["options"])  # they decide no bit
    assert provenance["plan"] == {"max_image_size": 3200, "pairs": "auto", "notes": ()}
    assert {"python", "numpy", "pycolmap"} <= set(provenance["versions"])


def test_report_shows_every_photo(first: Run) -> None:
    text = (first.out / "report.html").read_text()
    assert all(view.key in text for view in first.scene.views)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", text)  # it opens offline


def test_nothing_half_written_is_left(first: Run) -> None:
    assert [path for path in first.out.rglob("*") if path.suffix in (".tmp", ".partial")] == []
    assert [path for path in first.out.rglob("*.db")] == []
