from __future__ import annotations

import io
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from recon3d.core.progress import BarProgress, LogProgress, Progress, make_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[str]:
    """The text behind the elapsed seconds, with the stage's own seconds blanked."""
    found = re.findall(r"^\[ *\d+\.\d s\] (.*)$", stream.getvalue(), re.MULTILINE)
    assert len(found) == stream.getvalue().count("\n")
    return [re.sub(r"in \d+\.\d s", "in T", line) for line in found]


def test_a_log_has_start_notes_and_end() -> None:
    stream = io.StringIO()
    with LogProgress(stream).stage("features", 16) as stage:
        stage.advance(4)
        stage.note("b.jpg is blurred [no markup]")
    assert lines(stream) == ["features: 16 to do", "features: b.jpg is blurred [no markup]", "features: done in T"]


def test_a_log_counts_at_most_once_per_interval() -> None:
    stream = io.StringIO()
    with LogProgress(stream, interval_s=0.0).stage("matching", 3) as stage:
        for _ in range(3):
            stage.advance()
    assert lines(stream)[1:-1] == ["matching: 1 of 3", "matching: 2 of 3", "matching: 3 of 3"]


def test_an_unknown_total_is_counted_without_it() -> None:
    stream = io.StringIO()
    with LogProgress(stream, interval_s=0.0).stage("mapping") as stage:
        stage.advance(7)
    assert lines(stream) == ["mapping ...", "mapping: 7", "mapping: done in T"]


def test_an_error_passes_through_and_the_log_says_stopped() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), LogProgress(stream).stage("mapping"):
        raise KeyboardInterrupt
    assert lines(stream)[-1] == "mapping: stopped in T"


def test_threads_count_without_loss() -> None:
    stream = io.StringIO()
    with LogProgress(stream, interval_s=0.0).stage("photos", 400) as stage, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: stage.advance(), range(400)))
    assert lines(stream)[1:-1] == [f"photos: {n} of 400" for n in range(1, 401)]


def test_a_thread_that_read_the_clock_early_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is read after the lock is taken: a thread that waits cannot compare an old time with a newer one."""
    stream, interval_s, held = io.StringIO(), 0.0, threading.Event()
    clock = time.monotonic

    def slow_clock() -> float:
        now = clock()
        if threading.current_thread().name == "early" and not held.is_set():
            held.set()
            time.sleep(0.05)
        return now

    with LogProgress(stream, interval_s).stage("photos", 2) as stage:
        monkeypatch.setattr("recon3d.core.progress.time.monotonic", slow_clock)
        early = threading.Thread(target=stage.advance, name="early")
        early.start()
        held.wait()
        stage.advance()
        early.join()
    assert lines(stream)[1:-1] == ["photos: 1 of 2", "photos: 2 of 2"]


def test_quiet_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = make_progress(quiet=True)
    with progress.stage("a", 2) as outer, progress.stage("b"):
        outer.advance()
        outer.note("nothing")
    assert type(progress) is Progress
    assert capsys.readouterr() == ("", "")


def test_the_default_is_stderr_and_never_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress().stage("a"):
        pass
    out, err = capsys.readouterr()
    assert out == "" and "a: done in" in err


@pytest.mark.parametrize(("stream", "kind"), [(io.StringIO(), LogProgress), (Terminal(), BarProgress)])
def test_the_display_follows_the_stream(stream: io.StringIO, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert type(make_progress(stream=stream)) is kind


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_progress(stream=Terminal())) is LogProgress


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None, legacy_windows=False)


def shown(console: Console) -> str:
    text = console.file.getvalue()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_bars_show_the_final_count_once_per_outer_stage(console: Console) -> None:
    progress = BarProgress(console)
    for name in ("features", "matching"):
        with progress.stage(name, 5) as stage:
            stage.advance(5)
    last = [line for line in shown(console).replace("\r", "\n").split("\n") if "5 of 5" in line]
    assert "features" in last[0] and "matching" in last[-1]
    assert "features" not in last[-1]


def test_bars_nest_and_show_notes(console: Console) -> None:
    progress = BarProgress(console)
    with progress.stage("cameras") as outer:
        with progress.stage("inner [x]", 2) as inner:
            inner.advance()
            inner.note("half [bold] way")
        outer.advance()
    text = shown(console)
    assert "inner [x]: half [bold] way" in text
    assert "inner [x]" not in text.replace("\r", "\n").rstrip("\n").split("\n")[-1]


def test_bars_recover_after_an_error(console: Console) -> None:
    progress = BarProgress(console)
    with pytest.raises(ValueError, match="x"), progress.stage("first", 2):
        raise ValueError("x")
    with progress.stage("second", 1) as stage:
        stage.advance()
    assert "second" in shown(console)


def test_a_stage_that_counts_nothing_shows_no_count(console: Console) -> None:
    with BarProgress(console).stage("mapping"):
        pass
    last = shown(console).replace("\r", "\n").rstrip("\n").split("\n")[-1]
    assert "mapping" in last
    assert not re.search(r"\d+ of|[1-9]/", last)
