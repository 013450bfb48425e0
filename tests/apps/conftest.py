"""A scene folder to look at, truth for it, and the command line without a new process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_scenes import random_scene

from recon3d.apps.cli.main import main
from recon3d.scene import Scene


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def recon3d(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run the command line in this process, on a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object) -> Outcome:
        code = main([str(word) for word in words])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A saved scene of five photos, one of which was skipped."""
    made = random_scene(3, n_views=4)
    provenance = {"recon3d": "0.1.0", "warnings": ["two photos are blurred"]}
    return replace(made, provenance=provenance, metrics={"rms_px": 0.25}).save(tmp_path / "out")


@pytest.fixture
def truth(scene: Scene, tmp_path: Path) -> Path:
    """A cameras.json that agrees with the scene up to a similarity, and a subset."""
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = 1.0, 2.0, 3.0
    cameras = scene.cameras.transformed(matrix)
    images = [
        {
            "name": view.key,
            "width": int(cameras.width[row]),
            "height": int(cameras.height[row]),
            "K": cameras.K[row].tolist(),
            "w2c": cameras.cam_from_world[row, :3].tolist(),
        }
        for row, view in enumerate(scene.registered)
    ]
    folder = tmp_path / "gt"
    folder.mkdir()
    (folder / "cameras.json").write_text(json.dumps({"set": "random", "unit": "metre", "images": images}))
    (folder / "subsets.json").write_text(json.dumps({"three": [image["name"] for image in images[:3]]}))
    return folder / "cameras.json"
