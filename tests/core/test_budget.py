from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from recon3d.core.budget import Budget, available_memory_bytes, cpu_count, make_budget, parse_duration, parse_size
from recon3d.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4GB", 4_000_000_000),
        ("4G", 4_000_000_000),
        ("4g", 4_000_000_000),
        ("4GiB", 4 * 2**30),
        ("1.5 GiB", 3 * 2**29),
        ("800mb", 800_000_000),
        ("512KiB", 512 * 1024),
        ("2T", 2 * 10**12),
        (" 65536 ", 65536),
        ("17B", 17),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "0", "0.5", "1e9", "4 G B", "4XB", "4GBs", "nan", "inf", "1,5GB", "٤GB x"]
)
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90.0),
        ("45s", 45.0),
        ("10m", 600.0),
        ("10min", 600.0),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        ("1h 30m 5s", 5405.0),
        ("2D", 172800.0),
        ("0.5", 0.5),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "m", "-5m", "0", "0s", "1h30", "1:30", "10 minutes", "1h,30m", "inf", "5ms"])
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        parse_duration(text)


@given(st.text(max_size=12))
def test_any_text_is_a_positive_number_or_one_error(text: str) -> None:
    for parse in (parse_size, parse_duration):
        with contextlib.suppress(UsageError):
            assert parse(text) > 0


@given(st.integers(1, 10**15))
def test_plain_bytes_are_themselves(n: int) -> None:
    assert parse_size(str(n)) == n


def test_a_budget_is_measured_where_the_user_gave_none() -> None:
    budget = make_budget()
    assert budget.max_time_s is None
    assert budget.n_threads == cpu_count()
    assert 0 < budget.max_memory_bytes < available_memory_bytes() * 1.2


def test_a_budget_takes_what_the_user_gave() -> None:
    assert make_budget("2GB", "5m", 3) == Budget(2_000_000_000, 300.0, 3)


@pytest.mark.parametrize("values", [(0, None, 1), (1, 0.0, 1), (1, None, 0), (1, -1.0, 1)])
def test_a_budget_of_nothing_is_refused(values: tuple[int, float | None, int]) -> None:
    with pytest.raises(UsageError, match="must be positive"):
        Budget(*values)


def test_this_machine() -> None:
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)
    assert 2**26 < available_memory_bytes() < 2**50


def machine(root: Path, files: dict[str, str]) -> Path:
    """Lay out a pretended ``/proc`` and ``/sys``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n"


def test_without_groups_the_system_decides(tmp_path: Path) -> None:
    assert available_memory_bytes(machine(tmp_path, {"proc/meminfo": MEMINFO})) == 8_000_000 * 1024


def test_the_tightest_group_on_the_path_decides(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/user/job\n",
            "sys/fs/cgroup/user/memory.max": "3000000000\n",
            "sys/fs/cgroup/user/memory.current": "1000000000\n",
            "sys/fs/cgroup/user/memory.stat": "anon 5\ninactive_file 400000000\n",
            "sys/fs/cgroup/user/job/memory.max": "max\n",
            "sys/fs/cgroup/user/job/memory.current": "1000\n",
        },
    )
    assert available_memory_bytes(root) == 2_400_000_000


def test_a_container_sees_its_group_at_the_top(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "4:memory:/docker/123\n1:cpu,cpuacct:/docker/123\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "500000000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "600000000\n",
            "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 150000000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert available_memory_bytes(root) == 50_000_000
    assert cpu_count(root) == 1


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", None), ("150000 100000", 2), ("100 100000", 1), ("", None), ("broken", None)]
)
def test_a_quota_of_cores_is_rounded_up(
    tmp_path: Path, quota: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    root = machine(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": quota})
    assert cpu_count(root) == (expected or 8)


def test_without_any_of_it_the_physical_memory_counts(tmp_path: Path) -> None:
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available_memory_bytes(tmp_path) == physical


def test_where_even_that_is_unknown_it_is_4_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")
    assert available_memory_bytes(tmp_path) == 4 * 2**30
