"""Entry point: finds the command, parses its options, runs it, and turns errors into one line and an exit code."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from recon3d import __version__
from recon3d.core.errors import Recon3DError, ResourceError, UsageError
from recon3d.core.files import disk_error

if TYPE_CHECKING:
    from recon3d.apps.cli.command import Command

INTERRUPTED = 130


@dataclass(frozen=True)
class Entry:
    """Where a command lives.

    Args:
        module: the module that holds it.
        name: its class in that module.
        summary: what it does, in one line.
    """

    module: str
    name: str
    summary: str


COMMANDS = {
    "reconstruct": Entry(
        "recon3d.apps.cli.reconstruct", "Reconstruct", "photos to cameras, depth, splats, a mesh and a report"
    ),
    "view": Entry("recon3d.apps.cli.view", "View", "look at an output folder, splats, points or a mesh in the browser"),
    "render": Entry("recon3d.apps.cli.render", "Render", "pictures and videos of the splats of an output folder"),
    "info": Entry("recon3d.apps.cli.info", "Info", "say what an output folder, model or point file holds"),
    "export": Entry("recon3d.apps.cli.export", "Export", "write an output folder in another format"),
    "evaluate": Entry("recon3d.apps.cli.evaluate", "Evaluate", "compare cameras, depth and surfaces with ground truth"),
    "weights": Entry("recon3d.apps.cli.weights", "Weights", "list, fetch and check the weights of the networks"),
    "detect": Entry("recon3d.apps.cli.detect", "Detect", "find cars, pedestrians and cyclists in LiDAR clouds"),
    "segment": Entry("recon3d.apps.cli.segment", "Segment", "name what every point of a cloud belongs to"),
    "train": Entry(
        "recon3d.apps.cli.train", "Train", "train a segmenter or a detector, on generated scenes or a data set"
    ),
    "lite3r": Entry("recon3d.apps.cli.lite3r", "Lite3r", "train, distil and evaluate feed-forward networks"),
    "doctor": Entry("recon3d.apps.cli.doctor", "Doctor", "say what this machine offers and what is missing"),
}
_EXIT_CODES = """\
exit codes: 0 done, 2 wrong usage, 3 unreadable input, 4 refused: no model that can be trusted,
  5 missing dependency or weights, 6 out of memory, time or disk, 7 written but below its own checks,
  130 interrupted (the same command resumes)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `recon3d` and return its exit code.

    Args:
        arguments: the words after the program's name; None = those of this process.

    Returns:
        0 done, 2 wrong usage, 3 unreadable input, 4 refused, 5 missing dependency, 6 resources, 7 below its own checks,
        130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _start_logging("--debug" in words)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        resumes = words[:1] == ["reconstruct"] or words[:2] == ["weights", "fetch"]
        _complain("interrupted; resumable: run the same command again" if resumes else "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain at exit when it flushes the dead pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Recon3DError as error:
        return _fail(error, words)
    except MemoryError as error:
        return _fail(_chained(ResourceError("out of memory", fix="use fewer or smaller photos"), error), words)
    except OSError as error:
        return _fail(_chained(_from_os(error), error), words)


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0 if words else UsageError.exit_code
    if words[0] in ("-V", "--version", "version"):
        sys.stdout.write(f"recon3d {__version__}\n")
        return 0
    if words[0] not in COMMANDS:
        raise _unknown(words[0])
    entry = COMMANDS[words[0]]
    command: type[Command] = getattr(import_module(entry.module), entry.name)
    from recon3d.apps.cli.command import run_command

    return run_command(command, f"recon3d {words[0]}", words[1:])


def overview() -> str:
    """Return the help of `recon3d` itself."""
    lines = [f"recon3d {__version__}: photos to 3D that can be measured", "", "usage: recon3d COMMAND [OPTIONS]", ""]
    lines += [f"  {name:<12} {entry.summary}" for name, entry in COMMANDS.items()]
    lines += ["", "recon3d COMMAND --help lists its options, recon3d --version prints the version.", ""]
    return "\n".join([*lines, _EXIT_CODES, ""])


def _unknown(word: str) -> UsageError:
    close = difflib.get_close_matches(word, COMMANDS, n=2)
    fix = f"try {' or '.join(close)}" if close else "recon3d --help lists the commands"
    return UsageError("unknown command", got=word, expected=", ".join(COMMANDS), fix=fix)


def _start_logging(debug: bool) -> None:
    level = logging.DEBUG if debug else logging.WARNING
    logging.basicConfig(stream=sys.stderr, format="recon3d: %(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("recon3d").setLevel(level)


def _fail(error: Recon3DError, words: Sequence[str]) -> int:
    if "--json" in words:
        from recon3d.apps.cli.output import error_json, print_json

        print_json({"error": error_json(error)})
    if "--debug" in words:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))
    _complain(f"error: {error}")
    return error.exit_code


def _complain(text: str) -> None:
    sys.stderr.write(f"recon3d: {text}\n")


def _from_os(error: OSError) -> Recon3DError:
    known = disk_error(error, Path(str(error.filename or "a file")))
    if known is not None:
        return known
    kind = ResourceError if error.errno == errno.ENOMEM else Recon3DError
    return kind(f"the system refused {error.filename or 'an operation'}", got=error.strerror or str(error))


def _chained(error: Recon3DError, cause: BaseException) -> Recon3DError:
    error.__cause__ = cause
    return error
