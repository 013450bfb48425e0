"""Damaged files for readers: seeded mutations, and a check that a reader answers each with its own error or none.

A reader passes when, for every mutated file, it returns or raises one of its allowed errors within a time and a memory
limit. Anything else (another exception, a hang, a crash of the process) is a finding.
"""

from __future__ import annotations

import re
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import numpy as np

Mutation = Callable[[np.random.Generator, bytes], bytes]
_TOKENS = [b"-1", b"0", b"-0", b"1e999", b"nan", b"-inf", b"9" * 20, b"1e-320", b"2147483648", b"18446744073709551615"]
_TOKENS += [b"null", b"true", b'"x"', b"[]", b"{}", b"1_0", b"0x1", b"", b"\xff", b"9" * 5000, b"1e308", b"256"]
_HUGE = [2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1, 10**9, 0]


@dataclass(frozen=True)
class Target:
    """One reader under test.

    Args:
        name: shown in the table.
        seeds: valid files.
        read: reads the bytes of one file.
        allowed: the errors that a damaged file may raise.
        memory_bytes: bound on what Python and numpy may allocate while reading (files are a few kB).
    """

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    memory_bytes: int = 16 << 20


@dataclass
class Report:
    """What came of the mutated files of one reader."""

    accepted: int = 0
    refused: int = 0
    worst_seconds: float = 0.0
    peak_bytes: int = 0
    findings: list[str] = field(default_factory=list)


class Hang(BaseException):
    """Raised inside a reader that takes too long; no handler of a reader catches it."""


def _span(generator: np.random.Generator, data: bytes, most: int = 64) -> tuple[int, int]:
    start = int(generator.integers(0, len(data) + 1))
    return start, min(len(data), start + int(generator.integers(1, most)))


def _truncate(generator: np.random.Generator, data: bytes) -> bytes:
    return data[: generator.integers(0, len(data) + 1)]


def _flip(generator: np.random.Generator, data: bytes) -> bytes:
    values = np.frombuffer(data, np.uint8).copy()
    for _ in range(int(generator.integers(1, 9)) if len(values) else 0):
        values[generator.integers(len(values))] ^= 1 << generator.integers(8)
    return values.tobytes()


def _overwrite(generator: np.random.Generator, data: bytes) -> bytes:
    start, stop = _span(generator, data)
    return data[:start] + generator.bytes(stop - start) + data[stop:]


def _delete(generator: np.random.Generator, data: bytes) -> bytes:
    start, stop = _span(generator, data)
    return data[:start] + data[stop:]


def _insert(generator: np.random.Generator, data: bytes) -> bytes:
    start, stop = _span(generator, data)
    block = [generator.bytes(stop - start), data[start:stop], bytes(stop - start), b"\xff" * (stop - start)]
    return data[:start] + block[generator.integers(4)] + data[start:]


def _swap(generator: np.random.Generator, data: bytes) -> bytes:
    first, last = sorted((int(generator.integers(len(data) + 1)), int(generator.integers(len(data) + 1))))
    return data[last:] + data[first:last] + data[:first]


def _huge_number(generator: np.random.Generator, data: bytes) -> bytes:
    size = int(generator.choice([2, 4, 8]))
    number = _HUGE[generator.integers(len(_HUGE))] % 256**size
    near_front = generator.random() < 0.5
    start = int(generator.integers(0, min(len(data), 64) + 1 if near_front else len(data) + 1))
    order = "little" if generator.random() < 0.7 else "big"
    return data[:start] + number.to_bytes(size, order) + data[start + size :]


def _token(generator: np.random.Generator, data: bytes) -> bytes:
    numbers = list(re.finditer(rb"[-+.\w]+", data))
    if not numbers:
        return data
    match = numbers[generator.integers(len(numbers))]
    return data[: match.start()] + _TOKENS[generator.integers(len(_TOKENS))] + data[match.end() :]


def _line(generator: np.random.Generator, data: bytes) -> bytes:
    lines = data.split(b"\n")
    row = int(generator.integers(len(lines)))
    lines[row : row + 1] = [[], [lines[row]] * 2, [b""], [lines[row][::-1]]][generator.integers(4)]
    return b"\n".join(lines)


MUTATIONS: tuple[Mutation, ...] = (
    _truncate,
    _flip,
    _overwrite,
    _delete,
    _insert,
    _swap,
    _huge_number,
    _huge_number,
    _token,
    _token,
    _line,
)


def mutated(target: Target, index: int, seed: int = 0) -> bytes:
    """Return file ``index`` of a target: one to three mutations of one of its seeds, the same in every run."""
    generator = np.random.default_rng([seed, index])
    data = target.seeds[generator.integers(len(target.seeds))]
    for _ in range(int(generator.integers(1, 4))):
        data = MUTATIONS[generator.integers(len(MUTATIONS))](generator, data)
    return data


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # the test runner may use it, too


def check_one(target: Target, data: bytes, report: Report, label: str, limit_s: float = 2.0) -> None:
    """Read one file and note in ``report`` what came of it."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with _time_limit(limit_s):
            target.read(data)
        report.accepted += 1
    except target.allowed:
        report.refused += 1
    except Hang:
        report.findings.append(f"{label}: no answer after {limit_s} s")
    except Exception as error:  # every exception that is not allowed is what this looks for
        report.findings.append(f"{label}: {type(error).__name__}: {str(error)[:200]}")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    report.worst_seconds = max(report.worst_seconds, time.perf_counter() - start)
    report.peak_bytes = max(report.peak_bytes, peak)
    if peak > target.memory_bytes:
        report.findings.append(f"{label}: {peak} bytes for a file of {len(data)}")


def fuzz(target: Target, n_mutations: int, seed: int = 0, on_case: Callable[[int], None] | None = None) -> Report:
    """Read ``n_mutations`` damaged files; ``on_case`` hears the index of each before it is read."""
    report = Report()
    for index in range(n_mutations):
        if on_case is not None:
            on_case(index)
        check_one(target, mutated(target, index, seed), report, f"file {index}")
    return report
