"""The files around the package agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import recon3d

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


def pins(repository: Path) -> dict[str, list[str]]:
    """Pinned versions by normalised name; a name may stand once per Python version."""
    found: dict[str, list[str]] = {}
    for line in (repository / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition("==")
            found.setdefault(normal(name), []).append(rest.partition(";")[0].strip())
    return found


def normal(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!\[;\s]", requirement.strip())[0]).lower()


def test_everything_that_make_installs_is_pinned(project: dict[str, Any], repository: Path) -> None:
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["heic"], *extras["video"]]
    assert {normal(one) for one in wanted} <= set(pins(repository))
    assert pins(repository)["torch"] == ["2.13.0"]


def test_readme_commands_exist(repository: Path) -> None:
    readme, makefile = (repository / "README.md").read_text(), (repository / "Makefile").read_text()
    used = set(re.findall(r"^(?:\$ )?make ([a-z-]+)", readme, re.MULTILINE))
    assert {"demo", "test"} <= used
    assert used <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_every_extra_that_is_named_exists(project: dict[str, Any], repository: Path) -> None:
    pages = [repository / "README.md", *(repository / "docs").rglob("*.md"), *(repository / "recon3d").rglob("*.py")]
    named = {name for page in pages for name in re.findall(r"recon3d\[([a-z0-9,]+)\]", page.read_text())}
    assert {extra for group in named for extra in group.split(",")} <= set(project["optional-dependencies"])


def test_the_changelog_opens_with_this_version(repository: Path) -> None:
    headings = re.findall(r"^## (\S+)", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == recon3d.__version__


def test_front_doors_are_relative_links(repository: Path) -> None:
    for name in ("apps", "pointcloud", "render"):
        assert os.readlink(repository / name) == f"recon3d/{name}"


def test_the_continuous_integration_script_is_sound(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_licence_is_apache_2(repository: Path) -> None:
    text = (repository / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
