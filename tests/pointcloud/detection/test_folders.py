"""Folders of KITTI, nuScenes and our own: what is read stands where it stood."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_detection import NAMES, frame_of

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.kitti import write_kitti_points
from recon3d.formats.kitti_text import KittiCalibration, write_kitti_calibration
from recon3d.pointcloud.boxes import nuscenes_from_boxes, points_in_boxes
from recon3d.pointcloud.detection import (
    FolderFrames,
    KittiFrames,
    LabelledFrame,
    NuscenesFrames,
    boxes_from_json,
    boxes_to_json,
    write_kitti_results,
    write_labelled_frame,
)

CALIBRATION = KittiCalibration(
    {
        "P2": np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]]),
        "R0_rect": np.eye(3),
        "Tr_velo_to_cam": np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.1], [1, 0, 0, -0.3]]),
    }
)
FRAME = frame_of([(0, 9.0, 1.0, 0.4), (1, 11.0, -2.0, 0.0)])


def test_our_own_format_keeps_everything(tmp_path: Path) -> None:
    write_labelled_frame(tmp_path / "a", FRAME)
    back = FolderFrames.of(tmp_path, NAMES).frame(0)
    assert np.allclose(back.points, FRAME.points, atol=1e-6) and back.mount_m == FRAME.mount_m
    assert np.allclose(back.boxes.boxes, FRAME.boxes.boxes, atol=1e-4) and back.name == "a"
    assert back.boxes.labels.tolist() == FRAME.boxes.labels.tolist()


def test_intensities_of_bytes_become_shares(tmp_path: Path) -> None:
    write_kitti_points(tmp_path / "b.bin", FRAME.points * np.float32([1, 1, 1, 255]))
    about = {"intensity_max": 255, "mount_m": 2.0, "boxes": []}
    (tmp_path / "b.json").write_text(json.dumps(about))
    back = FolderFrames.of(tmp_path, NAMES).frame(0)
    assert 0.9 < back.points[:, 3].max() <= 1 and back.mount_m == 2.0 and len(back.boxes) == 0


def test_a_list_chooses_among_the_frames(tmp_path: Path) -> None:
    for name in "abc":
        write_labelled_frame(tmp_path / name, FRAME)
    (tmp_path / "train.txt").write_text("a\nc\n")
    assert [cloud.stem for cloud, _ in FolderFrames.of(tmp_path, NAMES, "train.txt").pairs] == ["a", "c"]


@pytest.mark.parametrize("text", ["{", "[]", '{"boxes": 3}', '{"boxes": [{"class": "car", "box": [1]}]}', "{}"])
def test_damaged_labels(tmp_path: Path, text: str) -> None:
    write_labelled_frame(tmp_path / "a", FRAME)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FormatError):
        FolderFrames.of(tmp_path, NAMES).frame(0)


def test_an_empty_folder(tmp_path: Path) -> None:
    for kind in (FolderFrames, KittiFrames, NuscenesFrames):
        with pytest.raises(InputError):
            kind.of(tmp_path, NAMES)


def test_boxes_as_json() -> None:
    entries = boxes_to_json(FRAME.boxes)
    assert entries[0]["class"] == "car" and len(entries[0]["box"]) == 7 and "score" not in entries[0]
    entries[0]["score"], entries[1]["velocity"] = 0.5, [1.0, 0.0]
    back = boxes_from_json(entries)
    assert back.scores is None and back.velocities is not None and back.velocities[1, 0] == 1
    assert len(boxes_from_json(entries, ("pedestrian",))) == 1 and len(boxes_from_json([])) == 0


def _kitti(root: Path, frame: LabelledFrame = FRAME) -> None:
    for name in ("velodyne", "label_2", "calib"):
        (root / name).mkdir(parents=True)
    write_kitti_points(root / "velodyne" / "000008.bin", frame.points)
    write_kitti_calibration(root / "calib" / "000008.txt", CALIBRATION)
    from dataclasses import replace

    scored = replace(frame.boxes, scores=np.full(len(frame.boxes), 0.5))
    write_kitti_results(root / "label_2" / "000008.txt", scored, CALIBRATION)


def test_kitti_boxes_come_back_full_of_points(tmp_path: Path) -> None:
    _kitti(tmp_path / "training")
    frames = KittiFrames.of(tmp_path, NAMES)
    back = frames.frame(0)
    assert len(frames) == 1 and back.name == "000008" and back.mount_m == 1.73
    assert np.allclose(back.boxes.boxes, FRAME.boxes.boxes, atol=1e-6)
    assert (points_in_boxes(back.points, back.boxes.boxes).sum(1) > 100).all()
    assert len(back.points) < len(FRAME.points)  # what the camera does not see is gone


def test_kitti_without_a_part(tmp_path: Path) -> None:
    _kitti(tmp_path)
    (tmp_path / "train.txt").write_text("000008 000009")
    with pytest.raises(InputError, match="000009"):
        KittiFrames.of(tmp_path, NAMES, "train.txt")
    with pytest.raises(InputError, match="list"):
        KittiFrames.of(tmp_path, NAMES, "missing.txt")


def _nuscenes(root: Path, frame: LabelledFrame = FRAME) -> None:
    """Write the tables of one sample whose sensor is turned by 90 degrees and whose vehicle stands elsewhere."""
    s = np.sqrt(0.5)
    sensor = {"token": "c", "translation": [0.9, 0.0, 1.84], "rotation": [s, 0.0, 0.0, -s]}
    ego = {"token": "e", "translation": [400.0, 1100.0, 0.0], "rotation": [0.8, 0.0, 0.0, 0.6]}
    data = {"token": "d", "sample_token": "s", "ego_pose_token": "e", "calibrated_sensor_token": "c"}
    data |= {"is_key_frame": True, "filename": "samples/LIDAR_TOP/a.pcd.bin"}
    other = {**data, "token": "f", "is_key_frame": False}
    (root / "samples" / "LIDAR_TOP").mkdir(parents=True)
    rows = np.column_stack([frame.points * np.float32([1, 1, 1, 255]), np.zeros(len(frame.points))])
    write_kitti_points(root / "samples" / "LIDAR_TOP" / "a.pcd.bin", rows.astype(np.float32))
    _write(root, sample_data=[data, other], ego_pose=[ego], calibrated_sensor=[sensor], sample_annotation=[])
    kinds = {"i0": "vehicle.car", "i1": "human.pedestrian.adult", "i2": "vehicle.bicycle"}
    _write(root, instance=[{"token": one, "category_token": one} for one in kinds])
    _write(root, category=[{"token": one, "name": name} for one, name in kinds.items()])
    pose = NuscenesFrames.of(root, NAMES).global_from_sensor(0)
    stored = nuscenes_from_boxes(frame.boxes.transformed(pose).boxes)
    notes = [
        {
            "token": f"a{row}",
            "sample_token": "s",
            "instance_token": f"i{frame.boxes.labels[row]}",
            "translation": stored.translation[row].tolist(),
            "size": stored.size[row].tolist(),
            "rotation": stored.rotation[row].tolist(),
            "num_lidar_pts": 5,
        }
        for row in range(len(frame.boxes))
    ]
    _write(root, sample_annotation=[*notes, {**notes[0], "token": "empty", "num_lidar_pts": 0}])


def _write(root: Path, **tables: list[dict[str, object]]) -> None:
    (root / "v1.0-mini").mkdir(exist_ok=True)
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))


def test_nuscenes_boxes_come_back_into_the_frame_of_the_sensor(tmp_path: Path) -> None:
    frame = frame_of([(0, 9.0, 1.0, 0.4), (1, 11.0, -2.0, 0.0), (2, 7.0, -2.0, 1.0)])
    _nuscenes(tmp_path, frame)
    frames = NuscenesFrames.of(tmp_path, NAMES)
    back = frames.frame(0)
    assert len(frames) == 1 and back.mount_m == 1.84 and back.points[:, 3].max() <= 1
    assert back.boxes.labels.tolist() == [0, 1, 2]
    assert np.allclose(back.boxes.boxes, frame.boxes.boxes, atol=1e-6)
    assert (points_in_boxes(back.points, back.boxes.boxes).sum(1) > 100).all()
    own = NuscenesFrames.of(tmp_path, ("car", "bicycle")).frame(0)
    assert own.boxes.labels.tolist() == [0, 1]


def test_nuscenes_lists_and_damage(tmp_path: Path) -> None:
    _nuscenes(tmp_path)
    (tmp_path / "val.txt").write_text("other")
    with pytest.raises(InputError, match="key frame"):
        NuscenesFrames.of(tmp_path, NAMES, str(tmp_path / "val.txt"))
    _write(tmp_path, ego_pose=[])
    with pytest.raises(FormatError, match="fit together"):
        NuscenesFrames.of(tmp_path, NAMES).frame(0)
    (tmp_path / "v1.0-mini" / "category.json").write_text("[1]")
    with pytest.raises(FormatError, match="table"):
        NuscenesFrames.of(tmp_path, NAMES)
