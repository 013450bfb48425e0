"""Habits of docs/contributing.md that a reader of the syntax tree can hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Module

UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
CATCH_ALL = {"Exception", "BaseException"}
MAX_FILE, MAX_FUNCTION = 500, 60


def is_unsafe_import(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in UNSAFE
    return isinstance(node, ast.Import) and any(alias.name.split(".")[0] in UNSAFE for alias in node.names)


def is_star_import(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)


def is_print(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"


def is_catch_all(node: ast.AST) -> bool:
    """A handler for everything that swallows it; one that cleans up and raises again is fine."""
    if not isinstance(node, ast.ExceptHandler):
        return False
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
    raises_again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
    return (node.type is None or bool(names & CATCH_ALL)) and not raises_again


def is_too_long(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
        (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION
    )


RULES = {
    "an assert statement": lambda node: isinstance(node, ast.Assert),
    "a print call": is_print,
    "an import of pickle or its like": is_unsafe_import,
    "a star import": is_star_import,
    "a handler that catches everything": is_catch_all,
    f"a function of more than {MAX_FUNCTION} lines": is_too_long,
}


# A worker process turns every error of a task into that task's reported failure; nothing else may catch everything.
BOUNDARIES = {("a handler that catches everything", "recon3d.core.worker_main")}


def places(tree: ast.Module, rule: str) -> Iterator[int]:
    return (node.lineno for node in ast.walk(tree) if RULES[rule](node))


@pytest.mark.parametrize("rule", RULES)
def test_the_package_has_no(rule: str, modules: tuple[Module, ...]) -> None:
    bound = [one for one in modules if (rule, one.name) not in BOUNDARIES]
    found = [f"{one.path}:{line}" for one in bound for line in places(one.tree, rule)]
    assert not found, f"{rule}: {', '.join(found)}"


def test_no_file_is_longer_than_500_lines(modules: tuple[Module, ...]) -> None:
    assert not [str(one.path) for one in modules if one.text.count("\n") > MAX_FILE]


def test_every_module_says_what_it_is_and_postpones_annotations(modules: tuple[Module, ...]) -> None:
    for one in modules:
        assert len(ast.get_docstring(one.tree) or "") > 10, f"{one.name} has no docstring"
        if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in one.tree.body):
            assert "from __future__ import annotations" in one.text, one.name


BAD = {
    "an assert statement": "assert x",
    "a print call": "print(1)",
    "an import of pickle or its like": "from pickle import loads",
    "a star import": "from os import *",
    "a handler that catches everything": "try:\n    f()\nexcept (ValueError, Exception):\n    pass",
    f"a function of more than {MAX_FUNCTION} lines": "def f():\n" + "    x = 1\n" * MAX_FUNCTION,
}
GOOD = """
import json
def f():
    try:
        g()
    except ValueError:
        pass
    except BaseException:
        clean()
        raise
    console.print(1)
"""


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_see_what_they_should(rule: str) -> None:
    assert list(places(ast.parse(BAD[rule]), rule))
    assert not list(places(ast.parse(GOOD), rule))
