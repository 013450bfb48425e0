"""What users install: a wheel built from the sdist, as a package index would serve it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

TOP = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "Makefile")
IMPORT_ALL = """
import pkgutil, sys
from importlib import import_module
sys.path.insert(0, sys.argv[1])
import recon3d
names = [one.name for one in pkgutil.walk_packages(recon3d.__path__, "recon3d.") if not one.name.endswith("__main__")]
for name in names:
    assert import_module(name).__file__.startswith(sys.argv[1]), name
sys.stdout.write(str(len(names)))
"""


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in TOP:
        shutil.copy(repository / name, source)
    shutil.copytree(repository / "recon3d", source / "recon3d", ignore=shutil.ignore_patterns("__pycache__"))
    for front_door in ("apps", "pointcloud", "render"):
        (source / front_door).symlink_to(f"recon3d/{front_door}")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("recon3d-*-py3-none-any.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile, repository: Path) -> None:
    package = repository / "recon3d"
    files = {str(path.relative_to(repository)) for path in package.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files
    assert "recon3d/py.typed" in files


def test_the_sdist_holds_licence_and_constraints(built: Path) -> None:
    (path,) = built.glob("recon3d-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*TOP, "recon3d/py.typed"} <= names
    assert not {name.split("/")[0] for name in names} & {"apps", "pointcloud", "render"}


def test_the_metadata_is_complete(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    text = wheel.read(name).decode()
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.10" in text
    (entry,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "recon3d = recon3d.apps.cli.main:main" in wheel.read(entry).decode()


def test_every_module_imports_from_the_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    command = [sys.executable, "-I", "-c", IMPORT_ALL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    modules = [name for name in wheel.namelist() if name.endswith(".py") and not name.endswith("__main__.py")]
    assert int(done.stdout) == len(modules) - 1  # recon3d itself is not counted
