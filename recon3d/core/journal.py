"""What a training tells: a line of JSON per entry, and TensorBoard where it is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recon3d.core.errors import DependencyError


class Journal:
    """Log of a training: ``log.jsonl`` in its folder, and an event file of TensorBoard.

    Args:
        folder: of the training.
        tensorboard: write the event file as well.
        silent: write nothing, as all processes but the first do.

    Raises:
        DependencyError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False, silent: bool = False) -> None:
        self._path = None if silent else folder / "log.jsonl"
        self._board: Any = _board(folder) if tensorboard and not silent else None

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add an entry.

        Args:
            step: of the training.
            values: numbers, or numbers by name, by name.
        """
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            for name, number in _numbers(values):
                self._board.add_scalar(name, number, step)

    def close(self) -> None:
        """Finish the event file."""
        if self._board is not None:
            self._board.close()


def _numbers(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found.append((prefix + name, float(value)))
    return found


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DependencyError(
            "TensorBoard is not installed", fix="pip install tensorboard, or leave --tensorboard out"
        ) from error
    return SummaryWriter(str(folder / "tensorboard"))
