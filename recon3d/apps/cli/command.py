"""What all commands share: their base class, the parsing by tyro, and the answer to `--help`."""

from __future__ import annotations

import io
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import tyro

from recon3d.apps.cli.help import help_screen
from recon3d.apps.cli.output import error_json, print_json
from recon3d.core.errors import UsageError

CONFIG = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff, tyro.conf.AvoidSubcommands)


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """A command: its fields are its command line, positional where they have no default.

    Args:
        json: print one JSON document on stdout instead of text.
        debug: log in detail, and show the traceback of an error.
    """

    json: bool = False
    debug: bool = False

    @classmethod
    def defaults(cls, words: Sequence[str]) -> Command | None:
        """Return the command whose values hold where a word does not say otherwise; None = those of its fields."""
        return None

    @abstractmethod
    def run(self) -> int:
        """Do the work, print the result and return the exit code."""


def run_command(command: type[Command], program: str, words: Sequence[str]) -> int:
    """Parse the words behind a command's name and run it.

    Args:
        command: class of the command.
        program: its name on the command line.
        words: the words that follow.

    Returns:
        The exit code; 2 where the words cannot be parsed.
    """
    asked = [index for index, word in enumerate(words) if word in ("-h", "--help")]
    if asked:
        topic = "".join(words[asked[0] + 1 : asked[0] + 2])
        sys.stdout.write(help_screen(command, program, "" if topic.startswith("-") else topic))
        return 0
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            default: Any = command.defaults(words)
            parsed: Command = tyro.cli(command, prog=program, args=list(words), default=default, config=CONFIG)
    except SystemExit:
        sys.stderr.write(complaint.getvalue())
        if "--json" in words:
            print_json({"error": error_json(UsageError(_plain(complaint.getvalue())))})
        return UsageError.exit_code
    return parsed.run()


def _plain(box: str) -> str:
    """Return the text of one of tyro's boxes as one line."""
    return " ".join(re.sub("[\u2500-\u257f]", " ", box).split())
