"""Worker processes: isolation, limits, order, and no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from recon3d.core.errors import ResourceError, UsageError
from recon3d.core.workers import TaskFailure, WorkerOptions, run_tasks

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def functions_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def run(name: str, tasks: list[dict[str, Any]], **options: Any) -> list[Any]:
    return run_tasks(f"worker_functions:{name}", tasks, WorkerOptions(**options))


@pytest.mark.parametrize("n_workers", [1, 3])
def test_results_come_in_task_order(n_workers: int) -> None:
    tasks = [{"x": x} for x in range(7)]
    assert run("slow_first", tasks, n_workers=n_workers) == [{"y": x} for x in range(7)]


def test_no_tasks_start_nothing() -> None:
    assert run("double", []) == []


def test_every_index_is_announced_once_in_the_calling_thread() -> None:
    seen: list[int] = []
    run_tasks("worker_functions:double", [{"x": x} for x in range(5)], WorkerOptions(n_workers=2), seen.append)
    assert sorted(seen) == list(range(5))


def test_worker_is_a_light_process_in_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise RuntimeError('a file of the user shadows the standard library')")
    (result,) = run("environment", [{}], n_workers=1)
    assert result["threads"] == "1"
    assert Path(result["cwd"]) == tmp_path.resolve()
    assert result["pid"] != os.getpid()
    assert result["loaded"] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_dead_worker_is_one_failed_task(number: signal.Signals, n_workers: int) -> None:
    results = run("die_on", [{"x": x, "bad": 1, "number": int(number)} for x in range(4)], n_workers=n_workers)
    assert results[1] == TaskFailure(f"worker died (signal {int(number)}): native library: giving up")
    assert [results[i] for i in (0, 2, 3)] == [{"y": 0}, {"y": 2}, {"y": 3}]


def test_every_worker_dying_still_ends() -> None:
    results = run("die_on", [{"x": 1, "bad": 1, "number": 9}] * 3, n_workers=2)
    assert all(isinstance(result, TaskFailure) and not result.error for result in results)


def test_printing_does_not_disturb_the_answers() -> None:
    assert run("chatter", [{"x": 1}, {"x": 2}], n_workers=1) == [{"y": 1}, {"y": 2}]


def test_exceptions_become_failures_with_text_and_class() -> None:
    kinds = ["value", "silent", "exit", "unserialisable", "fine"]
    value, silent, left, unserialisable, fine = run("fail", [{"kind": kind} for kind in kinds], n_workers=1)
    assert value == TaskFailure("seven is not even", "ValueError")
    assert silent == TaskFailure("KeyError", "KeyError")
    assert left == TaskFailure("worker died (exit code 7)")
    assert unserialisable.error == "TypeError"
    assert fine == {"y": "fine"}


@pytest.mark.parametrize("kind", ["ours", "system"])
def test_a_full_disk_ends_all_tasks_instead_of_failing_each(kind: str) -> None:
    """A photo that could not be written is not a photo that cannot be read."""
    with pytest.raises(ResourceError, match=r"cannot write there; got: No space left on device") as caught:
        run("fill_disk", [{"kind": kind}, {"kind": kind}, {"kind": "fine"}], n_workers=2)
    assert "run the same command again" in str(caught.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory limits are enforced on Linux")
def test_memory_beyond_the_limit_is_one_failed_task() -> None:
    tasks = [{"n_bytes": 50 << 20}, {"n_bytes": 400 << 20}, {"n_bytes": 50 << 20}]
    small, large, again = run("allocate", tasks, n_workers=1, max_memory_bytes=128 << 20)
    assert small == again == {"y": 50 << 20}
    assert large == TaskFailure("out of memory", "MemoryError")


def test_a_task_over_time_is_one_failed_task() -> None:
    start = time.monotonic()
    slow, fast = run("sleep", [{"seconds": 30}, {"seconds": 0}], n_workers=1, timeout_s=0.3)
    assert slow == TaskFailure("took longer than 0.3 s")
    assert fast == {"y": 1}
    assert time.monotonic() - start < 10


def test_unknown_function_and_no_workers_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no_such_module"):
        run_tasks("no_such_module:f", [{}], WorkerOptions())
    with pytest.raises(UsageError, match="missing"):
        run("missing", [{}])
    with pytest.raises(UsageError, match="at least 1"):
        run("double", [{"x": 1}], n_workers=0)


def test_a_task_that_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="JSON"):
        run("double", [{"x": object()}])


def test_missing_interpreter_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ResourceError, match="cannot start"):
        run("double", [{"x": 1}])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_for(condition: Any, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = tmp_path / "script.py"
    script.write_text(
        f"import signal, sys; sys.path.insert(0, {str(HERE)!r})\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background\n"
        "from recon3d.core.workers import WorkerOptions, run_tasks\n"
        f"tasks = [{{'file': {str(file)!r}, 'seconds': 60}}]\n"
        "run_tasks('worker_functions:note_and_sleep', tasks, WorkerOptions(n_workers=1))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL, env=environment)
    assert _wait_for(lambda: file.exists() and file.read_text() != "")
    parent.send_signal(number)
    assert parent.wait(10) != 0
    assert _wait_for(lambda: not _exists(int(file.read_text())))


def test_an_error_in_on_done_leaves_no_worker(tmp_path: Path) -> None:
    quick, slow = tmp_path / "quick", tmp_path / "slow"

    def stop(index: int) -> None:
        assert _wait_for(lambda: slow.exists() and slow.read_text() != "")
        raise RuntimeError("enough")

    tasks = [{"file": str(quick), "seconds": 0.0}, {"file": str(slow), "seconds": 60.0}]
    with pytest.raises(RuntimeError, match="enough"):
        run_tasks("worker_functions:note_and_sleep", tasks, WorkerOptions(n_workers=2), stop)
    assert not _exists(int(slow.read_text()))
