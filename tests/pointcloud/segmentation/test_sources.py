"""Scenes to train on: generated ones, and folders in every layout that is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_segmentation import room_sample, street_rows, training_options

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.kitti import write_kitti_points
from recon3d.formats.kitti_semantic import write_semantic_kitti
from recon3d.formats.ply import write_ply
from recon3d.pointcloud.segmentation.opening import open_scenes
from recon3d.pointcloud.segmentation.palettes import KITTI_19, STREET_IDS, STREET_NAMES, palette
from recon3d.pointcloud.segmentation.sources import Scenes, generated_scenes


def opened(data: object, layout: str = "auto") -> Scenes:
    return open_scenes(training_options(1, data=str(data), format=layout))


def scannet_room(folder: Path, seed: int, label: str = "segment20.npy") -> None:
    folder.mkdir(parents=True)
    sample = room_sample(seed, 30)
    np.save(folder / "coord.npy", sample.xyz.astype(np.float32))
    np.save(folder / "color.npy", np.asarray(sample.color).astype(np.uint8))
    np.save(folder / "normal.npy", sample.normal)
    np.save(folder / label, np.where(np.arange(30) == 0, 255, np.asarray(sample.segment)))


def kitti_scan(folder: Path, name: str, seed: int) -> None:
    rows = street_rows(seed, 40).astype(np.float32)
    rows[0, :3] = 60.0
    (folder / "velodyne").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    write_kitti_points(folder / "velodyne" / f"{name}.bin", rows)
    ids = np.full(40, 40)
    ids[1:4] = 252, 0, 99
    write_semantic_kitti(folder / "labels" / f"{name}.label", ids, np.arange(40))


def own_room(path: Path, seed: int, labelled: bool = True) -> None:
    sample = room_sample(seed, 30)
    columns = dict(zip("xyz", sample.xyz.astype(np.float32).T, strict=True))
    columns |= dict(zip(("red", "green", "blue"), np.asarray(sample.color).astype(np.uint8).T, strict=True))
    if labelled:
        columns["label"] = (np.asarray(sample.segment) * 10).astype(np.int32)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_ply(path, columns)


def own_classes(folder: Path, **changed: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {"kind": "indoor", "classes": {"low": [0], "high": [10, 20]}, **changed}
    (folder / "classes.json").write_text(json.dumps(about))


@pytest.mark.parametrize("name", ["rooms", "streets"])
def test_generated_scenes_have_the_classes_of_their_description(name: str) -> None:
    scenes = generated_scenes(name, seed=1)
    sample = scenes.training(0)
    labels = np.asarray(sample.segment)
    assert labels.max() < len(scenes.spec.classes) and (labels >= 0).mean() > 0.7
    assert scenes.count is None and scenes.held_out is None
    other = scenes.unseen(0)
    assert len(other) != len(sample) or not np.array_equal(other.xyz, sample.xyz)
    if name == "streets":
        road = labels == STREET_NAMES.index("road")
        assert np.median(sample.xyz[road, 2]) == pytest.approx(-scenes.spec.mount_m, abs=0.5)


def test_numbers_of_files_belong_to_one_class_each() -> None:
    for groups in (STREET_IDS, KITTI_19):
        ids = [one for numbers in groups.values() for one in numbers]
        assert len(set(ids)) == len(ids)
    assert len(set(palette(40))) == 40


def test_scannet_folders(tmp_path: Path) -> None:
    scannet_room(tmp_path / "train" / "scene0000_00", 1)
    scannet_room(tmp_path / "val" / "scene0001_00", 2)
    scenes = opened(tmp_path)
    assert (scenes.count, scenes.held_out, len(scenes.spec.classes)) == (1, 1, 20)
    sample = scenes.training(0)
    assert np.asarray(sample.segment)[0] == -1 and sample.normal is not None
    np.save(tmp_path / "train" / "scene0000_00" / "color.npy", np.zeros((3, 3)))
    with pytest.raises(FormatError, match="does not fit"):
        scenes.training(0)


def test_scannet_folders_without_a_split_hold_one_out(tmp_path: Path) -> None:
    for k in range(4):
        scannet_room(tmp_path / f"scene{k}", k, label="segment200.npy")
    scenes = opened(tmp_path)
    assert (scenes.count, scenes.held_out, len(scenes.spec.classes)) == (3, 1, 200)
    (tmp_path / "scene0" / "segment200.npy").unlink()
    with pytest.raises(InputError, match="no labels"):
        opened(tmp_path)


def test_semantic_kitti_folders(tmp_path: Path) -> None:
    for sequence in ("00", "08"):
        kitti_scan(tmp_path / "sequences" / sequence, "000000", int(sequence))
    scenes = opened(tmp_path)
    assert (scenes.count, scenes.held_out) == (1, 1)
    sample = scenes.training(0)
    labels = np.asarray(sample.segment)
    assert len(sample) == 39  # one point is out of reach
    assert labels[:4].tolist() == [0, -1, -1, list(KITTI_19).index("road")]
    assert scenes.spec.raw_ids[0] == 10
    write_semantic_kitti(tmp_path / "sequences/00/labels/000000.label", np.zeros(3, np.int64))
    with pytest.raises(FormatError, match="do not match"):
        scenes.training(0)


def test_one_sequence_is_a_folder_too(tmp_path: Path) -> None:
    for k in range(3):
        kitti_scan(tmp_path, f"00000{k}", k)
    scenes = opened(tmp_path)
    assert (scenes.count, scenes.held_out) == (2, 1)


def test_own_folders(tmp_path: Path) -> None:
    own_classes(tmp_path, colours={"low": [1, 2, 3]}, voxel_m=0.1)
    own_room(tmp_path / "train" / "a.ply", 1)
    own_room(tmp_path / "train" / "b.ply", 2, labelled=False)
    np.save(tmp_path / "train" / "b.labels.npy", np.full(30, 20))
    own_room(tmp_path / "val" / "c.ply", 3)
    scenes = opened(tmp_path)
    assert (scenes.count, scenes.held_out) == (2, 1)
    assert scenes.spec.classes == ("low", "high") and scenes.spec.colours[0] == (1, 2, 3)
    assert set(np.asarray(scenes.training(0).segment).tolist()) == {0, 1}
    assert scenes.training(0).normal is not None
    assert np.asarray(scenes.training(1).segment).tolist() == [1] * 30


def test_own_folders_that_lack_something_say_so(tmp_path: Path) -> None:
    own_classes(tmp_path)
    with pytest.raises(InputError, match="holds no clouds"):
        opened(tmp_path)
    own_room(tmp_path / "a.ply", 1, labelled=False)
    with pytest.raises(InputError, match=r"a\.labels\.npy"):
        opened(tmp_path).training(0)
    np.save(tmp_path / "a.labels.npy", np.zeros(3, np.int64))
    with pytest.raises(FormatError, match="do not match"):
        opened(tmp_path).training(0)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "sea"},
        {"classes": {}},
        {"classes": {"a": [1], "b": [1]}},
        {"classes": {"a": ["x"]}},
        {"classes": 3},
        {"odd": 1},
        {"features": ["smell"]},
        {"voxel_m": -1},
        {"colours": {"low": [1]}},
    ],
)
def test_damaged_class_maps_are_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    own_classes(tmp_path, **changed)
    with pytest.raises(FormatError, match=r"classes\.json is damaged"):
        opened(tmp_path)


def test_unknown_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="layout"):
        opened(tmp_path)
    with pytest.raises(InputError, match="no such data"):
        opened(tmp_path / "absent")
    with pytest.raises(InputError, match="no scene"):
        opened(tmp_path, "scannet")
    with pytest.raises(InputError, match=r"no classes\.json"):
        opened(tmp_path, "folder")
    with pytest.raises(UsageError, match="no such generated"):
        generated_scenes("forests")
