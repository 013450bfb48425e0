"""Run a command and measure what it takes; describe the machine that it ran on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

from recon3d.core.budget import available_memory_bytes, cpu_count

_PERIOD_S = 0.1


@dataclass(frozen=True)
class Measured:
    """What one run of a command took.

    Args:
        exit_code: of the command; negative = killed by that signal.
        wall_s: wall time.
        cpu_s: user and system time of the process and of its children.
        peak_mb: largest sum of resident memory over all processes of the command, sampled ten times a second (pages
            shared by them count in each), or the largest single process where that is more, in 10^6 bytes.
        stdout: its whole output.
        stderr: the end of its log.
    """

    exit_code: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    stdout: str
    stderr: str


def measure(command: Sequence[str]) -> Measured:
    """Run a command in a session of its own and measure it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=log, start_new_session=True)
        peak, stop = [0], threading.Event()
        sampler = threading.Thread(target=_sample, args=(process.pid, peak, stop), daemon=True)
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # wait4 has reaped it behind Popen's back
        stop.set()
        sampler.join()
        largest = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        cpu = usage.ru_utime + usage.ru_stime
        return Measured(process.returncode, wall, cpu, max(largest, peak[0]) / 1e6, _text(out), _text(log)[-4000:])


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _sample(session: int, peak: list[int], stop: threading.Event) -> None:
    """Keep the largest sum of resident memory over the processes of a session."""
    page = os.sysconf("SC_PAGE_SIZE")
    while not stop.wait(_PERIOD_S):
        peak[0] = max(peak[0], sum(_resident_pages(path, session) for path in Path("/proc").glob("[0-9]*/stat")) * page)


def _resident_pages(stat: Path, session: int) -> int:
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return 0  # the process has gone
    return int(fields[21]) if int(fields[3]) == session else 0


def machine_card(packages: Sequence[str]) -> str:
    """Return one line about the machine and the versions in use."""
    numbers = ", ".join(f"{name} {_version(name)}" for name in packages)
    memory = f"{available_memory_bytes() / 1e9:.0f} GB free"
    load = f"load {os.getloadavg()[0]:.1f} at the start"
    return f"{_processor()}, {cpu_count()} cores, {memory}, {load}; Python {platform.python_version()}, {numbers}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
