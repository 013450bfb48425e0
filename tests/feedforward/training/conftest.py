"""Scenes and networks small enough to be trained in a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_networks import DA3
from training_runs import TINY

from recon3d.feedforward.da3 import config
from recon3d.feedforward.scenes import SceneOptions, TrueViews, generate_views
from recon3d.feedforward.training import whitening
from recon3d.feedforward.training.options import DataOptions, OptimiserOptions, Stage, TrainOptions


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that learns in milliseconds, under a name."""
    monkeypatch.setitem(config.CONFIGS, TINY, replace(DA3, gaussians=None))
    monkeypatch.setattr(whitening, "_SCENES", 1)


@pytest.fixture(scope="session")
def views() -> TrueViews:
    """Two scenes of three photos."""
    return generate_views(3, 2, SceneOptions(height=28, width=42, rays_per_pixel=1), n_views=3)


@pytest.fixture
def options() -> Callable[..., TrainOptions]:
    """Return the options of a training of a few steps."""

    def made(steps: int = 4, **changes: object) -> TrainOptions:
        base = TrainOptions(
            model=TINY,
            steps=steps,
            minutes=0.0,
            stages=(Stage(0.5, ((28, 28),), 4, 1), Stage(0.5, ((28, 42),), 4, 1)),
            data=DataOptions(views=(2, 2), group=2, reuse=2, workers=0, known_cameras=0.5),
            optimiser=OptimiserOptions(warm_up=1),
            precision="float32",
            evaluate_scenes=0,
        )
        return replace(base, **changes)  # type: ignore[arg-type]

    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
