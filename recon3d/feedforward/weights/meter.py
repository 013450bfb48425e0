"""Reading large files with a display in megabytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from recon3d.core.errors import InputError
from recon3d.core.progress import Progress, Stage

BLOCK = 1 << 20
_MEGABYTE = 1_000_000


def megabytes(size: int) -> int:
    """Return bytes as whole megabytes."""
    return round(size / _MEGABYTE)


class Meter:
    """Shows a position in bytes as megabytes on a stage.

    Args:
        stage: the display.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage, self._shown = stage, 0

    def at(self, position: int) -> None:
        """Show a position, which may also be smaller than the last one."""
        if megabytes(position) != self._shown:
            self._stage.advance(megabytes(position) - self._shown)
            self._shown = megabytes(position)


def hash_file(path: Path, progress: Progress, label: str) -> str:
    """Return the SHA-256 of a file in lower-case hex.

    Args:
        path: the file.
        progress: display.
        label: name of its stage.

    Raises:
        InputError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file, progress.stage(f"{label}, MB", megabytes(path.stat().st_size)) as stage:
            meter = Meter(stage)
            while block := file.read(BLOCK):
                digest.update(block)
                meter.at(file.tell())
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror) from error
    return digest.hexdigest()
