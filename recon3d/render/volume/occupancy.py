"""A coarse memory of where a field holds anything, so that rays can skip the rest (Instant-NGP, arXiv:2201.05989)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.gaussians.checks import check_alike, check_shapes


@dataclass(frozen=True, eq=False)
class OccupancyGrid:
    """Nested grids of cells; each level has the same cells over a box of twice the size about the same centre.

    Where levels overlap the finer one counts. Grids are values: an update returns another grid.

    Args:
        lower: smallest corner of the finest level, ``[3]``.
        upper: its largest corner, ``[3]``.
        values: the largest density times step, or opacity, seen in each cell of late, ``[levels,x,y,z]``; negative =
            never looked at, because no camera sees the cell.
        occupied: cells that rays stop in, ``[levels,x,y,z]``.

    Raises:
        ShapeError: the tensors do not agree.
        UsageError: there is no cell, or the box is empty.
    """

    lower: Float[Tensor, "3"]
    upper: Float[Tensor, "3"]
    values: Float[Tensor, "levels x y z"]
    occupied: Bool[Tensor, "levels x y z"]

    def __post_init__(self) -> None:
        check_shapes({"lower": (self.lower, (3,)), "upper": (self.upper, (3,)), "values": (self.values, (None,) * 4)})
        check_shapes({"occupied": (self.occupied, tuple(self.values.shape))})
        check_alike({"lower": self.lower, "upper": self.upper, "values": self.values})
        if self.occupied.dtype != torch.bool:
            raise ShapeError("occupied has the wrong type", got=self.occupied.dtype, expected=torch.bool)
        if not self.values.numel():
            raise UsageError("an occupancy grid has cells", got=list(self.values.shape))
        if not bool((self.lower < self.upper).all()):
            raise UsageError("the lower corner of a box must lie below the upper one")

    @classmethod
    def full(
        cls,
        lower: Float[Tensor, "3"],
        upper: Float[Tensor, "3"],
        resolution: int | tuple[int, int, int],
        *,
        levels: int = 1,
    ) -> OccupancyGrid:
        """Return a grid that knows nothing yet and therefore skips nothing.

        Args:
            lower: smallest corner of the finest level.
            upper: its largest corner.
            resolution: cells along x, y and z.
            levels: how many nested boxes.

        Raises:
            UsageError: there is no cell, or the box is empty.
        """
        sides = (resolution,) * 3 if isinstance(resolution, int) else resolution
        if levels < 1 or min(sides) < 1:
            raise UsageError("an occupancy grid has cells", got=f"{levels} levels of {sides}")
        values = lower.new_zeros((levels, *sides))
        return cls(lower, upper, values, torch.ones_like(values, dtype=torch.bool))

    @property
    def resolution(self) -> tuple[int, int, int]:
        """Cells along x, y and z."""
        _, x, y, z = self.values.shape
        return x, y, z

    def boxes(self) -> tuple[Float[Tensor, "levels 3"], Float[Tensor, "levels 3"]]:
        """Return the smallest and largest corners of all levels."""
        scale = 2.0 ** torch.arange(len(self.values), dtype=self.lower.dtype, device=self.lower.device)[:, None]
        center, half = 0.5 * (self.lower + self.upper), 0.5 * (self.upper - self.lower)
        # The finest box stays what it is, to the last bit.
        lower, upper = center - scale * half, center + scale * half
        lower[0], upper[0] = self.lower, self.upper
        return lower, upper

    def points(
        self, cells: Int64[Tensor, " m"], jitter: Float[Tensor, "m 3"] | torch.Generator | None = None
    ) -> Float[Tensor, "m 3"]:
        """Return a point in each cell.

        Args:
            cells: numbers of cells, counted through ``values``.
            jitter: where inside, 0..1, or a generator; None = the centre.
        """
        level, inside = self._level(cells), cells % self._per_level
        _, y, z = self.resolution
        index = torch.stack([inside // (y * z), inside // z % y, inside % z], -1)
        if isinstance(jitter, torch.Generator):
            drawn = torch.rand(len(cells), 3, generator=jitter, dtype=self.lower.dtype, device=jitter.device)
            jitter = drawn.to(self.lower.device)
        offset = 0.5 if jitter is None else jitter
        lower, upper = self.boxes()
        share = (index + offset) / self.lower.new_tensor(self.resolution)
        return lower[level] + share * (upper - lower)[level]

    def cells_to_update(
        self, generator: torch.Generator | None = None, *, warm_up: bool = False
    ) -> Int64[Tensor, " m"]:
        """Return numbers of cells to look at again: all, or per level a quarter at random and as many occupied ones.

        Args:
            generator: draws the cells.
            warm_up: return all cells, as for the first 256 steps of a training.
        """
        device, per_level = self.values.device, self._per_level
        if warm_up:
            return torch.arange(self.values.numel(), device=device)
        chosen = []
        for level, occupied in enumerate(self.occupied.flatten(1)):
            n = max(1, per_level // 4)
            anywhere = torch.randint(per_level, (n,), generator=generator, device=_home(generator, device)).to(device)
            full = occupied.nonzero()[:, 0]
            if len(full) > n:
                order = torch.randint(len(full), (n,), generator=generator, device=_home(generator, device))
                full = full[order.to(device)]
            chosen.append(torch.cat([anywhere, full]) + level * per_level)
        cells: Tensor = torch.unique(torch.cat(chosen))
        return cells

    @torch.no_grad()
    def updated(
        self,
        cells: Int64[Tensor, " m"],
        evaluated: Float[Tensor, " m"] | Callable[[Float[Tensor, "m 3"]], Float[Tensor, " m"]],
        *,
        generator: torch.Generator | None = None,
        decay: float = 0.95,
        threshold: float = 0.01,
    ) -> OccupancyGrid:
        """Return the grid after another look at some cells.

        A cell's value becomes the larger of the decayed old one and the new one; those above the threshold, or above
        the mean of all if that is less, are occupied. Negative values stay.

        Args:
            cells: numbers of cells, each once.
            evaluated: density times step, or opacity, in each; or a function that is asked at a point of each.
            generator: where in the cells the function is asked; None = at the centres.
            decay: of old values.
            threshold: see above.

        Raises:
            ShapeError: there is not one value per cell.
        """
        new = evaluated(self.points(cells, generator)) if callable(evaluated) else evaluated
        check_shapes({"evaluated": (new, (len(cells),))})
        old = self.values.flatten()
        values = old.clone()
        values[cells] = torch.where(old[cells] < 0, old[cells], torch.maximum(old[cells] * decay, new))
        known = values[values >= 0]
        limit = min(float(known.mean()), threshold) if len(known) else threshold
        shape = self.values.shape
        return replace(self, values=values.reshape(shape), occupied=(values > limit).reshape(shape))

    def without(self, unseen: Bool[Tensor, "levels x y z"]) -> OccupancyGrid:
        """Return the grid with some cells never looked at again, such as those that no camera sees."""
        return replace(self, values=self.values.masked_fill(unseen, -1.0), occupied=self.occupied & ~unseen)

    @property
    def _per_level(self) -> int:
        return self.values[0].numel()

    def _level(self, cells: Tensor) -> Tensor:
        return torch.div(cells, self._per_level, rounding_mode="floor")


def _home(generator: torch.Generator | None, device: torch.device) -> torch.device:
    return device if generator is None else generator.device
