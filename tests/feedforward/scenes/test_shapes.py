"""Distances against intersections that are found another way: by bisection of implicit functions in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon3d.feedforward.scenes import shapes

TAPER = 0.3
Points = NDArray[np.float64]


def in_box(p: Points) -> Points:
    return np.abs(p).max(-1) - 1.0


def in_ball(p: Points) -> Points:
    return np.linalg.norm(p, axis=-1) - 1.0


def in_frustum(taper: float) -> Callable[[Points], Points]:
    def implicit(p: Points) -> Points:
        radius = 1.0 - taper - taper * p[..., 2]
        return np.maximum(np.linalg.norm(p[..., :2], axis=-1) - radius, np.abs(p[..., 2]) - 1.0)

    return implicit


def searched(inside: Callable[[Points], Points], o: Points, d: Points, start: float = 0.0) -> Points:
    """Return where a ray first gets inside, found on a fine grid of distances and then by bisection."""
    steps = start + np.linspace(0.0, 8.0, 8001)
    values = inside(o[:, None] + steps[:, None] * d[:, None])
    is_in = values < 0
    first = is_in.argmax(1)
    low, high = steps[np.maximum(first - 1, 0)], steps[first]
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = inside(o + middle[:, None] * d) < 0
        high, low = np.where(below, middle, high), np.where(below, low, middle)
    return np.where(is_in.any(1), high, np.inf)


def some_rays(n: int = 60) -> tuple[Points, Points]:
    rng = np.random.default_rng(2)
    o = rng.normal(size=(n, 3))
    o *= 3.0 / np.linalg.norm(o, axis=1, keepdims=True)
    return o, rng.uniform(-0.9, 0.9, (n, 3)) - o


def parts(values: Points) -> list[Tensor]:
    return list(torch.from_numpy(values.T.copy())[:, None, None])


def extra(value: float) -> Tensor:
    return torch.full((1, 1, 1), value, dtype=torch.float64)


CASES = {
    "box": (shapes.box, in_box),
    "ball": (shapes.ball, in_ball),
    "cylinder": (lambda o, d: shapes.frustum(o, d, extra(0.0)), in_frustum(0.0)),
    "frustum": (lambda o, d: shapes.frustum(o, d, extra(TAPER)), in_frustum(TAPER)),
    "cone": (lambda o, d: shapes.frustum(o, d, extra(0.5)), in_frustum(0.5)),
    "widening": (lambda o, d: shapes.frustum(o, d, extra(-0.4)), in_frustum(-0.4)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_first_point_inside_is_found(case: str) -> None:
    found, inside = CASES[case]
    o, d = some_rays()
    got = found(parts(o), parts(d))[0, 0].numpy()
    expected = searched(inside, o, d)
    assert np.isfinite(expected).mean() > 0.2
    # The search steps over corners that a ray only grazes.
    same = np.isfinite(got) == np.isfinite(expected)
    assert same.mean() > 0.96
    both = same & np.isfinite(got)
    np.testing.assert_allclose(got[both], expected[both], atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_rays_that_start_inside_or_behind_miss(case: str) -> None:
    found, _ = CASES[case]
    o, d = some_rays()
    assert torch.isinf(found(parts(o), parts(-d))).all()
    assert torch.isinf(found(parts(0.01 * o), parts(d))).all()


def test_a_room_is_hit_from_inside_at_its_walls() -> None:
    _, d = some_rays()
    o = np.random.default_rng(1).uniform(-0.9, 0.9, d.shape)
    t = shapes.cavity(parts(o), parts(d), extra(0.0))[0, 0].numpy()
    np.testing.assert_allclose(np.abs(o + t[:, None] * d).max(1), 1.0, atol=1e-9)


def test_a_recess_is_seen_only_through_its_opening() -> None:
    rays = {
        (0.0, -3.0, 0.0, 0.0, 1.0, 0.0): 4.0,  # through the opening to the back
        (0.0, -3.0, 0.0, 0.3, 1.0, 0.0): 1.0 / 0.3,  # through the opening to the side
        (0.0, 3.0, 0.0, 0.0, -1.0, 0.0): np.inf,  # from behind
        (3.0, 0.0, 0.0, -1.0, 0.0, 0.0): np.inf,  # from the side
        (0.0, 0.5, 0.0, 0.1, -1.0, 0.0): np.inf,  # out again
        (0.0, 0.5, 0.0, 1.0, -0.1, 0.0): 1.0,  # from inside to the side
    }
    values = np.array(list(rays))
    t = shapes.cavity(parts(values[:, :3]), parts(values[:, 3:]), extra(1.0))[0, 0].numpy()
    np.testing.assert_allclose(t, list(rays.values()))


def test_a_disc_ends_at_its_rim() -> None:
    o, d = np.array([[0.5, 0.0, 2.0], [1.5, 0.0, 2.0], [0.5, 0.0, -2.0]]), np.array([[0.0, 0.0, -1.0]] * 3)
    t = shapes.disc(parts(o), parts(d))[0, 0]
    np.testing.assert_allclose(t.numpy(), [2.0, np.inf, np.inf])


def test_far_away_single_precision_keeps_its_digits() -> None:
    o, d = np.array([[0.3, 0.2, 2000.0]]), np.array([[0.0, 0.0, -1.0]])
    exact = 2000.0 - np.sqrt(1.0 - 0.13)
    t = shapes.ball([part.float() for part in parts(o)], [part.float() for part in parts(d)])
    assert abs(float(t) - exact) < 1e-3
