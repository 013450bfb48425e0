"""A segmenter on clouds of every kind: one label per point, whatever the cloud, and from several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from small_segmentation import ROOM, STREET, network, room_rows, segmenter, stored, street_rows

from recon3d.core.errors import FormatError, InputError, ShapeError, UsageError
from recon3d.formats.safetensors import write_safetensors
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.segmentation.segmenter import Segmenter
from recon3d.pointcloud.segmentation.weights import bundled_segmenter, write_segmenter


def as_cloud(rows: np.ndarray, **more: np.ndarray) -> PointCloud:
    return PointCloud(xyz=rows[:, :3].copy(), attributes={"rgb": rows[:, 3:6].astype(np.uint8), **more})


def test_every_point_has_the_label_of_its_voxel() -> None:
    rows = np.concatenate([room_rows(1), room_rows(1)])
    found = segmenter(ROOM).segment(rows, keep_probabilities=True)
    assert len(found) == 800 and found.labels.min() >= 0
    assert len(np.unique(found.labels)) > 1, "a network that answers one class everywhere tests nothing"
    assert (found.labels[:400] == found.labels[400:]).all()
    assert found.probabilities is not None
    assert found.probabilities.sum(1) == pytest.approx(np.ones(800), abs=1e-5)
    assert (found.probabilities.argmax(1) == found.labels).all()
    assert found.confidence == pytest.approx(found.probabilities.max(1))


def test_a_cloud_and_its_columns_answer_alike() -> None:
    rows = np.rint(room_rows(2) * 1000) / 1000
    rows[:, 3:] = np.floor(rows[:, 3:])
    one, two = segmenter(ROOM).segment(rows), segmenter(ROOM).segment(as_cloud(rows))
    assert (one.labels == two.labels).all()
    assert any("normals" in note for note in one.notes)


def test_given_normals_are_used_and_zeros_are_not() -> None:
    rows, up = room_rows(3), np.tile(np.float32([0, 0, 1]), (400, 1))
    given = segmenter(ROOM).segment(as_cloud(rows, normals=up), keep_probabilities=True)
    estimated = segmenter(ROOM).segment(as_cloud(rows, normals=0 * up), keep_probabilities=True)
    assert given.notes == () and len(estimated.notes) == 1
    assert given.probabilities is not None and estimated.probabilities is not None
    assert np.abs(given.probabilities - estimated.probabilities).max() > 1e-3


def test_the_sign_of_a_normal_does_not_matter() -> None:
    rows, normals = room_rows(4), np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    one, two = (segmenter(ROOM).segment(as_cloud(rows, normals=sign * normals)) for sign in (1, -1))
    assert (one.labels == two.labels).all() and (one.confidence == two.confidence).all()


def test_points_without_a_place_or_out_of_reach_have_no_label() -> None:
    rows = street_rows(1)
    rows[0, 0], rows[1, 2], rows[2, 0] = np.nan, np.inf, 30.0
    found = segmenter(STREET).segment(rows)
    assert found.labels[:3].tolist() == [-1, -1, -1] and (found.labels[3:] >= 0).all()
    assert found.confidence[:3].tolist() == [0, 0, 0]
    assert any("beyond 20 m" in note for note in found.notes)


@pytest.mark.parametrize("n_points", [0, 1, 2])
def test_tiny_clouds_have_a_defined_answer(n_points: int) -> None:
    for spec, rows in ((ROOM, room_rows(5, n_points)), (STREET, street_rows(5, n_points))):
        found = segmenter(spec).segment(rows, views=2, keep_probabilities=True)
        assert len(found.labels) == n_points and (found.labels >= 0).all()
        assert found.to_json()["points"] == n_points


def test_all_points_in_one_voxel_have_one_label() -> None:
    rows = np.tile([1.0, 1.0, 1.0, 100.0, 100.0, 100.0], (50, 1))
    assert len(set(segmenter(ROOM).segment(rows).labels.tolist())) == 1


def test_tiles_that_see_everything_answer_like_one_scene() -> None:
    rows = room_rows(6)
    whole, tiled = (segmenter(ROOM, most_patches=most).segment(rows) for most in (6000, 40))
    assert (whole.labels == tiled.labels).all()  # 3 m are less than the margin
    assert whole.confidence == pytest.approx(tiled.confidence, abs=1e-5)


def test_far_parts_of_a_tiled_scene_do_not_meet() -> None:
    rows = room_rows(7)
    away = rows + np.array([60.0, 0, 0, 0, 0, 0])
    found = segmenter(ROOM, most_patches=500).segment(np.concatenate([rows, away]))
    assert (found.labels[:400] == found.labels[400:]).mean() > 0.97


def test_turned_views_are_averaged() -> None:
    rows = room_rows(8)
    one, four = (segmenter(ROOM).segment(rows, views=views, keep_probabilities=True) for views in (1, 4))
    assert one.probabilities is not None and four.probabilities is not None
    assert four.probabilities.sum(1) == pytest.approx(np.ones(400), abs=1e-4)
    assert not np.allclose(one.probabilities, four.probabilities)
    with pytest.raises(UsageError, match="1 to 8"):
        segmenter(ROOM).segment(rows, views=0)


def test_threads_get_the_answers_of_one() -> None:
    shared, clouds = segmenter(ROOM), [room_rows(seed) for seed in range(8)]
    alone = [shared.segment(rows) for rows in clouds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(shared.segment, clouds))
    for one, two in zip(alone, together, strict=True):
        assert (one.labels == two.labels).all() and (one.confidence == two.confidence).all()


def test_the_mount_height_is_taken_into_account() -> None:
    rows = street_rows(2)
    raised = rows - np.array([0, 0, 0.8, 0])
    one, two = segmenter(STREET).segment(rows), segmenter(STREET).segment(raised, mount_m=2.5)
    assert (one.labels == two.labels).mean() > 0.97  # distances differ a little
    high = segmenter(STREET).segment(rows + np.array([0, 0, 5.0, 0]))
    assert any("--mount" in note for note in high.notes)


def test_intensities_are_checked_and_scaled() -> None:
    rows = street_rows(3)
    bytes_ = rows * np.array([1, 1, 1, 255])
    one, two = segmenter(STREET).segment(rows), segmenter(STREET).segment(bytes_)
    assert (one.labels == two.labels).all() and any("255" in note for note in two.notes)
    assert segmenter(STREET).segment(bytes_, intensity_max=255).notes == one.notes
    with pytest.raises(InputError, match="--intensity-max"):
        segmenter(STREET).segment(rows * np.array([1, 1, 1, 4000]))
    with pytest.raises(InputError, match="out of range"):
        segmenter(STREET).segment(rows - np.array([0, 0, 0, 0.5]))


def test_clouds_that_lack_something_say_so() -> None:
    with pytest.raises(InputError, match="needs colours"):
        segmenter(ROOM).segment(room_rows(1)[:, :3])
    with pytest.raises(InputError, match="needs intensities"):
        segmenter(STREET).segment(street_rows(1)[:, :3])
    with pytest.raises(InputError, match="out of range"):
        segmenter(ROOM).segment(room_rows(1) / 255)
    with pytest.raises(InputError, match="millimetres"):
        segmenter(ROOM).segment(room_rows(1) * np.array([1e3, 1e3, 1e3, 1, 1, 1]))
    for bad in (np.zeros((3, 2)), np.zeros((2, 4), np.complex64)):
        with pytest.raises(ShapeError):
            segmenter(ROOM).segment(bad)


def test_files_of_weights(tmp_path: Path) -> None:
    path = stored(tmp_path / "weights.safetensors", ROOM)
    rows, loaded = room_rows(9), Segmenter.load(path, device="cpu")
    assert loaded.spec == ROOM
    assert (loaded.segment(rows).labels == segmenter(ROOM).segment(rows).labels).mean() > 0.97  # half precision
    with pytest.raises(InputError, match="no weights"):
        Segmenter.load(tmp_path / "absent.safetensors")
    write_safetensors(tmp_path / "bare.safetensors", network(ROOM).state_dict())
    with pytest.raises(FormatError, match="does not say"):
        Segmenter.load(tmp_path / "bare.safetensors")
    write_segmenter(tmp_path / "other.safetensors", network(ROOM).state_dict(), STREET)
    with pytest.raises(FormatError, match="do not match"):
        Segmenter.load(tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="no such segmenter"):
        bundled_segmenter("sea")
    with pytest.raises(UsageError, match="patches"):
        segmenter(ROOM, most_patches=0)


def test_many_points_are_labelled_in_tiles() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.uniform(0, 4, (300_000, 3)), np.full((300_000, 3), 90.0)])
    found = segmenter(ROOM, most_patches=300).segment(rows)
    assert len(found.labels) == 300_000 and (found.labels >= 0).all()
    assert torch.is_inference_mode_enabled() is False
