"""The help screens: frozen texts, one screen, and nothing in them that the parser does not know."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from recon3d.apps.cli.command import CONFIG, Command
from recon3d.apps.cli.documents import field_documents
from recon3d.apps.cli.help import help_screen
from recon3d.apps.cli.main import COMMANDS

from .conftest import Outcome
from .frozen import assert_frozen

Run = Callable[..., Outcome]
SCREEN_LINES, SCREEN_COLUMNS = 50, 100


@dataclass(frozen=True)
class Inner:
    """Inner options.

    Args:
        depth: how deep, over a text that is
            continued on the next line.
        safe: be careful.
    """

    depth: int = 3
    safe: bool = True


@dataclass(frozen=True)
class Flat:
    """Options without a prefix."""

    only: Literal["a", "b"] = "a"
    """Stop ``after`` this."""
    inner: Inner = field(default_factory=Inner)
    """what is inside"""


@dataclass(frozen=True, kw_only=True)
class Sample(Command):
    """Do a sample.

    Args:
        names: what to do it with.
        engine: which engine.
        out: where to.
        ratio: two numbers.
    """

    names: tuple[str, ...]
    engine: Literal["incremental", "hierarchical", "global"] = "global"
    out: Path | None = None
    ratio: tuple[float, float] = (0.5, 1.0)
    flat: Annotated[Flat, tyro.conf.arg(name="")] = field(default_factory=Flat)

    def run(self) -> int:
        return 0


def test_sample_screen_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert_frozen("help_sample", help_screen(Sample, "recon3d sample"))


@pytest.mark.parametrize("name", COMMANDS)
def test_screens_are_frozen(recon3d: Run, name: str) -> None:
    outcome = recon3d(name, "--help")
    assert outcome.code == 0
    assert outcome.err == ""
    assert_frozen(f"help_{name}", outcome.out)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_one_screen(recon3d: Run, name: str) -> None:
    lines = recon3d(name, "--help").out.splitlines()
    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= SCREEN_COLUMNS


def test_a_large_command_explains_its_groups_one_by_one(recon3d: Run) -> None:
    short, every = recon3d("reconstruct", "--help").out, recon3d("reconstruct", "--help", "all").out
    one = recon3d("reconstruct", "--help", "sfm")
    assert one.code == 0
    assert "--sfm.max-features N" in one.out and "--sfm.max-features N" in every
    assert "--sfm.max-features N" not in short and "max-features" in short
    assert "--photos." not in one.out
    wrong = recon3d("reconstruct", "--help", "colours")
    assert wrong.code == 2
    assert "no such group" in wrong.err and "sfm" in wrong.err


def test_a_brief_group_names_every_option(recon3d: Run) -> None:
    words = set(recon3d("reconstruct", "--help").out.split())
    options = options_of(recon3d("reconstruct", "--help", "all").out)
    assert [name for name in options if name not in words and name.partition(".")[2] not in words] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(recon3d: Run, name: str) -> None:
    text = recon3d(name, "--help", "all").out
    bare = [line for line in text.splitlines() if re.fullmatch(r"  --\S+( \S+)?\s*", line) and len(line) < 31]
    assert not bare


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_parser_know_the_same_options(name: str) -> None:
    entry = COMMANDS[name]
    command = getattr(import_module(entry.module), entry.name)
    assert options_of(help_screen(command, name, "all")) == tyro_options(command)


def test_help_and_parser_agree_on_the_sample() -> None:
    found = options_of(help_screen(Sample, "sample"))
    assert found == tyro_options(Sample)
    assert {"--only", "--inner.depth", "--inner.no-safe", "--engine", "--json"} <= found


def options_of(text: str) -> set[str]:
    """Option names at the start of a line."""
    return set(re.findall(r"^\s*(?:-\w, )?(--[a-z0-9.-]+)", text, re.MULTILINE))


def tyro_options(command: type[Command]) -> set[str]:
    """Option names that tyro's own help lists."""
    text = io.StringIO()
    with pytest.raises(SystemExit), redirect_stdout(text):
        tyro.cli(command, args=["--help"], default=command.defaults([]), config=CONFIG)
    return set(re.findall(r"^\W*(?:-\w, )?(--[a-z][a-z0-9.-]+)", text.getvalue(), re.MULTILINE))


def test_documents_come_from_both_places() -> None:
    assert field_documents(Inner)["depth"] == "how deep, over a text that is continued on the next line."
    assert field_documents(Flat) == {"only": "Stop after this.", "inner": "what is inside"}
    assert set(field_documents(Sample)) >= {"names", "json", "debug"}
