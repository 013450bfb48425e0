from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from recon3d.feedforward.sequence import sim3
from recon3d.feedforward.sequence.pose_graph import Link, _Graph, linked_to_first, optimise

RANDOM = np.random.default_rng(0)


def truth(n: int) -> np.ndarray:
    """Runs on a circle, each in a unit of its own."""
    angle = 2 * np.pi * np.arange(n) / n
    tangents = np.zeros((n, 7))
    tangents[:, 5], tangents[:, 6] = np.minimum(angle, 3.0), RANDOM.normal(0, 0.5, n)
    matrices = sim3.exp(tangents)
    matrices[:, :2, 3] = 5 * np.stack([np.cos(angle), np.sin(angle)], -1)
    return sim3.inverse(matrices[:1]) @ matrices


def link(placed: np.ndarray, i: int, j: int, error: np.ndarray | float = 0.0, **options: object) -> Link:
    between = sim3.inverse(placed[i]) @ placed[j] @ sim3.exp(np.zeros(7) + error)
    return Link(i, j, between, **{"sigma": 0.01, "centre": np.zeros(3), **options})  # type: ignore[arg-type]


def chained(links: list[Link]) -> np.ndarray:
    placed = [np.eye(4)]
    for one in links:
        placed.append(placed[one.first] @ one.first_from_second)
    return np.stack(placed)


def test_exact_links_give_the_truth_from_a_bad_start() -> None:
    placed = truth(8)
    links = [link(placed, i, (i + 1) % 8) for i in range(8)]
    start = placed @ sim3.exp(RANDOM.normal(0, 0.1, (8, 7)) * np.minimum(np.arange(8), 1)[:, None])
    assert np.allclose(optimise(start, links, np.ones(8))[0], placed, atol=1e-5)


def test_a_loop_takes_the_drift_of_scale_away() -> None:
    n = 12
    placed = truth(n)
    drift = np.array([0.02, 0, 0, 0, 0, 0.02, 0.05])
    links = [link(placed, i, i + 1, drift, sigma=0.02) for i in range(n - 1)]
    start = chained(links)
    assert np.log(sim3.scale_of(start[-1]) / sim3.scale_of(placed[-1])) == pytest.approx(0.05 * (n - 1))
    found, believed = optimise(start, [*links, link(placed, 0, n - 1, is_loop=True)], np.ones(n))
    assert len(believed) == n
    error = [np.log(sim3.scale_of(one) / sim3.scale_of(placed)) for one in (start, found)]
    assert np.abs(error[1]).max() < 0.2 * np.abs(error[0]).max()
    off = [np.linalg.norm(one[:, :3, 3] - placed[:, :3, 3], axis=1).max() for one in (start, found)]
    assert off[1] < 0.5 * off[0]


def test_a_wrong_loop_among_right_ones_is_left_out() -> None:
    placed = truth(8)
    right = [link(placed, i, (i + step) % 8) for i in range(8) for step in (1, 2)]
    wrong = link(placed, 0, 4, np.array([2.0, 0, 0, 0, 0, 1.0, 0.5]), is_loop=True)
    found, believed = optimise(placed, [*right, wrong], np.ones(8))
    assert np.allclose(found, placed, atol=1e-6)
    assert believed == right


def test_certain_links_bend_less() -> None:
    placed = np.tile(np.eye(4), (3, 1, 1))
    shift = np.array([0.1, 0, 0, 0, 0, 0, 0])
    links = [link(placed, 0, 1, sigma=0.001), link(placed, 1, 2, sigma=0.1), link(placed, 0, 2, shift, sigma=0.001)]
    found, _ = optimise(placed, links, np.ones(3))
    assert abs(found[1, 0, 3]) < 1e-4
    assert found[2, 0, 3] == pytest.approx(0.1, abs=1e-3)


def test_jacobian() -> None:
    placed = truth(4)
    links = [link(placed, i, j, RANDOM.normal(0, 0.05, 7)) for i, j in ((0, 1), (1, 2), (3, 2), (3, 0))]
    graph = _Graph(placed, links, np.array([1.0, 2.0, 0.5, 3.0]))
    x = RANDOM.normal(0, 0.1, 21)
    want = approx_fprime(x, lambda x: graph.residuals(x).ravel(), 1e-7)
    assert np.allclose(graph.jacobian(x).toarray(), want, atol=1e-3, rtol=1e-4)


def test_the_unit_of_a_run_does_not_matter() -> None:
    """The same graph with one run in millimetres."""
    placed = truth(4)
    links = [link(placed, i, i + 1, RANDOM.normal(0, 0.03, 7)) for i in range(3)] + [link(placed, 0, 3)]
    units = np.ones(4)
    found, _ = optimise(chained(links[:3]), links, units)
    milli = np.tile(np.eye(4), (4, 1, 1))
    milli[2, :3, :3] *= 1e-3
    moved = [
        replace(a, first_from_second=sim3.inverse(milli[a.first]) @ a.first_from_second @ milli[a.second])
        for a in links
    ]
    again, _ = optimise(chained(moved[:3]), moved, units * [1, 1, 1e3, 1])
    assert np.allclose(again @ sim3.inverse(milli), found, atol=1e-4)


def test_the_origin_of_a_run_does_not_matter() -> None:
    """Errors are those at the points by which a link was found, wherever the run has its origin."""
    placed, drift = truth(4), np.array([0.02, 0, 0, 0.01, 0, 0.02, 0.05])
    links = [link(placed, i, i + 1, drift) for i in range(3)] + [link(placed, 0, 3, is_loop=True)]
    found, _ = optimise(chained(links[:3]), links, np.ones(4))
    shift = np.tile(np.eye(4), (4, 1, 1))
    shift[1:, :3, 3] = RANDOM.normal(0, 20, (3, 3))
    moved = [
        replace(
            a,
            first_from_second=sim3.inverse(shift[a.first]) @ a.first_from_second @ shift[a.second],
            centre=-shift[a.second][:3, 3],
        )
        for a in links
    ]
    again, _ = optimise(chained(moved[:3]), moved, np.ones(4))
    assert np.allclose(again @ sim3.inverse(shift), found, atol=1e-3)


def test_one_run_or_no_link() -> None:
    placed = truth(3)
    assert optimise(placed, [], np.ones(3))[0] is placed
    assert optimise(placed[:1], [], np.ones(1))[0].shape == (1, 4, 4)


def test_what_hangs_together() -> None:
    links = [link(truth(5), i, j) for i, j in ((1, 0), (3, 4), (2, 1))]
    assert linked_to_first(5, links).tolist() == [True, True, True, False, False]
    assert linked_to_first(2, []).tolist() == [True, False]
