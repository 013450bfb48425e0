"""Where the frames of many runs lie, from similarities between pairs of them: a pose graph on Sim(3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import csr_matrix, diags, identity
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

from recon3d.feedforward.sequence.sim3 import exp, inverse, log

_STEP = 1e-5
_HUBER = 3.0  # sigmas from which on a loop counts less
_WRONG = 10.0  # sigmas from which on a loop is left out
_ROUNDS = 100
_REWEIGHTINGS, _FITS = 8, 1.05
_LARGEST = 0.05  # sigma that a link may get in the end
_DAMPING = (1e-6, 1e8)
_CONVERGED = 1e-7


@dataclass(frozen=True, eq=False)
class Link:
    """A similarity between two runs.

    Args:
        first: number of one run.
        second: number of the other.
        first_from_second: similarity, ``[4,4]``.
        sigma: of its error, relative to the depth, in radians, and of the logarithm of the scale.
        centre: of the points by which it was found, in the second run: there its errors do not depend on each other,
            ``[3]``.
        inliers: share of the points that agree.
        is_loop: whether it was found by appearance and verified by a run of its own.
    """

    first: int
    second: int
    first_from_second: Float64[np.ndarray, "4 4"]
    sigma: float
    centre: Float64[np.ndarray, " 3"]
    inliers: float = 1.0
    is_loop: bool = False


def optimise(
    world_from_run: Float64[np.ndarray, "n 4 4"], links: Sequence[Link], units: Float64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, "n 4 4"], list[Link]]:
    """Return where the runs lie so that their links fit best, and the links that were believed; the first run stays.

    Loops show how far the other links really err: their sigmas grow until the links fit, to 0.05 at most. Loops that
    contradict the rest count less (Huber), and those that still do so afterwards are left out.

    Args:
        world_from_run: a start.
        links: between runs.
        units: typical depth in each run, by which errors of its translations are divided.
    """
    links = list(links)
    while len(world_from_run) > 1 and links:
        graph, x = _fitted(world_from_run, links, units)
        errors = np.linalg.norm(graph.residuals(x), axis=1)
        wrong = [row for row, one in enumerate(links) if one.is_loop and errors[row] > _WRONG]
        if not wrong:
            return graph.placed(x), links
        del links[max(wrong, key=lambda row: float(errors[row]))]
    return world_from_run, links


def _fitted(
    start: Float64[np.ndarray, "n 4 4"], links: Sequence[Link], units: Float64[np.ndarray, " n"]
) -> tuple[_Graph, Float64[np.ndarray, " k"]]:
    """Return the graph with sigmas that its links confirm, and its solution."""
    factor, is_loop = 1.0, np.array([one.is_loop for one in links])
    for _ in range(_REWEIGHTINGS):
        graph = _Graph(start, links, units, factor)
        x = _solved(graph)
        if is_loop.all() or not is_loop.any():
            break
        spread = float(np.sqrt((graph.residuals(x)[~is_loop] ** 2).sum(1).mean()))
        most = _LARGEST / max(one.sigma for one in links)
        if spread <= _FITS or factor >= most:
            break
        factor = min(factor * spread, most)
    return graph, x


def _solved(graph: _Graph) -> Float64[np.ndarray, " k"]:
    """Return the unknowns with the least loss (Levenberg-Marquardt)."""
    x, damping = np.zeros(7 * (len(graph.start) - 1)), _DAMPING[0]
    residuals = graph.residuals(x)
    for _ in range(_ROUNDS):
        step = _step(graph, x, residuals, damping)
        new = graph.residuals(x + step)
        gain = graph.cost(residuals) - graph.cost(new)
        damping = damping / 10 if gain > 0 else 10 * damping
        if gain > 0:
            x, residuals = x + step, new
        if damping > _DAMPING[1] or 0 <= gain <= _CONVERGED * graph.cost(new):
            break
        damping = max(damping, _DAMPING[0])
    return x


def _step(
    graph: _Graph, x: Float64[np.ndarray, " k"], residuals: Float64[np.ndarray, "m 7"], damping: float
) -> Float64[np.ndarray, " k"]:
    """Return a damped Gauss-Newton step under Huber's weights, one for each link."""
    jacobian, size = graph.jacobian(x), np.linalg.norm(residuals, axis=1)
    weighted = jacobian.T @ diags(np.repeat(np.minimum(1.0, graph.huber / np.maximum(size, 1e-300)), 7))
    normal = weighted @ jacobian
    damped = normal + damping * (diags(normal.diagonal()) + identity(normal.shape[0]))
    return np.asarray(spsolve(damped.tocsc(), -(weighted @ residuals.ravel())))


