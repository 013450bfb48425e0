"""info, export, evaluate and doctor on a saved scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recon3d import pipeline
from recon3d.apps.cli.models import WORK, kind_of, read_estimate
from recon3d.core.backends import Backend
from recon3d.core.errors import InputError
from recon3d.evaluation import Estimate
from recon3d.formats.colmap import find_colmap, read_colmap
from recon3d.formats.ply import read_ply
from recon3d.formats.transforms import read_transforms
from recon3d.formats.tum import read_tum
from recon3d.scene import Scene
from recon3d.scene_convert import cameras_from_colmap
from recon3d.scene_io import output_name

from .conftest import Outcome
from .frozen import assert_frozen

Run = Callable[..., Outcome]


def test_info_of_a_scene(recon3d: Run, scene: Scene) -> None:
    outcome = recon3d("info", scene.root)
    assert outcome.code == 0
    assert_frozen("info_scene", outcome.out.replace(str(scene.root), "OUT"))


def test_info_as_json(recon3d: Run, scene: Scene) -> None:
    value = recon3d("info", scene.root, "--json").json
    assert (value["kind"], value["n_photos"], value["n_registered"]) == ("scene", 5, 4)
    assert value["metrics"] == {"rms_px": 0.25}
    assert value["scale"]["kind"] == "metric"


def test_info_check_finds_a_changed_file(recon3d: Run, scene: Scene) -> None:
    assert scene.root is not None
    assert recon3d("info", scene.root, "--check").code == 0
    with (scene.root / "trajectory.tum").open("a") as file:
        file.write("# touched\n")
    outcome = recon3d("info", scene.root, "--check")
    assert outcome.code == 7
    assert "trajectory.tum was changed" in outcome.out


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("colmap", "colmap", ["images", "4", "PINHOLE"]),
        ("transforms.json", "transforms", ["frames", "4"]),
        ("trajectory.tum", "trajectory", ["poses", "4", "path length"]),
        ("points.ply", "ply", ["vertices", "40", "bounds", "red"]),
    ],
)
def test_info_of_every_kind(recon3d: Run, scene: Scene, name: str, kind: str, words: list[str]) -> None:
    assert scene.root is not None
    outcome = recon3d("info", scene.root / name)
    assert outcome.code == 0
    assert all(word in outcome.out for word in words)
    assert recon3d("info", scene.root / name, "--json").json["kind"] == kind


def test_info_of_anything_else(recon3d: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    for path in (tmp_path / "notes.md", tmp_path, tmp_path / "absent"):
        outcome = recon3d("info", path)
        assert outcome.code == 3
        assert str(path) in outcome.err


def test_info_of_a_damaged_scene(recon3d: Run, scene: Scene) -> None:
    assert scene.root is not None
    (scene.root / "points.ply").write_bytes(b"ply\n")
    outcome = recon3d("info", scene.root)
    assert outcome.code == 3
    assert "points.ply was changed" in outcome.err


def test_kinds_are_found_inside_the_usual_folders(scene: Scene, tmp_path: Path) -> None:
    assert scene.root is not None
    (tmp_path / "project" / "sparse").mkdir(parents=True)
    (scene.root / "colmap").rename(tmp_path / "project" / "sparse" / "0")
    assert kind_of(tmp_path / "project") == ("colmap", tmp_path / "project" / "sparse" / "0")
    assert kind_of(scene.root / "scene.json") == ("scene", scene.root)


@pytest.mark.parametrize("distorted", [False, True])
@pytest.mark.parametrize(("name", "suffix"), [("colmap", ".bin"), ("colmap-text", ".txt")])
def test_export_colmap(recon3d: Run, scene: Scene, tmp_path: Path, name: str, suffix: str, distorted: bool) -> None:
    flag = ["--distorted"] if distorted else []
    outcome = recon3d("export", scene.root, "--format", name, "--to", tmp_path / "model", *flag)
    assert outcome.code == 0
    assert find_colmap(tmp_path / "model") == suffix
    model = read_colmap(tmp_path / "model")
    cameras = scene.cameras if distorted else scene.pinhole_cameras
    assert np.allclose(cameras_from_colmap(model).cam_from_world, cameras.cam_from_world, atol=1e-12)
    assert np.allclose(cameras_from_colmap(model).K, cameras.K)
    keys = [view.key for view in scene.registered]
    assert [image.name for image in model.images] == (keys if distorted else [output_name(key) for key in keys])
    assert outcome.out.count("\n") == 3


def test_export_transforms_points_at_the_photos(recon3d: Run, scene: Scene, tmp_path: Path) -> None:
    assert scene.root is not None
    target = tmp_path / "nerf" / "transforms.json"
    target.parent.mkdir()
    assert recon3d("export", scene.root, "--format", "transforms", "--to", target.parent).code == 0
    transforms = read_transforms(target)
    assert np.allclose(transforms.cam_from_world, scene.pinhole_cameras.cam_from_world, atol=1e-12)
    first = (target.parent / transforms.names[0]).resolve()
    assert first == (scene.root / "images" / output_name(scene.registered[0].key)).resolve()
    assert (target.parent / transforms.ply_file_path).resolve() == (scene.root / "points.ply").resolve()


def test_export_trajectory_and_points(recon3d: Run, scene: Scene, tmp_path: Path) -> None:
    assert recon3d("export", scene.root, "--format", "tum", "--to", tmp_path / "t.tum").code == 0
    assert np.allclose(read_tum(tmp_path / "t.tum").world_from_cam, scene.cameras.world_from_cam, atol=1e-12)
    assert recon3d("export", scene.root, "--format", "ply", "--to", tmp_path / "p.ply").code == 0
    vertices = read_ply(tmp_path / "p.ply").vertices
    assert vertices["x"].dtype == np.float32
    assert np.allclose(np.stack([vertices[axis] for axis in "xyz"], -1), scene.points.xyz, atol=1e-6)


def test_export_leaves_the_output_folder_alone(recon3d: Run, scene: Scene, tmp_path: Path) -> None:
    assert scene.root is not None
    assert recon3d("export", scene.root, "--to", scene.root / "again").code == 2
    assert recon3d("export", scene.root).code == 2
    (tmp_path / "file").write_text("mine")
    assert recon3d("export", scene.root, "--to", tmp_path / "file").code == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_evaluate(recon3d: Run, scene: Scene, truth: Path) -> None:
    outcome = recon3d("evaluate", scene.root, "--truth", truth)
    assert outcome.code == 0
    assert_frozen("evaluate", "\n".join(line.rstrip() for line in outcome.out.splitlines()) + "\n")
    value = recon3d("evaluate", scene.root, "--truth", truth.parent, "--json").json
    assert value["auc"]["3"] == pytest.approx(100.0, abs=1e-6)
    assert value["absolute"]["alignment_scale"] == pytest.approx(2.0)


def test_evaluate_a_subset(recon3d: Run, scene: Scene, truth: Path) -> None:
    value = recon3d("evaluate", scene.root, "--truth", truth, "--subset", "three", "--json").json
    assert (value["n_photos"], value["subset"]) == (3, "three")
    outcome = recon3d("evaluate", scene.root, "--truth", truth, "--subset", "four")
    assert outcome.code == 2
    assert "three" in outcome.err


def test_evaluate_needs_truth_and_cameras(recon3d: Run, scene: Scene, truth: Path) -> None:
    assert scene.root is not None
    assert recon3d("evaluate", scene.root).code == 2
    assert recon3d("evaluate", scene.root, "--truth", truth.parent / "subsets.json").code == 3
    assert recon3d("evaluate", scene.root / "points.ply", "--truth", truth).code == 3


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """What reconstruct leaves behind when it trusts no model."""
    (tmp_path / "refused" / WORK).mkdir(parents=True)
    (tmp_path / "refused" / "report.html").write_text("<html>")
    return tmp_path / "refused"


def test_a_refused_run_is_told_from_nothing(recon3d: Run, refused: Path, truth: Path) -> None:
    assert WORK == pipeline.WORK
    outcome = recon3d("info", refused)
    assert outcome.code == 4
    assert "report.html" in outcome.err
    value = recon3d("evaluate", refused, "--truth", truth, "--json").json
    assert (value["n_registered"], value["auc"]["30"]) == (0, 0.0)


def test_an_unfinished_run_says_how_to_go_on(recon3d: Run, refused: Path) -> None:
    (refused / "report.html").unlink()
    outcome = recon3d("info", refused)
    assert outcome.code == 3
    assert "again" in outcome.err


@pytest.mark.parametrize("name", ["colmap_distorted", "."])
def test_evaluate_other_models(recon3d: Run, scene: Scene, truth: Path, name: str) -> None:
    assert scene.root is not None
    value = recon3d("evaluate", scene.root / name, "--truth", truth, "--json").json
    assert value["auc"]["3"] == pytest.approx(100.0, abs=1e-6)
    assert value["intrinsics"]["focal_percent"] == pytest.approx(0.0, abs=1e-9)


def test_estimates_from_files(scene: Scene) -> None:
    assert scene.root is not None
    assert isinstance(read_estimate(scene.root / "transforms.json"), Estimate)
    with pytest.raises(InputError, match="no cameras"):
        read_estimate(scene.root / "trajectory.tum")


def test_doctor(recon3d: Run) -> None:
    outcome = recon3d("doctor")
    assert outcome.code == 0
    for word in ("recon3d", "python", "cores", "memory", "mapping", "pycolmap", "nothing that reconstruct needs"):
        assert word in outcome.out
    value = recon3d("doctor", "--json").json
    assert value["cores"] >= 1
    assert value["backends"]["mapping"]["chosen"] == "pycolmap"
    assert value["missing"] == []


def test_doctor_names_what_is_missing(recon3d: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Backend("pycolmap", False, "pycolmap is not installed", "pip install 'pycolmap>=4.2'")
    monkeypatch.setattr("recon3d.apps.cli.doctor.primitives", lambda: ("mapping",))
    monkeypatch.setattr("recon3d.apps.cli.doctor.candidates", lambda _: (absent,))
    outcome = recon3d("doctor")
    assert outcome.code == 5
    assert "MISSING: mapping" in outcome.out
    assert "pip install 'pycolmap>=4.2'" in outcome.out
    assert json.loads(recon3d("doctor", "--json").out)["missing"] == ["mapping"]
