"""docs/volume.md runs as it stands, and its numbers are what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from recon3d.render.volume import FieldValues


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "volume.md").read_text()


@pytest.fixture(scope="module")
def names(page: str) -> dict[str, Any]:
    found = dict[str, Any]()
    torch.set_num_threads(1)
    for source in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(source, "volume.md", "exec"), found)
    return found


def test_the_example_fits_what_it_says(page: str, names: dict[str, Any]) -> None:
    stated = re.search(r"# about (\d+) dB", page)
    assert stated is not None
    assert float(names["psnr"]) == pytest.approx(float(stated[1]), abs=2.0)


def test_the_grid_of_the_page_is_faster_and_sees_the_same(names: dict[str, Any]) -> None:
    empty = 1 - names["occupied"].occupied.float().mean()
    assert 0.3 < float(empty) < 1.0
    off = (names["faster"].rgb - names["novel"].rgb).abs().mean()
    assert float(off.detach()) < 0.02


def test_every_answer_is_in_the_table(page: str) -> None:
    assert all(f"`{name}`" in page for name in FieldValues.__dataclass_fields__ if name not in ("rgb", "features"))
