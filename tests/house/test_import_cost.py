from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "pycolmap", "scipy", "PIL", "numpy", "rich", "tyro"}


REPOSITORY = Path(__file__).resolve().parents[2]


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport json, sys\nsys.stdout.write(json.dumps(sorted(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    return {name.split(".")[0] for name in json.loads(out)}


@pytest.mark.parametrize(
    "statement",
    [
        "import recon3d",
        "import recon3d.core",
        "from recon3d.core.errors import Recon3DError",
        "import recon3d.formats, recon3d.photos, recon3d.sfm, recon3d.evaluation, recon3d.report, recon3d.render",
    ],
)
def test_front_pages_load_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & HEAVY


def test_a_scene_needs_neither_torch_nor_pycolmap() -> None:
    loaded = loaded_by("import recon3d; recon3d.Scene")
    assert "numpy" in loaded
    assert not loaded & {"torch", "pycolmap"}
