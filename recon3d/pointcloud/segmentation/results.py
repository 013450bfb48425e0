"""What a segmenter answers: one label and one confidence per point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from recon3d.core.errors import UsageError

_GREY = (128, 128, 128)


@dataclass(frozen=True, eq=False, kw_only=True)
class Segmentation:
    """Labels of the points of a cloud, in their order.

    Args:
        labels: index into ``names``; -1 = none (no position, beyond the reach, or below a threshold), ``[n]``.
        confidence: probability of the label, 0 where there is none, ``[n]``.
        names: classes.
        colours: red, green and blue of each class, 0 to 255.
        raw_ids: number of each class in the files of its data set.
        probabilities: of each class, ``[n,c]``; None unless they were asked for.
        notes: what the reader should know, such as that normals were estimated.
    """

    labels: Int64[np.ndarray, " n"]
    confidence: Float32[np.ndarray, " n"]
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    raw_ids: tuple[int, ...]
    probabilities: Float32[np.ndarray, "n c"] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def rgb(self) -> UInt8[np.ndarray, "n 3"]:
        """Return the colour of each point's class; grey where there is none."""
        colours: np.ndarray = np.array([*self.colours, _GREY], np.uint8)[self.labels]
        return colours

    def mask(self, name: str) -> Bool[np.ndarray, " n"]:
        """Return which points have a class.

        Args:
            name: of the class.

        Raises:
            UsageError: there is no such class.
        """
        if name not in self.names:
            raise UsageError("no such class", got=name, expected=", ".join(self.names))
        found: np.ndarray = self.labels == self.names.index(name)
        return found

    def ids(self) -> Int64[np.ndarray, " n"]:
        """Return the number of each point's class in the files of its data set; 0 where there is none."""
        ids: np.ndarray = np.array([*self.raw_ids, 0], np.int64)[self.labels]
        return ids

    def above(self, threshold: float) -> Segmentation:
        """Return the labels whose confidence reaches a threshold; the others become -1.

        Args:
            threshold: 0 to 1.
        """
        if not 0 <= threshold <= 1:
            raise UsageError("a threshold is no probability", got=threshold, expected="0 to 1")
        kept = (self.labels >= 0) & (self.confidence >= threshold)
        labels, confidence = np.where(kept, self.labels, -1), np.where(kept, self.confidence, np.float32(0))
        return replace(self, labels=labels, confidence=confidence.astype(np.float32))

    def regrouped(self, groups: Mapping[str, Sequence[str]]) -> Segmentation:
        """Return other classes: each holds some of these; points of classes that no group names become -1.

        A point's confidence is that of its finer label; probabilities of a group add up where they are known.

        Args:
            groups: names of the present classes by name of the new one.

        Raises:
            UsageError: a class is unknown or stands in two groups.
        """
        named = [name for names in groups.values() for name in names]
        wrong = sorted({name for name in named if name not in self.names or named.count(name) > 1})
        if wrong or not groups:
            got = ", ".join(wrong) or "no groups"
            raise UsageError("the class map does not fit the model", got=got, expected=", ".join(self.names))
        members = [[self.names.index(name) for name in names] for names in groups.values()]
        target = np.full(len(self.names) + 1, -1)
        for k, rows in enumerate(members):
            target[rows] = k
        summed = None
        if self.probabilities is not None:
            summed = np.stack([self.probabilities[:, rows].sum(1) for rows in members], axis=1)
        return replace(
            self,
            labels=target[self.labels],
            confidence=np.where(target[self.labels] >= 0, self.confidence, np.float32(0)).astype(np.float32),
            names=tuple(groups),
            colours=tuple(self.colours[rows[0]] if rows else _GREY for rows in members),
            raw_ids=tuple(self.raw_ids[rows[0]] if rows else 0 for rows in members),
            probabilities=summed,
        )

    def to_json(self) -> dict[str, Any]:
        """Return a summary: points, shares and mean confidence by class, and the notes."""
        rows = [self.labels == k for k in range(len(self.names))]
        classes = {
            name: {
                "points": int(mine.sum()),
                "share": round(float(mine.mean()), 4) if len(self) else 0.0,
                "mean_confidence": round(float(self.confidence[mine].mean()), 3) if mine.any() else None,
            }
            for name, mine in zip(self.names, rows, strict=True)
        }
        unlabelled = int((self.labels < 0).sum())
        return {"points": len(self), "unlabelled": unlabelled, "classes": classes, "notes": list(self.notes)}
