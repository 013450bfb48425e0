"""The project's own format: every kind of file gives the same sample, and damage is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recon3d.core.errors import FormatError, InputError
from recon3d.pointcloud.clouds import PointCloud, save
from recon3d.pointcloud.segmentation.folders import HOLD_OUT_EVERY
from recon3d.pointcloud.segmentation.own_format import own_scenes
from recon3d.pointcloud.volt.samples import Sample

Classes = Callable[..., Path]


def cloud(count: int = 20, **attributes: np.ndarray) -> PointCloud:
    """Points on a grid of centimetres, which every format keeps; the label is the height in halves of a metre."""
    rng = np.random.default_rng(count)
    xyz = rng.integers(0, 200, (count, 3)) / 100
    colours = rng.integers(2, 255, (count, 3)).astype(np.uint8)
    return PointCloud(xyz=xyz, attributes={"rgb": colours, **attributes})


def labels_of(one: PointCloud) -> np.ndarray:
    return np.floor(one.xyz[:, 2] * 2).astype(np.int32)


@pytest.fixture
def classes(tmp_path: Path) -> Classes:
    """Write a ``classes.json`` whose labels are four numbers in two classes."""

    def write(**changed: object) -> Path:
        about = {"kind": "indoor", "classes": {"low": [0, 1], "high": [2, 3]}, "features": ["one", "height", "colour"]}
        (tmp_path / "classes.json").write_text(json.dumps(about | changed))
        return tmp_path

    return write


def only(folder: Path) -> Sample:
    return own_scenes(folder).training(0)


@pytest.mark.parametrize("suffix", ["ply", "pcd", "npz", "las"])
def test_labels_lie_in_the_cloud(classes: Classes, suffix: str) -> None:
    made = cloud()
    save(classes() / f"a.{suffix}", made.with_attributes(label=labels_of(made)))
    sample = only(classes())
    assert np.asarray(sample.segment).tolist() == (labels_of(made) >= 2).astype(int).tolist()
    assert np.asarray(sample.color) == pytest.approx(made.attributes["rgb"].astype(np.float32), abs=1)
    assert np.ptp(sample.xyz, axis=0) == pytest.approx(np.ptp(made.xyz, axis=0), abs=1e-5)


@pytest.mark.parametrize("suffix", ["ply", "pcd", "npz", "las"])
def test_labels_lie_beside_the_cloud(classes: Classes, suffix: str) -> None:
    made = cloud()
    save(classes() / f"a.{suffix}", made)
    np.save(classes() / "a.labels.npy", labels_of(made).astype(np.uint16))
    assert np.asarray(only(classes()).segment).tolist() == (labels_of(made) >= 2).astype(int).tolist()


@pytest.mark.parametrize("suffix", ["bin", "npy"])
def test_rows_of_sweeps_have_labels_beside_them(classes: Classes, suffix: str) -> None:
    folder = classes(kind="outdoor", features=["one", "height", "distance", "strength"])
    rows = np.random.default_rng(0).uniform(0, 1, (30, 4)).astype(np.float32)
    save(folder / f"a.{suffix}", PointCloud(xyz=rows[:, :3].astype(float), attributes={"intensity": rows[:, 3]}))
    np.save(folder / "a.labels.npy", np.arange(30) % 5)
    sample = only(folder)
    assert np.asarray(sample.strength) == pytest.approx(rows[:, 3])
    assert np.asarray(sample.segment)[:5].tolist() == [0, 0, 1, 1, -1]


def test_labels_beside_a_cloud_go_before_those_in_it(classes: Classes) -> None:
    made = cloud()
    save(classes() / "a.ply", made.with_attributes(label=np.zeros(20, np.int32)))
    np.save(classes() / "a.labels.npy", np.full(20, 3))
    assert set(np.asarray(only(classes()).segment).tolist()) == {1}


def test_numbers_that_no_class_has_are_unknown(classes: Classes) -> None:
    save(classes() / "a.ply", cloud(6))
    np.save(classes() / "a.labels.npy", np.array([0.0, np.nan, 9.0, -1.0, 3.0, 255.0]))
    assert np.asarray(only(classes()).segment).tolist() == [0, -1, -1, -1, 1, -1]


def test_points_without_a_position_go_with_their_labels(classes: Classes) -> None:
    made = cloud(8)
    made.xyz[2, 1] = np.nan
    save(classes() / "a.npz", made)
    np.save(classes() / "a.labels.npy", np.array([0, 0, 3, 3, 0, 3, 0, 3]))
    sample = only(classes())
    assert len(sample) == 7 and np.asarray(sample.segment).tolist() == [0, 0, 1, 0, 1, 0, 1]


def test_intensities_are_scaled_as_the_description_says(classes: Classes) -> None:
    folder = classes(kind="outdoor", features=["one", "strength"], intensity_max=4000)
    rows = np.array([[5.0, 0, 0, 4000], [0, 5.0, 0, 1000]], np.float32)
    np.save(folder / "a.npy", rows)
    np.save(folder / "a.labels.npy", np.zeros(2, np.int64))
    assert np.asarray(only(folder).strength).tolist() == [1.0, 0.25]


def test_normals_are_estimated_only_where_they_are_wanted(classes: Classes) -> None:
    made = cloud(50)
    save(classes() / "a.ply", made.with_attributes(label=labels_of(made)))
    assert only(classes()).normal is None
    normal = only(classes(features=["one", "normal"])).normal
    assert normal is not None and np.linalg.norm(normal, axis=1) == pytest.approx(np.ones(50), abs=1e-4)
    assert normal[:, 2].min() >= 0


def test_every_tenth_cloud_is_held_out(classes: Classes) -> None:
    for k in range(2 * HOLD_OUT_EVERY + 1):
        (classes() / f"{k:02d}.ply").touch()
    scenes = own_scenes(classes())
    assert [path.stem for path in scenes.val] == ["09", "19"]
    assert len(scenes.train) == 19 and not set(scenes.train) & set(scenes.val)


def test_a_single_cloud_is_learnt_and_evaluated(classes: Classes) -> None:
    made = cloud()
    save(classes() / "a.ply", made.with_attributes(label=labels_of(made)))
    scenes = own_scenes(classes())
    assert scenes.train == scenes.val and scenes.held_out == 1
    assert np.array_equal(scenes.training(0).xyz, scenes.unseen(0).xyz)


def test_folders_of_a_split_are_kept_apart(classes: Classes) -> None:
    for name in ("train/a.ply", "train/b.PCD", "val/c.npz", "odd.ply"):
        (classes() / name).parent.mkdir(exist_ok=True)
        (classes() / name).touch()
    (classes() / "train" / "a.labels.npy").touch()
    scenes = own_scenes(classes())
    assert [path.name for path in scenes.train] == ["a.ply", "b.PCD"]
    assert [path.name for path in scenes.val] == ["c.npz"]


def test_the_description_has_what_the_file_says(classes: Classes) -> None:
    (classes() / "a.ply").touch()
    spec = own_scenes(classes(kind="outdoor", features=["one"], voxel_m=0.3, mount_m=2, max_distance_m=30)).spec
    assert (spec.kind, spec.voxel_m, spec.mount_m, spec.max_distance_m) == ("outdoor", 0.3, 2.0, 30.0)
    assert spec.classes == ("low", "high") and spec.raw_ids == (0, 2) and spec.features == ("one",)
    assert len(set(spec.colours)) == 2


def test_a_class_may_have_one_number_or_none(classes: Classes) -> None:
    (classes() / "a.ply").touch()
    spec = own_scenes(classes(classes={"one": 4, "none": []})).spec
    assert spec.raw_ids == (4, 0)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", "[" * 5000, '{"kind": "indoor"}', '{"classes": {"a": [1]}}']
)
def test_other_texts_are_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(FormatError, match="is damaged"):
        own_scenes(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"voxel_m": float("nan")},
        {"voxel_m": "wide"},
        {"classes": {"a": [1e999]}},
        {"mount_m": None},
        {"colours": 3},
        {"features": 3},
    ],
)
def test_values_that_make_no_sense_are_damaged(classes: Classes, changed: dict[str, object]) -> None:
    (classes() / "a.ply").touch()
    with pytest.raises(FormatError, match="is damaged"):
        own_scenes(classes(**changed))


def test_a_description_without_end_is_not_read(classes: Classes) -> None:
    folder = classes()
    (folder / "classes.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(InputError):
        own_scenes(folder)


def test_labels_that_are_no_numbers_are_refused(classes: Classes) -> None:
    save(classes() / "a.ply", cloud(3))
    np.save(classes() / "a.labels.npy", np.array(["a", "b", "c"]))
    with pytest.raises(FormatError):
        only(classes())


def test_a_cut_cloud_is_an_error_of_its_file(classes: Classes) -> None:
    made = cloud()
    save(classes() / "a.ply", made.with_attributes(label=labels_of(made)))
    data = (classes() / "a.ply").read_bytes()
    (classes() / "a.ply").write_bytes(data[:-7])
    with pytest.raises(FormatError, match=r"a\.ply"):
        only(classes())


def test_a_cloud_without_colours_is_refused_where_they_are_wanted(classes: Classes) -> None:
    bare = PointCloud(xyz=cloud().xyz, attributes={"label": np.zeros(20, np.int32)})
    save(classes() / "a.ply", bare)
    with pytest.raises(InputError, match="needs colours"):
        only(classes())
