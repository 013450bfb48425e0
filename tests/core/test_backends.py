from __future__ import annotations

import subprocess
import sys

import pytest

from recon3d.core import backends
from recon3d.core.backends import Backend, candidates, choose, primitives
from recon3d.core.errors import DependencyError, UsageError


def missing(name: str = "fast", install: str = "pip install fast") -> Backend:
    return Backend(name, False, f"{name} is not installed", install)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = {"draw": (missing, lambda: Backend("plain", True, "always there")), "think": (missing,)}
    monkeypatch.setattr(backends, "_CANDIDATES", probes)


@pytest.mark.usefixtures("registry")
def test_auto_takes_the_first_that_is_available() -> None:
    assert choose("draw").name == "plain"
    assert [one.name for one in candidates("draw")] == ["fast", "plain"]


@pytest.mark.usefixtures("registry")
def test_a_missing_back_end_names_its_install_line() -> None:
    with pytest.raises(DependencyError, match="draw needs fast; got: fast is not installed; to fix: pip install fast"):
        choose("draw", "fast")
    with pytest.raises(DependencyError, match="pip install fast"):
        choose("think")


@pytest.mark.usefixtures("registry")
def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="expected: auto, fast, plain"):
        choose("draw", "slow")
    with pytest.raises(UsageError, match="expected: draw, think"):
        choose("dance")


@pytest.mark.parametrize("primitive", primitives())
def test_every_candidate_says_why(primitive: str) -> None:
    for one in candidates(primitive):
        assert one.reason
        assert one.available or one.install or "device" in one.reason


@pytest.mark.parametrize(
    "primitive", ["images", "features", "matching", "mapping", "gaussians", "triangles", "rays", "device"]
)
def test_the_plain_install_has_everything_that_the_pipeline_needs(primitive: str) -> None:
    assert choose(primitive).available


def test_an_absent_and_a_broken_module_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = backends._probe("x", "recon3d_no_such_module", "numpy", "pip install x")
    assert absent == Backend("x", False, "recon3d_no_such_module is not installed", "pip install x")

    def broken(_: str) -> None:
        raise OSError("libfoo.so.1: cannot open shared object file")

    monkeypatch.setattr(backends, "import_module", broken)
    found = backends._probe("x", "numpy", "numpy", "pip install x")
    assert not found.available and "does not load: libfoo.so.1" in found.reason


def test_the_registry_itself_loads_nothing_heavy() -> None:
    code = "import sys, recon3d.core.backends; print(sorted({'torch', 'pycolmap', 'PIL', 'numpy'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