def linked_to_first(n: int, links: Sequence[Link]) -> Bool[np.ndarray, " n"]:
    """Return which of ``n`` runs hang together with the first one."""
    ends = [one.first for one in links], [one.second for one in links]
    _, component = connected_components(csr_matrix((np.ones(len(links)), ends), shape=(n, n)), directed=False)
    return np.asarray(component == component[0])


class _Graph:
    """Residuals of the links; the unknowns are tangents at the start of every run but the first.

    Args:
        start: where the runs lie.
        links: between them.
        units: of each run.
        factor: by which the sigmas of links that are no loops are multiplied.
    """

    def __init__(
        self,
        start: Float64[np.ndarray, "n 4 4"],
        links: Sequence[Link],
        units: Float64[np.ndarray, " n"],
        factor: float = 1.0,
    ) -> None:
        self.start = start
        self.ends: Int64[np.ndarray, "2 m"] = np.array([[a.first for a in links], [a.second for a in links]])
        self.shift = np.tile(np.eye(4), (len(links), 1, 1))
        self.shift[:, :3, 3] = [one.centre for one in links]
        self.centre_from_first = inverse(np.stack([one.first_from_second for one in links]) @ self.shift)
        self.unit = np.concatenate([np.repeat(units[:, None], 3, axis=1), np.ones((len(units), 4))], axis=1)
        sigma = np.array([one.sigma if one.is_loop else factor * one.sigma for one in links])
        self.huber = np.array([_HUBER if one.is_loop else np.inf for one in links])
        self.weight = 1.0 / (sigma[:, None] * self.unit[self.ends[1]])

    def tangents(self, x: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, "n 7"]:
        return np.asarray(np.concatenate([np.zeros((1, 7)), x.reshape(-1, 7)]) * self.unit)

    def placed(self, x: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, "n 4 4"]:
        return np.asarray(self.start @ exp(self.tangents(x)))

    def residuals(self, x: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, "m 7"]:
        """Return the weighted tangents of what each link says against where its runs lie."""
        first, second = self.placed(x)[self.ends]
        return self._errors(first, second)

    def cost(self, residuals: Float64[np.ndarray, "m 7"]) -> float:
        """Return the loss of the links: squares, and Huber's for loops."""
        size = np.linalg.norm(residuals, axis=1)
        near = np.minimum(size, self.huber)
        return float((near * (size - near / 2)).sum())

    def _errors(
        self, first: Float64[np.ndarray, "*b m 4 4"], second: Float64[np.ndarray, "*b m 4 4"]
    ) -> Float64[np.ndarray, "*b m 7"]:
        return np.asarray(log(self.centre_from_first @ inverse(first) @ second @ self.shift) * self.weight)

    def jacobian(self, x: Float64[np.ndarray, " k"]) -> csr_matrix:
        """Return central differences; a link depends on its two runs only."""
        n_links, parts = self.ends.shape[1], np.arange(7)
        tangents, placed = self.tangents(x), self.placed(x)
        rows, cols, values = [], [], []
        for side in (0, 1):
            own = self.ends[side]
            steps = _STEP * np.eye(7)[:, None] * self.unit[own]  # [7,m,7]
            pair = []
            for sign in (1.0, -1.0):
                ends = [np.broadcast_to(placed[end], (7, n_links, 4, 4)) for end in self.ends]
                ends[side] = self.start[own] @ exp(tangents[own] + sign * steps)
                pair.append(self._errors(ends[0], ends[1]))
            slope = (pair[0] - pair[1]) / (2 * _STEP)  # [7 unknowns,m,7 residuals]
            free = np.flatnonzero(own > 0)
            shape = (7, len(free), 7)
            rows.append(np.broadcast_to(7 * free[:, None] + parts, shape))
            cols.append(np.broadcast_to(parts[:, None, None] + 7 * (own[free] - 1)[:, None], shape))
            values.append(slope[:, free])
        flat = [np.concatenate([one.ravel() for one in each]) for each in (values, rows, cols)]
        return csr_matrix((flat[0], (flat[1], flat[2])), shape=(7 * n_links, len(x)))
