"""`recon3d segment`: every kind of result file, several clouds at once, reconstructions, and words that are refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_scenes import random_scene
from small_segmentation import ROOM, STREET, room_rows, stored, street_rows

from recon3d.apps.cli.segment import class_groups, read_points
from recon3d.core.errors import FormatError, InputError, ResultError, UsageError
from recon3d.formats.kitti import write_kitti_points
from recon3d.formats.kitti_semantic import read_point_labels, read_semantic_kitti
from recon3d.formats.npy_cloud import read_npz
from recon3d.formats.ply import read_ply
from recon3d.pointcloud.clouds import PointCloud, load, save
from recon3d.pointcloud.segmentation import Segmenter
from recon3d.scene import Scale

from .conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return stored(tmp_path / "model.safetensors", ROOM)


@pytest.fixture
def cloud() -> PointCloud:
    """A room of 60 points, three of which have no position."""
    rows = room_rows(1, 60)
    rows[[4, 17, 40], 2] = np.nan
    return PointCloud(xyz=rows[:, :3].copy(), attributes={"rgb": rows[:, 3:].astype(np.uint8)})


@pytest.fixture
def room(cloud: PointCloud, tmp_path: Path) -> Path:
    save(tmp_path / "room.npz", cloud)
    return tmp_path / "room.npz"


def written(recon3d: Run, room: Path, model: Path, *words: object) -> Path:
    out = room.parent / "out"
    found = recon3d("segment", room, "--model", model, "--out", out, "--quiet", "--json", *words)
    assert found.code == 0, found.err
    (path,) = found.json["clouds"][0]["files"]
    assert Path(path).parent == out and [one.name for one in out.iterdir()] == [Path(path).name]
    return Path(path)


def test_a_summary_is_what_is_printed(recon3d: Run, room: Path, model: Path) -> None:
    path = written(recon3d, room, model, "--write", "json")
    about = json.loads(path.read_text())
    assert path.name == "room.json" and about["cloud"] == str(room) and about["model"] == str(model)
    assert about["points"] == 60 and about["unlabelled"] == 3 and about["seconds"] >= 0
    assert sum(one["points"] for one in about["classes"].values()) == 57


def test_a_ply_holds_the_points_that_have_a_position(recon3d: Run, room: Path, model: Path, cloud: PointCloud) -> None:
    path = written(recon3d, room, model, "--write", "ply")
    found, labels = load(path), Segmenter.load(model, device="cpu").segment(cloud)
    there = labels.labels >= 0
    assert path.name == "room_segments.ply" and len(found) == 57
    assert found.xyz == pytest.approx(cloud.xyz[there], abs=1e-6)
    assert found.attributes["label"].tolist() == labels.labels[there].tolist()
    assert found.attributes["confidence"] == pytest.approx(labels.confidence[there], abs=1e-6)
    assert found.attributes["rgb"].tolist() == labels.rgb()[there].tolist()


def test_npz_and_label_have_one_row_per_point_of_the_cloud(
    recon3d: Run, room: Path, model: Path, cloud: PointCloud
) -> None:
    labels = Segmenter.load(model, device="cpu").segment(cloud)
    table = read_npz(written(recon3d, room, model, "--write", "npz"))
    assert table["label"].tolist() == labels.labels.tolist()
    assert table["confidence"] == pytest.approx(labels.confidence)
    (room.parent / "out" / "room_segments.npz").unlink()
    ids, instances = read_semantic_kitti(written(recon3d, room, model, "--write", "label"))
    assert ids.tolist() == labels.ids().tolist() and ids[[4, 17, 40]].tolist() == [0, 0, 0]
    assert not instances.any()


def test_lidarseg_has_one_byte_per_point(recon3d: Run, room: Path, model: Path, cloud: PointCloud) -> None:
    path = written(recon3d, room, model, "--write", "lidarseg")
    labels = Segmenter.load(model, device="cpu").segment(cloud)
    assert path.name == "room_lidarseg.bin" and path.stat().st_size == 60
    assert read_point_labels(path).tolist() == labels.ids().tolist()


def test_numbers_that_no_byte_holds_are_refused(recon3d: Run, room: Path, tmp_path: Path) -> None:
    model = stored(tmp_path / "wide.safetensors", replace(ROOM, raw_ids=(5, 6, 300)))
    words = ("--model", model, "--quiet", "--out", tmp_path / "o", "--write", "lidarseg")
    assert recon3d("segment", room, *words).code == 2


def test_recordings_need_rerun(
    recon3d: Run, room: Path, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    found = recon3d("segment", room, "--model", model, "--quiet", "--out", tmp_path / "o", "--write", "rerun")
    assert found.code == 5 and "recon3d[rerun]" in found.err


def test_a_threshold_and_a_class_map_reach_the_files(recon3d: Run, room: Path, model: Path) -> None:
    path = written(recon3d, room, model, "--write", "npz", "--threshold", "1", "--classes", "all=low,middle,high")
    table = read_npz(path)
    assert set(table["label"].tolist()) == {-1} and not table["confidence"].any()


def test_files_of_several_clouds_have_their_names(recon3d: Run, room: Path, model: Path, cloud: PointCloud) -> None:
    other = room.with_name("other.pcd")
    save(other, cloud)
    found = recon3d("segment", room, other, "--model", model, "--out", room.parent / "out", "--quiet", "--json")
    assert [one["cloud"] for one in found.json["clouds"]] == [str(room), str(other)]
    names = sorted(path.name for path in (room.parent / "out").iterdir())
    assert names == ["other.json", "other_segments.ply", "room.json", "room_segments.ply"]
    first, second = found.json["clouds"]
    assert first["classes"] == second["classes"]


def test_nothing_is_written_unless_asked(recon3d: Run, room: Path, model: Path) -> None:
    before = sorted(room.parent.iterdir())
    assert recon3d("segment", room, "--model", model, "--quiet").code == 0
    assert sorted(room.parent.iterdir()) == before


def test_sweeps_of_nuscenes_keep_their_stem(recon3d: Run, tmp_path: Path) -> None:
    model = stored(tmp_path / "outdoor.safetensors", STREET)
    rows = np.column_stack([street_rows(1, 70) * np.array([1, 1, 1, 255]), np.zeros(70)]).astype(np.float32)
    write_kitti_points(tmp_path / "scan.pcd.bin", rows)
    words = ("--model", model, "--quiet", "--json", "--out", tmp_path / "o", "--write", "label")
    found = recon3d("segment", tmp_path / "scan.pcd.bin", *words)
    assert found.code == 0, found.err
    assert Path(found.json["clouds"][0]["files"][0]).name == "scan.label"
    assert any("255" in note for note in found.json["clouds"][0]["notes"])
    quiet = recon3d("segment", tmp_path / "scan.pcd.bin", *words, "--intensity-max", "255")
    assert not any("255" in note for note in quiet.json["clouds"][0]["notes"])


def test_a_format_is_named_where_the_file_name_tells_none(recon3d: Run, tmp_path: Path) -> None:
    model = stored(tmp_path / "outdoor.safetensors", STREET)
    write_kitti_points(tmp_path / "scan.raw", street_rows(1, 70).astype(np.float32))
    words = ("--model", model, "--quiet", "--json")
    assert recon3d("segment", tmp_path / "scan.raw", *words).code == 2
    found = recon3d("segment", tmp_path / "scan.raw", "--format", "kitti", *words)
    assert found.code == 0 and found.json["clouds"][0]["points"] == 70


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--threshold", "1.5"), 2),
        (("--views", "0"), 2),
        (("--write", "bmp"), 2),
        (("--classes", "a=nothing"), 2),
        (("--model", "absent.safetensors"), 3),
        (("--format", "kitti"), 3),
    ],
)
def test_words_that_make_no_sense_end_with_their_code(
    recon3d: Run, room: Path, model: Path, words: tuple[str, ...], code: int
) -> None:
    found = recon3d("segment", room, "--model", model, "--quiet", *words)
    assert found.code == code and "Traceback" not in found.err and found.err


def test_more_views_give_labels_too(recon3d: Run, room: Path, model: Path) -> None:
    found = recon3d("segment", room, "--model", model, "--views", "3", "--quiet", "--json")
    assert found.code == 0 and found.json["clouds"][0]["unlabelled"] == 3


@pytest.mark.parametrize("count", [0, 1])
def test_clouds_of_no_or_one_point_are_labelled(recon3d: Run, model: Path, tmp_path: Path, count: int) -> None:
    rgb = np.full((count, 3), 9, np.uint8)
    save(tmp_path / "few.npz", PointCloud(xyz=np.zeros((count, 3)), attributes={"rgb": rgb}))
    words = ("--model", model, "--quiet", "--json", "--out", tmp_path / "o", "--write", "json", "ply", "label", "npz")
    found = recon3d("segment", tmp_path / "few.npz", *words)
    assert found.code == 0, found.err
    about = found.json["clouds"][0]
    assert about["points"] == count and about["unlabelled"] == 0 and len(about["files"]) == 4
    assert len(read_ply(tmp_path / "o" / "few_segments.ply").vertices["x"]) == count


def test_a_reconstruction_is_read_in_metres_or_not_at_all(tmp_path: Path) -> None:
    made = random_scene(3, n_views=3)
    replace(made, scale=Scale("metric", "a distance", (0.9, 1.1))).save(tmp_path / "metric")
    found = read_points(tmp_path / "metric")
    assert np.array_equal(found.xyz, made.points.xyz) and np.array_equal(found.attributes["rgb"], made.points.rgb)
    assert found.frame == "world"
    replace(made, scale=Scale()).save(tmp_path / "relative")
    with pytest.raises(ResultError, match=r"--scale\.distance"):
        read_points(tmp_path / "relative")
    with pytest.raises(InputError, match=r"no scene\.json"):
        read_points(tmp_path)


def test_a_labelled_reconstruction_has_its_files(recon3d: Run, model: Path, tmp_path: Path) -> None:
    made = random_scene(3, n_views=3)
    replace(made, scale=Scale("metric", "a distance", (0.9, 1.1))).save(tmp_path / "run")
    words = ("--model", model, "--out", tmp_path / "labels", "--write", "ply", "npz", "--quiet", "--json")
    found = recon3d("segment", tmp_path / "run", *words)
    assert found.code == 0, found.err
    assert [Path(one).name for one in found.json["clouds"][0]["files"]] == ["run_segments.ply", "run_segments.npz"]
    assert len(read_npz(tmp_path / "labels" / "run_segments.npz")["label"]) == len(made.points)


def test_class_maps_of_the_command_line() -> None:
    assert class_groups(()) == {}
    assert class_groups(("seat=chair, sofa", "floor=floor")) == {"seat": ["chair", "sofa"], "floor": ["floor"]}
    assert class_groups(("seat=chair", "seat=sofa")) == {"seat": ["chair", "sofa"]}
    for word in ("seat", "=chair", "seat="):
        with pytest.raises(UsageError, match="no such class map"):
            class_groups((word,))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"seat": "chair"}', "[" * 3000])
def test_files_that_are_no_class_map_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(FormatError, match="no map of classes"):
        class_groups((str(tmp_path / "map.json"),))


def test_a_class_map_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        class_groups((str(tmp_path / "absent.json"),))
