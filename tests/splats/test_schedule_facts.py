"""The plan of an optimisation and its rates: what holds for any photos, number of points, memory and time."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from recon3d.core.errors import ResourceError, UsageError
from recon3d.splats.holdout import held_out
from recon3d.splats.options import _RANGES, SplatOptions, preset
from recon3d.splats.rates import FEW_ITERATIONS, Rates, rates_for
from recon3d.splats.schedule import (
    BYTES_PER_GAUSSIAN,
    BYTES_PER_PHOTO_PIXEL,
    GROW_UNTIL,
    MAX_GROWTH,
    MIN_GAUSSIANS,
    MIN_GROWTH,
    REPAIR_UNTIL,
    SMALLEST_SIDE_PX,
    Schedule,
    gaussians_in_memory,
    make_schedule,
    step_seconds,
)

sizes = st.lists(st.tuples(st.integers(20, 2000), st.integers(20, 2000)), min_size=1, max_size=6)
asked = st.fixed_dictionaries(
    {
        "planned_seconds": st.floats(1, 2000),
        "iterations": st.none() | st.integers(1, 5000),
        "max_gaussians": st.integers(1, 300_000),
        "sh_degree": st.integers(0, 3),
    }
)
cases = st.tuples(asked, sizes, st.integers(0, 100_000))
Case = tuple[dict[str, Any], list[tuple[int, int]], int]


def plan_of(case: Case) -> Schedule:
    return make_schedule(SplatOptions(**case[0]), *case[1:])


@given(cases)
def test_levels_follow_one_another_without_a_gap_and_grow(case: Case) -> None:
    plan = plan_of(case)
    assert plan.levels[0].start == 0
    assert all(a.end == b.start for a, b in zip(plan.levels[:-1], plan.levels[1:], strict=True))
    assert all(level.end > level.start for level in plan.levels)
    shrinks = [level.shrink for level in plan.levels]
    assert shrinks == sorted(set(shrinks)) and 0 < shrinks[-1] <= 1
    assert len(plan.costs) == len(plan.levels)


@given(cases, st.data())
def test_every_iteration_has_its_level_progress_degree_and_time(case: Case, data: st.DataObject) -> None:
    plan = plan_of(case)
    i = data.draw(st.integers(0, plan.iterations - 1))
    level = plan.levels[plan.level(i)]
    assert level.start <= i < level.end and 0 <= plan.progress(i) < 1
    assert 0 <= plan.sh_degree(i) <= plan.sh_degree(plan.iterations) == len(plan.sh_from) <= 3
    step = plan.seconds_until(i + 1) - plan.seconds_until(i)
    assert step == pytest.approx(plan.costs[plan.level(i)], rel=1e-6)


@given(cases)
def test_nothing_is_moved_at_the_end_and_nothing_added_in_the_second_half(case: Case) -> None:
    plan = plan_of(case)
    every = plan.refine_every
    moments = [i for i in range(every - 1, plan.iterations, every) if plan.refines(i)]
    assert all(not plan.refines(i + 1) and plan.progress(i) < REPAIR_UNTIL for i in moments)
    assert all(plan.grows(i) == (plan.progress(i) < GROW_UNTIL) for i in moments)
    assert MIN_GROWTH <= plan.growth <= MAX_GROWTH and plan.snapshot_every >= 20 and plan.refine_every >= 10


@pytest.mark.parametrize("n_start", [500, 5000, 20_000])
@pytest.mark.parametrize("seconds", [50, 150, 600])
def test_the_number_reaches_its_cap_by_the_middle(n_start: int, seconds: float) -> None:
    plan = make_schedule(SplatOptions(planned_seconds=seconds), [(512, 768)] * 20, n_start)
    n = float(n_start)
    for i in range(plan.iterations):
        if plan.refines(i) and plan.grows(i):
            n = min(plan.cap, int(n * plan.growth) + 1)
    assert n > 0.85 * plan.cap


@given(st.floats(5, 3000), sizes)
def test_the_plan_takes_the_planned_seconds(seconds: float, photo_sizes: list[tuple[int, int]]) -> None:
    plan = make_schedule(SplatOptions(planned_seconds=seconds), photo_sizes, 3000)
    assert plan.seconds == pytest.approx(seconds, abs=2 * max(plan.costs))


def test_twice_the_time_is_about_twice_the_iterations() -> None:
    counts = [make_schedule(SplatOptions(planned_seconds=s), [(600, 800)] * 9, 4000).iterations for s in (100, 200)]
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.02)


@pytest.mark.parametrize(
    ("size", "n_levels"), [((40, 60), 1), ((96, 96), 1), ((192, 100), 2), ((384, 300), 3), ((800, 600), 3)]
)
def test_no_level_is_smaller_than_can_be_seen(size: tuple[int, int], n_levels: int) -> None:
    plan = make_schedule(SplatOptions(planned_seconds=60), [size] * 3, 1000)
    assert len(plan.levels) == n_levels
    assert all(level.shrink * max(size) >= SMALLEST_SIDE_PX for level in plan.levels[:-1])
    assert plan.levels[-1].shrink == 1.0


def test_the_order_of_the_photos_does_not_change_the_plan() -> None:
    photo_sizes = [(300, 400), (1200, 900), (640, 480)]
    assert make_schedule(SplatOptions(), photo_sizes, 100) == make_schedule(SplatOptions(), photo_sizes[::-1], 100)


@pytest.mark.parametrize("n_start", [0, 10, 200_000])
def test_the_cap_is_what_was_asked_for_but_never_below_the_start(n_start: int) -> None:
    assert make_schedule(SplatOptions(), [(100, 100)], n_start).cap == max(n_start, SplatOptions().max_gaussians)


@given(st.integers(1, 10_000_000), sizes, st.integers(1 << 20, 1 << 36))
def test_gaussians_fit_the_memory(wanted: int, photo_sizes: list[tuple[int, int]], memory: int) -> None:
    options = SplatOptions(max_gaussians=wanted)
    photos = BYTES_PER_PHOTO_PIXEL * sum(h * w for h, w in photo_sizes)
    try:
        found = gaussians_in_memory(options, photo_sizes, memory)
    except ResourceError as error:
        assert "expected: at least" in str(error)
        assert (
            min(wanted, MIN_GAUSSIANS) * BYTES_PER_GAUSSIAN + photos + 250 * max(h * w for h, w in photo_sizes) > memory
        )
        return
    assert min(wanted, MIN_GAUSSIANS) <= found <= wanted
    assert found * BYTES_PER_GAUSSIAN + photos <= memory
    assert gaussians_in_memory(options, photo_sizes, 2 * memory) >= found


@given(st.floats(0, 1e8), st.floats(0, 1e6))
def test_more_pixels_or_gaussians_never_cost_less(n_pixels: float, n_gaussians: float) -> None:
    assert step_seconds(n_pixels + 1e4, n_gaussians) > step_seconds(n_pixels, n_gaussians)
    assert step_seconds(n_pixels, n_gaussians + 1e4) > step_seconds(n_pixels, n_gaussians) > 0


@given(st.floats(0, 1), st.floats(0, 1))
def test_rates_never_rise(first: float, second: float) -> None:
    early, late = sorted((first, second))
    rates = Rates()
    assert rates.fade(early) >= rates.fade(late) >= rates.end * (1 - 1e-9)
    assert rates.means_at(early) >= rates.means_at(late) >= rates.means_end * (1 - 1e-9)
    assert rates.fade(rates.end_from) == 1.0 and rates.fade(1.0) == pytest.approx(rates.end)


def test_the_rate_of_the_centres_falls_by_a_constant_factor() -> None:
    found = np.log([Rates().means_at(p) for p in np.linspace(0, 1, 11)])
    assert np.diff(found) == pytest.approx(np.diff(found)[0])


@pytest.mark.parametrize("n_sh", [1, 4, 9, 16])
def test_there_is_a_rate_for_every_number_of_a_gaussian(n_sh: int) -> None:
    columns = Rates().columns(0.3, n_sh, 0.5, torch.device("cpu"))
    lengths = {"means": 3, "quats": 4, "log_scales": 3, "opacity_logits": 1, "sh": 3 * n_sh}
    assert {name: len(rates) for name, rates in columns.items()} == lengths
    assert all((rates > 0).all() for rates in columns.values())
    assert columns["sh"][:3].tolist() == pytest.approx([0.5 * Rates().sh0] * 3)


@given(st.integers(1, 10_000_000))
def test_more_iterations_have_smaller_rates_but_for_exposures_and_poses(n: int) -> None:
    found, base = rates_for(n), Rates()
    factor = min(1.0, (FEW_ITERATIONS / n) ** (1 / 3))
    assert found.means == pytest.approx(factor * base.means) and found.sh0 == pytest.approx(factor * base.sh0)
    assert (found.colours, found.poses, found.end) == (base.colours, base.poses, base.end)


@given(st.sets(st.text(min_size=1, max_size=5), min_size=5, max_size=40), st.randoms())
def test_who_is_held_out_depends_on_the_names_alone(keys: set[str], random: Random) -> None:
    shuffled = sorted(keys)
    random.shuffle(shuffled)
    chosen = held_out(shuffled)
    assert chosen == held_out(sorted(keys)) == tuple(sorted(keys))[:: 8 if len(keys) >= 16 else 4]
    assert set(chosen) < keys and len(keys) - len(chosen) >= 2


@given(st.integers(2, 12), st.integers(2, 60))
def test_every_nth_photo_is_held_out(step: int, n: int) -> None:
    keys = [f"{i:03d}" for i in range(n)]
    n_out = -(-n // step)
    if n - n_out < 2:
        with pytest.raises(UsageError, match="too few photos"):
            held_out(keys, str(step))
    else:
        assert held_out(keys, str(step)) == tuple(keys[::step])


@pytest.mark.parametrize("rule", ["", "0", "1", "-2", "2.5", "AUTO", "²"])
def test_rules_that_mean_nothing_are_refused_everywhere(rule: str) -> None:
    with pytest.raises(UsageError):
        held_out(["a", "b", "c", "d"], rule)
    with pytest.raises(UsageError):
        SplatOptions(holdout=rule)


@pytest.mark.parametrize(("name", "low", "high"), _RANGES)
def test_the_ends_of_each_range_are_allowed_and_nothing_beyond(name: str, low: float, high: float) -> None:
    for value in (low, high):
        assert getattr(SplatOptions(**{name: value}), name) == value  # type: ignore[arg-type]
    for value in (low - 1, 2 * high + 1):
        with pytest.raises(UsageError, match=name):
            SplatOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["planned_seconds", "lambda_dssim", "noise", "max_scale", "opacity_reg"])
def test_nan_is_no_option(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        SplatOptions(**{name: float("nan")})  # type: ignore[arg-type]


def test_presets_differ_in_effort_alone() -> None:
    effort = {"planned_seconds", "max_gaussians", "max_image_size", "sh_degree"}
    for name in ("draft", "high"):
        changed = {key for key, value in vars(preset(name)).items() if value != getattr(SplatOptions(), key)}  # type: ignore[arg-type]
        assert changed <= effort
