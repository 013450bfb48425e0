"""Samples of rays in the occupied cells of a grid, on a lattice that starts at the near plane of each ray."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.gaussians.checks import check_alike, check_shapes
from recon3d.render.rays import Rays
from recon3d.render.volume import marching_cpu
from recon3d.render.volume.box import box_interval
from recon3d.render.volume.occupancy import OccupancyGrid
from recon3d.render.volume.packed import PackedSamples, Packing

_BATCH = 1 << 22  # samples that the torch version looks at together
_MOST = 1 << 24  # samples on one ray


@dataclass(frozen=True)
class MarchOptions:
    """Where samples stand.

    Args:
        step: length of a sample, in lengths of the directions.
        cone_angle: samples at a distance are at least this times the distance long; 0 = all are alike.
        near: where the lattice of each ray begins.
        far: where it ends.

    Raises:
        UsageError: a value lies outside its range.
    """

    step: float
    cone_angle: float = 0.0
    near: float = 0.0
    far: float = float("inf")

    def __post_init__(self) -> None:
        if not 0.0 < self.step < float("inf"):
            raise UsageError("the step of a march is positive", got=self.step)
        if not 0.0 <= self.cone_angle < 1.0:
            raise UsageError("the cone angle of a march lies in 0..1", got=self.cone_angle)
        if not 0.0 <= self.near < self.far:
            raise UsageError("near must not be negative, and far must lie behind it", got=(self.near, self.far))


@torch.no_grad()
def march(
    rays: Rays,
    grid: OccupancyGrid,
    options: MarchOptions,
    *,
    near: Float[Tensor, " r"] | None = None,
    jitter: Float[Tensor, " r"] | torch.Generator | None = None,
) -> PackedSamples:
    """Return the samples of rays whose mid-points lie in occupied cells.

    Sample k of a ray is ``[t_k, t_k + d_k)`` with ``t_0 = near``, ``d_k = max(step, t_k cone_angle)``,
    ``t_k+1 = t_k + d_k``, wherever the ray enters the grid. On the CPU, numba follows the rays from cell to cell;
    elsewhere plain torch looks at every step. Both return the same samples. They carry no gradients.

    Args:
        rays: in the frame of the grid.
        grid: says what is occupied.
        options: the lattice.
        near: where the lattice of each ray begins; None = ``options.near``.
        jitter: how far the lattice is moved along each ray, in steps, 0..1; or a generator that draws it.

    Raises:
        ShapeError: the tensors do not agree.
        UsageError: device or dtype differ, or a ray would be cut into more than 2**24 steps.
    """
    check_alike({"rays.origins": rays.origins, "grid.values": grid.values})
    if isinstance(jitter, torch.Generator):
        drawn = torch.rand(len(rays), generator=jitter, dtype=rays.origins.dtype, device=jitter.device)
        jitter = drawn.to(rays.origins.device)
    start = torch.full_like(rays.origins[:, 0], options.near) if near is None else near
    check_shapes({"near": (start, (len(rays),))})
    if jitter is not None:
        check_shapes({"jitter": (jitter, (len(rays),))})
        start = start + jitter * options.step
    job = _Job.of(rays, grid, start, options)
    on_cpu = rays.origins.device.type == "cpu"
    counts, starts, ends = _march_cpu(job) if on_cpu else march_torch(job)
    like = rays.origins.dtype
    return PackedSamples(Packing.of_counts(counts), starts.to(like), ends.to(like))


@dataclass(frozen=True, eq=False)
class _Job:
    """A march in float64, so that all back ends find the same samples."""

    origins: Tensor
    directions: Tensor
    start: Tensor  # of the lattice
    first: Tensor  # where the ray enters the coarsest box, not before the start
    last: Tensor  # where it leaves; before ``first`` for a miss
    lower: Tensor  # of each level
    scale: Tensor  # cells per length on each level
    upper: Tensor
    occupied: Tensor
    step: float
    cone: float

    @classmethod
    def of(cls, rays: Rays, grid: OccupancyGrid, start: Tensor, options: MarchOptions) -> _Job:
        wide = Rays(rays.origins.double(), rays.directions.double())
        exact = OccupancyGrid(grid.lower.double(), grid.upper.double(), grid.values.double(), grid.occupied)
        lower, upper = exact.boxes()
        enter, leave = box_interval(wide, lower[-1], upper[-1])
        start = start.double()
        first, last = torch.maximum(enter, start), leave.clamp(max=options.far)
        steps = (last - start) / options.step
        if options.cone_angle == 0.0 and bool((torch.where(last > first, steps, 0.0) > _MOST).any()):
            raise UsageError("the step is too small for the grid", got=options.step, expected="at most 2**24 per ray")
        scale = lower.new_tensor(exact.resolution) / (upper - lower)
        return cls(
            wide.origins,
            wide.directions,
            start,
            first,
            last,
            lower,
            scale,
            upper,
            grid.occupied,
            options.step,
            options.cone_angle,
        )


def _march_cpu(job: _Job) -> tuple[Tensor, Tensor, Tensor]:
    tensors = (job.origins, job.directions, job.start, job.first, job.last, job.lower, job.upper, job.scale)
    arrays = tuple(value.contiguous().numpy() for value in tensors)
    counts, starts, ends = marching_cpu.march(arrays, job.occupied.contiguous().numpy(), job.step, job.cone)
    return torch.from_numpy(counts), torch.from_numpy(starts), torch.from_numpy(ends)


def march_torch(job: _Job) -> tuple[Tensor, Tensor, Tensor]:
    """Return counts ``[r]``, starts and ends ``[s]`` by looking at every step of every ray."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    n_rays, from_ray = len(job.start), 0
    hits = job.last > job.first
    longest = _most_steps(job, hits)
    batch = max(1, _BATCH // max(longest, 1))
    for from_ray in range(0, n_rays, batch):
        own = slice(from_ray, from_ray + batch)
        t = _lattice(job, own, longest)
        middle = 0.5 * (t[:, 1:] + t[:, :-1]) if job.cone else t[:, :-1] + 0.5 * job.step
        keep = _is_occupied(job, own, middle) & (middle < job.last[own, None]) & hits[own, None]
        found.append((keep.sum(1), t[:, :-1][keep], t[:, 1:][keep]))
    if not found:
        empty = job.start.new_zeros(0)
        return empty.long(), empty, empty
    counts, starts, ends = (torch.cat(parts) for parts in zip(*found, strict=True))
    return counts, starts, ends


def _most_steps(job: _Job, hits: Tensor) -> int:
    """Return how many steps the longest ray takes."""
    if not bool(hits.any()):
        return 0
    if not job.cone:
        return int(((job.last - job.start)[hits] / job.step).max().ceil()) + 1
    t, n = job.start[hits], 0
    while bool((t < job.last[hits]).any()):
        t, n = t + (t * job.cone).clamp(min=job.step), n + 1
    return n


def _lattice(job: _Job, own: slice, n: int) -> Tensor:
    """Return the ``n + 1`` edges of the steps of some rays."""
    start = job.start[own, None]
    if not job.cone:
        return start + torch.arange(n + 1, dtype=start.dtype, device=start.device) * job.step
    edges = [start]
    for _ in range(n):
        edges.append(edges[-1] + (edges[-1] * job.cone).clamp(min=job.step))
    return torch.cat(edges, 1)


def _is_occupied(job: _Job, own: slice, t: Tensor) -> Tensor:
    """Return whether points on some rays lie in occupied cells of the finest level that holds them."""
    points = job.origins[own, None] + t[..., None] * job.directions[own, None]
    found, known = torch.zeros_like(t, dtype=torch.bool), torch.zeros_like(t, dtype=torch.bool)
    sides = torch.tensor(job.occupied.shape[1:], device=t.device)
    for lower, scale, occupied in zip(job.lower, job.scale, job.occupied, strict=True):
        cell = ((points - lower) * scale).floor()
        inside = ((cell >= 0) & (cell < sides)).all(-1)
        index = torch.where(inside[..., None], cell, 0.0).long()
        here = occupied[index[..., 0], index[..., 1], index[..., 2]]
        found |= inside & ~known & here
        known |= inside
    return found
