"""`recon3d detect` and `recon3d train detector`: from the command line to files that other programs read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_detection import frame_of, some_frames, tiny_options

from recon3d.formats.kitti import write_kitti_points
from recon3d.formats.kitti_text import KittiCalibration, read_kitti_objects, write_kitti_calibration
from recon3d.formats.npy_cloud import write_npy
from recon3d.formats.ply import read_ply
from recon3d.pointcloud.detection import SensorOptions, network, write_detector, write_labelled_frame
from recon3d.pointcloud.flatformer import PillarDetector

from .conftest import Outcome

Run = Callable[..., Outcome]
FRAME = frame_of([(0, 6.0, 0.0, 0.0)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    made = PillarDetector(tiny_options())
    torch.nn.init.constant_(made.bbox_head.task_heads[0]["iou"][1].bias, 1.0)
    write_detector(tmp_path / "model.safetensors", made.state_dict(), tiny_options(), SensorOptions())
    return tmp_path / "model.safetensors"


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    write_kitti_points(tmp_path / "scan.bin", FRAME.points)
    return tmp_path / "scan.bin"


def test_boxes_as_text_and_json(recon3d: Run, model: Path, cloud: Path) -> None:
    words = ("detect", cloud, "--model", model, "--score", "0.08", "--quiet")
    found, shown = recon3d(*words, "--json"), recon3d(*words)
    assert found.code == shown.code == 0
    about = found.json["clouds"][0]
    assert found.json["classes"] == ["car", "pedestrian", "cyclist"] and about["points"] == len(FRAME.points)
    assert about["boxes"] and all(box["score"] >= 0.08 for box in about["boxes"])
    assert about["ground_m"] == pytest.approx(1.73, abs=0.05) and about["warnings"] == []
    assert f"{len(about['boxes'])} boxes" in shown.out and "heading" in shown.out


def test_result_files(recon3d: Run, model: Path, cloud: Path, tmp_path: Path) -> None:
    matrices = {"P2": np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]]), "R0_rect": np.eye(3)}
    matrices["Tr_velo_to_cam"] = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]])
    write_kitti_calibration(tmp_path / "calib.txt", KittiCalibration(matrices))
    out = tmp_path / "out"
    words = ("--write", "json", "ply", "kitti", "nuscenes", "--calibration", tmp_path / "calib.txt", "--json")
    found = recon3d("detect", cloud, "--model", model, "--score", "0.08", "--out", out, *words, "--quiet")
    assert found.code == 0, found.err
    boxes = found.json["clouds"][0]["boxes"]
    assert json.loads((out / "scan.json").read_text())["boxes"] == boxes
    assert len(read_ply(out / "scan_boxes.ply").vertices["x"]) > len(FRAME.points)
    assert 0 < len(read_kitti_objects(out / "scan.txt")) <= len(boxes)
    assert len(json.loads((out / "results_nuscenes.json").read_text())["results"]["scan.bin"]) == len(boxes)


def test_nuscenes_files_have_intensities_of_bytes(recon3d: Run, model: Path, tmp_path: Path) -> None:
    rows = np.column_stack([FRAME.points * np.float32([1, 1, 1, 255]), np.zeros(len(FRAME.points), np.float32)])
    write_kitti_points(tmp_path / "a.pcd.bin", rows.astype(np.float32))
    assert recon3d("detect", tmp_path / "a.pcd.bin", "--model", model, "--quiet").code == 0
    write_kitti_points(tmp_path / "a.bin", rows[:, :4].astype(np.float32))
    found = recon3d("detect", tmp_path / "a.bin", "--model", model, "--quiet")
    assert found.code == 3 and "intensity" in found.err
    assert recon3d("detect", tmp_path / "a.bin", "--model", model, "--intensity-max", "255", "--quiet").code == 0


def test_the_height_of_the_sensor(recon3d: Run, model: Path, tmp_path: Path) -> None:
    write_kitti_points(tmp_path / "high.bin", FRAME.points - np.float32([0, 0, 1, 0]))
    words = ("detect", tmp_path / "high.bin", "--model", model, "--quiet", "--json")
    assert "--mount" in recon3d(*words).json["clouds"][0]["warnings"][0]
    assert recon3d(*words, "--mount", "auto").json["clouds"][0]["mount_m"] == pytest.approx(2.73, abs=0.05)
    assert recon3d(*words, "--mount", "2.7").json["clouds"][0]["warnings"] == []
    assert recon3d(*words, "--mount", "high").code == 2


@pytest.mark.parametrize(
    ("kind", "file"), [("json", "scan.json"), ("ply", "scan_boxes.ply"), ("nuscenes", "results_nuscenes.json")]
)
def test_each_kind_of_file_by_itself(
    recon3d: Run, model: Path, cloud: Path, tmp_path: Path, kind: str, file: str
) -> None:
    out = tmp_path / "out"
    found = recon3d("detect", cloud, "--model", model, "--out", out, "--write", kind, "--quiet")
    assert found.code == 0, found.err
    assert [one.name for one in out.iterdir()] == [file]


def test_kitti_files_of_many_frames_take_a_folder_of_calibrations(recon3d: Run, model: Path, tmp_path: Path) -> None:
    matrices = {"P2": np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]]), "R0_rect": np.eye(3)}
    matrices["Tr_velo_to_cam"] = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]])
    (tmp_path / "calib").mkdir()
    for name in ("a", "b"):
        write_kitti_points(tmp_path / f"{name}.bin", FRAME.points)
        write_kitti_calibration(tmp_path / "calib" / f"{name}.txt", KittiCalibration(matrices))
    words = ("--write", "kitti", "--calibration", tmp_path / "calib", "--out", tmp_path / "out", "--quiet")
    clouds = (tmp_path / "a.bin", tmp_path / "b.bin")
    assert recon3d("detect", *clouds, "--model", model, "--score", "0.08", *words).code == 0
    first, second = (read_kitti_objects(tmp_path / "out" / f"{name}.txt") for name in ("a", "b"))
    assert len(first) > 0 and first == second
    (tmp_path / "calib" / "b.txt").unlink()
    missing = recon3d("detect", *clouds, "--model", model, *words)
    assert missing.code == 3 and "b.txt" in missing.err and "Traceback" not in missing.err


def test_a_recording_for_rerun_is_an_extra(
    recon3d: Run, model: Path, cloud: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    found = recon3d("detect", cloud, "--model", model, "--out", tmp_path / "out", "--write", "rerun", "--quiet")
    assert found.code != 0 and "recon3d[rerun]" in found.err and "Traceback" not in found.err


def test_nothing_is_written_without_a_folder(recon3d: Run, model: Path, cloud: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert recon3d("detect", cloud, "--model", model, "--write", "ply", "--quiet").code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_several_clouds_are_shown_one_after_another(recon3d: Run, model: Path, tmp_path: Path) -> None:
    for name, points in (("a", FRAME.points), ("b", FRAME.points[:0]), ("c", FRAME.points[:1])):
        write_npy(tmp_path / f"{name}.npy", points)
    clouds = [tmp_path / f"{name}.npy" for name in "abc"]
    found = recon3d("detect", *clouds, "--model", model, "--json", "--quiet").json["clouds"]
    assert [one["points"] for one in found] == [len(FRAME.points), 0, 1]
    assert [Path(one["cloud"]).name for one in found] == ["a.npy", "b.npy", "c.npy"]
    assert found[1]["boxes"] == [] and found[1]["warnings"] == []


def test_a_higher_score_and_fewer_classes_say_less(recon3d: Run, model: Path, cloud: Path) -> None:
    def boxes(*words: str) -> list[dict[str, object]]:
        found = recon3d("detect", cloud, "--model", model, "--json", "--quiet", *words)
        shown: list[dict[str, object]] = found.json["clouds"][0]["boxes"]
        return shown

    everything = boxes("--score", "0.0")
    assert len(boxes("--score", "0.9")) < len(everything)
    people = boxes("--score", "0.0", "--classes", "pedestrian")
    assert 0 < len(people) < len(everything) and {one["class"] for one in people} == {"pedestrian"}


@pytest.mark.parametrize(
    "words",
    [
        ("--score", "1.5"),
        ("--score", "high"),
        ("--mount", "tall"),
        ("--device", "fpga"),
        ("--write", "pdf"),
        ("--precision", "int4"),
        ("--classes", "tram", "car"),
        ("--unknown",),
    ],
)
def test_each_wrong_word_gets_one_answer(recon3d: Run, model: Path, cloud: Path, words: tuple[str, ...]) -> None:
    found = recon3d("detect", cloud, "--model", model, "--quiet", *words)
    assert found.code == 2 and "Traceback" not in found.err and found.err.strip()
    assert words[0].lstrip("-") in found.err or words[-1] in found.err or words[1] in found.err


def test_damaged_clouds_and_models_are_one_message(recon3d: Run, model: Path, cloud: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.bin").write_bytes(cloud.read_bytes()[:-3])
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:200])
    for words in (
        (tmp_path / "cut.bin", "--model", model),
        (cloud, "--model", tmp_path / "cut.safetensors"),
        (cloud, "--model", tmp_path / "none.safetensors"),
    ):
        found = recon3d("detect", *words, "--quiet")
        assert found.code in (2, 3) and "Traceback" not in found.err
        assert len(found.err.strip().splitlines()) <= 4  # one message, wrapped at most


def test_wrong_words_are_answered(recon3d: Run, model: Path, cloud: Path, tmp_path: Path) -> None:
    assert recon3d("detect").code == 2
    assert recon3d("detect", cloud, "--model", "yolo").code == 2
    assert recon3d("detect", tmp_path / "missing.bin", "--model", model, "--quiet").code == 3
    assert recon3d("detect", cloud, "--model", model, "--write", "kitti", "--out", tmp_path).code == 2
    assert recon3d("detect", cloud, "--model", model, "--classes", "tram", "--quiet").code == 2


def test_a_detector_is_trained_on_a_folder_and_used(
    recon3d: Run, cloud: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_small", tiny_options)
    monkeypatch.setitem(network._SENSORS, network.SMALL, SensorOptions())
    for number, frame in enumerate(some_frames(20).frames):
        write_labelled_frame(tmp_path / "data" / f"{number:03}", frame)
    words = (
        "--data",
        tmp_path / "data",
        "--steps",
        "2",
        "--evaluate-scenes",
        "1",
        "--out",
        tmp_path / "run",
        "--quiet",
    )
    found = recon3d("train", "detector", *words, "--json")
    assert found.code == 0, found.err
    assert found.json["score"]["truths"]["car"] == 1
    assert recon3d("detect", cloud, "--model", found.json["weights"], "--quiet").code == 0
    assert recon3d("train", "detector", *words).code == 2
    assert recon3d("train", "segmenter", "--format", "kitti", "--out", tmp_path / "s").code == 2
