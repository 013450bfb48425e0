"""Options of volume rendering."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d.core.errors import UsageError
from recon3d.render.volume.marching import MarchOptions
from recon3d.render.volume.spacing import SpacingKind


@dataclass(frozen=True)
class VolumeOptions:
    """Where samples stand and how they add up.

    Args:
        near: nothing nearer than this is seen, in lengths of the directions.
        far: nor anything beyond this.
        n_samples: samples per ray before any importance samples; not used with an occupancy grid.
        n_importance: more samples, where the first ones saw something; a step of sampling for each number.
        spacing: of the first samples; :class:`Spacing` names the kinds.
        step: length of a sample in an occupancy grid.
        cone_angle: see :class:`MarchOptions`.
        early_stop: samples that less light reaches are not asked for colours; 0 = all are. Occupancy grids only.
        alpha_threshold: nor are samples with less opacity.
        cos_anneal: of signed distances, see :func:`neus_alpha`.
        eps: of signed distances, see :func:`neus_alpha`.
        leak: of signed distances, see :func:`weights_from_alpha`.
        chunk: rays that are rendered at once; bounds the memory of rendering without gradients.

    Raises:
        UsageError: a value lies outside its range.
    """

    near: float = 0.0
    far: float = float("inf")
    n_samples: int = 128
    n_importance: tuple[int, ...] = ()
    spacing: SpacingKind = "uniform"
    step: float = 0.01
    cone_angle: float = 0.0
    early_stop: float = 1e-4
    alpha_threshold: float = 0.0
    cos_anneal: float = 1.0
    eps: float = 1e-5
    leak: float = 1e-7
    chunk: int = 1 << 16

    def __post_init__(self) -> None:
        if self.n_samples < 1 or min(self.n_importance, default=1) < 1:
            raise UsageError("a ray needs samples", got=(self.n_samples, *self.n_importance), expected="at least 1")
        if self.chunk < 1:
            raise UsageError("a chunk holds rays", got=self.chunk, expected="at least 1")
        if not 0.0 <= self.early_stop < 1.0 or not 0.0 <= self.alpha_threshold < 1.0:
            got = f"early_stop {self.early_stop}, alpha_threshold {self.alpha_threshold}"
            raise UsageError("thresholds lie in 0..1", got=got)
        self.march()

    def march(self) -> MarchOptions:
        """Return the part of it that marching reads."""
        return MarchOptions(self.step, self.cone_angle, self.near, self.far)
