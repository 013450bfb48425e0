"""The child side of :mod:`recon3d.core.workers`: ``python -m recon3d.core.worker_main``."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from recon3d.core.errors import ResourceError
from recon3d.core.files import disk_error

_LENGTH = struct.Struct("<Q")


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Write one message: its length in 8 bytes, little endian, then JSON."""
    data = json.dumps(message).encode("utf-8")
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """Read one message; None when the other side has gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        return None
    message: dict[str, Any] = json.loads(data)
    return message


def main() -> None:
    """Serve tasks until the parent closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; Ctrl+C reaches the whole group
    requests, answers = _take_pipes()
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, inbox), daemon=True).start()
    function = _prepare(inbox.get(), answers)
    while True:
        send(answers, _call(function, inbox.get()))


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for messages; what anybody prints to standard output goes to standard error instead."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, answers


def _listen(requests: BinaryIO, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    while (message := receive(requests)) is not None:
        inbox.put(message)
    os._exit(0)  # the parent has gone: leave at once, even from the middle of a task


def _prepare(hello: dict[str, Any], answers: BinaryIO) -> Callable[..., Any]:
    os.chdir(hello["cwd"])
    module, _, name = hello["function"].partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        send(answers, _failure(error))
        sys.exit(1)
    _limit(hello["max_memory_bytes"])
    send(answers, {"result": {}})
    return function


def _call(function: Callable[..., Any], task: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = {"result": function(**task)}
        json.dumps(answer)
    except Exception as error:  # the process boundary: every error of a task becomes its reported failure
        return _failure(error)
    return answer


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, MemoryError):
        return {"reason": "out of memory", "error": "MemoryError", "spent": True}
    known = disk_error(error, Path(str(error.filename or "a file"))) if isinstance(error, OSError) else error
    if isinstance(known, ResourceError):
        fields = {"what": known.what, "got": known.got, "expected": known.expected, "fix": known.fix}
        return {"resource": {name: value and str(value) for name, value in fields.items()}}
    name = type(error).__name__
    return {"reason": str(error) or name, "error": name, "spent": False}


def _limit(max_memory_bytes: int | None) -> None:
    """Allow ``max_memory_bytes`` of address space beyond what the imports have mapped, and no core files."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    statm = Path("/proc/self/statm")
    if max_memory_bytes is None or not statm.exists():
        return
    mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
    with contextlib.suppress(ValueError, OSError):  # a lower hard limit is already in force
        resource.setrlimit(resource.RLIMIT_AS, (mapped + max_memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
