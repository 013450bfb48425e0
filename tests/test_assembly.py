"""Assembly: what became of every photo, duplicates, renumbered observations and the angles between photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon3d.assembly import assemble, make_views, pair_angles, resized, summarize_pairs
from recon3d.photos import Photo, PhotoSet
from recon3d.photos.types import Rejected
from recon3d.render.cameras import Cameras
from recon3d.scene import Points, Scale, View
from recon3d.sfm.engine import CameraSearch
from recon3d.sfm.finish import Finished
from recon3d.sfm.types import Mapped, Pair
from recon3d.sfm.verify_options import Drop, Verdict

SIZE = (640, 480)


def photo(key: str, size: tuple[int, int] = SIZE, duplicate_of: str | None = None, remark: str = "") -> Photo:
    return Photo(key, Path(key), *size, f"sha of {key}", duplicate_of=duplicate_of, remark=remark)


def cameras(centers: Sequence[Sequence[float]], size: tuple[int, int] = SIZE) -> Cameras:
    """Cameras that look along world z."""
    n = len(centers)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, 3] = -np.array(centers, np.float64)
    K = np.tile(np.array([[500.0, 0, 321], [0, 510, 239], [0, 0, 1]]), (n, 1, 1))
    return Cameras(poses, K, np.full(n, size[0]), np.full(n, size[1]), np.tile([-0.05, 0.01, 0, 0], (n, 1)))


def points(xyz: Sequence[Sequence[float]], views: Sequence[Sequence[int]]) -> Points:
    """Points seen by the named views, at pixels that tell the observations apart."""
    n, counts = len(xyz), [len(seen) for seen in views]
    obs_view = np.array([view for seen in views for view in seen], np.int32)
    xy = np.stack([np.arange(len(obs_view)), obs_view], 1).astype(np.float64)
    obs_point = np.repeat(np.arange(n), counts).astype(np.int32)
    nan = np.full(n, np.nan)
    return Points(np.array(xyz, np.float64), np.zeros((n, 3), np.uint8), np.zeros(n), nan, obs_point, obs_view, xy)


def mapped(photo_indices: Sequence[int], seen: Points | None = None) -> Mapped:
    n = len(photo_indices)
    found = cameras([(float(k), 0.0, 0.0) for k in range(n)])
    some = points([(0.0, 0.0, 5.0)], [list(range(n))]) if seen is None else seen
    return Mapped("incremental", np.array(photo_indices), found, np.zeros(n, np.int64), some)


def pair(first: int, second: int, n: int) -> Pair:
    return Pair(first, second, np.zeros((n, 2), np.int64), np.zeros((n, 2, 2)), 2 * n, 0, "CALIBRATED")


def search(
    chosen: Mapped | None,
    n_photos: int,
    drop: Sequence[Drop] = (),
    others: Sequence[tuple[int, ...]] = (),
    pairs: Sequence[Pair] = (),
) -> CameraSearch:
    verdict = Verdict(chosen, chosen is not None, (), (), tuple(drop), tuple(others), {})
    group = tuple(10 + k for k in range(n_photos))
    return CameraSearch(verdict, Path("model.npz"), {}, (), tuple(pairs), (), {}, (), group, "key", {}, False)


@pytest.fixture
def capture() -> tuple[PhotoSet, list[Photo], CameraSearch]:
    """Ten photos of every fate: 0-2 placed, 3 dropped, 4-5 another model, 6 with few matches, 7 with none."""
    usable = [photo(f"{k}.jpg", remark="blurred" if k in (2, 6) else "") for k in range(8)]
    twins = [photo("0b.jpg", duplicate_of="0.jpg"), photo("7b.jpg", duplicate_of="7.jpg", remark="blurred")]
    rejected = (Rejected("00.jpg", "empty file"), Rejected("x/y.png", "not an image", "abc"))
    capture = PhotoSet(Path(), tuple(sorted([*usable, *twins], key=lambda item: item.key)), rejected)
    matched = [pair(0, 6, 20), pair(1, 6, 40), pair(0, 1, 90)]
    found = search(mapped([0, 1, 2, 3]), 8, [Drop(3, "its pose is loose")], [(4, 5)], matched)
    return capture, usable, found


def by_key(views: Sequence[View]) -> dict[str, View]:
    return {view.key: view for view in views}


def test_every_file_is_listed_once_in_order(capture: tuple[PhotoSet, list[Photo], CameraSearch]) -> None:
    photos, searched, found = capture
    keys = [view.key for view in make_views(photos, found, searched, trusted=True)]
    assert keys == sorted([item.key for item in photos.photos] + ["00.jpg", "x/y.png"])


@pytest.mark.parametrize(
    ("key", "status", "reason", "model"),
    [
        ("0.jpg", "registered", "", 0),
        ("0b.jpg", "registered", "duplicate of 0.jpg, shares its pose", 0),
        ("2.jpg", "registered", "blurred", 0),
        ("3.jpg", "not_registered", "its pose is loose", -1),
        ("4.jpg", "not_registered", "belongs to separate model 1 of 2 photos", 1),
        (
            "6.jpg",
            "not_registered",
            "too little overlap: at most 40 matches that fit, with 1.jpg; the photo is blurred",
            -1,
        ),
        ("7.jpg", "not_registered", "no overlap: no other photo has 15 matches with it that fit", -1),
        ("7b.jpg", "not_registered", "duplicate of 7.jpg, which has no pose; the photo is blurred", -1),
        ("00.jpg", "skipped", "empty file", -1),
        ("x/y.png", "skipped", "not an image", -1),
    ],
)
def test_fate_and_reason(
    capture: tuple[PhotoSet, list[Photo], CameraSearch], key: str, status: str, reason: str, model: int
) -> None:
    photos, searched, found = capture
    view = by_key(make_views(photos, found, searched, trusted=True))[key]
    assert (view.status, view.reason, view.model) == (status, reason, model)


def test_views_carry_size_hash_and_group(capture: tuple[PhotoSet, list[Photo], CameraSearch]) -> None:
    photos, searched, found = capture
    views = by_key(make_views(photos, found, searched, trusted=True))
    placed, twin, file = views["0.jpg"], views["0b.jpg"], views["x/y.png"]
    assert (placed.width, placed.height, placed.sha256, placed.camera_group) == (640, 480, "sha of 0.jpg", 10)
    assert (twin.sha256, twin.camera_group) == ("sha of 0b.jpg", 10)
    assert (file.width, file.height, file.sha256, file.camera_group) == (0, 0, "abc", -1)


def test_nothing_of_a_refused_capture_is_placed(capture: tuple[PhotoSet, list[Photo], CameraSearch]) -> None:
    photos, searched, found = capture
    views = by_key(make_views(photos, found, searched, trusted=False))
    assert {view.status for view in views.values()} == {"not_registered", "skipped"}
    assert {view.model for view in views.values()} == {-1}
    assert views["0.jpg"].reason == "the capture was refused"
    assert views["2.jpg"].reason == "the capture was refused; the photo is blurred"
    assert views["0b.jpg"].reason == "duplicate of 0.jpg, which has no pose"


def test_views_without_a_search(capture: tuple[PhotoSet, list[Photo], CameraSearch]) -> None:
    photos, searched, _ = capture
    views = make_views(photos, None, searched, trusted=False)
    assert {view.camera_group for view in views} == {-1}
    assert not [view for view in views if view.status == "registered"]


def finished(model: Mapped) -> Finished:
    n = len(model.photo)
    twins = replace(model.cameras, distortion=None)
    sigma = np.arange(6.0 * n).reshape(n, 6)
    world = np.diag([2.0, 2.0, 2.0, 1.0])
    return Finished(model, twins, sigma, world, Scale("metric", "a tape", (0.9, 1.1)), {}, ())


@pytest.fixture
def doubled() -> tuple[PhotoSet, list[Photo], CameraSearch, Mapped]:
    """Photos b, d, e are placed; a is a small copy of d, c a copy of b, f one of g, which has no pose."""
    searched = [photo("b"), photo("d"), photo("e"), photo("g")]
    twins = [photo("a", (320, 240), "d"), photo("c", duplicate_of="b"), photo("f", duplicate_of="g")]
    seen = points([(0, 0, 5), (1, 0, 5)], [[0, 1, 2], [0, 2]])
    model = mapped([0, 1, 2], seen)
    photos = PhotoSet(Path(), tuple(sorted([*searched, *twins], key=lambda item: item.key)))
    return photos, searched, search(model, 4), model


def test_duplicates_share_pose_and_scaled_intrinsics(
    doubled: tuple[PhotoSet, list[Photo], CameraSearch, Mapped],
) -> None:
    photos, searched, found, model = doubled
    scene = assemble(photos, searched, make_views(photos, found, searched, trusted=True), finished(model))
    assert [view.key for view in scene.registered] == ["a", "b", "c", "d", "e"]
    rows = [1, 0, 0, 1, 2]  # of the model, in the order of the views
    np.testing.assert_array_equal(scene.cameras.cam_from_world, model.cameras.cam_from_world[rows])
    np.testing.assert_array_equal(scene.pose_sigma, np.arange(18.0).reshape(3, 6)[rows])
    assert scene.cameras.width.tolist() == [320, 640, 640, 640, 640]
    assert scene.cameras.height.tolist() == [240, 480, 480, 480, 480]
    for each in (scene.cameras, scene.pinhole_cameras):
        np.testing.assert_array_equal(each.K[0], [[250.0, 0, 160.5], [0, 255, 119.5], [0, 0, 1]])
        np.testing.assert_array_equal(each.K[3], model.cameras.K[1])
    assert scene.cameras.distortion is not None and model.cameras.distortion is not None
    np.testing.assert_array_equal(scene.cameras.distortion, model.cameras.distortion[rows])
    assert scene.pinhole_cameras.distortion is None


def test_a_small_copy_sees_the_same_world(doubled: tuple[PhotoSet, list[Photo], CameraSearch, Mapped]) -> None:
    photos, searched, found, model = doubled
    scene = assemble(photos, searched, make_views(photos, found, searched, trusted=True), finished(model))
    world = np.array([[0.4, -0.3, 4.0], [1.0, 1.0, 6.0]])
    small, _ = scene.cameras.project(world, np.array([0, 0]))
    large, _ = scene.cameras.project(world, np.array([3, 3]))
    np.testing.assert_allclose(2 * small, large, atol=1e-9)


def test_observations_belong_to_the_originals(doubled: tuple[PhotoSet, list[Photo], CameraSearch, Mapped]) -> None:
    photos, searched, found, model = doubled
    scene = assemble(photos, searched, make_views(photos, found, searched, trusted=True), finished(model))
    keys = [view.key for view in scene.registered]
    assert [keys[view] for view in scene.points.obs_view] == ["b", "d", "e", "b", "e"]
    assert scene.points.obs_view.dtype == np.int32
    np.testing.assert_array_equal(scene.points.obs_xy, model.points.obs_xy)


def test_scale_and_world_reach_the_scene(doubled: tuple[PhotoSet, list[Photo], CameraSearch, Mapped]) -> None:
    photos, searched, found, model = doubled
    scene = assemble(photos, searched, make_views(photos, found, searched, trusted=True), finished(model))
    assert (scene.scale.kind, scene.scale.source) == ("metric", "a tape")
    assert scene.world_from_sfm[0, 0] == 2.0


def test_resized_of_nothing_is_nothing() -> None:
    assert len(resized(cameras([(0, 0, 0)])[0:0], [])) == 0


@pytest.mark.parametrize("half_deg", [1e-4, 0.5, 20.0, 60.0, 89.0])
def test_angle_of_one_point(half_deg: float) -> None:
    away = math.tan(math.radians(half_deg))
    seen = points([(0, 0, 1)], [[0, 1]])
    model = Mapped("global", np.array([3, 7]), cameras([(-away, 0, 0), (away, 0, 0)]), np.zeros(2, np.int64), seen)
    angles = pair_angles(model)
    assert list(angles) == [(3, 7)]
    assert angles[3, 7] == pytest.approx(2 * half_deg, rel=1e-9)


def test_angle_is_the_median_over_common_points() -> None:
    """Cameras two units apart see points at heights whose angles are 2 atan(1 / z)."""
    heights = [1.0, 2.0, 4.0]
    seen = points([(0, 0, z) for z in heights] + [(0, 0, 100.0)], [[0, 1], [0, 1], [0, 1], [0, 2]])
    found = cameras([(-1, 0, 0), (1, 0, 0), (-1, 0, 0)])
    angles = pair_angles(Mapped("global", np.array([0, 1, 2]), found, np.zeros(3, np.int64), seen))
    assert angles[0, 1] == pytest.approx(2 * math.degrees(math.atan(0.5)))
    assert angles[0, 2] == 0.0
    assert (1, 2) not in angles  # they share no point


def test_pairs_of_the_report(capture: tuple[PhotoSet, list[Photo], CameraSearch]) -> None:
    _, searched, found = capture
    rows = summarize_pairs(found, searched)
    assert [(row.first, row.second) for row in rows] == [("0.jpg", "1.jpg"), ("0.jpg", "6.jpg"), ("1.jpg", "6.jpg")]
    assert (rows[0].n_matches, rows[0].n_inliers) == (180, 90)
    assert rows[0].median_triangulation_deg == pytest.approx(math.degrees(math.atan(1 / 5)))
    assert math.isnan(rows[1].median_triangulation_deg)


def test_tried_pairs_without_a_geometry_are_listed() -> None:
    found = replace(search(None, 3, pairs=[pair(0, 1, 30)]), tried=((0, 1), (1, 2)))
    rows = summarize_pairs(found, [photo("a"), photo("b"), photo("c")])
    assert [(row.first, row.second, row.n_inliers) for row in rows] == [("a", "b", 30), ("b", "c", 0)]


def test_pairs_without_a_model_have_no_angle() -> None:
    rows = summarize_pairs(search(None, 2, pairs=[pair(0, 1, 30)]), [photo("a"), photo("b")])
    assert math.isnan(rows[0].median_triangulation_deg)
