"""docs/tutorial.md runs as it stands, block after block, on the demo photos."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest


def blocks(page: Path) -> list[str]:
    """The python blocks, each moved to its line of the page so that tracebacks point there."""
    text = page.read_text()
    found = re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return ["\n" * text[: block.start(1)].count("\n") + block[1] for block in found]


@pytest.mark.slow
@pytest.mark.timeout(900)  # under a minute on two idle cores
def test_the_tutorial_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").symlink_to(repository / "data")
    monkeypatch.chdir(tmp_path)
    page, names = repository / "docs" / "tutorial.md", dict[str, Any]()
    for source in blocks(page):
        exec(compile(source, str(page), "exec"), names)
    assert (tmp_path / "demo_out" / "report.html").is_file()
