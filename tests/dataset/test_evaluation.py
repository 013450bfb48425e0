"""The evaluation on every photo set found: the truth scores perfectly and known mistakes show."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon3d.evaluation import Estimate, evaluate_cameras, read_subsets, read_truth

ROOT = Path(os.environ.get("RECON3D_DATASETS", Path(__file__).resolve().parents[3] / "shared" / "datasets"))
TRUTHS = sorted(ROOT.glob("photos/*/gt/cameras.json"))
pytestmark = [
    pytest.mark.dataset,
    pytest.mark.skipif(not TRUTHS, reason=f"no photos/*/gt/cameras.json below {ROOT}"),
]
each_set = pytest.mark.parametrize("path", TRUTHS or [ROOT], ids=lambda path: path.parents[1].name)


@each_set
def test_truth_is_perfect_against_itself(path: Path) -> None:
    truth = read_truth(path)
    errors = evaluate_cameras(truth, Estimate(truth.names, truth.cameras))
    # Nine digits in the files: pairs closer than that show as angles of up to a thousandth of a degree.
    assert min(errors.auc.values()) > 99.99
    assert errors.absolute is not None
    assert errors.absolute.rotation_deg.max < 1e-4
    if errors.absolute.center_percent is not None:
        assert errors.absolute.center_percent.max < 1e-4


@each_set
def test_similarity_leaves_every_number(path: Path) -> None:
    truth = read_truth(path)
    matrix = np.diag([0.25, 0.25, 0.25, 1.0])
    matrix[:3, :3] = matrix[:3, :3] @ np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    matrix[:3, 3] = 1.0, -2.0, 3.0
    errors = evaluate_cameras(truth, Estimate(truth.names, truth.cameras.transformed(matrix)))
    assert min(errors.auc.values()) > 99.99
    if errors.absolute is not None and errors.absolute.center_percent is not None:
        assert errors.absolute.alignment_scale == pytest.approx(4.0, rel=1e-6)
        assert errors.absolute.center_percent.max < 1e-4


@each_set
def test_wrong_conventions_show(path: Path) -> None:
    truth = read_truth(path)
    inverse = replace(truth.cameras, cam_from_world=truth.cameras.world_from_cam)
    y_up = replace(truth.cameras, cam_from_world=np.diag([1.0, -1.0, -1.0, 1.0]) @ truth.cameras.cam_from_world)
    for cameras in (inverse, y_up):
        assert evaluate_cameras(truth, Estimate(truth.names, cameras)).auc[3] < 80.0


@each_set
def test_subsets_name_known_photos(path: Path) -> None:
    truth = read_truth(path)
    if not (path.parent / "subsets.json").exists():
        pytest.skip("this set has no subsets.json")
    for name, photos in read_subsets(path.parent / "subsets.json").items():
        part = truth.restricted(photos, name)
        assert len(part.names) + len(part.outliers) == len(set(photos))
