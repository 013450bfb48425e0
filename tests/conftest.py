"""Shared by all tests: shapes and types of recon3d are checked at run time, and the data roots come from here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before any test imports recon3d, so that every annotated argument and result is checked in the whole run. The checker
# is beartype: typeguard 4 checks nothing below this hook, because it finds no source there.
install_import_hook("recon3d", "runtime_types.checked")

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
