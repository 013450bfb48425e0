"""`recon3d segment` and `recon3d train segmenter`: from the command line to files that other programs read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_scenes import random_scene
from small_segmentation import ROOM, STREET, room_rows, stored, street_rows

from recon3d.formats.kitti import write_kitti_points
from recon3d.formats.kitti_semantic import read_semantic_kitti
from recon3d.formats.npy_cloud import read_npz
from recon3d.formats.ply import read_ply, write_ply
from recon3d.pointcloud.segmentation.segmenter import Segmenter
from recon3d.scene import Scale

from .conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return stored(tmp_path / "model.safetensors", ROOM)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    rows = room_rows(1, 60)
    columns = dict(zip("xyz", rows[:, :3].astype(np.float32).T, strict=True))
    write_ply(
        tmp_path / "room.ply", columns | dict(zip(("red", "green", "blue"), rows[:, 3:].astype("u1").T, strict=True))
    )
    return tmp_path / "room.ply"


def test_all_kinds_of_files_agree(recon3d: Run, model: Path, room: Path, tmp_path: Path) -> None:
    words = ("--model", model, "--out", tmp_path / "out", "--write", "json", "ply", "label", "npz", "--quiet", "--json")
    found = recon3d("segment", room, *words)
    assert found.code == 0, found.err
    about = found.json["clouds"][0]
    assert about["points"] == 60 and sum(one["points"] for one in about["classes"].values()) == 60
    files = {Path(name).suffix: Path(name) for name in about["files"]}
    labels = read_npz(files[".npz"])["label"]
    ids, _ = read_semantic_kitti(files[".label"])
    assert (ids == np.array(ROOM.raw_ids)[labels]).all()
    vertices = read_ply(files[".ply"]).vertices
    assert (vertices["label"] == labels).all()
    assert (np.stack([vertices[one] for one in ("red", "green", "blue")], 1) == np.array(ROOM.colours)[labels]).all()
    assert json.loads(files[".json"].read_text())["classes"] == about["classes"]


def test_thresholds_and_class_maps(recon3d: Run, model: Path, room: Path, tmp_path: Path) -> None:
    found = recon3d("segment", room, "--model", model, "--threshold", "1.0", "--quiet", "--json").json["clouds"][0]
    assert found["unlabelled"] == 60
    words = ("--model", model, "--quiet", "--json", "--classes")
    joined = recon3d("segment", room, *words, "all=low,middle,high").json["clouds"][0]
    assert joined["classes"]["all"]["points"] == 60
    (tmp_path / "map.json").write_text(json.dumps({"up": ["high"]}))
    assert list(recon3d("segment", room, *words, tmp_path / "map.json").json["clouds"][0]["classes"]) == ["up"]
    (tmp_path / "map.json").write_text("[]")
    assert recon3d("segment", room, *words, tmp_path / "map.json").code == 3
    assert recon3d("segment", room, *words, "boat=ship").code == 2
    assert recon3d("segment", room, *words, "boat").code == 2


def test_a_text_for_people(recon3d: Run, model: Path, room: Path) -> None:
    found = recon3d("segment", room, "--model", model, "--quiet")
    assert found.code == 0 and "60 points" in found.out and "%" in found.out and "normals" in found.out


def test_scans_of_a_sensor(recon3d: Run, tmp_path: Path) -> None:
    model = stored(tmp_path / "outdoor.safetensors", STREET)
    write_kitti_points(tmp_path / "scan.bin", street_rows(1, 80).astype(np.float32))
    found = recon3d("segment", tmp_path / "scan.bin", "--model", model, "--mount", "1.7", "--quiet", "--json")
    assert found.code == 0 and found.json["clouds"][0]["unlabelled"] == 0
    bright = street_rows(1, 80) * np.array([1, 1, 1, 4000])
    write_kitti_points(tmp_path / "bright.bin", bright.astype(np.float32))
    refused = recon3d("segment", tmp_path / "bright.bin", "--model", model, "--quiet")
    assert refused.code == 3 and "--intensity-max" in refused.err


def test_reconstructions_need_metres(recon3d: Run, model: Path, tmp_path: Path) -> None:
    made = random_scene(3, n_views=3)
    replace(made, scale=Scale()).save(tmp_path / "relative")
    refused = recon3d("segment", tmp_path / "relative", "--model", model, "--quiet")
    assert refused.code == 4 and "--scale.distance" in refused.err
    replace(made, scale=Scale("metric", "a distance", (0.9, 1.1))).save(tmp_path / "metric")
    found = recon3d("segment", tmp_path / "metric", "--model", model, "--quiet", "--json", "--out", tmp_path / "o")
    assert found.code == 0 and found.json["clouds"][0]["points"] == len(made.points)
    assert (tmp_path / "o" / "metric_segments.ply").is_file()
    (tmp_path / "empty").mkdir()
    assert recon3d("segment", tmp_path / "empty", "--model", model).code == 3


def test_a_model_is_chosen_by_what_the_cloud_has(recon3d: Run, tmp_path: Path) -> None:
    write_ply(tmp_path / "bare.ply", {axis: np.zeros(5, np.float32) for axis in "xyz"})
    found = recon3d("segment", tmp_path / "bare.ply", "--quiet")
    assert found.code == 3 and "colours or intensities" in found.err
    assert recon3d("segment").code == 2
    assert recon3d("segment", tmp_path / "absent.ply").code == 3


def test_a_segmenter_is_trained_and_used(recon3d: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "classes.json").write_text(json.dumps({"kind": "outdoor", "classes": {"a": [0], "b": [1]}}))
    for k in range(2):
        rows = street_rows(k, 80)
        np.save(folder / f"{k}.npy", rows.astype(np.float32))
        np.save(folder / f"{k}.labels.npy", (rows[:, 2] > -1).astype(np.int64))
    size = ("--dim", "64", "--depth", "1", "--scenes", "1", "--quiet")
    words = ("segmenter", "--data", folder, "--out", tmp_path / "run", "--steps", "2", *size)
    trained = recon3d("train", *words, "--json")
    assert trained.code == 0, trained.err
    assert trained.json["score"]["scenes"] == 1
    assert Segmenter.load(trained.json["weights"]).spec.classes == ("a", "b")
    again = recon3d("train", *words)
    assert again.code == 2 and "--resume" in again.err
    longer = [word if word != "2" else "3" for word in words]
    resumed = recon3d("train", *longer, "--resume")
    assert resumed.code == 0 and "mIoU" in resumed.out


def test_a_training_needs_a_folder_and_data(recon3d: Run, tmp_path: Path) -> None:
    assert "--out" in recon3d("train", "segmenter").err
    absent = recon3d("train", "segmenter", "--data", tmp_path / "absent", "--out", tmp_path / "run")
    assert absent.code == 3 and "no such data" in absent.err
