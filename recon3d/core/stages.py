"""Stages that a run can resume: pure functions of their key, written atomically, skipped while they are valid."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon3d.core.errors import FormatError
from recon3d.core.files import disk_errors, read_capped, sha256_file, write_json

_DONE = "done.json"
_MAX_DONE_BYTES = 1 << 28


@dataclass(frozen=True)
class StageResult:
    """What one stage left behind.

    Args:
        folder: its files.
        value: its JSON value.
        key: hash of everything that it depends on.
        reused: whether an earlier run had made it already.
        seconds: wall time of the run that made it.
    """

    folder: Path
    value: Any
    key: str
    reused: bool
    seconds: float


class StageStore:
    """The stages of one output folder.

    A stage is built in a folder of its own under a temporary name and renamed when it is complete. So a kill leaves
    either no trace of it or all of it, and a re-run starts with the first stage that is missing or out of date.

    Args:
        root: folder for the stages; created with the first of them.
        version: of the program; results of another version are not reused.
    """

    def __init__(self, root: Path, version: str = "") -> None:
        self.root, self.version = Path(root), version

    def run(self, name: str, inputs: Mapping[str, Any], build: Callable[[Path], Any]) -> StageResult:
        """Return the result of a stage, building it only when no valid one is there.

        Args:
            name: of the stage; a file name.
            inputs: everything that the result depends on, JSON-ready (keys of earlier stages, options, hashes).
            build: writes files into the folder that it is given and returns a JSON-ready value.

        Raises:
            ResourceError: the disk is full or read-only; nothing of the stage is left then.
        """
        key, folder = stage_key(name, inputs, self.version), self.root / name
        found = _valid(folder, key)
        if found is not None:
            return StageResult(folder, found["value"], key, True, found["seconds"])
        return self.rerun(name, inputs, build)

    def rerun(self, name: str, inputs: Mapping[str, Any], build: Callable[[Path], Any]) -> StageResult:
        """Build a stage even when a valid result is there; arguments as in :meth:`run`."""
        key, folder = stage_key(name, inputs, self.version), self.root / name
        # Of its own for each process: workers that outlive a killed run may still write into the folder of that run.
        partial = self.root / f".{name}.{os.getpid()}.partial"
        with disk_errors(folder):
            for path in (*self.root.glob(f".{name}.*.partial"), folder):
                shutil.rmtree(path, ignore_errors=True)
            try:
                done = _build(partial, key, build)
                os.replace(partial, folder)
            finally:  # what an error leaves of a stage is of no use, and takes room
                shutil.rmtree(partial, ignore_errors=True)
        return StageResult(folder, done["value"], key, False, done["seconds"])


def _build(partial: Path, key: str, build: Callable[[Path], Any]) -> dict[str, Any]:
    """Build a stage in a new folder and return the manifest that it wrote there."""
    partial.mkdir(parents=True)
    start = time.perf_counter()
    value = json.loads(json.dumps(build(partial), allow_nan=False, sort_keys=True))  # as it is read later
    seconds = round(time.perf_counter() - start, 3)
    files = {str(path.relative_to(partial)): sha256_file(path) for path in sorted(partial.rglob("*")) if path.is_file()}
    done = {"key": key, "value": value, "seconds": seconds, "files": files}
    write_json(partial / _DONE, done)
    return done


def stage_key(name: str, inputs: Mapping[str, Any], version: str = "") -> str:
    """Return the hash of a stage's name and inputs and of the program's version, SHA-256 of canonical JSON."""
    text = json.dumps([name, inputs, version], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _valid(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the manifest of a stage that was built for ``key`` and whose files are unchanged."""
    path = folder / _DONE
    if not path.is_file():
        return None
    try:
        done = json.loads(read_capped(path, _MAX_DONE_BYTES))
    except (FormatError, ValueError, RecursionError):
        return None
    if not _is_manifest(done) or done["key"] != key:
        return None
    for name, digest in done["files"].items():
        file = folder / name
        if not file.is_file() or sha256_file(file) != digest:
            return None
    return dict(done)


def _is_manifest(done: Any) -> bool:
    if not isinstance(done, dict) or not {"key", "value", "seconds", "files"} <= set(done):
        return False
    return isinstance(done["seconds"], float) and isinstance(done["files"], dict)
