from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from recon3d.apps.cli.main import COMMANDS

NAMES = Path(__file__).with_name("public_names.txt").read_text().split()
DOCS = Path(__file__).resolve().parents[2] / "docs"
FLAGS = re.MULTILINE | re.DOTALL
CODE = re.compile(r"^```python\n(.*?)^```", FLAGS)


def constant_home(value: object, name: str, room: str, listed: list[str]) -> str | None:
    """Return the listed module of a room that holds a constant."""
    inside = (one for one in listed if one.startswith(f"{room}."))
    return next((one for one in inside if vars(import_module(one)).get(name) is value), None)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("__version__")])
def test_every_public_name_is_on_the_api_page(name: str) -> None:
    room, _, last = name.rpartition(".")
    listed = re.findall(r"^::: (\S+)", (DOCS / "api.md").read_text(), re.MULTILINE)
    value = getattr(import_module(room), last)
    home = getattr(value, "__module__", None) if callable(value) else constant_home(value, last, room, listed)
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


def test_commands_in_the_pages_exist(repository: Path) -> None:
    pages = [repository / "README.md", *DOCS.glob("*.md")]
    code = [part for page in pages for part in re.findall(r"^```.*?^```|`[^`\n]+`", page.read_text(), FLAGS)]
    code.append((repository / "Makefile").read_text())
    used = {word for part in code for word in re.findall(r"(?:^|`|/)recon3d ([a-z]+)\b", part, re.MULTILINE)}
    assert {"reconstruct", "doctor", "evaluate"} <= used
    assert used <= set(COMMANDS)


def test_every_command_is_on_the_page_of_the_command_line() -> None:
    headings = re.findall(r"^## (\w+)", (DOCS / "cli.md").read_text(), re.MULTILINE)
    assert set(headings) == set(COMMANDS)
