"""The cloud that every reader returns and every algorithm takes: float64 positions and named attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from recon3d.core.errors import ShapeError, UsageError


@dataclass(frozen=True, eq=False, kw_only=True)
class PointCloud:
    """Points with attributes, in one frame, at one time.

    Attributes with a meaning here: ``intensity [n]``, ``rgb [n,3]`` uint8, ``normals [n,3]`` unit, ``ring [n]``,
    ``time_s [n]``, ``label [n]`` and ``instance [n]``. Any other name is carried along.

    Args:
        xyz: positions in ``frame``, metres, ``[n,3]``; a point without a position has NaN. They stay float64, because
            map coordinates (UTM) lose half a metre in float32; see :meth:`local`.
        attributes: arrays of ``n`` rows by name.
        frame: name of the coordinate frame, such as ``sensor``, ``vehicle`` or ``map``.
        time_s: when the cloud was taken, seconds; None where it is not known.

    Raises:
        ShapeError: ``xyz`` is not ``[n,3]`` or an attribute has another number of rows.
    """

    xyz: Float64[np.ndarray, "n 3"]
    attributes: Mapping[str, Shaped[np.ndarray, "n ..."]] = field(default_factory=dict)
    frame: str = "sensor"
    time_s: float | None = None

    def __post_init__(self) -> None:
        if self.xyz.ndim != 2 or self.xyz.shape[1] != 3 or self.xyz.dtype != np.float64:
            got = f"{self.xyz.dtype} {list(self.xyz.shape)}"
            raise ShapeError("the positions of a cloud have the wrong shape", got=got, expected="float64 [n, 3]")
        for name, values in self.attributes.items():
            if values.shape[:1] != (len(self),):
                what = f"the attribute {name!r} does not match the points"
                raise ShapeError(what, got=f"{list(values.shape)}", expected=f"[{len(self)}, ...]")

    def __len__(self) -> int:
        return len(self.xyz)

    def selected(self, rows: Int64[np.ndarray, " m"] | Bool[np.ndarray, " n"] | slice) -> PointCloud:
        """Return the given rows, in the given order.

        Args:
            rows: their indices, a mask or a slice.
        """
        chosen = {name: values[rows] for name, values in self.attributes.items()}
        return replace(self, xyz=self.xyz[rows], attributes=chosen)

    def finite(self) -> PointCloud:
        """Return the points that have a position, in the same order."""
        return self.selected(np.isfinite(self.xyz).all(1))

    def with_attributes(self, **attributes: Shaped[np.ndarray, "n ..."]) -> PointCloud:
        """Return the cloud with attributes added or replaced.

        Args:
            attributes: arrays of ``n`` rows by name.

        Raises:
            ShapeError: one has another number of rows.
        """
        return replace(self, attributes={**self.attributes, **attributes})

    def attribute(self, name: str) -> Shaped[np.ndarray, "n ..."]:
        """Return one attribute.

        Args:
            name: of it.

        Raises:
            UsageError: the cloud has none of this name.
        """
        if name not in self.attributes:
            raise UsageError(f"the cloud has no attribute {name!r}", expected=f"one of {sorted(self.attributes)}")
        return self.attributes[name]

    def transformed(self, target_from_source: Float64[np.ndarray, "4 4"], *, frame: str | None = None) -> PointCloud:
        """Return the cloud in another frame; normals turn along.

        Args:
            target_from_source: affine matrix from this frame to the other; its last row is 0 0 0 1.
            frame: name of the other frame; None keeps the name.

        Raises:
            ShapeError: the matrix is not such.
        """
        matrix = np.asarray(target_from_source, np.float64)
        if matrix.shape != (4, 4) or not (matrix[3] == (0, 0, 0, 1)).all():
            raise ShapeError("not an affine matrix", got=matrix.tolist(), expected="4x4 with the last row 0 0 0 1")
        attributes = dict(self.attributes)
        if "normals" in attributes:
            attributes["normals"] = _turned(attributes["normals"], matrix[:3, :3])
        moved = self.xyz @ matrix[:3, :3].T + matrix[:3, 3]
        return replace(self, xyz=moved, attributes=attributes, frame=self.frame if frame is None else frame)

    def local(self) -> tuple[PointCloud, Float64[np.ndarray, "3"]]:
        """Subtract a local origin, so that positions fit float32.

        Returns:
            The cloud around its own middle, in the frame ``<frame>_local``, and the origin in this frame: the middle of
            the bounds, rounded to whole metres (zero where no point has a position).
        """
        valid = self.xyz[np.isfinite(self.xyz).all(1)]
        origin = np.rint((valid.min(0) + valid.max(0)) / 2) if len(valid) else np.zeros(3)
        return replace(self, xyz=self.xyz - origin, frame=f"{self.frame}_local"), origin


def _turned(normals: Shaped[np.ndarray, "n 3"], linear: Float64[np.ndarray, "3 3"]) -> Shaped[np.ndarray, "n 3"]:
    turned = normals @ np.linalg.inv(linear)
    lengths = np.linalg.norm(turned, axis=1, keepdims=True)
    return np.asarray(turned / np.where(lengths > 0, lengths, 1), normals.dtype)
