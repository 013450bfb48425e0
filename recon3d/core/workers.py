"""Tasks in worker processes that may crash, hang or run out of memory without harming the parent.

Each worker is ``python -m recon3d.core.worker_main``, spoken to in length-prefixed JSON over its own pipes. So scripts
of users need no ``__main__`` guard, nothing is pickled, and whatever native code prints stays apart from the answers.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon3d.core.errors import ResourceError, UsageError
from recon3d.core.worker_main import receive, send

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_TAIL_BYTES = 2000
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class WorkerOptions:
    """How many worker processes run at once, and what each of them may use.

    Args:
        n_workers: processes at the same time; one still runs apart from the parent.
        max_memory_bytes: memory that a task may use beyond what its imports take (Linux; elsewhere not enforced).
        timeout_s: seconds that one task may take, imports of its module not counted.
    """

    n_workers: int = 2
    max_memory_bytes: int | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class TaskFailure:
    """Why one task has no result.

    Args:
        reason: "worker died (signal 6)", "took longer than 60 s", "out of memory", or the text of the exception.
        error: class name of the exception; empty when the worker died.
    """

    reason: str
    error: str = ""


Outcome = dict[str, Any] | TaskFailure


def run_tasks(
    function: str,
    tasks: Sequence[Mapping[str, Any]],
    options: WorkerOptions,
    on_done: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Call ``function(**task)`` for every task in worker processes.

    A worker that dies is replaced, and only its task fails. Import what the function needs at the top of its module:
    then it is loaded before the memory limit and the clock start. Workers end when the parent ends, however that was.

    Args:
        function: "package.module:name"; it takes JSON-able keyword arguments and returns a JSON-able dict.
        tasks: keyword arguments of each call.
        options: number of workers and limits per task.
        on_done: called in this thread with the index of each task that has ended, in order of ending.

    Returns:
        One result or failure per task, in the order of the tasks whatever the number of workers.

    Raises:
        UsageError: no worker is allowed, or the function cannot be found.
        ResourceError: worker processes cannot be started, or the disk is full or read-only: then no task fails by
            itself, but all of them end.
    """
    if options.n_workers < 1:
        raise UsageError("too few worker processes", got=options.n_workers, expected="at least 1")
    pool = _Pool(function, tasks, options)
    results: dict[int, Outcome] = {}
    with pool.running(min(options.n_workers, len(tasks))):
        while len(results) < len(tasks):
            index, outcome = pool.done.get()
            if isinstance(outcome, Exception):
                raise outcome
            results[index] = outcome
            if on_done is not None:
                on_done(index)
    return [results[index] for index in range(len(tasks))]


class _Pool:
    """Threads that each drive one worker process through the shared queue of tasks."""

    def __init__(self, function: str, tasks: Sequence[Mapping[str, Any]], options: WorkerOptions) -> None:
        self.function, self.tasks, self.options = function, tasks, options
        self.done: queue.Queue[tuple[int, Outcome | Exception]] = queue.Queue()
        self._todo: Iterator[int] = iter(range(len(tasks)))
        self._lock = threading.Lock()
        self._stopping = False
        self._alive: set[_Worker] = set()

    @contextlib.contextmanager
    def running(self, n_threads: int) -> Iterator[None]:
        """Drive ``n_threads`` workers inside the block; when it ends, for whatever reason, none of them is left."""
        threads = [threading.Thread(target=self._drive, daemon=True) for _ in range(n_threads)]
        try:
            for thread in threads:
                thread.start()
            yield
        finally:
            with self._lock:
                self._stopping = True
                for worker in self._alive:
                    worker.process.kill()
            for thread in threads:
                thread.join()

    def _drive(self) -> None:
        worker: _Worker | None = None
        try:
            while (index := self._next()) is not None:
                worker = worker if worker is not None and worker.usable else self._replace(worker)
                self.done.put((index, worker.run(self.tasks[index])))
        except (ResourceError, UsageError, OSError, TypeError, ValueError) as error:
            self.done.put((-1, error))  # raised by the caller's thread
        finally:
            self._release(worker)

    def _next(self) -> int | None:
        with self._lock:
            return None if self._stopping else next(self._todo, None)

    def _replace(self, old: _Worker | None) -> _Worker:
        self._release(old)
        worker = _Worker(self.options)
        with self._lock:
            self._alive.add(worker)
            if self._stopping:
                worker.process.kill()
        worker.prepare(self.function)
        return worker

    def _release(self, worker: _Worker | None) -> None:
        if worker is not None:
            worker.close()
            with self._lock:
                self._alive.discard(worker)


class _Worker:
    """One child process and the tail of what its native code printed."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.usable = True
        self.process = _spawn()
        self._tail = b""
        self._drain = threading.Thread(target=self._keep_tail, daemon=True)
        self._drain.start()

    def prepare(self, function: str) -> None:
        """Import the function in the worker and set its memory limit.

        Raises:
            UsageError: the function cannot be found.
            ResourceError: the worker ended before it was ready.
        """
        hello = {"cwd": os.getcwd(), "function": function, "max_memory_bytes": self.options.max_memory_bytes}
        answer = self._ask(hello)
        if answer is None:
            raise ResourceError("a worker process ended before it was ready", got=self._death())
        if "reason" in answer:
            raise UsageError(f"a worker process cannot load {function}", got=f"{answer['error']}: {answer['reason']}")

    def run(self, task: Mapping[str, Any]) -> Outcome:
        """Return the result of one task, or why there is none.

        Raises:
            ResourceError: the disk is full, which is no fault of the task.
        """
        self._tail = b""
        expired = threading.Event()
        timer = threading.Timer(self.options.timeout_s or 0.0, self._expire, (expired,))
        if self.options.timeout_s is not None:
            timer.start()
        answer = self._ask(dict(task))
        timer.cancel()
        if answer is None:
            self.usable = False
            death = self._death()
            return TaskFailure(f"took longer than {self.options.timeout_s:g} s" if expired.is_set() else death)
        if "resource" in answer:
            raise ResourceError(**answer["resource"])
        if "reason" in answer:
            self.usable = not answer["spent"]
            return TaskFailure(answer["reason"], answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """End the process: it leaves by itself when its pipe closes."""
        with contextlib.suppress(OSError):
            _pipe(self.process.stdin).close()
        try:
            self.process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._drain.join(timeout=2.0)
        _pipe(self.process.stdout).close()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any] | None:
        try:
            send(_pipe(self.process.stdin), message)
            return receive(_pipe(self.process.stdout))
        except OSError:
            return None  # the pipe broke because the worker died

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self.process.kill()

    def _death(self) -> str:
        code = self.process.wait()
        self._drain.join(timeout=2.0)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        said = self._tail.decode("utf-8", "replace").strip().splitlines()
        return f"worker died ({how})" + (f": {said[-1].strip()}" if said else "")

    def _keep_tail(self) -> None:
        stream = _pipe(self.process.stderr)
        with stream:
            while block := os.read(stream.fileno(), 1 << 16):
                self._tail = (self._tail + block)[-_TAIL_BYTES:]


def _spawn() -> subprocess.Popen[bytes]:
    paths = [str(Path(entry).resolve()) for entry in sys.path]
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, "1"), "MALLOC_ARENA_MAX": "2"}
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "recon3d.core.worker_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=_PACKAGE_PARENT,  # "-m" searches the current folder first, where a user may keep a numpy.py
        )
    except OSError as error:
        raise ResourceError("cannot start a worker process", got=error.strerror) from error


def _pipe(stream: Any) -> Any:
    if stream is None:
        raise ResourceError("a worker process has no pipe")
    return stream
