"""Depth, splats and mesh of the tiny capture: what is written, reused, resumed and shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon3d import pipeline_dense
from recon3d.core.errors import InputError, ResourceError
from recon3d.core.stages import StageStore
from recon3d.pipeline import reconstruct
from recon3d.scene import Scene
from recon3d.scene_dense import depth_names
from recon3d.scene_io import check_files
from recon3d.splats import train
from recon3d.splats.options import SplatOptions

from .conftest import N_PHOTOS, Run
from .test_resume import hashes

QUICK = SplatOptions(iterations=24, max_gaussians=3000, sh_degree=1)
WHOLE: dict[str, Any] = {"only": None, "splats": QUICK, "preset": "draft"}


@pytest.fixture(scope="module")
def whole(first: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All stages once; nothing in its folders may be changed."""
    copy = first.copied(tmp_path_factory.mktemp("whole"))
    return Run(copy.photos, copy.out, copy.again(**WHOLE))


@pytest.fixture
def copied(whole: Run, tmp_path: Path) -> Run:
    return whole.copied(tmp_path)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every dense computation fail the test."""
    for name in ("estimate_depth", "optimise_splats", "fuse_with_stats", "fuse_points"):
        monkeypatch.setattr(pipeline_dense, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))


def test_the_output_folder_holds_everything_with_its_hash(whole: Run) -> None:
    files = set(json.loads((whole.out / "scene.json").read_text())["files"])
    depth = {name for view in whole.scene.registered for name in depth_names(view.key)}
    assert {*depth, "points_dense.ply", "splats.ply", "splats.spz", "mesh.glb"} <= files
    assert len(depth) == 2 * N_PHOTOS
    assert check_files(whole.out) == ()


def test_the_scene_reads_its_dense_parts(whole: Run) -> None:
    scene = Scene.load(whole.out)
    depth = scene.depth(scene.registered[2].key)
    assert depth.depth_z.shape == (240, 360)
    assert depth.coverage > 0.3
    assert (depth.sigma[depth.depth_z > 0] > 0).all()
    assert len(scene.gaussians()) == scene.metrics["splats"]["n_gaussians"]
    assert len(scene.mesh().faces) == scene.metrics["mesh"]["n_faces"] > 1000


def test_depth_agrees_with_the_sparse_points(whole: Run) -> None:
    scene = Scene.load(whole.out)
    points, errors = scene.points, []
    for row, view in enumerate(scene.registered):
        depth = scene.depth(view.key).depth_z
        seen = points.obs_point[points.obs_view == row]
        xy, z = scene.pinhole_cameras.project(points.xyz[seen], np.full(len(seen), row))
        x, y = np.floor(xy).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < depth.shape[1]) & (y < depth.shape[0])
        found = depth[y[inside], x[inside]]
        errors.append(np.abs(found / z[inside] - 1)[found > 0])
    assert np.median(np.concatenate(errors)) < 0.01


def test_mesh_lies_where_the_points_are(whole: Run) -> None:
    scene = Scene.load(whole.out)
    low, high = np.percentile(scene.points.xyz, [2, 98], axis=0)
    vertices = scene.mesh().vertices
    inside = ((vertices > low - 0.2 * (high - low)) & (vertices < high + 0.2 * (high - low))).all(axis=1)
    assert inside.mean() > 0.9


def test_held_out_photos_are_measured_and_shown(whole: Run) -> None:
    held_out = whole.scene.metrics["splats"]["held_out"]
    assert [entry["key"] for entry in held_out] == [view.key for view in whole.scene.registered][::4]
    assert all(entry["psnr"] > 12 for entry in held_out)
    report = (whole.out / "report.html").read_text()
    for text in ("held-out", "Gaussians", "stereo", "triangles"):
        assert text.lower() in report.lower(), text


def test_held_out_photos_give_nothing_to_the_splats(copied: Run, monkeypatch: pytest.MonkeyPatch, whole: Run) -> None:
    """Neither their depth maps nor their colours, and the stereo of the others is not matched against them."""
    joined, may_help = [], []
    fuse, estimate = pipeline_dense.fuse_points, pipeline_dense.estimate_depth
    monkeypatch.setattr(pipeline_dense, "fuse_points", lambda *a, **k: joined.append(a[1]) or fuse(*a, **k))
    monkeypatch.setattr(pipeline_dense, "estimate_depth", lambda *a: may_help.append(a[6]) or estimate(*a))
    copied.again(
        **{**WHOLE, "splats": SplatOptions(iterations=8, max_gaussians=2000, holdout="3")}, splats_start="dense"
    )
    rows = [1, 2, 4, 5]
    assert np.flatnonzero(may_help[0]).tolist() == rows
    kept = whole.scene.pinhole_cameras.cam_from_world[rows]
    assert any(np.allclose(cameras.cam_from_world, kept) for cameras in joined if len(cameras) == len(rows))


def test_a_second_run_computes_nothing(copied: Run, no_work: None) -> None:
    before = hashes(copied.out)
    copied.again(**WHOLE)
    assert hashes(copied.out) == before


@pytest.mark.parametrize("name", ["splats.ply", "mesh.glb", "points_dense.ply", "depth"])
def test_lost_exports_come_back_from_the_stages(copied: Run, no_work: None, name: str) -> None:
    before = hashes(copied.out)
    lost = copied.out / name
    for path in sorted(lost.iterdir())[:2] if lost.is_dir() else [lost]:
        path.unlink()
    copied.again(**WHOLE)
    assert hashes(copied.out) == before


def test_only_points_removes_what_is_not_wanted_and_keeps_it_for_later(copied: Run, no_work: None) -> None:
    before = hashes(copied.out)
    scene = copied.again(**{**WHOLE, "only": "points"})
    assert not [name for name in ("splats.ply", "splats.spz", "mesh.glb") if (copied.out / name).exists()]
    assert (copied.out / "points_dense.ply").exists() and "splats" not in scene.metrics
    with pytest.raises(InputError, match="holds no splats"):
        scene.gaussians()
    copied.again(**WHOLE)
    assert hashes(copied.out) == before


def test_only_cameras_leaves_no_dense_file(copied: Run, no_work: None) -> None:
    scene = copied.again(only="cameras")
    assert not (copied.out / "depth").exists() and not (copied.out / "mesh.glb").exists()
    assert check_files(copied.out) == ()
    with pytest.raises(InputError, match="no depth map"):
        scene.depth(scene.registered[0].key)


def test_an_interrupted_optimisation_resumes_to_the_same_bytes(
    copied: Run, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at iteration 23 with a checkpoint, and finished on one thread instead of two."""
    import shutil

    shutil.rmtree(copied.out / ".recon3d/splats")
    monkeypatch.setattr(train, "CHECKPOINT_S", 0.0)
    step, count = train.Trainer.step, iter(range(1000))

    def interrupted(trainer: Any) -> Any:
        if next(count) == 23:
            raise KeyboardInterrupt
        return step(trainer)

    monkeypatch.setattr(train.Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        copied.again(**WHOLE)
    assert list((copied.out / ".recon3d/splats_checkpoint").iterdir())
    monkeypatch.setattr(train.Trainer, "step", step)
    copied.again(**WHOLE, threads=1)
    assert hashes(copied.out) == hashes(whole.out)
    done = [json.loads((run.out / ".recon3d/splats/done.json").read_text()) for run in (copied, whole)]
    assert done[0]["value"] == done[1]["value"]  # the curves of the report as well
    assert not (copied.out / ".recon3d/splats_checkpoint").exists()


def test_depth_from_splats_is_the_other_source(copied: Run) -> None:
    scene = copied.again(**{**WHOLE, "depth": "splats", "only": "mesh"})
    assert scene.metrics["depth"]["source"] == "splats"
    assert scene.metrics["mesh"]["n_faces"] > 100
    assert scene.depth(scene.registered[0].key).coverage > 0.2
    again = copied.again(**{**WHOLE, "depth": "splats", "only": "points"})
    assert again.metrics["depth"] == scene.metrics["depth"]


def test_too_little_memory_for_splats_is_said_before_anything_starts(copied: Run) -> None:
    before = hashes(copied.out)
    with pytest.raises(ResourceError, match=r"too little memory for depth and splats.*--only cameras"):
        copied.again(**WHOLE, max_memory="620MB")
    assert hashes(copied.out) == before


def test_two_photos_make_a_stated_result(first: Run, tmp_path: Path) -> None:
    """Cameras of two photos are refused or written; where they are written, nothing is held out and that is said."""
    from recon3d.core.errors import ResultError

    (tmp_path / "photos").mkdir()
    for path in sorted(first.photos.iterdir())[1:3]:
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
    try:
        scene = reconstruct(tmp_path / "photos", out=tmp_path / "out", quiet=True, **WHOLE)
    except ResultError as error:
        assert "refused" in str(error)
        return
    assert scene.metrics["splats"]["held_out"] == []
    assert scene.metrics["depth"]["n_points"] > 1000  # the one other photo is enough to agree
    assert any("too few photos" in text for text in scene.provenance["warnings"])


def test_stages_are_listed_once(whole: Run) -> None:
    folders = {path.parent.name for path in whole.out.glob(".recon3d/*/done.json")}
    assert {"depth", "splats", "mesh", "plan_dense"} <= folders
    assert StageStore(whole.out / ".recon3d").root.exists()
