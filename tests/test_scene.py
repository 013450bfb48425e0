"""Scenes: consistency, similarity transforms, and a folder that gives back every bit."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from random_scenes import random_rotations, random_scene, same_bits, unchecked

import recon3d
from recon3d.core.errors import FormatError, InputError, ShapeError, UsageError
from recon3d.formats.tum import read_tum
from recon3d.render.cameras import Cameras
from recon3d.scene import Points, Scene, View
from recon3d.scene_io import check_files, output_name, output_stem

OWNED = [
    *(
        f"{folder}/{part}.bin"
        for folder in ("colmap", "colmap_distorted")
        for part in ("cameras", "images", "points3D")
    ),
    "points.ply",
    "trajectory.tum",
    "transforms.json",
]


def assert_same(first: Scene, second: Scene) -> None:
    for batch in ("cameras", "pinhole_cameras"):
        for field in fields(Cameras):
            assert same_bits(getattr(getattr(first, batch), field.name), getattr(getattr(second, batch), field.name))
    for field in fields(Points):
        assert same_bits(getattr(first.points, field.name), getattr(second.points, field.name)), field.name
    assert same_bits(first.pose_sigma, second.pose_sigma) and same_bits(first.world_from_sfm, second.world_from_sfm)
    for name in ("views", "scale", "metrics", "provenance"):
        assert getattr(first, name) == getattr(second, name)


@pytest.mark.parametrize("distorted", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_loading_restores_every_bit(tmp_path: Path, seed: int, distorted: bool) -> None:
    scene = random_scene(seed, 2 + seed, 50, distorted)
    saved = scene.save(tmp_path)
    assert saved.root == tmp_path and scene.root is None
    loaded = Scene.load(tmp_path)
    assert loaded.root == tmp_path
    assert_same(loaded, scene)


def test_negative_zero_and_all_digits_survive(tmp_path: Path) -> None:
    scene = random_scene(0)
    pose = scene.cameras.cam_from_world.copy()
    pose[0, 0, 3], pose[0, 1, 3] = -0.0, np.nextafter(0.1, 1)
    scene = replace(scene, cameras=replace(scene.cameras, cam_from_world=pose))
    scene.save(tmp_path)
    assert_same(Scene.load(tmp_path), scene)


def test_a_scene_of_nothing(tmp_path: Path) -> None:
    full = random_scene(0)
    none = full.cameras[np.zeros(0, np.int64)]
    shapes = {"xyz": (0, 3), "rgb": (0, 3), "obs_xy": (0, 2)}
    points = Points(**{f.name: getattr(full.points, f.name)[:0].reshape(shapes.get(f.name, 0)) for f in fields(Points)})
    view = View("a.jpg", "not_registered", "no overlap", 640, 480)
    scene = Scene((view,), none, none.pinhole(), points, np.zeros((0, 6)))
    scene.save(tmp_path)
    assert_same(Scene.load(tmp_path), scene)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    random_scene(3).save(tmp_path / "a")
    random_scene(3).save(tmp_path / "b")
    for name in [*OWNED, "scene.json"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_manifest_lists_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"abc")
    random_scene(0).save(tmp_path, ["images/a.jpg"])
    files = json.loads((tmp_path / "scene.json").read_text())["files"]
    assert sorted(files) == sorted([*OWNED, "images/a.jpg"])
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files["images/a.jpg"] == {"sha256": digest, "bytes": 3}
    assert check_files(tmp_path) == ()
    (tmp_path / "images" / "a.jpg").write_bytes(b"abd")
    (tmp_path / "trajectory.tum").unlink()
    assert check_files(tmp_path) == ("images/a.jpg was changed after it was written", "trajectory.tum is missing")


def test_views_of_the_manifest(tmp_path: Path) -> None:
    random_scene(0).save(tmp_path)
    views = json.loads((tmp_path / "scene.json").read_text())["views"]
    assert views[0]["pose_sigma"][0] is None and "pose_sigma" not in views[-1]
    assert views[0]["image"] == f"images/{output_name(views[0]['key'])}" and "image" not in views[-1]


def test_an_absent_extra_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.html"):
        random_scene(0).save(tmp_path, ["report.html"])
    assert not (tmp_path / "scene.json").exists()


def test_extra_files_may_be_absolute_but_not_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    random_scene(0).save(str(tmp_path), [tmp_path / "a.txt"])
    assert "a.txt" in json.loads((tmp_path / "scene.json").read_text())["files"]
    for path in ("../a.txt", tmp_path.parent / "a.txt"):
        with pytest.raises(UsageError, match="outside the folder"):
            random_scene(0).save(tmp_path, [path])


def test_a_manifest_cannot_reach_outside(tmp_path: Path) -> None:
    random_scene(0).save(tmp_path)
    document = json.loads((tmp_path / "scene.json").read_text())
    for name in ("/etc/hostname", "a/../../b"):
        changed = {**document, "files": {**document["files"], name: {"sha256": ""}}}
        (tmp_path / "scene.json").write_text(json.dumps(changed))
        with pytest.raises(FormatError, match="outside the folder"):
            check_files(tmp_path)


def test_an_interrupted_second_save_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_scene(0).save(tmp_path)

    def interrupt(path: Path, value: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recon3d.scene_io.write_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        random_scene(1).save(tmp_path)
    with pytest.raises(FormatError, match="was changed after it was written; to fix: run the command"):
        Scene.load(tmp_path)


@pytest.mark.parametrize("folder", ["absent", "."])
def test_no_scene_folder(tmp_path: Path, folder: str) -> None:
    with pytest.raises(InputError, match="is not a scene folder"):
        Scene.load(tmp_path / folder)


@pytest.mark.parametrize("name", ["points.ply", *(name for name in OWNED if "distorted" in name)])
def test_damaged_and_missing_files_are_named(tmp_path: Path, name: str) -> None:
    random_scene(0).save(tmp_path)
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=rf"{path.name} was changed"):
        Scene.load(tmp_path)
    path.unlink()
    with pytest.raises(FormatError, match=rf"{path.name} is missing"):
        Scene.load(tmp_path)


def drop(key: str) -> Any:
    return lambda document: document.pop(key)


def put(value: Any, *path: Any) -> Any:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(
            drop(key)
            for key in ("format", "schema", "views", "distorted", "scale", "world_from_sfm", "metrics", "files")
        ),
        drop("provenance"),
        put("other", "format"),
        put(2, "schema"),
        put({}, "views"),
        put([1], "views"),
        put("lost", "views", 0, "status"),
        put("not_registered", "views", 0, "status"),
        put(None, "views", 0, "key"),
        put("zz/broken.jpg", "views", 0, "key"),
        put("registered", "views", -1, "status"),
        put(1.5, "views", 0, "width"),
        put(-2, "views", 0, "model"),
        put([[1]], "views", 0, "camera", "K"),
        put("0", "views", 0, "camera", "K", 0, 0),
        put(None, "views", 0, "camera", "distortion"),
        put([], "views", 0, "pinhole_camera"),
        put([1, 2], "views", 0, "pose_sigma"),
        put("many", "views", 0, "pose_sigma", 2),
        put([], "views", 0, "pose_sigma", 2),
        put("yes", "distorted", "camera"),
        put("imperial", "scale", "kind"),
        put([1], "scale", "interval_95"),
        put(3, "scale", "source"),
        put({}, "files"),
        put(3, "files", "points.ply"),
    ],
)
def test_a_manifest_that_is_not_one(tmp_path: Path, change: Any) -> None:
    random_scene(0).save(tmp_path)
    document = json.loads((tmp_path / "scene.json").read_text())
    change(document)
    (tmp_path / "scene.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match=r"scene\.json"):
        Scene.load(tmp_path)


def test_points_of_another_scene(tmp_path: Path) -> None:
    random_scene(0, n_points=40).save(tmp_path / "a")
    random_scene(0, n_points=41).save(tmp_path / "b")
    name = "points.ply"
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    document = json.loads((tmp_path / "a" / "scene.json").read_text())
    document["files"][name] = json.loads((tmp_path / "b" / "scene.json").read_text())["files"][name]
    (tmp_path / "a" / "scene.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match=r"points\.ply does not belong"):
        Scene.load(tmp_path / "a")


@pytest.mark.parametrize("metrics", [{"a": float("nan")}, {"a": np.zeros(1)}, {"a": {1, 2}}])
def test_metrics_must_be_json(tmp_path: Path, metrics: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="JSON"):
        replace(random_scene(0), metrics=metrics).save(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "change"),
    [("obs_point", lambda v: v[::-1].copy()), ("obs_view", lambda v: v + 1), ("obs_point", lambda v: v + 1)],
)
def test_tracks_must_hold(tmp_path: Path, field: str, change: Any) -> None:
    scene = random_scene(0)
    points = replace(scene.points, **{field: change(getattr(scene.points, field))})
    with pytest.raises(UsageError, match=f"Points.{field}"):
        replace(scene, points=points).save(tmp_path)


def test_views_must_have_keys_of_their_own(tmp_path: Path) -> None:
    scene = random_scene(0)
    with pytest.raises(UsageError, match="share a key"):
        replace(scene, views=(*scene.views, scene.views[-1])).save(tmp_path)


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("IMG_1234.JPG", "IMG_1234_JPG"),
        ("0001.png", "0001_png"),
        ("a/b/c-d.jpg", "a__b__c-d_jpg"),
        ("my cat.jpg", "my_cat_jpg-4e003780c1"),
        ("a_/b.jpg", "a__b_jpg-"),
        ("a__b.jpg", "a__b_jpg-"),
        ("a.b.jpg", "a_b_jpg-"),
        ("../x.jpg", "___x_jpg-"),
        ("x" * 300 + ".jpg", "x" * 120 + "-"),
    ],
)
def test_output_names(key: str, stem: str) -> None:
    assert output_stem(key) == stem or (stem.endswith("-") and output_stem(key).startswith(stem))
    assert output_name(key) == output_stem(key) + (".png" if key.endswith("png") else ".jpg")


def test_lossless_photos_stay_lossless() -> None:
    names = [output_name(key) for key in ("a.TIF", "a.bmp", "a.webp", "a.heic", "a")]
    assert [Path(name).suffix for name in names] == [".png", ".png", ".jpg", ".jpg", ".jpg"]


@given(st.sets(st.text("aB_-/. \u00e9\udcff", max_size=6), max_size=50))
@example({"a/b.jpg", "a_b.jpg", "a__b.jpg", "a/b_jpg", "a_b/jpg", "a.b/jpg", "a/b.JPG", "a//b.jpg", "a_/b.jpg"})
def test_output_names_are_unique_and_safe(keys: set[str]) -> None:
    names = {output_name(key) for key in keys}
    assert len(names) == len(keys)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzABGJP0123456789_-.") and name[0] != "." for name in names)


def test_counts_must_agree() -> None:
    scene = random_scene(0)
    with pytest.raises(ShapeError, match="disagree"):
        unchecked(Scene, **{**vars(scene), "pose_sigma": scene.pose_sigma[1:]})
    with pytest.raises(ShapeError, match="disagree"):
        replace(scene, views=scene.views[1:])
    with pytest.raises(ShapeError, match=r"Points\.sigma has the wrong shape"):
        unchecked(Points, **{**vars(scene.points), "sigma": scene.points.sigma[1:]})


def test_cameras_by_key() -> None:
    scene = random_scene(0)
    assert [scene.camera_index(view.key) for view in scene.registered] == [0, 1, 2, 3]
    for key in ("zz/broken.jpg", "absent.jpg"):
        with pytest.raises(UsageError, match="no registered photo has that key"):
            scene.camera_index(key)


@pytest.mark.parametrize("seed", range(3))
def test_a_similarity_leaves_the_photos_unchanged(seed: int) -> None:
    scene = random_scene(seed)
    generator = np.random.default_rng(seed)
    similarity = np.eye(4)
    similarity[:3, :3] = 2.5 * random_rotations(generator, 1)[0]
    similarity[:3, 3] = generator.normal(size=3)
    moved = scene.transformed(similarity)
    view, point = scene.points.obs_view.astype(np.int64), scene.points.obs_point
    before, depth_before = scene.cameras.project(scene.points.xyz[point], view)
    after, depth_after = moved.cameras.project(moved.points.xyz[point], view)
    np.testing.assert_allclose(after, before, atol=1e-9)
    np.testing.assert_allclose(depth_after, 2.5 * depth_before)
    np.testing.assert_allclose(moved.points.sigma, 2.5 * scene.points.sigma)
    np.testing.assert_allclose(moved.world_from_sfm, similarity @ scene.world_from_sfm)
    np.testing.assert_allclose(
        moved.pinhole_cameras.centers,
        scene.pinhole_cameras.centers @ similarity[:3, :3].T + similarity[:3, 3],
        atol=1e-12,
    )


def test_sigmas_of_centres_turn_with_the_world() -> None:
    scene = random_scene(0)
    quarter = np.array([[0.0, -2, 0, 0], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])  # twice as large, x becomes y
    sigma = scene.transformed(quarter).pose_sigma
    np.testing.assert_allclose(sigma[1, 3:], 2 * scene.pose_sigma[1, [4, 3, 5]])
    np.testing.assert_allclose(sigma[:, :3], scene.pose_sigma[:, :3])


def test_track_length_counts_photos() -> None:
    scene = random_scene(0)
    assert scene.points.track_length.sum() == len(scene.points.obs_view)
    assert scene.points.track_length.min() >= 2


def test_metres_only_for_metric_scenes() -> None:
    assert recon3d.Scale("metric", "tape").unit == "m"
    assert recon3d.Scale().unit == "units"


def test_mean_error_is_over_observations() -> None:
    """A point of three photos counts three times, as the observations of the report do."""
    points = Points(
        xyz=np.zeros((2, 3)),
        rgb=np.zeros((2, 3), np.uint8),
        error_px=np.array([1.0, 0.2]),
        sigma=np.zeros(2),
        obs_point=np.array([0, 0, 1, 1, 1], np.int32),
        obs_view=np.array([0, 1, 0, 1, 2], np.int32),
        obs_xy=np.zeros((5, 2)),
    )
    assert points.mean_error_px == pytest.approx((2 * 1.0 + 3 * 0.2) / 5)


def test_mean_error_of_nothing() -> None:
    none = np.zeros(0, np.int32)
    points = Points(
        np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0), np.zeros(0), none, none, np.zeros((0, 2))
    )
    assert points.mean_error_px == 0.0


def frames(*named: tuple[str, float | None]) -> Scene:
    scene = random_scene(0, len(named))
    views = [View(key, "registered", width=640, height=480, time_s=time) for key, time in named]
    return replace(scene, views=tuple(views))


def test_frames_of_one_video_have_timestamps(tmp_path: Path) -> None:
    scene = frames(("clip.mp4/000000.png", 0.0), ("clip.mp4/000007.png", 0.2335), ("clip.mp4/000015.png", 0.5))
    assert scene.timestamps is not None and scene.timestamps.tolist() == [0.0, 0.2335, 0.5]
    scene.save(tmp_path)
    assert Scene.load(tmp_path).views == scene.views
    assert read_tum(tmp_path / "trajectory.tum").timestamps.tolist() == [0.0, 0.2335, 0.5]


def test_photos_and_several_videos_have_no_common_clock(tmp_path: Path) -> None:
    mixed = frames(("a.mp4/000000.png", 0.0), ("b.mp4/000000.png", 0.0), ("b.mp4/000009.png", 0.3))
    assert mixed.timestamps is None
    assert frames(("a.mp4/000000.png", 0.0), ("a.mp4/x.png", None), ("a.mp4/z.png", 1.0)).timestamps is None
    mixed.save(tmp_path)
    assert read_tum(tmp_path / "trajectory.tum").timestamps.tolist() == [0.0, 1.0, 2.0]
