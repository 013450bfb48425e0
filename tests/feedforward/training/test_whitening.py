"""The first layer before a training: decorrelated patches."""

from __future__ import annotations

import pytest
import torch
from training_runs import TINY

from recon3d.feedforward.da3.preprocess import normalise
from recon3d.feedforward.scenes import SceneOptions, generate_views
from recon3d.feedforward.training import whitening
from recon3d.feedforward.training.network import new_network


def test_patches_come_out_without_mean_and_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening, "_SCENES", 6)
    model, plain = (new_network(TINY, 0, whitened=whitened) for whitened in (True, False))
    views = generate_views(77, 8, SceneOptions(height=84, width=84, rays_per_pixel=1), n_views=2)
    images = normalise(views.images).flatten(0, 1)
    spread = []
    for network in (model, plain):
        tokens = network.backbone.pretrained.patch_embed(images).flatten(0, 1).detach()
        covariance = torch.cov(tokens.T)
        values = torch.linalg.eigvalsh(covariance)
        spread.append(float(values[-1] / values.mean()))
    assert spread[0] < 0.6 * spread[1]


def test_the_same_seed_gives_the_same_layer() -> None:
    one, two = (new_network(TINY, 3).backbone.pretrained.patch_embed.proj.weight for _ in range(2))
    assert torch.equal(one, two)
