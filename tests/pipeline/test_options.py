"""Options that act after the cameras were found: scale, gauge, known poses, budgets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon3d.core.errors import ResourceError, UsageError
from recon3d.photos import PhotoOptions
from recon3d.pipeline import failed_checks, reconstruct
from recon3d.scene import Scene, View
from recon3d.sfm.scale import ScaleOptions

from .conftest import N_PHOTOS, Run

FROM_CAMERAS = ("cameras", "finished", "undistorted")


def stage_times(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob(".recon3d/*/done.json")}


def test_a_known_distance_makes_metres(copy: Run) -> None:
    keys = [copy.scene.registered[0].key, copy.scene.registered[5].key]
    before = stage_times(copy.out)
    scene = copy.again(scale=ScaleOptions(distance=f"{keys[0]},{keys[1]}=2.5"))
    rows = [scene.camera_index(key) for key in keys]
    assert np.linalg.norm(np.subtract(*scene.cameras.centers[rows])) == pytest.approx(2.5, rel=1e-9)
    assert (scene.scale.kind, scene.scale.unit) == ("metric", "m")
    assert scene.scale.interval_95 is not None
    low, high = scene.scale.interval_95
    assert low < 1.0 < high
    after = stage_times(copy.out)
    assert {name for name in after if after[name] != before[name]} == {"finished"}  # nothing else is computed again
    ratio = np.median(scene.points.sigma / copy.scene.points.sigma)
    moved = np.linalg.norm(np.subtract(*copy.scene.cameras.centers[rows]))
    assert ratio == pytest.approx(2.5 / moved, rel=1e-6)
    assert Scene.load(copy.out).scale == scene.scale


def test_a_distance_between_unknown_photos_is_wrong_usage(copy: Run) -> None:
    with pytest.raises(UsageError, match=r"absent\.jpg"):
        copy.again(scale=ScaleOptions(distance="absent.jpg,courtyard_01.jpg=2.5"))


def test_depth_maps_that_changed_count(copy: Run, tmp_path: Path) -> None:
    """Depth maps of 3 m everywhere, then of 6 m: the scene doubles."""
    sizes = []
    (tmp_path / "depth").mkdir()
    for millimetres in (3000, 6000):
        for view in copy.scene.registered:
            depth = np.full((view.height, view.width), millimetres, np.uint16)
            Image.fromarray(depth).save(tmp_path / "depth" / f"{Path(view.key).stem}.png")
        scene = copy.again(scale=ScaleOptions(depth=str(tmp_path / "depth")))
        assert scene.scale.kind == "metric"
        sizes.append(np.linalg.norm(scene.cameras.centers[0] - scene.cameras.centers[-1]))
    assert sizes[1] / sizes[0] == pytest.approx(2.0, rel=1e-6)


def test_kept_gauge_is_that_of_the_mapper(copy: Run) -> None:
    scene = copy.again(keep_gauge=True)
    np.testing.assert_array_equal(scene.world_from_sfm, np.eye(4))
    moved = scene.transformed(copy.scene.world_from_sfm)
    np.testing.assert_allclose(moved.cameras.centers, copy.scene.cameras.centers, atol=1e-9)
    assert json.loads((copy.out / "scene.json").read_text())["provenance"]["options"]["keep_gauge"] is True


def with_other_poses(copy: Run, poses: Path) -> Scene:
    return copy.again(photos=PhotoOptions(poses=poses))


def check_known(scene: Scene, truth: Scene, spread: float) -> None:
    """Cameras stay where they were given, up to what refinement moves them."""
    assert [view.key for view in scene.registered] == [view.key for view in truth.registered]
    off = np.linalg.norm(scene.cameras.centers - truth.cameras.centers, axis=1)
    assert off.max() < 0.01 * spread
    assert len(scene.points) > 0.5 * len(truth.points)
    np.testing.assert_array_equal(scene.world_from_sfm, np.eye(4))


def spread_of(scene: Scene) -> float:
    return float(np.sqrt(((scene.cameras.centers - scene.cameras.centers.mean(axis=0)) ** 2).sum(axis=1).mean()))


def test_known_colmap_model_keeps_its_frame(copy: Run, first: Run) -> None:
    """The poses of the first run moved into another world, as input: the result lies in that world."""
    turn = np.array([[0.0, -3.0, 0.0, 10.0], [3.0, 0.0, 0.0, -20.0], [0.0, 0.0, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]])
    given = replace(first.scene.transformed(turn), metrics={}, provenance={})
    given.save(copy.photos.parent / "given")
    scene = with_other_poses(copy, copy.photos.parent / "given/colmap_distorted")
    check_known(scene, given, spread_of(given))


def test_known_transforms_with_undistorted_photos(first: Run, tmp_path: Path) -> None:
    """images/ and transforms.json of an output folder are a capture with known poses."""
    options = PhotoOptions(poses=first.out / "transforms.json")
    scene = reconstruct(first.out / "images", out=tmp_path / "out", photos=options, quiet=True, only="cameras")
    assert len(scene.registered) == N_PHOTOS
    off = np.linalg.norm(scene.cameras.centers - first.scene.cameras.centers, axis=1)
    assert off.max() < 0.01 * spread_of(first.scene)


def test_too_little_memory_is_a_resource_error(capture: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="too little memory"):
        reconstruct(capture, out=tmp_path / "out", max_memory="200MB", only="cameras", quiet=True)


def views(n_registered: int, n_lost: int) -> tuple[View, ...]:
    return tuple(
        View(f"{k}.jpg", "registered" if k < n_registered else "not_registered") for k in range(n_registered + n_lost)
    )


@pytest.mark.parametrize(("n_usable", "failed"), [(N_PHOTOS, False), (2 * N_PHOTOS, False), (2 * N_PHOTOS + 1, True)])
def test_fewer_than_half_of_the_photos_is_below_the_checks(first: Run, n_usable: int, failed: bool) -> None:
    found = failed_checks(first.scene, n_usable)
    assert found == ([f"only {N_PHOTOS} of {n_usable} usable photos could be placed"] if failed else [])


def test_large_reprojection_errors_are_below_the_checks(first: Run) -> None:
    points = replace(first.scene.points, error_px=np.full(len(first.scene.points), 2.5))
    found = failed_checks(replace(first.scene, points=points), N_PHOTOS)
    assert found == ["the mean reprojection error of 2.5 px is above 2 px"]
