"""What happens when: image sizes, iterations, densification and learning rates, decided before the start.

The plan follows a model of the cost of an iteration, never the clock: so the result is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from recon3d.core.errors import ResourceError
from recon3d.splats.options import SplatOptions

# Seconds on two cores of an AMD EPYC 9004 at 2.6 GHz; measured with benchmarks/splats.py.
SECONDS_PER_STEP = 12e-3
SECONDS_PER_PIXEL = 0.125e-6
SECONDS_PER_GAUSSIAN = 0.33e-6
SHRINKS = (0.25, 0.5, 1.0)
TIME_SHARES = (0.1, 0.3, 0.6)
SMALLEST_SIDE_PX = 96
BYTES_PER_GAUSSIAN = 4 * 59 * 10  # parameters, gradients, moments, the last good state and work arrays
BYTES_PER_PIXEL = 250
BYTES_PER_PHOTO_PIXEL = 10  # a photo, its smaller copies and their masks
MIN_GAUSSIANS = 1000
GROW_FROM, GROW_UNTIL, REPAIR_UNTIL = 0.03, 0.45, 0.85
N_REFINEMENTS = 60
MIN_GROWTH, MAX_GROWTH = 1.01, 1.35
SNAPSHOTS = 40


@dataclass(frozen=True)
class Level:
    """A run of iterations at one image size.

    Args:
        shrink: size of the images relative to the photos.
        start: first iteration.
        end: iteration after the last.
    """

    shrink: float
    start: int
    end: int


@dataclass(frozen=True)
class Schedule:
    """The plan of one optimisation.

    Args:
        levels: image sizes, small to large.
        cap: most Gaussians.
        growth: factor on their number at each refinement.
        refine_every: iterations between refinements.
        sh_from: iteration at which each degree of the spherical harmonics above 0 begins.
        snapshot_every: iterations between the states that a failure falls back to.
        costs: what an iteration of each level takes on the reference machine, in seconds.
    """

    levels: tuple[Level, ...]
    cap: int
    growth: float
    refine_every: int
    sh_from: tuple[int, ...]
    snapshot_every: int
    costs: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """What all iterations should take on the reference machine."""
        return self.seconds_until(self.iterations)

    @property
    def iterations(self) -> int:
        """Number of iterations."""
        return self.levels[-1].end

    def level(self, iteration: int) -> int:
        """Return the index of the level that an iteration belongs to."""
        return next(i for i, level in enumerate(self.levels) if iteration < level.end)

    def progress(self, iteration: int) -> float:
        """Return how much of the plan is done, 0 to 1."""
        return iteration / self.iterations

    def seconds_until(self, iteration: int) -> float:
        """Return what the iterations before one should take on the reference machine."""
        return sum(
            cost * max(0, min(iteration, level.end) - level.start)
            for cost, level in zip(self.costs, self.levels, strict=True)
        )

    def refines(self, iteration: int) -> bool:
        """Return whether Gaussians are moved and split after an iteration."""
        return (iteration + 1) % self.refine_every == 0 and GROW_FROM <= self.progress(iteration) < REPAIR_UNTIL

    def grows(self, iteration: int) -> bool:
        """Return whether their number may rise at a refinement."""
        return self.progress(iteration) < GROW_UNTIL

    def sh_degree(self, iteration: int) -> int:
        """Return the degree of the spherical harmonics at an iteration."""
        return sum(iteration >= start for start in self.sh_from)


def make_schedule(options: SplatOptions, sizes: Sequence[tuple[int, int]], n_start: int) -> Schedule:
    """Return the plan for photos of some sizes.

    Args:
        options: what the user asked for.
        sizes: height and width of the photos in pixels.
        n_start: how many Gaussians there are at the start.
    """
    longest = max(max(size) for size in sizes)
    shrink = min(1.0, options.max_image_size / longest)
    cap = max(n_start, options.max_gaussians)
    pixels = sum(height * width for height, width in sizes) / len(sizes)
    shrinks = [share * shrink for share in SHRINKS if share == 1.0 or share * shrink * longest >= SMALLEST_SIDE_PX]
    shares = TIME_SHARES[len(SHRINKS) - len(shrinks) :]
    seconds = [options.planned_seconds * share / sum(shares) for share in shares]
    costs, counts = _costs_and_counts([pixels * level**2 for level in shrinks], seconds, n_start, cap)
    if options.iterations is not None:
        counts = [count * options.iterations / sum(counts) for count in counts]
    ends = [max(1, round(sum(counts[: i + 1]))) for i in range(len(counts))]
    plan = [*zip(shrinks, [0, *ends[:-1]], ends, costs, strict=True)]
    plan = [one for one in plan if one[2] > one[1]]
    n = ends[-1]
    refine_every = max(10, round((GROW_UNTIL - GROW_FROM) * n / N_REFINEMENTS))
    n_growths = max(1, int((GROW_UNTIL - GROW_FROM) * n / refine_every))
    growth = min(MAX_GROWTH, max(MIN_GROWTH, exp(log(max(cap / max(n_start, 1), 1)) / n_growths)))
    return Schedule(
        levels=tuple(Level(shrink, start, end) for shrink, start, end, _ in plan),
        cap=cap,
        growth=growth,
        refine_every=refine_every,
        sh_from=tuple(round(n * (0.25 + 0.15 * degree)) for degree in range(options.sh_degree)),
        snapshot_every=max(20, n // SNAPSHOTS),
        costs=tuple(cost for _, _, _, cost in plan),
    )


def _costs_and_counts(
    pixels: Sequence[float], seconds: Sequence[float], n_start: int, cap: int
) -> tuple[list[float], list[float]]:
    """Return what an iteration of each level costs, and how many fit its seconds.

    Both depend on the number of Gaussians, which depends on how far the plan is: so they are found in turn.
    """
    gaussians = [float(cap)] * len(pixels)
    for _ in range(5):
        costs = [step_seconds(area, count) for area, count in zip(pixels, gaussians, strict=True)]
        counts = [time / cost for time, cost in zip(seconds, costs, strict=True)]
        middles = [(sum(counts[:i]) + counts[i] / 2) / sum(counts) for i in range(len(counts))]
        gaussians = [_expected_gaussians(middle, n_start, cap) for middle in middles]
    return costs, counts


def _expected_gaussians(progress: float, n_start: int, cap: int) -> float:
    """Return about how many Gaussians there are at some point of the plan."""
    grown = min(1.0, max(0.0, (progress - GROW_FROM) / (GROW_UNTIL - GROW_FROM)))
    return max(n_start, 1) * float(max(cap / max(n_start, 1), 1.0) ** grown)


def step_seconds(n_pixels: float, n_gaussians: float) -> float:
    """Return what an iteration takes on the reference machine."""
    return SECONDS_PER_STEP + SECONDS_PER_PIXEL * n_pixels + SECONDS_PER_GAUSSIAN * n_gaussians


def gaussians_in_memory(options: SplatOptions, sizes: Sequence[tuple[int, int]], max_memory_bytes: int | None) -> int:
    """Return how many Gaussians fit the memory beside the photos, at most as many as the options ask for.

    Args:
        options: what the user asked for.
        sizes: height and width of the photos in pixels.
        max_memory_bytes: memory to plan for; None = no limit.

    Raises:
        ResourceError: hardly any Gaussian fits.
    """
    if max_memory_bytes is None:
        return options.max_gaussians
    shrink = min(1.0, options.max_image_size / max(max(size) for size in sizes))
    pixels = [height * width for height, width in sizes]
    need = BYTES_PER_PIXEL * shrink**2 * max(pixels) + BYTES_PER_PHOTO_PIXEL * sum(pixels)
    fitting = int((max_memory_bytes - need) / BYTES_PER_GAUSSIAN)
    least = min(MIN_GAUSSIANS, options.max_gaussians)
    if fitting < least:
        raise ResourceError(
            f"too little memory for splats of {len(sizes)} photos",
            got=f"{max_memory_bytes / 2**20:.0f} MiB",
            expected=f"at least {(need + least * BYTES_PER_GAUSSIAN) / 2**20:.0f} MiB",
            fix="raise --max-memory or use fewer or smaller photos",
        )
    return min(options.max_gaussians, fitting)
