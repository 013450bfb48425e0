"""Budgets: how much memory, time and how many threads a run may use, measured once before it starts."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recon3d.core.errors import UsageError

_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(min|s|m|h|d|)\s*", re.IGNORECASE)
_UNKNOWN_MEMORY = 4 * 2**30
_MEMORY_SHARE = 0.8
_ROOT = Path("/")


@dataclass(frozen=True)
class Budget:
    """What one run may use, decided once and stored with its output.

    Args:
        max_memory_bytes: resident memory that the run plans for, in bytes.
        max_time_s: wall time that the run plans for, in seconds; None = no limit.
        n_threads: threads (or worker processes) that compute at the same time.

    Raises:
        UsageError: a limit is not positive.
    """

    max_memory_bytes: int
    max_time_s: float | None
    n_threads: int

    def __post_init__(self) -> None:
        for name in ("max_memory_bytes", "max_time_s", "n_threads"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"Budget.{name} must be positive", got=value)


def make_budget(max_memory: str | None = None, max_time: str | None = None, n_threads: int | None = None) -> Budget:
    """Return the budget of a run: what the user gave, and for the rest what this machine has now.

    Args:
        max_memory: a size such as ``4GB``; None = 80 % of the memory that is available.
        max_time: a duration such as ``10m``; None = no limit.
        n_threads: None = the cores that this process may use.

    Raises:
        UsageError: a limit cannot be read or is not positive.
    """
    memory = int(available_memory_bytes() * _MEMORY_SHARE) if max_memory is None else parse_size(max_memory)
    time_s = None if max_time is None else parse_duration(max_time)
    return Budget(memory, time_s, cpu_count() if n_threads is None else n_threads)


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``4GB``, ``1.5 GiB``, ``800m`` or ``65536``.

    ``k m g t`` are powers of 1000, ``Ki Mi Gi Ti`` powers of 1024; a trailing ``B`` and the case do not matter.

    Raises:
        UsageError: the text is not a size, or is less than one byte.
    """
    match = _SIZE.fullmatch(text.strip())
    value = int(float(match[1]) * _BYTES[(match[2] or "").lower()]) if match else 0
    if value < 1:
        raise UsageError("not a size", got=repr(text), expected="a positive number with a unit: 800MB, 4GB, 1.5GiB")
    return value


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``90``, ``45s``, ``10m``, ``1.5h`` or ``1h 30m``.

    Raises:
        UsageError: the text is not a duration, or is zero.
    """
    whole = text.strip()
    parts = _DURATION.findall(whole) if re.fullmatch(f"(?:{_DURATION.pattern})+", whole, re.IGNORECASE) else []
    bare = len(parts) > 1 and any(not unit for _, unit in parts)
    value = 0.0 if bare else sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
    if value <= 0:
        raise UsageError("not a duration", got=repr(text), expected="a positive number with a unit: 45s, 10m, 1h30m")
    return value


def cpu_count(root: Path = _ROOT) -> int:
    """Return how many cores this process may use: its affinity mask, capped by the quota of its control groups.

    Args:
        root: where the file system with ``proc`` and ``sys`` starts.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (_quota(folder) for folder in _control_groups(root, "cpu"))
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def available_memory_bytes(root: Path = _ROOT) -> int:
    """Return the memory that this process can still take without swapping, in bytes.

    On Linux the smaller of the system's ``MemAvailable`` and what is left in each control group above the process (its
    file cache counts as free); elsewhere the physical memory, and 4 GiB where not even that is known.

    Args:
        root: where the file system with ``proc`` and ``sys`` starts.
    """
    system = _system_memory(root)
    groups = (_memory_left(folder) for folder in _control_groups(root, "memory"))
    return max(0, min([system, *(left for left in groups if left is not None)]))


def _system_memory(root: Path) -> int:
    match = re.search(r"^MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if match:
        return int(match[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_MEMORY


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups (version 2, or version 1 of one controller), inner first."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, inner = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if names else "")
        folder = top / inner.lstrip("/")
        # Inside a container the path is the host's; its own group then is the top of the mount.
        yield from [parent for parent in (folder, *folder.parents) if parent == top or top in parent.parents]


def _quota(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split()
    if not words:
        words = [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    quota, period = (_number(word) for word in ([*words, "", ""])[:2])
    return quota / period if quota and period else None


def _memory_left(folder: Path) -> int | None:
    v2 = ("memory.max", "memory.current", "inactive_file")
    v1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    limit_name, used_name, cache_name = v2 if (folder / v2[1]).exists() else v1
    limit, used = _number(_text(folder / limit_name)), _number(_text(folder / used_name))
    if limit is None or used is None:
        return None
    cache = re.search(rf"^{cache_name} (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
    return max(0, limit - used + (int(cache[1]) if cache else 0))


def _number(text: str) -> int | None:
    """Return a positive integer, or None for "max", "-1" and an absent file."""
    return int(text) if text.strip().isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
