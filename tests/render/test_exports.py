"""Importing a module sets its name in the room above; a public name of the room that is the same would be lost."""

from __future__ import annotations

import pkgutil
from types import ModuleType

import pytest

import recon3d.render
import recon3d.render.gaussians


@pytest.mark.parametrize("room", [recon3d.render, recon3d.render.gaussians], ids=lambda room: room.__name__)
def test_no_public_name_is_that_of_a_module(room: ModuleType) -> None:
    modules = {module.name for module in pkgutil.iter_modules(room.__path__)}
    assert not modules & set(room.__all__)


@pytest.mark.parametrize("room", [recon3d.render, recon3d.render.gaussians], ids=lambda room: room.__name__)
def test_every_public_name_loads(room: ModuleType) -> None:
    assert all(getattr(room, name) is not None for name in room.__all__)
