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
_HUBER = 3.0  # sigmas from which on a link counts less
_WRONG = 10.0  # sigmas from which on a loop is left out
_ROUNDS = 100
_DAMPING = (1e-6, 1e8)
_CONVERGED = 1e-9


@dataclass(frozen=True, eq=False)
class Link:
    """A similarity between two runs.

    Args:
        first: number of one run.
        second: number of the other.
        first_from_second: similarity, ``[4,4]``.
        sigma: of its error, relative to the depth, in radians, and of the logarithm of the scale.
        inliers: share of the points that agree.
        is_loop: whether it was found by appearance and verified by a run of its own.
    """

    first: int
    second: int
    first_from_second: Float64[np.ndarray, "4 4"]
    sigma: float
    inliers: float = 1.0
    is_loop: bool = False


def optimise(
    world_from_run: Float64[np.ndarray, "n 4 4"], links: Sequence[Link], units: Float64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, "n 4 4"], list[Link]]:
    """Return where the runs lie so that their links fit best, and the links that were believed; the first run stays.

    Links that contradict the others count less (Huber), and loops that still do so afterwards are left out.

    Args:
        world_from_run: a start.
        links: between runs.
        units: typical depth in each run, by which errors of its translations are divided.
    """
    links = list(links)
    while len(world_from_run) > 1 and links:
        graph = _Graph(world_from_run, links, units)
        x = _solved(graph)
        errors = np.linalg.norm(graph.residuals(x), axis=1)
        wrong = [row for row, one in enumerate(links) if one.is_loop and errors[row] > _WRONG]
        if not wrong:
            return graph.placed(x), links
        del links[max(wrong, key=lambda row: float(errors[row]))]
    return world_from_run, links


def _solved(graph: _Graph) -> Float64[np.ndarray, " k"]:
    """Return the unknowns with the least loss (Levenberg-Marquardt)."""
    x, damping = np.zeros(7 * (len(graph.start) - 1)), _DAMPING[0]
    residuals = graph.residuals(x)
    for _ in range(_ROUNDS):
        step = _step(graph.jacobian(x), residuals, damping)
        new = graph.residuals(x + step)
        gain = _cost(residuals) - _cost(new)
        damping = damping / 10 if gain > 0 else 10 * damping
        if gain > 0:
            x, residuals = x + step, new
        if damping > _DAMPING[1] or 0 <= gain <= _CONVERGED * _cost(new):
            break
        damping = max(damping, _DAMPING[0])
    return x


def _step(jacobian: csr_matrix, residuals: Float64[np.ndarray, "m 7"], damping: float) -> Float64[np.ndarray, " k"]:
    """Return a damped Gauss-Newton step under Huber's weights, one for each link."""
    weight = _HUBER / np.maximum(np.linalg.norm(residuals, axis=1), _HUBER)
    weighted = jacobian.T @ diags(np.repeat(weight, 7))
    normal = weighted @ jacobian
    damped = normal + damping * (diags(normal.diagonal()) + identity(normal.shape[0]))
    return np.asarray(spsolve(damped.tocsc(), -(weighted @ residuals.ravel())))


def _cost(residuals: Float64[np.ndarray, "m 7"]) -> float:
    """Return Huber's loss of the links."""
    size = np.linalg.norm(residuals, axis=1)
    return float(np.where(size <= _HUBER, size**2 / 2, _HUBER * (size - _HUBER / 2)).sum())


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
    """

    def __init__(
        self, start: Float64[np.ndarray, "n 4 4"], links: Sequence[Link], units: Float64[np.ndarray, " n"]
    ) -> None:
        self.start = start
        self.ends: Int64[np.ndarray, "2 m"] = np.array([[a.first for a in links], [a.second for a in links]])
        self.second_from_first = inverse(np.stack([one.first_from_second for one in links]))
        self.unit = np.concatenate([np.repeat(units[:, None], 3, axis=1), np.ones((len(units), 4))], axis=1)
        sigma = np.array([one.sigma for one in links])
        self.weight = 1.0 / (sigma[:, None] * self.unit[self.ends[1]])

    def tangents(self, x: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, "n 7"]:
        return np.concatenate([np.zeros((1, 7)), x.reshape(-1, 7)]) * self.unit

    def placed(self, x: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, "n 4 4"]:
        return self.start @ exp(self.tangents(x))

    def residuals(self, x: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, "m 7"]:
        """Return the weighted tangents of what each link says against where its runs lie."""
        first, second = self.placed(x)[self.ends]
        return self._errors(first, second)

    def _errors(
        self, first: Float64[np.ndarray, "*b m 4 4"], second: Float64[np.ndarray, "*b m 4 4"]
    ) -> Float64[np.ndarray, "*b m 7"]:
        return log(self.second_from_first @ inverse(first) @ second) * self.weight

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
