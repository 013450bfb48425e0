"""A training from its first step to its files: it learns, resumes with the same bits, and says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_detection import NAMES, ListedFrames, frame_of, some_frames, tiny_options

from recon3d.core.errors import InputError, ResultError, UsageError
from recon3d.core.processes import Processes
from recon3d.formats.safetensors import read_safetensors
from recon3d.pointcloud.boxes import rotated_iou_bev
from recon3d.pointcloud.detection import (
    AugmentOptions,
    BatchOptions,
    Detector,
    DetectorDataOptions,
    DetectorTraining,
    FolderFrames,
    PasteOptions,
    SensorOptions,
    TrainDetectorOptions,
    network,
    train_detector,
    write_labelled_frame,
)
from recon3d.pointcloud.detection.batches import Batches
from recon3d.pointcloud.detection.sources import folder_format, training_frames, training_network

ALONE = Processes(0, 1, torch.device("cpu"))
OPTIONS = TrainDetectorOptions(
    steps=4,
    minutes=0,
    precision="float32",
    evaluate_frames=2,
    data=DetectorDataOptions(held_out=3),
    batch=BatchOptions(size=2, paste=PasteOptions(frames=3)),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_small", tiny_options)
    monkeypatch.setitem(network._SENSORS, network.SMALL, SensorOptions())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, frame in enumerate(some_frames(6).frames):
        write_labelled_frame(tmp_path / "data" / f"{number:03}", frame)
    return tmp_path / "data"


def _batches(frames: ListedFrames, options: TrainDetectorOptions = OPTIONS, rank: int = 0, world: int = 1) -> Batches:
    return Batches(
        frames=frames,
        bank=None,
        network=tiny_options(),
        sensor=SensorOptions(),
        options=options.batch,
        rank=rank,
        world=world,
    )


def test_one_batch_is_learned_by_heart() -> None:
    still = BatchOptions(size=1, augment=_still())
    options = replace(OPTIONS, steps=200, learning_rate=1e-2, ema=0.9, batch=still)
    training, frame = DetectorTraining(options, ALONE), frame_of([(0, 6.0, 2.0, 0.4), (1, 10.0, -3.0, 0.0)])
    batch = _batches(ListedFrames((frame,)), options)[0]
    losses = [float(training.step(batch).total.detach()) for _ in range(200)]
    assert np.mean(losses[-5:]) < 0.15 * losses[0]
    training.model.eval()
    found = training.detected(frame)
    best = rotated_iou_bev(found.boxes[:4], frame.boxes.boxes).max(0)
    assert found.names == NAMES and best[0] > 0.7 and best[1] > 0.4


def _still() -> AugmentOptions:
    return AugmentOptions(mirror=0, turn_deg=0, scale=0, lift_m=0, gain=1, blind=0, dropout=0)


def test_batches_depend_on_their_number_and_are_shared_among_processes() -> None:
    frames = some_frames(5)
    one, again = _batches(frames)[3], _batches(frames)[3]
    assert all(torch.equal(a, b) for a, b in zip(one.points, again.points, strict=True))
    second = next(_batches(frames).from_step(1))
    parts = [_batches(frames, replace(OPTIONS, batch=replace(OPTIONS.batch, size=1)), rank, 2)[1] for rank in (0, 1)]
    for whole, part in zip(second.points, (parts[0].points[0], parts[1].points[0]), strict=True):
        assert torch.equal(whole, part)


def test_a_training_leaves_a_detector_and_a_journal(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    scores = train_detector(OPTIONS, folder, data=data)
    assert scores is not None and scores.truths["car"] == 2
    assert json.loads((folder / "options.json").read_text())["steps"] == 4
    assert "held_out" in (folder / "log.jsonl").read_text()
    detector = Detector.load(folder / "weights.safetensors")
    assert detector.classes == NAMES and detector.options == tiny_options()
    detector.detect(some_frames(1).frames[0].points)
    with pytest.raises(UsageError, match="--resume"):
        train_detector(OPTIONS, folder, data=data)


def test_an_interrupted_training_has_the_same_bits(data: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    torch.manual_seed(1)
    train_detector(OPTIONS, once, data=data)
    training_of = replace(OPTIONS, steps=4, evaluate_frames=0)
    stopped = DetectorTraining(training_of, ALONE)
    frames, _ = training_frames(training_of, data)
    from recon3d.pointcloud.detection.training import _batches as batches

    source = batches(stopped, frames)
    for _ in range(2):
        stopped.step(next(source))
    stopped.save(twice)
    train_detector(training_of, twice, data=data, resume=True)
    first, second = (read_safetensors(one / "checkpoint.safetensors") for one in (once, twice))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_cannot_be_resumed(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        train_detector(OPTIONS, tmp_path / "none", data=data, resume=True)
    DetectorTraining(OPTIONS, ALONE).save(tmp_path / "run")
    with pytest.raises(UsageError, match="another training"):
        train_detector(replace(OPTIONS, seed=5), tmp_path / "run", data=data, resume=True)


def test_a_gradient_that_is_not_finite_is_skipped_and_many_end_the_training() -> None:
    training = DetectorTraining(OPTIONS, ALONE)
    batch = _batches(some_frames(2))[0]
    with torch.no_grad():
        training.model.bbox_head.shared_conv.conv.weight.fill_(torch.inf)
    before = training.model.voxel_encoder.vfe_layers[0].linear.weight.clone()
    with pytest.raises(ResultError, match="diverged"):
        for _ in range(20):
            training.step(batch)
    assert torch.equal(training.model.voxel_encoder.vfe_layers[0].linear.weight, before)


def test_other_classes_make_another_head(data: Path) -> None:
    options = replace(OPTIONS, data=replace(OPTIONS.data, classes=("pedestrian",)))
    assert training_network(options).classes == ("pedestrian",)
    frames, held = training_frames(options, data)
    assert frames.frame(0).boxes.names == ("pedestrian",) and len(frames.frame(0).boxes) == 1
    assert (len(frames), len(held)) == (4, 2)
    assert training_network(OPTIONS) is not None and training_network(OPTIONS).classes == NAMES


def test_streets_are_taken_without_a_folder() -> None:
    frames, held = training_frames(OPTIONS, None)
    assert len(frames) == 2000 and len(held) == 2
    assert len(frames.frame(0).points) > 1000


def test_formats_of_folders(data: Path, tmp_path: Path) -> None:
    assert folder_format(data) == "frames"
    (tmp_path / "training" / "label_2").mkdir(parents=True)
    assert folder_format(tmp_path) == "kitti"
    with pytest.raises(InputError, match="no folder"):
        folder_format(tmp_path / "missing")
    streets = replace(OPTIONS, data=DetectorDataOptions(format="generated"))
    with pytest.raises(UsageError, match="no folder"):
        training_frames(streets, data)
    assert len(FolderFrames.of(data, NAMES)) == 6


def test_impossible_options() -> None:
    with pytest.raises(UsageError, match="length"):
        TrainDetectorOptions(minutes=0)
    with pytest.raises(UsageError, match="optimiser"):
        TrainDetectorOptions(learning_rate=0)
