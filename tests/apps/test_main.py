"""Dispatch, error lines and exit codes."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from recon3d import __version__
from recon3d.apps.cli import main as entry_point
from recon3d.apps.cli.command import Command
from recon3d.apps.cli.main import COMMANDS, Entry, main
from recon3d.core.errors import (
    DependencyError,
    FormatError,
    InputError,
    Recon3DError,
    ResourceError,
    ResultError,
    UsageError,
)

from .conftest import Outcome
from .frozen import assert_frozen

Run = Callable[..., Outcome]
CODES = {
    Recon3DError: 1,
    UsageError: 2,
    InputError: 3,
    FormatError: 3,
    ResultError: 4,
    DependencyError: 5,
    ResourceError: 6,
}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[BaseException], None]]:
    """Make the command `fail` raise an error of the test's choice."""

    def install(error: BaseException) -> None:
        class Fail(Command):
            def run(self) -> int:
                raise error

        module = ModuleType("failing_command")
        module.__dict__["Fail"] = Fail
        monkeypatch.setitem(sys.modules, "failing_command", module)
        monkeypatch.setitem(COMMANDS, "fail", Entry("failing_command", "Fail", "fails"))

    yield install


def test_overview_is_frozen(recon3d: Run) -> None:
    outcome = recon3d("--help")
    assert outcome.code == 0
    assert_frozen("overview", outcome.out)


def test_no_command_is_wrong_usage_but_shows_the_way(recon3d: Run) -> None:
    outcome = recon3d()
    assert outcome.code == 2
    assert "usage: recon3d COMMAND" in outcome.out


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_version(recon3d: Run, word: str) -> None:
    assert recon3d(word).out == f"recon3d {__version__}\n"


def test_unknown_command_suggests_one(recon3d: Run) -> None:
    outcome = recon3d("recontruct")
    assert outcome.code == 2
    assert_frozen("unknown_command", outcome.err)


@pytest.mark.parametrize(("kind", "code"), CODES.items(), ids=lambda value: getattr(value, "__name__", value))
def test_every_error_has_its_exit_code_and_one_line(
    recon3d: Run, failing: Callable[[BaseException], None], kind: type[Recon3DError], code: int
) -> None:
    failing(kind("it failed", got=1, expected=2, fix="do that"))
    outcome = recon3d("fail")
    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err == "recon3d: error: it failed; got: 1; expected: 2; to fix: do that.\n"


def test_json_reports_the_error_on_stdout_too(recon3d: Run, failing: Callable[[BaseException], None]) -> None:
    failing(ResultError("no parallax", got="0.3 degrees", fix="walk around the object"))
    outcome = recon3d("fail", "--json")
    assert outcome.code == 4
    error = outcome.json["error"]
    assert error["type"] == "ResultError"
    assert error["exit_code"] == 4
    assert error["what"] == "no parallax"
    assert error["fix"] == "walk around the object"
    assert "expected" not in error
    assert "no parallax" in outcome.err


def test_interruption_is_130(recon3d: Run, failing: Callable[[BaseException], None]) -> None:
    failing(KeyboardInterrupt())
    outcome = recon3d("fail")
    assert (outcome.code, outcome.err) == (130, "recon3d: interrupted\n")


def test_an_interrupted_reconstruction_can_be_resumed(recon3d: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recon3d.apps.cli.reconstruct.reconstruct", interrupt)
    outcome = recon3d("reconstruct", "photos/")
    assert outcome.code == 130
    assert_frozen("interrupted", outcome.err)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), 6),
        (OSError(errno.ENOSPC, "No space left on device", "/full"), 6),
        (OSError(errno.EROFS, "Read-only file system", "/ro"), 6),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1),
    ],
)
def test_system_errors_are_one_line_too(
    recon3d: Run, failing: Callable[[BaseException], None], error: BaseException, code: int
) -> None:
    failing(error)
    outcome = recon3d("fail")
    assert outcome.code == code
    assert outcome.err.startswith("recon3d: error: ")
    assert outcome.err.count("\n") == 1


def test_debug_shows_the_traceback(recon3d: Run, failing: Callable[[BaseException], None]) -> None:
    failing(InputError("unreadable"))
    assert "Traceback" not in recon3d("fail").err
    outcome = recon3d("fail", "--debug")
    assert outcome.code == 3
    assert "Traceback" in outcome.err
    assert outcome.err.endswith("recon3d: error: unreadable.\n")


def test_debug_turns_detailed_logging_on(recon3d: Run) -> None:
    logger = logging.getLogger("recon3d")
    recon3d("--version")
    assert logger.level == logging.WARNING
    recon3d("info", "/nothing/there", "--debug")
    assert logger.level == logging.DEBUG
    recon3d("--version")


def test_a_bug_is_not_disguised(failing: Callable[[BaseException], None]) -> None:
    failing(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main(["fail"])


@pytest.mark.parametrize(
    "words", [("info",), ("info", "a", "b"), ("evaluate", "x", "--truth"), ("doctor", "--nothing")]
)
def test_wrong_options_are_exit_code_2(recon3d: Run, words: tuple[str, ...]) -> None:
    outcome = recon3d(*words)
    assert outcome.code == 2
    assert f"recon3d {words[0]} --help" in outcome.err
    assert outcome.out == ""


def test_wrong_options_with_json_are_an_error_document(recon3d: Run) -> None:
    outcome = recon3d("doctor", "--nothing", "--json")
    assert outcome.code == 2
    assert outcome.json["error"]["type"] == "UsageError"
    assert "--nothing" in outcome.json["error"]["what"]
    assert "│" not in outcome.json["error"]["what"]


def test_the_package_exports_the_entry_point() -> None:
    assert entry_point is main
