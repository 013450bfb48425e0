"""The example of docs/shading.md runs, and shows what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def test_the_example_of_the_page(repository: Path) -> None:
    (source,) = re.findall(
        r"^```python\n(.*?)^```", (repository / "docs/shading.md").read_text(), re.MULTILINE | re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(compile(source, "docs/shading.md", "exec"), names)
    fast, exact = names["fast"], names["exact"]
    assert abs(float((fast / exact).median()) - 1) < 0.05  # a split sum is close where no lamp is near
    assert names["picture"].shape == (200, 200, 3) and 0.1 < float(names["picture"].mean()) < 0.6
