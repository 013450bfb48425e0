"""The command as a process: what it loads, what it returns, what it does with a closed pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "pycolmap", "scipy", "numpy", "PIL", "rich", "tyro")


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100"}
    command = [sys.executable, "-m", "recon3d", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=60, check=False)


def loaded_by(*words: str) -> set[str]:
    """Return the heavy packages that a command line loads."""
    code = (
        "import sys, json, io, contextlib\n"
        "from recon3d.apps.cli.main import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()): main({list(words)!r})\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(answer.stdout))


def test_overview_loads_nothing_heavy() -> None:
    assert loaded_by("--help") == set()


@pytest.mark.parametrize("command", ["info", "evaluate", "reconstruct"])
def test_help_of_a_command_loads_no_engine(command: str) -> None:
    assert not loaded_by(command, "--help") & {"torch", "pycolmap"}


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    assert run("--help").returncode == 0
    assert run("inf").returncode == 2
    assert run("info").returncode == 2
    missing = run("info", str(tmp_path / "nothing"))
    assert missing.returncode == 3
    assert missing.stdout == ""
    assert missing.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error() -> None:
    # A reader that goes away before the first line: `recon3d --help | true`.
    read, write = os.pipe()
    os.close(read)
    answer = subprocess.run(
        [sys.executable, "-m", "recon3d", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert answer.stderr == ""
    assert answer.returncode == 0
