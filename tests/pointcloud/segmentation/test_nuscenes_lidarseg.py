"""Sweeps of nuScenes-lidarseg: tables lead to points and labels, whole scenes are held out, damage is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_segmentation import training_options

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.kitti import write_kitti_points
from recon3d.formats.kitti_semantic import write_point_labels
from recon3d.pointcloud.segmentation.nuscenes_lidarseg import NUSCENES_16, nuscenes_scenes
from recon3d.pointcloud.segmentation.opening import open_scenes

CATEGORIES = ["noise", "vehicle.car", "human.pedestrian.child", "static.manmade", "vehicle.bus.rigid", "vehicle.ego"]
ROWS = np.array([[1, 2, 0, 255, 3], [4, 0, 0, 51, 4], [60, 0, 0, 9, 5], [2, 2, 2, 300, 6], [0, 0, 1, 0, 7]], np.float32)
IDS = np.array([1, 2, 3, 4, 5])


def write(folder: Path, name: str, rows: Any) -> None:
    path = folder / "v1.0-mini" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def data_set(folder: Path, scenes: int, sweeps: int = 2) -> Path:
    data, samples, labels = [], [], []
    for k in range(scenes * sweeps):
        samples.append({"token": f"s{k}", "scene_token": f"scene{k // sweeps:02d}"})
        data.append({"token": f"d{k}", "sample_token": f"s{k}", "filename": f"samples/LIDAR_TOP/{k}.pcd.bin"})
        labels.append({"token": f"d{k}", "sample_data_token": f"d{k}", "filename": f"lidarseg/v1.0-mini/{k:02d}.bin"})
        for one in (data[-1], labels[-1]):
            (folder / one["filename"]).parent.mkdir(parents=True, exist_ok=True)
        write_kitti_points(folder / data[-1]["filename"], ROWS)
        write_point_labels(folder / labels[-1]["filename"], IDS)
    write(folder, "sample", samples)
    write(folder, "sample_data", [*data, {"token": "camera", "sample_token": "s0", "filename": "samples/CAM/0.jpg"}])
    write(folder, "lidarseg", labels)
    write(folder, "category", [{"name": name, "index": k} for k, name in enumerate(CATEGORIES)])
    return folder


def test_points_get_the_classes_of_their_categories(tmp_path: Path) -> None:
    sample = nuscenes_scenes(data_set(tmp_path, 1)).training(0)
    names = list(NUSCENES_16)
    wanted = [names.index("car"), names.index("pedestrian"), names.index("bus"), -1]
    assert np.asarray(sample.segment).tolist() == wanted  # the third point is out of reach
    assert sample.xyz.tolist() == ROWS[[0, 1, 3, 4], :3].tolist()
    assert np.asarray(sample.strength) == pytest.approx([1, 0.2, 1, 0])


def test_the_layout_is_recognised(tmp_path: Path) -> None:
    scenes = open_scenes(training_options(1, data=str(data_set(tmp_path, 1)), format="auto"))
    assert scenes.spec.classes == tuple(NUSCENES_16) and len(scenes.spec.classes) == 16
    assert scenes.spec.raw_ids == tuple(range(1, 17)) and scenes.spec.mount_m == 1.84


@pytest.mark.parametrize("scenes", [2, 10, 20])
def test_whole_scenes_are_held_out(tmp_path: Path, scenes: int) -> None:
    found = nuscenes_scenes(data_set(tmp_path, scenes))
    scene_of = {path: int(path.stem) // 2 for path in (*found.train, *found.val)}
    held = {scene_of[path] for path in found.val}
    assert len(scene_of) == 2 * scenes and not held & {scene_of[path] for path in found.train}
    assert len(held) == max(scenes // 10, 1) and found.held_out == 2 * len(held)


def test_a_single_scene_is_for_both(tmp_path: Path) -> None:
    found = nuscenes_scenes(data_set(tmp_path, 1))
    assert found.train == found.val and found.count == 2


def test_folders_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labels of points"):
        nuscenes_scenes(tmp_path)
    write(data_set(tmp_path, 1), "lidarseg", [])
    with pytest.raises(InputError, match="no scene to train on"):
        nuscenes_scenes(tmp_path)


@pytest.mark.parametrize("table", ["category", "sample", "sample_data", "lidarseg"])
@pytest.mark.parametrize("rows", [{}, [{"odd": 1}], [3], None])
def test_damaged_tables_are_named(tmp_path: Path, table: str, rows: Any) -> None:
    write(data_set(tmp_path, 1), table, rows)
    with pytest.raises(FormatError, match=r"table of"):
        nuscenes_scenes(tmp_path)


def test_tables_that_are_no_json_are_named(tmp_path: Path) -> None:
    (data_set(tmp_path, 1) / "v1.0-mini" / "sample.json").write_text("[{")
    with pytest.raises(FormatError, match=r"sample\.json is no table"):
        nuscenes_scenes(tmp_path)
    (tmp_path / "v1.0-mini" / "sample.json").unlink()
    with pytest.raises(InputError, match=r"sample\.json"):
        nuscenes_scenes(tmp_path)


def test_labels_of_other_points_are_refused(tmp_path: Path) -> None:
    scenes = nuscenes_scenes(data_set(tmp_path, 1))
    write_point_labels(scenes.train[0], IDS[:3])
    with pytest.raises(FormatError, match="does not match its points"):
        scenes.training(0)
    scenes.train[1].unlink()
    with pytest.raises(InputError):
        scenes.training(1)


def test_each_category_belongs_to_one_class() -> None:
    joined = [one for categories in NUSCENES_16.values() for one in categories]
    assert len(set(joined)) == len(joined) == 20
