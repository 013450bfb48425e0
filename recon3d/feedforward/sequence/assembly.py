"""Runs of a network put together: each new one is laid over what earlier ones said about the photos that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.errors import ResultError
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.sequence.chunks import Chunk
from recon3d.feedforward.sequence.estimator import Estimator, Photos, Picked
from recon3d.feedforward.sequence.loops import Candidate, is_one_place
from recon3d.feedforward.sequence.overlap import whole
from recon3d.feedforward.sequence.pose_graph import Link
from recon3d.feedforward.sequence.registration import Registration, RegistrationOptions, register
from recon3d.feedforward.sequence.samples import Samples, sampled
from recon3d.feedforward.sequence.sim3 import inverse, moved_points
from recon3d.feedforward.sequence.store import EstimateStore

_SIGMA = 0.01  # of a link at least


class Assembly:
    """Chunks, where they lie so far, and the links between them. Depth and photos stay on disk.

    Args:
        estimator: one run of a network.
        photos: all.
        chunks: which go through it together.
        store: for what it says.
        options: how runs are laid over each other.
    """

    def __init__(
        self,
        estimator: Estimator,
        photos: Photos,
        chunks: Sequence[Chunk],
        store: EstimateStore,
        options: RegistrationOptions,
    ) -> None:
        self.estimator, self.photos, self.chunks = estimator, photos, chunks
        self.store, self.options = store, options
        self.owner = np.full(len(photos), -1, np.int64)
        self.world_from_chunk: list[Float64[np.ndarray, "4 4"]] = []
        self.units: list[float] = []
        self.links: list[Link] = []
        self.metric = True

    def add(self) -> None:
        """Run the network over the next chunk and lay it over the earlier ones.

        Raises:
            ResultError: the estimator answers for another number of photos.
        """
        number = len(self.world_from_chunk)
        chunk = self.chunks[number]
        estimates = self._run(chunk.photos)
        found = [sampled(estimates, row, self.options.n_points) for row in range(len(estimates))]
        links = self._links(chunk, number, found)
        best = max(links, key=lambda one: one.inliers, default=None)
        lies = np.eye(4) if best is None else self.world_from_chunk[best.first] @ best.first_from_second
        for row in range(chunk.n_shared, len(chunk.photos)):
            self.store.write(int(chunk.photos[row]), estimates, row)
        self.owner[chunk.new] = number
        self.world_from_chunk.append(lies)
        self.units.append(max(float(np.median([one.median_depth for one in found])), 1e-12))
        self.links += links
        self.metric = self.metric and estimates.metric

    def close_loop(self, candidate: Candidate, n_views: int) -> Link | None:
        """Return the link that a run over the photos of two visits gives; None where they contradict each other.

        Args:
            candidate: what may be one place.
            n_views: photos of that run.
        """
        sides = [self._around(candidate.first, n_views // 2), self._around(candidate.second, n_views // 2)]
        rows = np.concatenate(sides)
        estimates, n_first, options = self._run(rows), len(sides[0]), self.options
        looks = [whole(self.photos[int(photo)], estimates, row) for row, photo in enumerate(rows)]
        if not is_one_place(estimates, looks, n_first, options.n_points, options.delta):
            return None
        found = [sampled(estimates, row, options.n_points) for row in range(len(rows))]
        first = self._registered(sides[0], found[:n_first])
        second = self._registered(sides[1], found[n_first:])
        if min(first.inliers, second.inliers) < options.min_inliers:
            return None
        return Link(
            first=int(self.owner[candidate.first]),
            second=int(self.owner[candidate.second]),
            first_from_second=first.target_from_source @ inverse(second.target_from_source),
            sigma=max(_SIGMA, first.residual, second.residual),
            centre=second.centre,
            inliers=min(first.inliers, second.inliers),
            is_loop=True,
        )

    def _run(self, photos: Int64[np.ndarray, " k"]) -> ViewEstimates:
        estimates = self.estimator(Picked(self.photos, photos.tolist()))
        if len(estimates) != len(photos):
            raise ResultError("the estimator lost photos", got=len(estimates), expected=len(photos))
        return estimates

    def _links(self, chunk: Chunk, number: int, found: Sequence[Samples]) -> list[Link]:
        """Return a link to every earlier chunk from which photos are shared."""
        shared = chunk.photos[: chunk.n_shared]
        links = []
        for first in np.unique(self.owner[shared]).tolist():
            rows = np.flatnonzero(self.owner[shared] == first)
            lies = self._registered(shared[rows], [found[row] for row in rows.tolist()])
            centre = moved_points(inverse(lies.target_from_source), lies.centre)
            links.append(Link(first, number, lies.target_from_source, max(_SIGMA, lies.residual), centre, lies.inliers))
        return links

    def _registered(self, photos: Int64[np.ndarray, " k"], found: Sequence[Samples]) -> Registration:
        """Return how a run lies over the one that photos come from."""
        target = [self.store.samples(int(photo), self.options.n_points) for photo in photos]
        return register(target, found, self.options)

    def _around(self, photo: int, n_views: int) -> Int64[np.ndarray, " k"]:
        """Return a photo with its neighbours in its own chunk."""
        own = self.chunks[self.owner[photo]].new
        at = int(np.flatnonzero(own == photo)[0])
        step = max(1, len(own) // 16)
        at = min(max(at, step * (n_views // 2)), max(len(own) - 1 - step * ((n_views - 1) // 2), 0))
        rows = at + step * (np.arange(n_views) - n_views // 2)
        return np.asarray(own[np.unique(np.clip(rows, 0, len(own) - 1))])
