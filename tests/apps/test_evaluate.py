"""The evaluate command on what a scene folder may hold besides cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recon3d.dense.types import DepthMap
from recon3d.formats.ply import write_ply
from recon3d.scene import Scene
from recon3d.scene_dense import save_depth

from .frozen import assert_frozen

Run = Callable[..., Any]
FACTOR = 2.0  # of the world of the truth, see the fixture


@pytest.fixture
def dense(scene: Scene, truth: Path) -> Scene:
    """The scene with depth maps, sparse reference points and held-out photos."""
    assert scene.root is not None
    (truth.parent / "depth").mkdir()
    for row, view in enumerate(scene.registered):
        size = (int(scene.pinhole_cameras.height[row]), int(scene.pinhole_cameras.width[row]))
        depth = np.full(size, 1.5, np.float32)
        save_depth(scene.root, view.key, DepthMap(depth, 0.01 * depth))
        true = np.full((int(scene.cameras.height[row]), int(scene.cameras.width[row])), 1500 * FACTOR, np.uint16)
        Image.fromarray(true).save(truth.parent / "depth" / f"{Path(view.key).stem}.png")
    reference = FACTOR * scene.points.xyz + np.array([1.0, 2.0, 3.0])
    write_ply(
        truth.parent / "reference_points.ply", {a: reference[:, k].astype(np.float32) for k, a in enumerate("xyz")}
    )
    record = {"psnr": 24.0, "ssim": 0.8125, "psnr_fit": 25.5, "ssim_fit": 0.9}
    views = [{"key": view.key, **record} for view in scene.registered[:2]]
    return replace(scene, metrics={"rms_px": 0.25, "splats": {"held_out": views}}).save(scene.root)


def test_everything_that_is_there_is_compared(recon3d: Run, dense: Scene, truth: Path) -> None:
    value = recon3d("evaluate", dense.root, "--truth", truth, "--json").json
    assert value["auc"]["3"] == pytest.approx(100.0, abs=1e-6)  # the cameras, as ever
    assert value["depth"]["abs_rel"] == pytest.approx(0.0, abs=1e-6)
    assert value["depth"]["scale"] == pytest.approx(FACTOR)
    assert value["surfaces"]["recall_only"] is True
    assert [one["tau"] for one in value["surfaces"]["results"]["points"]] == [0.02, 0.05]
    assert value["surfaces"]["results"]["points"][0]["recall"] == 1.0
    assert (value["held_out"]["n_views"], value["held_out"]["psnr"]) == (2, 24.0)


def test_tables(recon3d: Run, dense: Scene, truth: Path) -> None:
    outcome = recon3d("evaluate", dense.root, "--truth", truth)
    assert outcome.code == 0
    assert_frozen("evaluate_dense", "\n".join(line.rstrip() for line in outcome.out.splitlines()) + "\n")


def test_scale_and_distance_are_options(recon3d: Run, dense: Scene, truth: Path) -> None:
    words = ("--truth", truth, "--json", "--depth-scale", "metric", "--tau", "0.5")
    value = recon3d("evaluate", dense.root, *words).json
    assert value["depth"]["abs_rel"] == pytest.approx(0.5)
    assert [one["tau"] for one in value["surfaces"]["results"]["points"]] == [0.5]


def test_cameras_only(recon3d: Run, dense: Scene, truth: Path) -> None:
    value = recon3d("evaluate", dense.root, "--truth", truth, "--json", "--cameras-only").json
    assert (value["depth"], value["surfaces"], value["held_out"]) == (None, None, None)
    assert value["n_registered"] == 4


def test_a_plain_model_has_cameras_only(recon3d: Run, dense: Scene, truth: Path) -> None:
    assert dense.root is not None
    value = recon3d("evaluate", dense.root / "colmap_distorted", "--truth", truth, "--json").json
    assert value["depth"] is None


def test_a_relative_truth_gets_distances_of_its_own_size(recon3d: Run, dense: Scene, truth: Path) -> None:
    text = truth.read_text().replace('"metre"', '"arbitrary"')
    truth.write_text(text)
    value = recon3d("evaluate", dense.root, "--truth", truth, "--json").json
    taus = [one["tau"] for one in value["surfaces"]["results"]["points"]]
    assert taus == pytest.approx([0.005 * value["scene_scale"], 0.0125 * value["scene_scale"]])


def test_damaged_depth_is_one_error(recon3d: Run, dense: Scene, truth: Path) -> None:
    assert dense.root is not None
    next((dense.root / "depth").glob("*.exr")).write_bytes(b"no picture")
    outcome = recon3d("evaluate", dense.root, "--truth", truth)
    assert outcome.code == 3
    assert "exr" in outcome.err
