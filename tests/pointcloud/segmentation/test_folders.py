"""Folders of ScanNet and SemanticKITTI: splits, numbers of labels, and files that do not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.kitti import write_kitti_points
from recon3d.formats.kitti_semantic import write_semantic_kitti
from recon3d.pointcloud.segmentation.folders import (
    HOLD_OUT_EVERY,
    FolderScenes,
    classes_of_ids,
    scannet_scenes,
    semantic_kitti_scenes,
    split,
)
from recon3d.pointcloud.segmentation.opening import open_scenes
from recon3d.pointcloud.segmentation.options import DataFormat, TrainSegmenterOptions
from recon3d.pointcloud.segmentation.palettes import (
    KITTI_19,
    SCANNET_IDS,
    STREET_IDS,
    STREET_NAMES,
    kitti_colours,
    palette,
    room_colours,
    street_colours,
)
from recon3d.pointcloud.segmentation.sources import street_spec


def room(folder: Path, count: int = 5, *, label: str = "segment20.npy", **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "coord": np.arange(3.0 * count, dtype=np.float32).reshape(count, 3),
        "color": np.full((count, 3), 7, np.uint8),
        "normal": np.tile(np.float32([0, 0, 1]), (count, 1)),
    }
    for name, one in (made | arrays).items():
        np.save(folder / f"{name}.npy", one)
    if label.removesuffix(".npy") not in arrays:
        np.save(folder / label, np.arange(count, dtype=np.int16))
    return folder


def scan(root: Path, name: str = "000000", ids: object = (40, 10, 0), instances: object = (0, 2, 0)) -> Path:
    path = root / "velodyne" / f"{name}.bin"
    for folder in (path.parent, root / "labels"):
        folder.mkdir(parents=True, exist_ok=True)
    ids = np.asarray(ids)
    rows = np.column_stack([np.arange(len(ids)), np.zeros((len(ids), 2)), np.full(len(ids), 0.5)])
    write_kitti_points(path, rows.astype(np.float32))
    write_semantic_kitti(root / "labels" / f"{name}.label", ids, np.asarray(instances))
    return path


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10, 11, 25])
def test_splits_lose_no_path_and_share_none(count: int) -> None:
    paths = [Path(str(k)) for k in range(count)]
    train, val = split(paths)
    if count <= 1:
        assert train == val == tuple(paths)
        return
    assert sorted([*train, *val]) == sorted(paths) and not set(train) & set(val)
    assert len(val) == max(count // HOLD_OUT_EVERY, 1)


def test_scenes_without_any_are_refused() -> None:
    with pytest.raises(InputError, match="no scene to train on"):
        FolderScenes(spec=street_spec(), train=(), val=(), read=lambda path: pytest.fail(str(path)))


def test_numbers_become_classes() -> None:
    groups = {"a": (3, 5), "b": (), "c": (9,)}
    found = classes_of_ids(np.array([3, 9, 5, 0, -1, 9_000_000]), groups)
    assert found.tolist() == [0, 2, 0, -1, -1, -1] and found.dtype == np.int64


@pytest.mark.parametrize("name", list(KITTI_19))
def test_every_number_of_semantic_kitti_has_its_class(name: str) -> None:
    ids = np.array(KITTI_19[name])
    assert (classes_of_ids(ids, KITTI_19) == list(KITTI_19).index(name)).all()


def test_generated_streets_join_classes_of_semantic_kitti_but_mix_none() -> None:
    for name, ids in KITTI_19.items():
        found = set(classes_of_ids(np.array(ids), STREET_IDS).tolist()) - {-1}
        assert len(found) <= 1, name
        if name in STREET_NAMES:
            assert found == {STREET_NAMES.index(name)}


def test_moving_things_follow_those_that_stand() -> None:
    moving = {252: "car", 253: "bicyclist", 254: "person", 258: "truck", 259: "other-vehicle", 255: "motorcyclist"}
    found = classes_of_ids(np.array(list(moving)), KITTI_19)
    assert [list(KITTI_19)[k] for k in found] == list(moving.values())


def test_colours_are_bytes_and_differ() -> None:
    for colours, count in ((street_colours(), 14), (room_colours(), 20), (kitti_colours(), 19), (palette(200), 200)):
        values = np.array(colours)
        assert values.shape == (count, 3) and values.min() >= 0 and values.max() <= 255
        assert len({tuple(one) for one in values.tolist()}) > 0.9 * count
    assert palette(0) == () and len(SCANNET_IDS) == 20


def test_rooms_are_read_as_they_lie_there(tmp_path: Path) -> None:
    room(tmp_path / "train" / "a", instance=np.array([1, -1, 0, 2, 2], np.int32))
    sample = scannet_scenes(tmp_path).training(0)
    assert sample.xyz.tolist() == np.arange(15.0).reshape(5, 3).tolist()
    assert np.asarray(sample.color).tolist() == [[7.0] * 3] * 5 and np.asarray(sample.normal)[:, 2].tolist() == [1] * 5
    assert np.asarray(sample.segment).tolist() == [0, 1, 2, 3, 4]
    assert np.asarray(sample.instance).tolist() == [1, -1, 0, 2, 2]


def test_rooms_need_no_instances(tmp_path: Path) -> None:
    room(tmp_path / "train" / "a")
    assert scannet_scenes(tmp_path).training(0).instance is None


@pytest.mark.parametrize(("raw", "expected"), [(-1, -1), (255, -1), (20, -1), (19, 19), (0, 0), (-100, -1)])
def test_labels_of_no_class_are_unknown(tmp_path: Path, raw: int, expected: int) -> None:
    room(tmp_path / "train" / "a", segment20=np.array([0, 1, 2, 3, raw]))
    assert int(np.asarray(scannet_scenes(tmp_path).training(0).segment)[-1]) == expected


def test_twenty_classes_go_before_two_hundred(tmp_path: Path) -> None:
    room(tmp_path / "train" / "a", segment200=np.full(5, 150))
    scenes = scannet_scenes(tmp_path)
    assert len(scenes.spec.classes) == 20 and np.asarray(scenes.training(0).segment)[4] == 4


def test_a_column_of_labels_is_read_too(tmp_path: Path) -> None:
    room(tmp_path / "train" / "a", label="segment.npy", segment=np.array([[3], [1], [0], [2], [2]]))
    assert np.asarray(scannet_scenes(tmp_path).training(0).segment).tolist() == [3, 1, 0, 2, 2]


@pytest.mark.parametrize(
    "damage",
    [
        {"coord": np.zeros((5, 2), np.float32)},
        {"color": np.zeros((4, 3), np.uint8)},
        {"normal": np.zeros((5, 4), np.float32)},
        {"coord": np.full((5, 3), "a")},
        {"segment20": np.zeros(5, np.float32)},
        {"segment20": np.zeros(6, np.int64)},
        {"instance": np.zeros(3, np.int64)},
    ],
)
def test_files_of_a_room_that_do_not_fit_are_named(tmp_path: Path, damage: dict[str, np.ndarray]) -> None:
    room(tmp_path / "train" / "a", **damage)
    name = next(iter(damage))
    with pytest.raises(FormatError, match=name):
        scannet_scenes(tmp_path).training(0)


@pytest.mark.parametrize("name", ["coord.npy", "color.npy", "segment20.npy"])
def test_cut_files_of_a_room_are_format_errors(tmp_path: Path, name: str) -> None:
    folder = room(tmp_path / "train" / "a")
    (folder / name).write_bytes((folder / name).read_bytes()[:-3])
    with pytest.raises(FormatError):
        scannet_scenes(tmp_path).training(0)


def test_a_room_that_lost_a_file_is_an_input_error(tmp_path: Path) -> None:
    (room(tmp_path / "train" / "a") / "normal.npy").unlink()
    with pytest.raises(InputError, match="normal"):
        scannet_scenes(tmp_path).training(0)


def test_scans_are_read_with_their_instances(tmp_path: Path) -> None:
    scan(tmp_path / "sequences" / "00")
    sample = semantic_kitti_scenes(tmp_path).training(0)
    assert np.asarray(sample.segment).tolist() == [list(KITTI_19).index("road"), 0, -1]
    assert np.asarray(sample.instance).tolist() == [-1, 2, -1]
    assert np.asarray(sample.strength).tolist() == [0.5] * 3


def test_sequence_08_is_held_out(tmp_path: Path) -> None:
    for name in ("00", "07", "08", "11"):
        scan(tmp_path / "sequences" / name), scan(tmp_path / "sequences" / name, "000001")
    scenes = semantic_kitti_scenes(tmp_path)
    assert {path.parents[1].name for path in scenes.val} == {"08"}
    assert {path.parents[1].name for path in scenes.train} == {"00", "07", "11"} and scenes.count == 6


def test_the_sequences_themselves_are_a_folder_too(tmp_path: Path) -> None:
    scan(tmp_path / "00"), scan(tmp_path / "08")
    assert (semantic_kitti_scenes(tmp_path).count, semantic_kitti_scenes(tmp_path).held_out) == (1, 1)


def test_sequences_without_08_hold_out_every_tenth_scan(tmp_path: Path) -> None:
    for k in range(10):
        scan(tmp_path / "sequences" / "03", f"{k:06d}")
    scenes = semantic_kitti_scenes(tmp_path)
    assert [path.stem for path in scenes.val] == ["000009"] and scenes.count == 9


def test_scans_without_labels_are_left_out(tmp_path: Path) -> None:
    scan(tmp_path / "sequences" / "00"), scan(tmp_path / "sequences" / "00", "000001")
    (tmp_path / "sequences" / "00" / "labels" / "000000.label").unlink()
    assert [path.stem for path in semantic_kitti_scenes(tmp_path).train] == ["000001"]
    (tmp_path / "sequences" / "00" / "labels" / "000001.label").unlink()
    with pytest.raises(InputError, match="no scene to train on"):
        semantic_kitti_scenes(tmp_path)


def test_points_out_of_reach_or_without_a_place_are_left_out(tmp_path: Path) -> None:
    path = scan(tmp_path, ids=(40, 40, 40, 40), instances=(0, 0, 0, 0))
    rows = np.float32([[49, 0, 0, 2.0], [51, 0, 0, 0.5], [np.nan, 0, 0, 0.5], [1, 1, 1, np.inf]])
    write_kitti_points(path, rows)
    sample = semantic_kitti_scenes(tmp_path).training(0)
    assert sample.xyz.tolist() == [[49.0, 0, 0]] and np.asarray(sample.strength).tolist() == [1.0]


def test_cut_scans_and_labels_are_format_errors(tmp_path: Path) -> None:
    path = scan(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    with pytest.raises(FormatError):
        semantic_kitti_scenes(tmp_path).training(0)
    path.write_bytes(whole[:-16])
    with pytest.raises(FormatError, match="do not match"):
        semantic_kitti_scenes(tmp_path).training(0)


@pytest.mark.parametrize("layout", ["scannet", "semantickitti", "folder"])
def test_a_layout_that_is_named_is_not_guessed(tmp_path: Path, layout: DataFormat) -> None:
    room(tmp_path / "train" / "a"), scan(tmp_path / "sequences" / "00")
    options = TrainSegmenterOptions(data=str(tmp_path), format=layout, steps=1)
    if layout == "folder":
        with pytest.raises(InputError, match=r"classes\.json"):
            open_scenes(options)
        return
    assert open_scenes(options).spec.kind == ("indoor" if layout == "scannet" else "outdoor")


def test_a_generated_layout_needs_no_folder() -> None:
    by_data = open_scenes(TrainSegmenterOptions(data="streets", steps=1, seed=3))
    by_format = open_scenes(TrainSegmenterOptions(data="/nowhere", format="streets", steps=1, seed=3))
    assert by_data.spec == by_format.spec and by_data.count is None
