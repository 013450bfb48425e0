"""How far a training has come, by its steps or its time of computing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class Length(Protocol):
    """How long a training is to be: whichever of the two ends first; 0 = not limited by it."""

    @property
    def steps(self) -> int:
        """Steps of the optimiser."""

    @property
    def minutes(self) -> float:
        """Minutes of computing."""


@dataclass
class Clock:
    """Where a training stands.

    Args:
        step: that comes next.
        seconds: of computing so far, evaluations not counted.
    """

    step: int = 0
    seconds: float = 0.0

    def progress(self, length: Length) -> float:
        """Return the finished share of the training.

        Args:
            length: of the training, such as its options.
        """
        by_step = self.step / length.steps if length.steps else 0.0
        return max(by_step, self.seconds / (60.0 * length.minutes) if length.minutes else 0.0)
