"""What one run may afford: decided once from the photos and the budget, and stored with the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal

from recon3d.core.budget import Budget
from recon3d.core.errors import ResourceError
from recon3d.core.stages import StageStore
from recon3d.photos import Photo
from recon3d.sfm.options import SfmOptions

# Measured with benchmarks/photo_sets.py on two cores; they only have to be right within a factor of two.
BASE_BYTES = 300 << 20  # one worker with COLMAP loaded
BYTES_PER_PIXEL = 220  # SIFT's scale space, which starts at twice the size
SECONDS_PER_MEGAPIXEL = 2.0
SECONDS_PER_PAIR = 0.12
SECONDS_PER_PHOTO = 1.5
MIN_IMAGE_SIZE = 320


@dataclass(frozen=True)
class Plan:
    """The decisions.

    Args:
        max_image_size: long side at which features are found, in pixels.
        pairs: which photos are matched.
        n_workers: processes at the same time; no bit of the result depends on it.
        notes: what was given up to keep the budget, in plain words.
    """

    max_image_size: int
    pairs: Literal["auto", "exhaustive", "sequential"]
    n_workers: int
    notes: tuple[str, ...]


def make_plan(
    photos: Sequence[Photo], options: SfmOptions, budget: Budget, store: StageStore, max_memory: str | None = None
) -> Plan:
    """Return the plan of a run; a resumed run keeps the plan that it began with.

    To keep the memory, fewer workers and then smaller images are planned; to keep the time, smaller images and then
    fewer pairs.

    Args:
        photos: the photos.
        options: what the user asked for.
        budget: what may be used.
        store: where the decisions are stored.
        max_memory: what the user allowed; another limit is another plan, while what the machine has free is not.

    Raises:
        ResourceError: the memory does not suffice for the smallest images.
    """
    inputs: dict[str, Any] = {"photos": [photo.sha256 for photo in photos], "options": asdict(options)}
    inputs |= {"time_s": budget.max_time_s, "memory": max_memory}
    stored = store.run("plan", inputs, lambda _: _decide(photos, options, budget)).value
    n_workers, _ = _fit_memory(photos, stored["max_image_size"], budget)
    return Plan(stored["max_image_size"], stored["pairs"], n_workers, tuple(stored["notes"]))


def _decide(photos: Sequence[Photo], options: SfmOptions, budget: Budget) -> dict[str, Any]:
    notes = []
    wanted = min(options.max_image_size, max(max(photo.width, photo.height) for photo in photos))
    _, size = _fit_memory(photos, wanted, budget)
    if size < wanted:
        notes.append(
            f"photos were reduced to {size} px to stay within {budget.max_memory_bytes / 2**30:.1f} GiB of memory"
        )
    pairs = options.pairs
    if budget.max_time_s is not None:
        fitting = _fit_time(photos, size, budget.max_time_s, budget.n_threads)
        if fitting < size:
            notes.append(f"photos were reduced to {fitting} px to stay within {budget.max_time_s:.0f} s")
            size = fitting
        if _seconds(photos, size, budget.n_threads) > budget.max_time_s and pairs != "sequential" and len(photos) > 20:
            pairs = "sequential"
            notes.append("only neighbouring and similar photos were matched to save time")
    return {"max_image_size": size if size < wanted else options.max_image_size, "pairs": pairs, "notes": notes}


def camera_seconds(photos: Sequence[Photo], plan: Plan, n_threads: int) -> float:
    """Return how long the cameras take by the plan, within a factor of two."""
    return _seconds(photos, plan.max_image_size, n_threads)


def _pixels(photos: Sequence[Photo], size: int) -> list[float]:
    return [photo.width * photo.height * min(1.0, size / max(photo.width, photo.height)) ** 2 for photo in photos]


def _fit_memory(photos: Sequence[Photo], size: int, budget: Budget) -> tuple[int, int]:
    """Return how many workers fit, and at which image size one fits."""
    free = budget.max_memory_bytes - BASE_BYTES
    largest = max(_pixels(photos, size))
    need = BASE_BYTES + BYTES_PER_PIXEL * largest
    n_workers = min(budget.n_threads, int(free // need))
    if n_workers >= 1:
        return n_workers, size
    fitting = int(size * sqrt(max(free - BASE_BYTES, 0) / (BYTES_PER_PIXEL * largest)))
    if fitting < MIN_IMAGE_SIZE:
        raise ResourceError(
            "too little memory to find features",
            got=f"{budget.max_memory_bytes / 2**30:.2f} GiB",
            expected=f"at least {(2 * BASE_BYTES + BYTES_PER_PIXEL * MIN_IMAGE_SIZE**2) / 2**30:.2f} GiB",
            fix="close other programs or raise --max-memory",
        )
    return 1, fitting


def _seconds(photos: Sequence[Photo], size: int, n_threads: int) -> float:
    n = len(photos)
    pairs = n * (n - 1) / 2 if n <= 80 else n * 22
    work = SECONDS_PER_MEGAPIXEL * sum(_pixels(photos, size)) / 1e6 + SECONDS_PER_PAIR * pairs
    return work / max(n_threads, 1) + SECONDS_PER_PHOTO * n


def _fit_time(photos: Sequence[Photo], size: int, max_time_s: float, n_threads: int) -> int:
    while size > MIN_IMAGE_SIZE and _seconds(photos, size, n_threads) > max_time_s:
        size = max(MIN_IMAGE_SIZE, int(size * 0.8))
    return size
