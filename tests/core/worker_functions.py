"""Functions that test_workers.py runs in worker processes."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from recon3d.core.files import disk_errors


def double(x: int) -> dict[str, Any]:
    return {"y": 2 * x}


def slow_first(x: int) -> dict[str, Any]:
    time.sleep(0.2 if x == 0 else 0.0)
    return {"y": x}


def environment() -> dict[str, Any]:
    loaded = [name for name in ("numpy", "torch", "PIL", "scipy") if name in sys.modules]
    return {"threads": os.environ["OMP_NUM_THREADS"], "cwd": os.getcwd(), "pid": os.getpid(), "loaded": loaded}


def die_on(x: int, bad: int, number: int) -> dict[str, Any]:
    if x == bad:
        os.write(2, b"native library: giving up\n")
        os.kill(os.getpid(), number)
    return {"y": x}


def chatter(x: int) -> dict[str, Any]:
    print("printed by Python", flush=True)
    os.write(1, b"printed by native code " * 10_000)
    return {"y": x}


def fail(kind: str) -> dict[str, Any]:
    if kind == "value":
        raise ValueError("seven is not even")
    if kind == "silent":
        raise KeyError
    if kind == "exit":
        sys.exit(7)
    if kind == "unserialisable":
        return {"y": object()}
    return {"y": kind}


def fill_disk(kind: str) -> dict[str, Any]:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "there")
    if kind == "ours":
        with disk_errors(Path("there")):
            raise full
    if kind == "system":
        raise full
    return {"y": kind}


def allocate(n_bytes: int) -> dict[str, Any]:
    return {"y": len(bytearray(n_bytes))}


def sleep(seconds: float) -> dict[str, Any]:
    time.sleep(seconds)
    return {"y": 1}


def note_and_sleep(file: str, seconds: float) -> dict[str, Any]:
    with open(file, "w") as stream:
        stream.write(str(os.getpid()))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)
    return {}
