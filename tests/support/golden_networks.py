"""The reduced networks of the golden sets, with their weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from torch import nn

GOLDEN_TESTS = Path(__file__).resolve().parents[1] / "golden"


def golden_network(kind: str) -> nn.Module:
    """The dense network that the tests of a set build: ``vggt`` or ``da3``."""
    model: nn.Module = _tests_of(kind).network()
    return model


def _tests_of(kind: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"golden_{kind}", GOLDEN_TESTS / f"test_{kind}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
