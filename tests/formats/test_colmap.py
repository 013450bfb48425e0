"""COLMAP models: our reader and writer against pycolmap and against themselves."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from random_scenes import random_cameras, random_points, same_bits

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.colmap import (
    CAMERA_MODEL_NAMES,
    CAMERA_MODEL_PARAMS,
    ColmapCamera,
    ColmapModel,
    ColmapPoints,
    find_colmap,
    read_colmap,
    write_colmap,
)
from recon3d.scene_convert import cameras_from_colmap, colmap_from_cameras, points_from_colmap

ENCODINGS = pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])


def example(seed: int = 0, n: int = 4) -> ColmapModel:
    cameras = random_cameras(seed, n)
    names = [f"dir/photo {i}.jpg" for i in range(n)]
    return colmap_from_cameras(cameras, names, random_points(seed, cameras))


def all_lenses() -> ColmapModel:
    """A model that holds one camera of every kind."""
    kinds = enumerate(CAMERA_MODEL_PARAMS.items(), 1)
    cameras = [ColmapCamera(i, name, 640, 480, np.arange(1, n + 1) / 7) for i, (name, n) in kinds]
    return replace(example(), cameras=(*cameras, *(replace(c, id=c.id + 100) for c in cameras))[: len(cameras)])


def assert_same(first: ColmapModel, second: ColmapModel) -> None:
    for a, b in zip(first.cameras, second.cameras, strict=True):
        assert (a.id, a.model, a.width, a.height) == (b.id, b.model, b.width, b.height)
        assert same_bits(a.params, b.params)
    for c, d in zip(first.images, second.images, strict=True):
        assert (c.id, c.name, c.camera_id) == (d.id, d.name, d.camera_id)
        assert all(same_bits(getattr(c, name), getattr(d, name)) for name in ("qvec", "tvec", "xy", "point3D_ids"))
    for name in ColmapPoints.__dataclass_fields__:
        assert same_bits(getattr(first.points, name), getattr(second.points, name)), name


@ENCODINGS
def test_what_is_written_is_read_to_the_bit(tmp_path: Path, binary: bool) -> None:
    model = example()
    assert [path.suffix for path in write_colmap(tmp_path, model, binary)] == [".bin" if binary else ".txt"] * 3
    assert_same(read_colmap(tmp_path), model)


@ENCODINGS
def test_every_lens_model_is_kept(tmp_path: Path, binary: bool) -> None:
    model = all_lenses()
    write_colmap(tmp_path, model, binary)
    assert_same(read_colmap(tmp_path), model)


def test_the_table_of_lens_models_is_that_of_pycolmap() -> None:
    for name, kind in pycolmap.CameraModelId.__members__.items():
        if name == "INVALID":
            continue
        assert CAMERA_MODEL_NAMES[int(kind)] == name
        info = pycolmap.Camera.create_from_model_id(1, kind, 500.0, 640, 480).params_info
        assert len(info.split(",")) == CAMERA_MODEL_PARAMS[name]


@ENCODINGS
def test_pycolmap_reads_what_we_write(tmp_path: Path, binary: bool) -> None:
    model = example()
    model = replace(model, images=tuple(replace(i, name=i.name.replace(" ", "_")) for i in model.images))
    write_colmap(tmp_path, model, binary)
    theirs = pycolmap.Reconstruction(str(tmp_path))
    poses = cameras_from_colmap(model).cam_from_world
    for row, image in enumerate(model.images):
        other = theirs.images[image.id]
        assert other.name == image.name
        np.testing.assert_allclose(other.cam_from_world().matrix(), poses[row, :3], atol=1e-14)
        assert np.array_equal([p.xy for p in other.points2D], image.xy)
    for camera in model.cameras:
        assert theirs.cameras[camera.id].model.name == camera.model
        assert np.array_equal(theirs.cameras[camera.id].params, camera.params)
    assert np.array_equal([theirs.points3D[int(i)].xyz for i in model.points.ids], model.points.xyz)
    assert [len(theirs.points3D[int(i)].track.elements) for i in model.points.ids] == np.diff(
        model.points.track_offsets
    ).tolist()


@ENCODINGS
def test_we_read_what_pycolmap_writes_with_rigs_and_frames(tmp_path: Path, binary: bool) -> None:
    model = example()
    model = replace(model, images=tuple(replace(i, name=i.name.replace(" ", "_")) for i in model.images))
    (tmp_path / "theirs").mkdir()
    write_colmap(tmp_path / "ours", model)
    theirs = pycolmap.Reconstruction(str(tmp_path / "ours"))
    (theirs.write if binary else theirs.write_text)(str(tmp_path / "theirs"))
    assert len(list((tmp_path / "theirs").iterdir())) == 5
    back = read_colmap(tmp_path / "theirs")
    order = sorted(range(len(back.images)), key=lambda i: back.images[i].id)
    tolerance = 1e-12
    poses = cameras_from_colmap(back).cam_from_world[order]
    np.testing.assert_allclose(poses, cameras_from_colmap(model).cam_from_world, atol=tolerance)
    xyz = back.points.xyz[np.argsort(back.points.ids)]
    np.testing.assert_allclose(xyz, model.points.xyz, atol=tolerance)


def test_cameras_on_a_rig_have_poses_of_their_own(tmp_path: Path) -> None:
    theirs = pycolmap.Reconstruction()
    cameras = [pycolmap.Camera.create_from_model_id(i, pycolmap.CameraModelId.PINHOLE, 500.0, 640, 480) for i in (1, 2)]
    quarter = pycolmap.Rotation3d(np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)]))
    rig, frame = pycolmap.Rig(), pycolmap.Frame()
    rig.rig_id = frame.frame_id = frame.rig_id = 1
    rig.add_ref_sensor(cameras[0].sensor_id)
    rig.add_sensor(cameras[1].sensor_id, pycolmap.Rigid3d(quarter, np.array([1.0, 0, 0])))
    images = []
    for camera in cameras:
        theirs.add_camera(camera)
        image = pycolmap.Image()
        image.image_id = image.camera_id = camera.camera_id
        image.name, image.frame_id = f"{camera.camera_id}.jpg", 1
        frame.add_data_id(image.data_id)
        images.append(image)
    frame.rig_from_world = pycolmap.Rigid3d(pycolmap.Rotation3d(np.array([0, 0, 0, 1.0])), np.array([0, 0, 3.0]))
    theirs.add_rig(rig)
    theirs.add_frame(frame)
    for image in images:
        theirs.add_image(image)
    theirs.register_frame(1)
    theirs.write(str(tmp_path))
    model = read_colmap(tmp_path)
    for image, pose in zip(model.images, cameras_from_colmap(model).cam_from_world, strict=True):
        np.testing.assert_allclose(pose[:3], theirs.images[image.id].cam_from_world().matrix(), atol=1e-14)
    assert sorted(image.tvec.tolist() for image in model.images) == [[0, 0, 3], [1, 0, 3]]


def test_binary_comes_first_and_writing_removes_the_other_model(tmp_path: Path) -> None:
    assert find_colmap(tmp_path) is None
    write_colmap(tmp_path, example(0), binary=True)
    for name in ("rigs.bin", "frames.bin", "rigs.txt"):
        (tmp_path / name).write_bytes(b"stale")
    write_colmap(tmp_path, example(1), binary=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cameras.txt", "images.txt", "points3D.txt"]
    assert find_colmap(tmp_path) == ".txt"
    assert_same(read_colmap(tmp_path), example(1))


def test_an_empty_model(tmp_path: Path) -> None:
    empty = ColmapModel((), (), example().points)
    points = ColmapPoints(**{k: v[: 1 if k == "track_offsets" else 0] for k, v in vars(empty.points).items()})
    for binary in (True, False):
        write_colmap(tmp_path, replace(empty, points=points), binary)
        assert len(cameras_from_colmap(read_colmap(tmp_path))) == 0


def test_absent_models_name_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_colmap(tmp_path / "absent")
    (tmp_path / "cameras.bin").touch()
    with pytest.raises(InputError, match=r"cameras\.bin"):
        read_colmap(tmp_path)


@ENCODINGS
def test_every_truncation_of_every_file_is_refused_or_consistent(tmp_path: Path, binary: bool) -> None:
    for path in write_colmap(tmp_path, example(0, 2), binary):
        data = path.read_bytes()
        for length in [*range(0, len(data) - 1, max(1, len(data) // 25)), 3, 8]:
            path.write_bytes(data[:length])
            if binary:
                with pytest.raises(FormatError):
                    read_colmap(tmp_path)
            else:  # a text file cut between two lines may still be a model
                try:
                    read_colmap(tmp_path)
                except FormatError:
                    continue
        path.write_bytes(data)


@pytest.mark.parametrize("count", [2**63, 2**40, 10**6])
@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_huge_counts_are_refused_before_allocation(tmp_path: Path, name: str, count: int) -> None:
    write_colmap(tmp_path, example())
    path = tmp_path / f"{name}.bin"
    path.write_bytes(struct.pack("<Q", count) + path.read_bytes()[8:])
    with pytest.raises(FormatError, match=f"{name}.bin: impossible number"):
        read_colmap(tmp_path)


def with_image(model: ColmapModel, **changes: object) -> ColmapModel:
    return replace(model, images=(replace(model.images[0], **changes), *model.images[1:]))


def with_points(model: ColmapModel, **changes: object) -> ColmapModel:
    return replace(model, points=replace(model.points, **changes))


BASE = example()
CONTRADICTIONS = {
    "twice": replace(BASE, images=(*BASE.images, BASE.images[0])),
    "camera or image appears twice": replace(BASE, cameras=(*BASE.cameras, BASE.cameras[0])),
    "absent camera": with_image(BASE, camera_id=77),
    "absent point": with_image(BASE, point3D_ids=BASE.images[0].point3D_ids + 10_000),
    "not finite": with_image(BASE, tvec=np.array([0, np.nan, 0])),
    "pose or features": with_image(BASE, qvec=np.zeros(4)),
    "a point appears twice": with_points(BASE, ids=np.maximum(BASE.points.ids, 2)),
    "point coordinates": with_points(BASE, xyz=BASE.points.xyz * np.inf),
    "absent image or feature": with_points(BASE, track_image_ids=BASE.points.track_image_ids + 1),
    "track refers": with_points(BASE, track_point2D=BASE.points.track_point2D + 1000),
}


@pytest.mark.parametrize("text", CONTRADICTIONS)
def test_contradictions_are_not_written(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        write_colmap(tmp_path, CONTRADICTIONS[text])
    assert not list(tmp_path.iterdir())


def test_contradictions_between_files_are_not_read(tmp_path: Path) -> None:
    write_colmap(tmp_path, example(0, 4))
    images = (tmp_path / "images.bin").read_bytes()
    write_colmap(tmp_path, example(1, 3))
    (tmp_path / "images.bin").write_bytes(images)
    with pytest.raises(FormatError, match="refers to an absent"):
        read_colmap(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_names_that_binary_cannot_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="image name"):
        write_colmap(tmp_path, with_image(example(), name=name))


@pytest.mark.parametrize("name", ["a\nb", " a", ""])
def test_names_that_text_cannot_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="write binary"):
        write_colmap(tmp_path, with_image(example(), name=name), binary=False)


@ENCODINGS
def test_names_of_any_bytes(tmp_path: Path, binary: bool) -> None:
    name = b"\xff caf\xc3\xa9.jpg".decode("utf-8", "surrogateescape")
    write_colmap(tmp_path, with_image(example(), name=name), binary)
    assert read_colmap(tmp_path).images[0].name == name


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        ("cameras", "OPENCV", "CV", "unknown camera model"),
        ("cameras", "OPENCV", "PINHOLE", "wrong number of PINHOLE parameters"),
        ("cameras", "OPENCV", "", "not an integer"),
        ("cameras", "1 OPENCV", "x OPENCV", "not an integer"),
        ("images", "dir/", "nan ", None),
        ("images", " 1 dir/photo 0.jpg", "", "not an image"),
        ("images", "dir/photo 1", "dir/photo 0", "twice"),
        ("points3D", "\n1 ", "\n-1 ", "not an integer"),
        ("points3D", "\n1 ", "\n", "line 2"),
    ],
)
def test_bad_text(tmp_path: Path, file: str, old: str, new: str, text: str | None) -> None:
    write_colmap(tmp_path, example(), binary=False)
    path = tmp_path / f"{file}.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    if text is None:
        assert read_colmap(tmp_path).images[0].name.startswith("nan")
    else:
        with pytest.raises(FormatError, match=text):
            read_colmap(tmp_path)


def test_hand_written_text(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("# by hand\n\n7 SIMPLE_RADIAL 640 480 500 320 240 -0.1\n")
    (tmp_path / "images.txt").write_text("# by hand\n3 2 0 0 0 1 2 3 7 a b.jpg\n10 20 5 30 40 18446744073709551615\n")
    (tmp_path / "points3D.txt").write_text("5 1 2 3 10 20 30 0.5 3 0\n")
    model = read_colmap(tmp_path)
    cameras = cameras_from_colmap(model)
    assert model.images[0].name == "a b.jpg" and model.images[0].point3D_ids.tolist() == [5, -1]
    assert cameras.cam_from_world.tolist() == [[[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]]
    assert cameras.K.tolist() == [[[500, 0, 320], [0, 500, 240], [0, 0, 1]]]
    assert cameras.distortion is not None and cameras.distortion.tolist() == [[-0.1, 0, 0, 0]]
    points = points_from_colmap(model)
    assert points.obs_xy.tolist() == [[10, 20]] and points.rgb.tolist() == [[10, 20, 30]]
    assert np.isnan(points.sigma).all()


def test_unsupported_lenses_are_named() -> None:
    model = replace(example(), cameras=(ColmapCamera(1, "OPENCV_FISHEYE", 640, 480, np.ones(8)),))
    assert len(cameras_from_colmap(replace(model, images=()))) == 0  # a lens that no image uses does no harm
    with pytest.raises(FormatError, match=r"OPENCV_FISHEYE; expected: \['OPENCV', 'PINHOLE'"):
        cameras_from_colmap(model)
