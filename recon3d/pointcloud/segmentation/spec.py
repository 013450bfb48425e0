"""What a trained segmenter expects and what it answers: written beside its weights, checked against every cloud."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from recon3d.core.errors import FormatError, UsageError

Kind = Literal["indoor", "outdoor"]
Feature = Literal["one", "height", "distance", "strength", "colour", "normal"]
CHANNELS: Mapping[str, int] = {"one": 1, "height": 1, "distance": 1, "strength": 1, "colour": 3, "normal": 3}
INDOOR_FEATURES: tuple[Feature, ...] = ("one", "height", "colour", "normal")
OUTDOOR_FEATURES: tuple[Feature, ...] = ("one", "height", "distance", "strength")
_MOST_CLASSES = 1000
_HIGHEST_MOUNT_M = 1000.0


@dataclass(frozen=True, kw_only=True)
class SegmenterSpec:
    """Classes of a segmenter, and what it needs to know of a cloud.

    Args:
        kind: ``indoor``: rooms, z up, heights count from the floor of the scene; ``outdoor``: sweeps in the frame of
            the sensor, z up, heights count from the ground below it.
        classes: names, in the order of the labels.
        colours: red, green and blue of each class, 0 to 255.
        voxel_m: edge of a voxel.
        features: of a voxel, in their order: ``one`` (occupied), ``height`` (metres), ``distance`` (from the sensor, in
            units of 50 m), ``strength`` (of the laser's return, 0 to 1), ``colour`` (0 to 1), ``normal`` (without its
            sign).
        mount_m: height of the sensor over the ground, for ``outdoor``.
        max_distance_m: points beyond it get no label; None = no limit.
        raw_ids: number of each class in the files of its data set; empty = those of the labels.
        about: what the model was trained on.
    """

    kind: Kind
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    voxel_m: float
    features: tuple[Feature, ...]
    mount_m: float = 0.0
    max_distance_m: float | None = None
    raw_ids: tuple[int, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        n = len(self.classes)
        if not 0 < n <= _MOST_CLASSES or len(self.colours) != n or len(self.raw_ids) not in (0, n):
            got = f"{n} classes, {len(self.colours)} colours, {len(self.raw_ids)} raw ids"
            raise UsageError("the classes of a segmenter do not match", got=got, expected="one colour per class")
        if self.kind not in get_args(Kind) or not set(self.features) <= CHANNELS.keys() or not self.features:
            got = f"{self.kind}, {self.features}"
            raise UsageError("no such segmenter", got=got, expected=f"features of {', '.join(CHANNELS)}")
        sizes = (self.voxel_m, 1.0 if self.max_distance_m is None else self.max_distance_m)
        if not all(0 < one < float("inf") for one in sizes) or not abs(self.mount_m) < _HIGHEST_MOUNT_M:
            got = f"voxel_m {self.voxel_m}, max_distance_m {self.max_distance_m}, mount_m {self.mount_m}"
            raise UsageError("the sizes of a segmenter are wrong", got=got, expected="above 0")

    @property
    def channels(self) -> int:
        """Numbers of a voxel."""
        return sum(CHANNELS[one] for one in self.features)

    def to_json(self) -> str:
        """Return the text that is kept beside the weights."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SegmenterSpec:
        """Read the text of :meth:`to_json`.

        Args:
            text: JSON.

        Raises:
            FormatError: it is something else.
        """
        try:
            found = json.loads(text)
            names = {one.name for one in fields(cls)}
            if not isinstance(found, dict) or not found.keys() <= names:
                raise ValueError(f"unknown keys {sorted(set(found) - names)}")
            return cls(**{name: _frozen(value) for name, value in found.items()})
        except (ValueError, TypeError, RecursionError, UsageError) as error:
            fix = "train it with recon3d train segmenter"
            raise FormatError("this is no description of a segmenter", got=error, fix=fix) from error


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value
