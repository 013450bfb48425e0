from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

NAMES = Path(__file__).with_name("public_names.txt").read_text().split()
DOCS = Path(__file__).resolve().parents[2] / "docs"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("__version__")])
def test_every_public_name_is_on_the_api_page(name: str) -> None:
    room, _, last = name.rpartition(".")
    home = getattr(import_module(room), last).__module__
    listed = re.findall(r"^::: (\S+)", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert home in listed, f"add '::: {home}' to docs/api.md"


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_example_is_python(page: str) -> None:
    for source in CODE.findall((DOCS / page).read_text()):
        compile(source, page, "exec")


def test_architecture_names_every_room(repository: Path) -> None:
    page = (DOCS / "architecture.md").read_text()
    folders = {path.name for path in (repository / "recon3d").iterdir() if path.is_dir() and path.name != "__pycache__"}
    for room in sorted(folders):
        assert re.search(rf"^    {room}/ ", page, re.MULTILINE), f"docs/architecture.md does not name {room}/"


def test_dependencies_are_explained(repository: Path) -> None:
    page = (DOCS / "dependencies.md").read_text()
    project = (repository / "pyproject.toml").read_text()
    core = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert core is not None
    for name in re.findall(r'"([a-z0-9-]+)', core[1]):
        assert f"| {name} |" in page, f"docs/dependencies.md does not say why {name} is here"
