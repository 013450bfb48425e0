"""Batches of generated scenes: which scenes a step sees, and who makes them ahead of time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped

from recon3d.core.seeds import derive, generator
from recon3d.feedforward.scenes import SceneOptions, TrueViews, generate_views
from recon3d.feedforward.training.augmentation import augmented
from recon3d.feedforward.training.options import DataOptions, Stage

_NAMES = ("images", "cam_from_world", "K", "depth_z", "normals")
Arrays = dict[str, Shaped[np.ndarray, "..."]]


class Recipe(NamedTuple):
    """One batch before it is made.

    Args:
        seed: of its scenes.
        n_scenes: of the batch.
        n_views: photos of each.
        height: of the photos.
        width: of the photos.
        rays: cast for each pixel.
        overlap: smallest share of a photo that another one sees too.
    """

    seed: int
    n_scenes: int
    n_views: int
    height: int
    width: int
    rays: int = 4
    overlap: float = 0.3


def recipe(seed: int, stage: Stage, number: int, data: DataOptions) -> Recipe:
    """Return what a batch consists of.

    Args:
        seed: of the training.
        stage: sizes.
        number: of the batch.
        data: numbers of views.
    """
    random = generator(seed, "batch", str(number))
    height, width = stage.shapes[random.integers(len(stage.shapes))]
    n_views = int(random.integers(data.views[0], data.views[1] + 1))
    return Recipe(
        seed=derive(seed, "scenes", str(number)),
        n_scenes=max(1, stage.photos // n_views),
        n_views=n_views,
        height=height,
        width=width,
        rays=stage.rays,
        overlap=stage.overlap,
    )


def made(recipe: Recipe, device: torch.device | str = "cpu") -> TrueViews:
    """Generate a batch.

    Args:
        recipe: what it consists of.
        device: where.
    """
    options = SceneOptions(height=recipe.height, width=recipe.width, rays_per_pixel=recipe.rays, overlap=recipe.overlap)
    return generate_views(recipe.seed, recipe.n_scenes, options, n_views=recipe.n_views, device=device)


def _arrays(recipe: Recipe) -> Arrays:
    """Generate a batch in a worker process."""
    torch.set_num_threads(1)
    views = made(recipe)
    return {name: getattr(views, name).numpy() for name in _NAMES}


@dataclass(frozen=True)
class Visit:
    """What one step sees.

    Args:
        batch: number of the batch.
        again: how often it was seen before.
    """

    batch: int
    again: int


def visit(step: int, data: DataOptions, rank: int = 0, world: int = 1) -> Visit:
    """Return which batch a step sees: all batches of a group in turn, then the group again, then the next group.

    Args:
        step: from 0.
        data: size of a group and number of its uses.
        rank: of this process among those that train together; each sees batches of its own.
        world: number of those.
    """
    group, within = divmod(step, data.group * data.reuse)
    again, place = divmod(within, data.group)
    return Visit((group * data.group + place) * world + rank, again)


class Batches:
    """Batches by number; each is made once, ahead of its use where there are workers.

    Args:
        seed: of the training.
        data: workers, size of a group and number of its uses.
        device: where batches are made without workers.
        pool: of worker processes, or None.
    """

    def __init__(
        self, seed: int, data: DataOptions, device: torch.device, pool: ProcessPoolExecutor | None = None
    ) -> None:
        self.seed, self.data, self.device, self.pool = seed, data, device, pool
        self._waiting: dict[tuple[int, int], Future[Arrays]] = {}
        self._ready: dict[tuple[int, int], TrueViews] = {}

    def at(self, step: int, stage: int, stages: tuple[Stage, ...], rank: int = 0, world: int = 1) -> TrueViews:
        """Return what a step sees, and have the batches of the next group made.

        Args:
            step: from 0.
            stage: number of the stage.
            stages: all of them.
            rank: of this process.
            world: number of processes.
        """
        now = visit(step, self.data, rank, world)
        ahead = (visit(later, self.data, rank, world).batch for later in self._ahead(step))
        wanted = [(stage, number) for number in dict.fromkeys([now.batch, *ahead])]
        self._forget(set(wanted))
        self._ask(wanted, stages)
        views = self._take((stage, now.batch), stages)
        random = torch.Generator().manual_seed(derive(self.seed, "augment", str(stage), str(step), str(rank)))
        return augmented(views, random, brightness=self.data.brightness, recolour=self.data.recolour)

    def _ahead(self, step: int) -> Iterator[int]:
        """Yield the steps of the rest of this group and of all of the next."""
        length = self.data.group * self.data.reuse
        first = step // length * length
        yield from range(step, first + self.data.group)
        yield from range(first, first + self.data.group)
        yield from range(first + length, first + length + self.data.group)

    def _forget(self, wanted: set[tuple[int, int]]) -> None:
        for key in self._waiting.keys() - wanted:
            self._waiting.pop(key).cancel()
        self._ready = {key: views for key, views in self._ready.items() if key in wanted}

    def _ask(self, wanted: list[tuple[int, int]], stages: tuple[Stage, ...]) -> None:
        if self.pool is None:
            return
        for stage, number in wanted:
            if (stage, number) not in self._ready and (stage, number) not in self._waiting:
                what = recipe(self.seed, stages[stage], number, self.data)
                self._waiting[stage, number] = self.pool.submit(_arrays, what)

    def _take(self, key: tuple[int, int], stages: tuple[Stage, ...]) -> TrueViews:
        if key not in self._ready:
            if self.pool is None:
                self._ready[key] = made(recipe(self.seed, stages[key[0]], key[1], self.data), self.device)
            else:
                arrays = self._waiting.pop(key).result()
                self._ready[key] = TrueViews(**{name: torch.from_numpy(one) for name, one in arrays.items()})
        return self._ready[key]


@contextmanager
def batches(seed: int, data: DataOptions, device: torch.device) -> Iterator[Batches]:
    """Make batches while the block runs, in worker processes where the options ask for them.

    Args:
        seed: of the training.
        data: workers, size of a group and number of its uses.
        device: where batches are made without workers.
    """
    if data.workers == 0:
        yield Batches(seed, data, device)
        return
    with ProcessPoolExecutor(data.workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            yield Batches(seed, data, device, pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """Let this worker process end as soon as the training process is gone, however that ended."""
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
