"""KITTI folders made here: which frames are taken, what the camera sees, which image size holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_detection import NAMES, frame_of

from recon3d.core.errors import InputError, Recon3DError
from recon3d.formats.kitti import write_kitti_points
from recon3d.formats.kitti_text import KittiCalibration, read_kitti_objects, write_kitti_calibration
from recon3d.pointcloud.boxes import points_in_boxes
from recon3d.pointcloud.detection import KittiFrames, write_kitti_results
from recon3d.pointcloud.detection.kitti_folder import IMAGE_SIZE, image_size, in_image

CALIBRATION = KittiCalibration(
    {
        "P2": np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]]),
        "R0_rect": np.eye(3),
        "Tr_velo_to_cam": np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.1], [1, 0, 0, -0.3]]),
    }
)
FRAME = frame_of([(0, 9.0, 1.0, 0.4), (1, 11.0, -2.0, 0.0), (2, 10.5, 4.0, 1.0)])


def _write(root: Path, name: str = "000001", scans: str = "velodyne") -> None:
    for part in (scans, "label_2", "calib"):
        (root / part).mkdir(parents=True, exist_ok=True)
    write_kitti_points(root / scans / f"{name}.bin", FRAME.points)
    write_kitti_calibration(root / "calib" / f"{name}.txt", CALIBRATION)
    scored = replace(FRAME.boxes, scores=np.full(len(FRAME.boxes), 0.5))
    write_kitti_results(root / "label_2" / f"{name}.txt", scored, CALIBRATION)


def _image(root: Path, name: str, size: tuple[int, int]) -> None:
    from PIL import Image

    (root / "image_2").mkdir(exist_ok=True)
    Image.new("RGB", size).save(root / "image_2" / f"{name}.png")


def test_frames_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("000007", "000002", "000010"):
        _write(tmp_path, name)
    frames = KittiFrames.of(tmp_path, NAMES)
    assert frames.frames == ("000002", "000007", "000010") and len(frames) == 3
    assert frames.frame(2).name == "000010"


def test_all_three_classes_come_back_with_their_places(tmp_path: Path) -> None:
    _write(tmp_path)
    back = KittiFrames.of(tmp_path, NAMES).frame(0)
    assert back.boxes.labels.tolist() == [0, 1, 2] and back.boxes.names == NAMES
    assert np.allclose(back.boxes.boxes, FRAME.boxes.boxes, atol=1e-6)
    assert (points_in_boxes(back.points, back.boxes.boxes).sum(1) >= 149).all()


def test_only_the_classes_asked_for(tmp_path: Path) -> None:
    _write(tmp_path)
    back = KittiFrames.of(tmp_path, ("cyclist", "car")).frame(0)
    assert back.boxes.labels.tolist() == [1, 0]
    assert len(KittiFrames.of(tmp_path, ("tram",)).frame(0).boxes) == 0


def test_regions_to_ignore_are_no_truth(tmp_path: Path) -> None:
    _write(tmp_path)
    labels = tmp_path / "label_2" / "000001.txt"
    nothing = "DontCare -1 -1 -10 500.0 150.0 550.0 180.0 -1 -1 -1 -1000 -1000 -1000 -10\n"
    labels.write_text(labels.read_text() + nothing)
    assert len(read_kitti_objects(labels)) == 4
    assert len(KittiFrames.of(tmp_path, NAMES).frame(0).boxes) == 3


def test_a_frame_that_lacks_a_part_is_left_out(tmp_path: Path) -> None:
    for name in ("000001", "000002", "000003"):
        _write(tmp_path, name)
    (tmp_path / "calib" / "000002.txt").unlink()
    (tmp_path / "velodyne" / "000003.bin").unlink()
    assert KittiFrames.of(tmp_path, NAMES).frames == ("000001",)


def test_a_list_that_names_it_is_an_error_that_names_it(tmp_path: Path) -> None:
    for name in ("000001", "000002"):
        _write(tmp_path, name)
    (tmp_path / "calib" / "000002.txt").unlink()
    (tmp_path / "list.txt").write_text("000001\n000002\n")
    with pytest.raises(InputError, match=r"1 of 2.*calib/000002"):
        KittiFrames.of(tmp_path, NAMES, "list.txt")


def test_lists_lie_in_the_folder_or_anywhere(tmp_path: Path) -> None:
    root = tmp_path / "kitti" / "training"
    for name in ("000001", "000002"):
        _write(root, name)
    (tmp_path / "kitti" / "ImageSets").mkdir()
    (tmp_path / "kitti" / "ImageSets" / "val.txt").write_text("000002")
    (tmp_path / "mine.txt").write_text("000001")
    assert KittiFrames.of(tmp_path / "kitti", NAMES, "ImageSets/val.txt").frames == ("000002",)
    assert KittiFrames.of(tmp_path / "kitti", NAMES, str(tmp_path / "mine.txt")).frames == ("000001",)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="list of frames"):
        KittiFrames.of(tmp_path, NAMES, "list.txt")


def test_reduced_scans_go_before_whole_ones(tmp_path: Path) -> None:
    _write(tmp_path)
    _write(tmp_path, scans="velodyne_reduced")
    few = FRAME.points[np.abs(FRAME.points[:, 1]) < 2]
    write_kitti_points(tmp_path / "velodyne_reduced" / "000001.bin", few)
    assert len(KittiFrames.of(tmp_path, NAMES).frame(0).points) <= len(few)


def test_the_camera_sees_what_lies_ahead_in_the_image() -> None:
    points = np.float32([[10, 0, 0, 0], [-10, 0, 0, 0], [10, 12, 0, 0], [10, -12, 0, 0], [10, 0, 9, 0]])
    assert in_image(points, CALIBRATION, IMAGE_SIZE).tolist() == [True, False, False, False, False]
    assert in_image(points, CALIBRATION, (4000, 4000)).tolist() == [True, False, False, True, False]
    assert in_image(points[:0], CALIBRATION, IMAGE_SIZE).tolist() == []


def test_the_size_of_the_image_comes_from_the_image(tmp_path: Path) -> None:
    _write(tmp_path)
    assert image_size(tmp_path, "000001") == IMAGE_SIZE
    all_seen = len(KittiFrames.of(tmp_path, NAMES).frame(0).points)
    _image(tmp_path, "000001", (601, 375))
    assert image_size(tmp_path, "000001") == (601, 375)
    left = KittiFrames.of(tmp_path, NAMES).frame(0).points
    assert len(left) < all_seen and left[:, 1].min() > -0.1  # the right half of the image is gone


def test_damaged_files_are_said_to_be_so(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "image_2").mkdir()
    (tmp_path / "image_2" / "000001.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"000001\.png"):
        KittiFrames.of(tmp_path, NAMES).frame(0)
    (tmp_path / "image_2" / "000001.png").unlink()
    for part, text in (("label_2", "Car 1 2"), ("calib", "P2: a b")):
        path = tmp_path / part / "000001.txt"
        whole = path.read_text()
        path.write_text(text)
        with pytest.raises(Recon3DError):
            KittiFrames.of(tmp_path, NAMES).frame(0)
        path.write_text(whole)
    (tmp_path / "velodyne" / "000001.bin").write_bytes(b"123")
    with pytest.raises(Recon3DError):
        KittiFrames.of(tmp_path, NAMES).frame(0)
