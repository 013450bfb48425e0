from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

FROZEN = (Path(__file__).with_name("public_names.txt")).read_text().split()


def test_the_public_names_are_frozen(repository: Path) -> None:
    command = [sys.executable, "tests/house/public_names.py"]
    here = {**os.environ, "PYTHONPATH": str(repository)}
    names = subprocess.run(command, env=here, cwd=repository, capture_output=True, text=True, check=True).stdout.split()
    gone, new = sorted(set(FROZEN) - set(names)), sorted(set(names) - set(FROZEN))
    assert names == FROZEN, (
        f"public names changed: gone {gone}, new {new}. If that is wanted, say it in CHANGELOG.md (Breaking for names "
        "that are gone) and run `make public-names`."
    )


@pytest.mark.parametrize("dotted", FROZEN)
def test_every_public_name_resolves_and_is_documented(dotted: str) -> None:
    room, _, name = dotted.rpartition(".")
    value = getattr(import_module(room), name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert (inspect.getdoc(value) or "").strip(), f"{dotted} has no docstring"


@pytest.mark.parametrize("room", sorted({dotted.rpartition(".")[0] for dotted in FROZEN}))
def test_a_room_lists_its_names_and_refuses_others(room: str) -> None:
    module = import_module(room)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        module.no_such_name  # noqa: B018


@pytest.mark.parametrize("room", sorted({dotted.rpartition(".")[0] for dotted in FROZEN}))
def test_type_checkers_see_the_same_names(room: str) -> None:
    """Below TYPE_CHECKING stands what loads on first use, from the same modules."""
    module = import_module(room)
    tree = ast.parse(inspect.getsource(module))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {(alias.asname, node.module) for block in blocks for node in block.body for alias in node.names}
    lazy = set(module.__all__) - {"__version__"}
    assert {name for name, _ in seen} == lazy
    assert all(getattr(import_module(str(home)), str(name)) is getattr(module, str(name)) for name, home in seen)
