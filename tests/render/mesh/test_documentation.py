"""docs/triangles.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def test_the_example_of_the_page_runs(repository: Path) -> None:
    page, names = repository / "docs" / "triangles.md", dict[str, Any]()
    for source in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(source, str(page), "exec"), names)
    assert names["image"].shape == (1, 60, 80, 3)
    assert names["vertices"].grad.abs().sum() > 0 and names["texels"].grad.abs().sum() > 0
