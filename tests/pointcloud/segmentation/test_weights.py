"""Files of weights: what is kept, how exactly, and the two models that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_segmentation import NETWORK, ROOM, network, stored

from recon3d.core.errors import DependencyError, FormatError, InputError, UsageError
from recon3d.formats.safetensors import read_metadata, read_safetensors, write_safetensors
from recon3d.pointcloud.segmentation import weights as module
from recon3d.pointcloud.segmentation.scoring import height_rule, majority, network_labels, score_labels
from recon3d.pointcloud.segmentation.segmenter import Segmenter
from recon3d.pointcloud.segmentation.sources import generated_scenes, room_spec, street_spec
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.segmentation.weights import (
    SEGMENTERS,
    bundled_segmenter,
    read_segmenter,
    segmenter_path,
    state_on_cpu,
    write_segmenter,
)
from recon3d.pointcloud.volt.options import SegmentorOptions
from recon3d.pointcloud.volt.samples import Sample
from recon3d.pointcloud.volt.segmentor import VoltSegmentor

MIB_4 = 4 << 20


def test_weights_are_stored_in_half_precision_with_their_description(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.safetensors", ROOM)
    kept = read_safetensors(path)
    assert {one.dtype for one in kept.values() if one.is_floating_point()} == {torch.float16}
    assert SegmenterSpec.from_json(read_metadata(path)["segmenter"]) == ROOM


def test_weights_come_back_within_half_precision(tmp_path: Path) -> None:
    model, spec = read_segmenter(stored(tmp_path / "a.safetensors", ROOM))
    assert spec == ROOM and not model.training
    found = model.state_dict()
    for name, one in network(ROOM).state_dict().items():
        assert found[name].dtype == one.dtype
        assert torch.allclose(found[name], one, rtol=1e-3, atol=1e-4), name


def test_heads_of_a_teacher_are_left_out(tmp_path: Path) -> None:
    sizes = SegmentorOptions(backbone=NETWORK.backbone(8, 0.0), classes={"Default": 3}, distillation=True)
    model = VoltSegmentor(sizes)
    assert any(name.startswith("distill_heads.") for name in model.state_dict())
    write_segmenter(tmp_path / "a.safetensors", model.state_dict(), ROOM)
    assert not any(name.startswith("distill_heads.") for name in read_safetensors(tmp_path / "a.safetensors"))
    assert read_segmenter(tmp_path / "a.safetensors")[0].options.distillation is False


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_cut_files_are_refused(tmp_path: Path, share: float) -> None:
    path = stored(tmp_path / "a.safetensors", ROOM)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FormatError):
        read_segmenter(path)


def test_files_with_a_missing_or_odd_part_are_refused(tmp_path: Path) -> None:
    state, about = network(ROOM).state_dict(), {"segmenter": ROOM.to_json()}
    name = next(name for name in state if name.endswith("weight"))
    for changed in ({name: torch.zeros(3)}, {"odd": torch.zeros(3)}):
        write_safetensors(tmp_path / "a.safetensors", {**state, **changed}, about)
        with pytest.raises((FormatError, InputError)):
            read_segmenter(tmp_path / "a.safetensors")
    write_safetensors(tmp_path / "b.safetensors", {key: one for key, one in state.items() if key != name}, about)
    with pytest.raises((FormatError, InputError)):
        read_segmenter(tmp_path / "b.safetensors")


def test_a_damaged_description_is_refused(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", network(ROOM).state_dict(), {"segmenter": "{"})
    with pytest.raises(FormatError, match="no description"):
        read_segmenter(tmp_path / "a.safetensors")


def test_names_and_paths_lead_to_files(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.safetensors", ROOM)
    assert segmenter_path(path) == segmenter_path(str(path)) == path
    assert segmenter_path("outdoor") == segmenter_path("recon3d-segmenter-outdoor") == bundled_segmenter("outdoor")
    with pytest.raises(InputError, match="no weights"):
        segmenter_path(tmp_path)
    with pytest.raises(UsageError, match="indoor, outdoor"):
        bundled_segmenter("a.safetensors")


def test_an_installation_without_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FOLDER", tmp_path)
    with pytest.raises(DependencyError, match="missing from this installation"):
        Segmenter.load("indoor")


def test_copies_do_not_follow_the_network() -> None:
    model = network(ROOM)
    kept = state_on_cpu(model)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(1)
    assert all(torch.equal(one, kept[name]) for name, one in network(ROOM).state_dict().items())


@pytest.mark.parametrize("name", SEGMENTERS)
def test_bundled_models_are_small_and_describe_themselves(name: str) -> None:
    path = bundled_segmenter(name)
    model, spec = read_segmenter(path)
    wanted = room_spec() if name == "indoor" else street_spec()
    assert path.stat().st_size < MIB_4
    assert (spec.kind, spec.classes, spec.features) == (wanted.kind, wanted.classes, wanted.features)
    assert wanted.voxel_m <= spec.voxel_m <= 2 * wanted.voxel_m
    assert spec.raw_ids == wanted.raw_ids and spec.max_distance_m == wanted.max_distance_m
    assert all(bool(torch.isfinite(one).all()) for one in model.parameters())


def near(sample: Sample, reach_m: float) -> Sample:
    return sample.selected(np.abs(sample.xyz[:, :2] - np.median(sample.xyz[:, :2], axis=0)).max(1) < reach_m)


@pytest.mark.parametrize(("name", "data", "reach_m"), [("indoor", "rooms", 2.5), ("outdoor", "streets", 15.0)])
def test_bundled_models_beat_answers_that_need_no_network(name: str, data: str, reach_m: float) -> None:
    model, spec = read_segmenter(bundled_segmenter(name))
    scenes = generated_scenes(data)
    seen, unseen = [scenes.training(0)], [near(scenes.unseen(77), reach_m)]
    trained = score_labels(lambda one: network_labels(model, spec, one), unseen, spec.classes)
    for rival in (majority(seen, len(spec.classes)), height_rule(seen, len(spec.classes), spec)):
        assert trained.score.mean_iou > 1.2 * score_labels(rival, unseen, spec.classes).score.mean_iou
    assert trained.score.accuracy > 0.5


def test_a_model_gives_the_same_labels_each_time() -> None:
    rows = np.column_stack([np.random.default_rng(0).uniform(-9, 9, (500, 3)), np.full(500, 0.3)])
    one, two = (Segmenter.load("outdoor", device="cpu").segment(rows) for _ in range(2))
    assert (one.labels == two.labels).all() and (one.confidence == two.confidence).all()
