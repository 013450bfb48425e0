"""The network that comes with the package: its size, its files, and that it beats an answer that never looks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recon3d.core.errors import DependencyError, UsageError
from recon3d.feedforward import bundled
from recon3d.feedforward.bundled import BUNDLED, bundled_weights
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.deltas import add_delta
from recon3d.feedforward.lite3r import sparse_attentions
from recon3d.feedforward.models import build_model
from recon3d.feedforward.small import NAME, SIZE
from recon3d.feedforward.training.asking import answer
from recon3d.feedforward.training.scores import answers_of, constant, score, truth_of, unseen
from recon3d.formats.safetensors import read_safetensors

MEGABYTES = 16


@pytest.fixture(scope="module")
def dense() -> DepthAnything3:
    model = build_model(NAME, checkpoint=bundled_weights(NAME))
    assert isinstance(model, DepthAnything3)
    return model


def test_it_is_small(dense: DepthAnything3) -> None:
    assert sum(one.numel() for one in dense.parameters()) <= 8_000_000
    assert dense.options.vit.native_size == SIZE
    for name in BUNDLED:
        path = bundled_weights(name)
        assert path.stat().st_size <= MEGABYTES * 1_000_000
        assert {one.dtype for one in read_safetensors(path).values()} == {torch.float16}


def test_its_lite3r_version_is_a_small_difference(dense: DepthAnything3) -> None:
    path = bundled_weights(f"{NAME}-lite3r")
    assert path.stat().st_size < 100_000
    student = add_delta(build_model(NAME, checkpoint=bundled_weights(NAME)), path)
    assert len(list(sparse_attentions(student))) == 14  # 12 blocks and 2 of the camera encoder
    views = unseen(1, n_views=2)
    with torch.inference_mode():
        one, two = (answer(model, views.images).depth_z for model in (dense, student))
    assert one is not None and two is not None and not torch.equal(one, two)
    assert ((one - two).abs() / one).mean() < 0.2


def test_its_depth_is_better_than_flat(dense: DepthAnything3) -> None:
    views = unseen(6, n_views=2)
    truth = truth_of(views)
    found, flat = score(answers_of(lambda images: answer(dense, images), views), truth), score(constant(views), truth)
    assert found.abs_rel < 0.85 * flat.abs_rel
    assert found.delta1 > flat.delta1 + 0.05


def test_other_names_and_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such weights come with the package"):
        bundled_weights("da3-small")
    monkeypatch.setattr(bundled, "_FOLDER", tmp_path)
    with pytest.raises(DependencyError, match="missing from this installation"):
        bundled_weights(NAME)
