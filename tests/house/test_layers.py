"""Imports run downwards only: apps -> reconstruction -> pointcloud -> render -> formats -> core."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Module

RECONSTRUCTION = "scene photos sfm feedforward dense splats near plan assembly pipeline evaluation report"
LAYERS = ("core", "formats", "render", "pointcloud", RECONSTRUCTION, "apps")
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms.split()} | {"__main__": len(LAYERS) - 1}


def room(name: str) -> str:
    """The room of a dotted name; scene_io.py and its like belong to scene."""
    part = name.split(".")[1]
    return part if part in LEVEL else part.split("_")[0]


def imports(module: Module, node: ast.AST) -> Iterator[str]:
    """Dotted names of ours that a statement imports."""
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        here = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
        base = ".".join(here[: len(here) - node.level + 1]) + "." if node.level else ""
        found = [f"{base}{node.module or ''}".rstrip(".") + f".{alias.name}" for alias in node.names]
    else:
        found = []
    return (name for name in found if name.startswith("recon3d."))


def all_imports(module: Module) -> set[str]:
    return {name for node in ast.walk(module.tree) for name in imports(module, node)}


def test_every_module_has_a_room(modules: tuple[Module, ...]) -> None:
    strays = [one.name for one in modules if one.name != "recon3d" and room(one.name) not in LEVEL]
    assert not strays, f"these belong to no room of docs/architecture.md: {strays}"


def test_imports_run_downwards(modules: tuple[Module, ...]) -> None:
    upwards = [
        f"{one.name} imports {name}"
        for one in modules
        if one.name != "recon3d"
        for name in sorted(all_imports(one))
        if name != "recon3d.__version__" and LEVEL[room(name)] > LEVEL[room(one.name)]
    ]
    assert not upwards, "\n".join(upwards)


def test_no_module_imports_in_a_circle(modules: tuple[Module, ...]) -> None:
    """At import time, that is: statements inside functions and below TYPE_CHECKING do not count."""
    names = {one.name for one in modules}

    def target(name: str) -> str:
        while name not in names:
            name = name.rpartition(".")[0]
        return name

    graph = {one.name: {target(name) for name in top_level(one)} - {one.name, "recon3d"} for one in modules}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def top_level(module: Module) -> Iterator[str]:
    for node in module.tree.body:
        yield from imports(module, node)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import recon3d.sfm.types", {"recon3d.sfm.types"}),
        ("from recon3d.sfm import types", {"recon3d.sfm.types"}),
        ("from . import pipeline", {"recon3d.core.pipeline"}),
        ("from ..sfm import types", {"recon3d.sfm.types"}),
        ("def f():\n    from recon3d.apps import cli", {"recon3d.apps.cli"}),
        ("import numpy", set()),
    ],
)
def test_every_form_of_import_is_seen(source: str, expected: set[str], modules: tuple[Module, ...]) -> None:
    example = next(one for one in modules if one.name == "recon3d.core.errors")
    parsed = type(example)(example.name, example.path, source, ast.parse(source))
    assert all_imports(parsed) == expected
