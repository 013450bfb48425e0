"""What the dense stages may afford, and what a preset means: decided once, before the first of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Literal

from recon3d.core.budget import Budget
from recon3d.core.errors import ResourceError
from recon3d.core.stages import StageStore
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.stereo_options import StereoOptions
from recon3d.splats.options import SplatOptions, preset

Preset = Literal["draft", "standard", "high"]

# Measured with benchmarks on two cores; they only have to be right within a factor of two.
BASE_BYTES = 550 << 20  # Python with torch, Numba and the compiled kernels
STEREO_BYTES_PER_PIXEL = 48
STEREO_SECONDS_PER_MEGAPIXEL = 4.0
MESH_SECONDS_PER_MEGAPIXEL = 0.7
SPLAT_BYTES = 150 << 20  # the smallest optimisation that is worth its name
OVERHEAD_S = 20.0
MIN_STEREO_SIZE = 240
MIN_SPLAT_SECONDS = 10.0


@dataclass(frozen=True)
class DenseOptions:
    """Options of the dense stages.

    Args:
        stereo: of multi-view stereo.
        splats: of the splats.
        mesh: of the fusion.
    """

    stereo: StereoOptions
    splats: SplatOptions
    mesh: FusionOptions


@dataclass(frozen=True)
class DensePlan:
    """The decisions.

    Args:
        options: of the stages, with the preset applied and the budget kept.
        max_memory_bytes: memory that one stage may use beside what the program takes anyway.
        notes: what was given up to keep the budget, in plain words.
    """

    options: DenseOptions
    max_memory_bytes: int
    notes: tuple[str, ...]


def with_preset(
    name: Preset,
    stereo: StereoOptions | None = None,
    splats: SplatOptions | None = None,
    mesh: FusionOptions | None = None,
) -> DenseOptions:
    """Return the options of a preset; what is given takes the place of its options as it is."""
    size = {"draft": 640, "standard": 1280, "high": 2000}[name]
    return DenseOptions(
        stereo or StereoOptions(max_image_size=size), splats or preset(name), FusionOptions() if mesh is None else mesh
    )


def check_memory(budget: Budget) -> None:
    """Refuse a budget that carries no depth maps and splats, before the cameras are searched.

    Raises:
        ResourceError: the memory does not suffice.
    """
    if budget.max_memory_bytes < BASE_BYTES + SPLAT_BYTES:
        raise ResourceError(
            "too little memory for depth and splats",
            got=f"{budget.max_memory_bytes / 2**30:.2f} GiB",
            expected=f"at least {(BASE_BYTES + SPLAT_BYTES) / 2**30:.2f} GiB",
            fix="use --only cameras, close other programs or raise --max-memory",
        )


def make_dense_plan(
    sizes: list[tuple[int, int]],
    options: DenseOptions,
    budget: Budget,
    store: StageStore,
    max_memory: str | None,
    camera_seconds: float,
) -> DensePlan:
    """Return the plan of the dense stages; a resumed run keeps the plan that it began with.

    To keep the memory, smaller depth maps and fewer Gaussians are planned; to keep the time, a shorter optimisation of
    the splats, then smaller depth maps.

    Args:
        sizes: width and height of the placed photos.
        options: what the user asked for, with the preset applied.
        budget: what may be used.
        store: where the decisions are stored.
        max_memory: what the user allowed; what the machine has free is no reason for another plan.
        camera_seconds: estimate for everything before.
    """
    inputs: dict[str, Any] = {
        "sizes": sizes,
        "time_s": budget.max_time_s,
        "memory": max_memory,
        "wanted": [options.stereo.max_image_size, options.splats.planned_seconds],
    }
    stored = store.run("plan_dense", inputs, lambda _: _decide(sizes, options, budget, camera_seconds)).value
    stereo = replace(options.stereo, max_image_size=stored["stereo_size"])
    splats = replace(options.splats, planned_seconds=stored["splat_seconds"])
    chosen = replace(options, stereo=stereo, splats=splats)
    return DensePlan(chosen, stored["max_memory_bytes"], tuple(stored["notes"]))


def _decide(
    sizes: list[tuple[int, int]], options: DenseOptions, budget: Budget, camera_seconds: float
) -> dict[str, Any]:
    free = budget.max_memory_bytes - BASE_BYTES
    notes = []
    wanted = options.stereo.max_image_size
    size = _fit(sizes, wanted, free / STEREO_BYTES_PER_PIXEL)
    if size < min(wanted, max(max(pair) for pair in sizes)):
        notes.append(f"depth maps were reduced to {size} px to stay within {free / 2**30:.1f} GiB of memory")
    seconds = options.splats.planned_seconds
    if budget.max_time_s is not None:
        left = budget.max_time_s - camera_seconds - OVERHEAD_S
        size, note = _fit_time(sizes, size, left - MIN_SPLAT_SECONDS, budget.n_threads)
        notes += [note] if note else []
        fitting = max(MIN_SPLAT_SECONDS, left - _dense_seconds(sizes, size, budget.n_threads))
        if fitting < seconds:
            notes.append(f"splats were optimised for {fitting:.0f} s instead of {seconds:.0f} s to save time")
            seconds = fitting
    return {"stereo_size": size, "splat_seconds": seconds, "max_memory_bytes": free, "notes": notes}


def _megapixels(sizes: list[tuple[int, int]], size: int) -> float:
    return sum(width * height * min(1.0, size / max(width, height)) ** 2 for width, height in sizes) / 1e6


def _fit(sizes: list[tuple[int, int]], size: int, pixels: float) -> int:
    have = _megapixels(sizes, size) * 1e6
    return size if have <= pixels else max(MIN_STEREO_SIZE, int(size * sqrt(pixels / have)))


def _dense_seconds(sizes: list[tuple[int, int]], size: int, n_threads: int) -> float:
    per_megapixel = (STEREO_SECONDS_PER_MEGAPIXEL + MESH_SECONDS_PER_MEGAPIXEL) / n_threads
    return _megapixels(sizes, size) * per_megapixel


def _fit_time(sizes: list[tuple[int, int]], size: int, seconds: float, n_threads: int) -> tuple[int, str]:
    need = _dense_seconds(sizes, size, n_threads)
    if need <= seconds:
        return size, ""
    fitting = max(MIN_STEREO_SIZE, int(size * sqrt(max(seconds, 0.0) / need)))
    return fitting, f"depth maps were reduced to {fitting} px to save time"
