"""Known poses: which photo takes which pose, intrinsics for photos of another size, and refused sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.colmap import write_colmap
from recon3d.formats.transforms import write_transforms
from recon3d.photos import Photo
from recon3d.render.cameras import Cameras
from recon3d.scene_convert import colmap_from_cameras, transforms_from_cameras
from recon3d.sfm.known import known_cameras
from recon3d.sfm.solve import no_points
from recon3d.sfm.types import Mapped


def cameras(n: int = 3) -> Cameras:
    """Cameras in a row, each turned a little further about its y axis."""
    angle = 0.1 * np.arange(n)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, 0, 0] = poses[:, 2, 2] = np.cos(angle)
    poses[:, 0, 2], poses[:, 2, 0] = np.sin(angle), -np.sin(angle)
    poses[:, 0, 3] = np.arange(n)
    K = np.tile(np.array([[500.0, 0, 318], [0, 510, 241], [0, 0, 1]]), (n, 1, 1))
    sizes = np.full(n, 640, np.int64), np.full(n, 480, np.int64)
    return Cameras(poses, K, *sizes, np.tile([-0.05, 0.01, 1e-3, -1e-3], (n, 1)))


def photos(keys: Sequence[str], size: tuple[int, int] = (640, 480)) -> list[Photo]:
    return [Photo(key, Path(key), *size, key) for key in keys]


def write(folder: Path, names: Sequence[str], kind: str = "colmap") -> Path:
    known = cameras(len(names))
    if kind == "transforms":
        write_transforms(folder / "transforms.json", transforms_from_cameras(known, names))
        return folder / "transforms.json"
    write_colmap(folder, colmap_from_cameras(known, names, no_points()), binary=kind == "colmap")
    return folder


def read(keys: Sequence[str], source: Path, size: tuple[int, int] = (640, 480)) -> Mapped:
    return known_cameras(photos(keys, size), [5 + k for k in range(len(keys))], source)


@pytest.mark.parametrize("kind", ["colmap", "text", "transforms"])
def test_poses_and_lenses_reach_their_photos(tmp_path: Path, kind: str) -> None:
    found = read(["a.jpg", "b.jpg", "c.jpg"], write(tmp_path, ["c.jpg", "a.jpg", "b.jpg"], kind))
    wanted, rows = cameras(), [1, 2, 0]
    assert found.mapper == "known"
    assert found.photo.tolist() == [0, 1, 2]
    assert found.camera_group.tolist() == [5, 6, 7]
    assert len(found.points) == 0
    np.testing.assert_allclose(found.cameras.cam_from_world, wanted.cam_from_world[rows], atol=1e-12)
    np.testing.assert_allclose(found.cameras.K, wanted.K[rows], atol=1e-12)
    assert found.cameras.distortion is not None and wanted.distortion is not None
    np.testing.assert_allclose(found.cameras.distortion, wanted.distortion, atol=1e-15)


def test_photos_without_a_pose_are_left_out(tmp_path: Path) -> None:
    found = read(["a.jpg", "b.jpg", "c.jpg"], write(tmp_path, ["a.jpg", "c.jpg", "unknown.jpg"]))
    assert found.photo.tolist() == [0, 2]
    assert found.camera_group.tolist() == [5, 7]


def test_folders_differ_but_file_names_agree(tmp_path: Path) -> None:
    found = read(["left/a.jpg", "b.jpg"], write(tmp_path, ["images/a.jpg", "images/b.jpg"]))
    assert found.photo.tolist() == [0, 1]


def test_equal_names_in_several_folders_need_the_whole_key(tmp_path: Path) -> None:
    source = write(tmp_path, ["left/a.jpg", "right/a.jpg", "right/b.jpg"])
    found = read(["b.jpg", "right/a.jpg", "wrong/a.jpg"], source)
    assert found.photo.tolist() == [0, 1]
    np.testing.assert_allclose(found.cameras.cam_from_world[1], cameras().cam_from_world[1], atol=1e-12)


def test_one_pose_is_not_given_to_two_photos(tmp_path: Path) -> None:
    """Two photos of one file name: only the one with the exact key can be meant."""
    found = read(["left/a.jpg", "left/b.jpg", "right/a.jpg"], write(tmp_path, ["left/a.jpg", "left/b.jpg"]))
    assert found.photo.tolist() == [0, 1]


def test_ambiguous_photos_get_no_pose(tmp_path: Path) -> None:
    found = read(["b.jpg", "c.jpg", "left/a.jpg", "right/a.jpg"], write(tmp_path, ["a.jpg", "b.jpg", "c.jpg"]))
    assert found.photo.tolist() == [0, 1]


def test_other_size_scales_the_intrinsics_and_nothing_else(tmp_path: Path) -> None:
    found = read(["a.jpg", "b.jpg"], write(tmp_path, ["a.jpg", "b.jpg"]), size=(1280, 720))
    np.testing.assert_allclose(found.cameras.K[0], np.array([[1000.0, 0, 636], [0, 765, 361.5], [0, 0, 1]]))
    assert (found.cameras.width.tolist(), found.cameras.height.tolist()) == ([1280, 1280], [720, 720])
    assert found.cameras.distortion is not None
    np.testing.assert_allclose(found.cameras.distortion[0], [-0.05, 0.01, 1e-3, -1e-3])


def test_other_size_sees_the_same_world(tmp_path: Path) -> None:
    source = write(tmp_path, ["a.jpg", "b.jpg"])
    small, large = (read(["a.jpg", "b.jpg"], source, size).cameras for size in ((640, 480), (1280, 960)))
    world, row = np.array([[0.5, -0.4, 5.0], [-1.0, 0.8, 6.0]]), np.array([0, 1])
    np.testing.assert_allclose(2 * small.project(world, row)[0], large.project(world, row)[0], atol=1e-9)


def test_a_model_without_distortion_is_taken(tmp_path: Path) -> None:
    pinhole = replace(cameras(2), distortion=None)
    write_colmap(tmp_path, colmap_from_cameras(pinhole, ["a.jpg", "b.jpg"], no_points()))
    found = read(["a.jpg", "b.jpg"], tmp_path)
    assert found.cameras.distortion is None or not found.cameras.distortion.any()


@pytest.mark.parametrize("keys", [["x.jpg", "y.jpg"], ["a.jpg", "y.jpg"]])
def test_fewer_than_two_known_photos_are_an_error_with_names(tmp_path: Path, keys: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read(keys, write(tmp_path, ["a.jpg", "b.jpg"]))
    text = str(caught.value)
    assert "knows fewer than two of the photos" in text
    assert "a.jpg" in text and keys[1] in text
    assert "use the file names of the photos" in text


@pytest.mark.parametrize(
    ("kind", "file"), [("colmap", "images.bin"), ("colmap", "cameras.bin"), ("text", "images.txt")]
)
def test_damaged_models_are_refused(tmp_path: Path, kind: str, file: str) -> None:
    source = write(tmp_path, ["a.jpg", "b.jpg"], kind)
    (source / file).write_bytes((source / file).read_bytes()[:-9] + b"?")
    with pytest.raises(FormatError):
        read(["a.jpg", "b.jpg"], source)


def test_damaged_transforms_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path, ["a.jpg", "b.jpg"], "transforms")
    source.write_text(source.read_text()[:-20])
    with pytest.raises(FormatError):
        read(["a.jpg", "b.jpg"], source)
