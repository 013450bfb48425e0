"""Estimated cameras by photo name, whoever estimated them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from recon3d.core.errors import ShapeError
from recon3d.render.cameras import Cameras

if TYPE_CHECKING:
    from recon3d.evaluation.truth import Truth
    from recon3d.scene import Scene


@dataclass(frozen=True, eq=False)
class Estimate:
    """The registered photos of one model.

    Args:
        keys: photo names or relative paths, one per camera.
        cameras: estimated cameras, OpenCV axes.
    """

    keys: tuple[str, ...]
    cameras: Cameras

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.cameras):
            raise ShapeError("keys and cameras disagree", got=(len(self.keys), len(self.cameras)), expected="equal")

    @classmethod
    def from_scene(cls, scene: Scene) -> Estimate:
        """Return the cameras of the registered views of a scene, as photographed."""
        return cls(tuple(view.key for view in scene.registered), scene.cameras)

    @classmethod
    def empty(cls) -> Estimate:
        """Return an estimate without a camera: the result of a refusal."""
        none = np.zeros(0, np.int64)
        return cls((), Cameras(np.zeros((0, 4, 4)), np.zeros((0, 3, 3)), none, none))

    def rows(self, truth: Truth) -> dict[str, int]:
        """Return the row of ``cameras`` for every photo of the truth that was registered, outliers included.

        A name of the truth matches the key that equals it, or else the only key with the same last path component.
        """
        exact = {key: row for row, key in enumerate(self.keys)}
        bases = [PurePosixPath(key.replace("\\", "/")).name for key in self.keys]
        counts = Counter(bases)
        unique = {base: row for row, base in enumerate(bases) if counts[base] == 1}
        wanted = (*truth.names, *truth.outliers)
        found = {name: exact.get(name, unique.get(PurePosixPath(name).name)) for name in wanted}
        return {name: row for name, row in found.items() if row is not None}
