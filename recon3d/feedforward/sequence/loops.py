"""Places that were seen before: found by appearance, believed only after a run of the network over both visits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path

from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.sequence.overlap import Look, look_alike, sight
from recon3d.feedforward.sequence.pose_graph import Link
from recon3d.feedforward.sequence.samples import sampled

_PER_CHUNK = 2  # candidates
_NEAR = 2  # links: chunks no farther apart need no loop
_TYPICAL = 0.1  # quantile of the similarities of neighbours that a candidate must reach
_MIN_SHARE = 0.15  # of the surface of the one visit that the other must see
_MIN_LOOK = 0.5  # correlation of the brightness there


@dataclass(frozen=True)
class Candidate:
    """Two photos of what may be one place.

    Args:
        first: number of the one photo.
        second: of the other, of a later chunk.
    """

    first: int
    second: int


def loop_candidates(
    signatures: Float32[np.ndarray, "m d"],
    photos: Int64[np.ndarray, " m"],
    chunks: Int64[np.ndarray, " m"],
    links: Sequence[Link],
) -> list[Candidate]:
    """Return pairs of photos of chunks that are far from each other along the links, but look alike.

    Alike means at least as similar as all but the least similar tenth of the neighbours in the sequence.

    Args:
        signatures: unit vectors of some photos, in their order.
        photos: their numbers.
        chunks: in which they are new, never falling.
        links: between chunks.
    """
    if len(photos) < 2:
        return []
    typical = float(np.quantile((signatures[1:] * signatures[:-1]).sum(1), _TYPICAL))
    hops = _hops(int(chunks.max()) + 1, links)
    found = []
    for chunk in np.unique(chunks).tolist():
        own, earlier = np.flatnonzero(chunks == chunk), np.flatnonzero(chunks < chunk)
        earlier = earlier[hops[chunk, chunks[earlier]] > _NEAR]
        found += list(_best(signatures, own, earlier, chunks, typical))
    return [Candidate(int(photos[a]), int(photos[b])) for a, b in found]


def _best(
    signatures: Float32[np.ndarray, "m d"],
    own: Int64[np.ndarray, " a"],
    earlier: Int64[np.ndarray, " b"],
    chunks: Int64[np.ndarray, " m"],
    typical: float,
) -> Iterator[tuple[int, int]]:
    """Yield the best pair with each of the most similar earlier chunks."""
    similar, used = signatures[own] @ signatures[earlier].T, set[int]()
    for flat in np.argsort(-similar, axis=None, kind="stable").tolist():
        row, col = divmod(flat, len(earlier))
        if similar[row, col] < typical or len(used) == _PER_CHUNK:
            return
        if int(chunks[earlier[col]]) not in used:
            used.add(int(chunks[earlier[col]]))
            yield int(earlier[col]), int(own[row])


def _hops(n: int, links: Sequence[Link]) -> Float64[np.ndarray, "n n"]:
    ends = [one.first for one in links], [one.second for one in links]
    graph = csr_matrix((np.ones(len(links)), ends), shape=(n, n))
    return np.asarray(shortest_path(graph, directed=False, unweighted=True))


def is_one_place(estimates: ViewEstimates, looks: Sequence[Look], n_first: int, n_points: int, delta: float) -> bool:
    """Return whether the photos of two visits, seen together, show the same surfaces with the same looks.

    Args:
        estimates: of one run over both visits.
        looks: its photos.
        n_first: how many of them belong to the first visit.
        n_points: compared in each photo.
        delta: largest difference of depths, as a share of them.
    """
    shares, likeness = [], []
    for row in range(n_first):
        points = sampled(estimates, row, n_points)
        seen = [sight(points, estimates, other, delta) for other in range(n_first, len(estimates))]
        best = max(range(len(seen)), key=lambda i: seen[i].share)
        shares.append(seen[best].share)
        likeness.append(look_alike(points, seen[best], looks[row], looks[n_first + best]) or 0.0)
    return float(np.median(shares)) >= _MIN_SHARE and float(np.median(likeness)) >= _MIN_LOOK
