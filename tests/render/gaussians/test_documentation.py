"""docs/rendering.md and its example run as they stand."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from recon3d.render.gaussians import Gaussians, Rasterization


def test_the_example_of_the_page_runs(repository: Path) -> None:
    page, names = repository / "docs" / "rendering.md", dict[str, Any]()
    for source in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(source, str(page), "exec"), names)
    seen = names["seen"]
    assert isinstance(seen, Rasterization)
    assert seen.image.shape == (1, 120, 160, 3)
    assert names["poses"].grad.abs().sum() > 0


def test_every_field_is_in_the_tables(repository: Path) -> None:
    page = (repository / "docs" / "rendering.md").read_text()
    for kind in (Gaussians, Rasterization):
        assert all(f"| `{name}` |" in page for name in kind.__dataclass_fields__)


@pytest.fixture(scope="module")
def example(repository: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository / "docs" / "examples" / "fit_image.py"))


def test_the_example_fits_an_image(example: dict[str, Any]) -> None:
    """A disc on a slope of colours, far better after forty steps than on the grid that it starts from."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 56), indexing="ij")
    target = torch.stack([rows, columns, 1 - rows], -1)
    target[((rows - 0.5) ** 2 + (columns - 0.5) ** 2) < 0.06] = torch.tensor([0.9, 0.1, 0.1])
    gaussians, picture, history = example["fit"](target, n_gaussians=150, n_steps=40)
    assert picture.shape == target.shape
    assert 100 < len(gaussians) < 200
    assert history[-1] > history[0] + 5


def test_the_example_reads_and_writes_images(example: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    Image.fromarray(np.full((30, 40, 3), 128, np.uint8)).save(tmp_path / "in.png")
    example["main"](str(tmp_path / "in.png"), str(tmp_path / "out.png"), "60", "2")
    with Image.open(tmp_path / "out.png") as out:
        assert out.size == (80, 30)
    assert "dB at the start" in capsys.readouterr().out
