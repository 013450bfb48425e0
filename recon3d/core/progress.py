"""Progress on stderr: bars on a terminal, plain lines with elapsed seconds in a log, nothing when quiet."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichBars, TaskID


class Stage:
    """One running stage; this base shows nothing."""

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more items as done."""

    def note(self, text: str) -> None:
        """Show one line that stays readable after the stage."""


class Progress:
    """Shows the stages of a run; this base is silent."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """Show a stage while the block runs; stages may nest.

        Args:
            name: short name in the user's words.
            total: how many items it has; None = unknown.

        Yields:
            The handle to count items and to add notes; it may be used from several threads.
        """
        yield Stage()


def make_progress(quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """Return the progress display that suits ``stream``.

    Args:
        quiet: show nothing.
        stream: where to write; None = ``sys.stderr``.
    """
    stream = sys.stderr if stream is None else stream
    if quiet:
        return Progress()
    if not stream.isatty():
        return LogProgress(stream)
    from rich.console import Console

    console = Console(file=stream)
    return BarProgress(console) if console.is_interactive else LogProgress(stream)


class LogProgress(Progress):
    """Plain lines with the seconds since the start, for logs and pipes.

    Args:
        stream: where to write.
        interval_s: shortest time between two counts of one stage, in seconds.
    """

    def __init__(self, stream: TextIO, interval_s: float = 5.0) -> None:
        self._stream, self._interval_s = stream, interval_s
        self._start, self._lock = time.monotonic(), threading.Lock()

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """Write a line at the start, at most one count per interval, and one line at the end."""
        start = time.monotonic()
        self.line(f"{name} ..." if total is None else f"{name}: {total} to do")
        outcome = "stopped"
        try:
            yield _LogStage(self, name, total, self._interval_s)
            outcome = "done"
        finally:
            self.line(f"{name}: {outcome} in {time.monotonic() - start:.1f} s")

    def line(self, text: str) -> None:
        """Write one line behind the elapsed seconds."""
        with self._lock:
            self._stream.write(f"[{time.monotonic() - self._start:7.1f} s] {text}\n")
            self._stream.flush()


class _Counter:
    """Counts items from several threads.

    Args:
        total: how many there are; None = unknown.
    """

    def __init__(self, total: int | None) -> None:
        self._total, self._done, self._lock = total, 0, threading.Lock()

    def add(self, n: int) -> str:
        """Count ``n`` more and return the count as text."""
        with self._lock:
            self._done += n
            return str(self._done) if self._total is None else f"{self._done} of {self._total}"


class _LogStage(Stage):
    def __init__(self, log: LogProgress, name: str, total: int | None, interval_s: float) -> None:
        self._log, self._name, self._interval_s = log, name, interval_s
        self._counter, self._last, self._lock = _Counter(total), time.monotonic(), threading.Lock()

    def advance(self, n: int = 1) -> None:
        with self._lock:  # counting, timing and writing are one step: the counts in a log only rise
            count, now = self._counter.add(n), time.monotonic()
            if now - self._last >= self._interval_s:
                self._last = now
                self._log.line(f"{self._name}: {count}")

    def note(self, text: str) -> None:
        self._log.line(f"{self._name}: {text}")


class BarProgress(Progress):
    """One bar per stage on a terminal; an outermost stage leaves its bar behind, inner ones disappear when they end.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console) -> None:
        self._bars, self._depth = _make_bars(console), 0

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """Show a bar while the block runs."""
        task = self._bars.add_task(name, total=total, count="")
        self._depth += 1
        self._bars.start()
        try:
            yield _BarStage(self._bars, name, task, _Counter(total))
            if total is None:
                self._bars.update(task, total=1, completed=1)
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._bars.stop()
            self._bars.remove_task(task)


class _BarStage(Stage):
    def __init__(self, bars: RichBars, name: str, task: TaskID, counter: _Counter) -> None:
        self._bars, self._name, self._task, self._counter = bars, name, task, counter

    def advance(self, n: int = 1) -> None:
        self._bars.update(self._task, advance=n, count=self._counter.add(n))

    def note(self, text: str) -> None:
        self._bars.console.print(f"{self._name}: {text}", markup=False, highlight=False)


def _make_bars(console: Console) -> RichBars:
    from rich import progress

    name = progress.TextColumn("{task.description}", markup=False)
    count, elapsed = progress.TextColumn("{task.fields[count]}", markup=False), progress.TimeElapsedColumn()
    return progress.Progress(progress.SpinnerColumn(), name, progress.BarColumn(), count, elapsed, console=console)
