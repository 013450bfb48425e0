"""Shared by all tests: shapes and types of recon3d are checked at run time, and the data roots come from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import settings

# Before any test imports recon3d, so that every annotated argument and result is checked in the whole run. The checker
# is beartype: typeguard 4 checks nothing below this hook, because it finds no source there.
jaxtyping.install_import_hook("recon3d", "runtime_types.checked")

# No deadline: machines are shared, and a slow example is not a wrong one. In continuous integration the examples are
# the same in every run, so that a red run can be repeated.
settings.register_profile("recon3d", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("recon3d")

REPOSITORY = Path(__file__).resolve().parents[1]


def _root(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / folder))
    if not path.is_dir():
        pytest.skip(f"{path} is not there; {variable} names another folder")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of real data; the test is skipped where it is absent."""
    return _root("RECON3D_DATASETS", "datasets")


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of reference outputs; the test is skipped where it is absent."""
    return _root("RECON3D_GOLDENS", "goldens")


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Switch the run-time checks off, as for users, to reach an error that recon3d itself raises."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
