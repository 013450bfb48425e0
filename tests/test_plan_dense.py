from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recon3d.core.budget import Budget
from recon3d.core.errors import ResourceError
from recon3d.core.stages import StageStore
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.stereo_options import StereoOptions
from recon3d.plan_dense import DenseOptions, DensePlan, Preset, check_memory, make_dense_plan, with_preset
from recon3d.splats.options import SplatOptions, preset

LAPTOP = Budget(8 << 30, None, 2)
SIZES = [(768, 512)] * 11


def options(**splats: object) -> DenseOptions:
    return with_preset("standard", splats=replace(SplatOptions(), **splats))


def plan(tmp_path: Path, budget: Budget, sizes: list[tuple[int, int]] = SIZES, memory: str | None = None) -> DensePlan:
    return make_dense_plan(sizes, options(), budget, StageStore(tmp_path), memory, 20.0)


def test_a_laptop_gives_nothing_up(tmp_path: Path) -> None:
    made = plan(tmp_path, LAPTOP)
    assert made.options == options()
    assert made.notes == ()
    assert 0 < made.max_memory_bytes < LAPTOP.max_memory_bytes


def test_little_memory_makes_smaller_depth_maps_and_says_so(tmp_path: Path) -> None:
    made = plan(tmp_path, replace(LAPTOP, max_memory_bytes=1 << 30), [(4000, 3000)] * 60)
    assert made.options.stereo.max_image_size < 700
    assert "depth maps were reduced to" in made.notes[0]
    assert made.options.splats == options().splats


def test_little_time_shortens_the_splats_first(tmp_path: Path) -> None:
    made = plan(tmp_path, replace(LAPTOP, max_time_s=120.0))
    assert made.options.splats.planned_seconds < 90
    assert made.options.stereo == options().stereo
    assert "splats were optimised for" in made.notes[0]


def test_hardly_any_time_shrinks_the_depth_maps_as_well(tmp_path: Path) -> None:
    made = plan(tmp_path, replace(LAPTOP, max_time_s=45.0), [(4000, 3000)] * 40)
    assert made.options.stereo.max_image_size < 1280
    assert made.options.splats.planned_seconds == 10.0
    assert len(made.notes) == 2


def test_a_resumed_run_keeps_its_plan_on_a_busier_machine(tmp_path: Path) -> None:
    first = plan(tmp_path, LAPTOP)
    assert plan(tmp_path, replace(LAPTOP, max_memory_bytes=1 << 30)) == first
    assert plan(tmp_path, replace(LAPTOP, max_memory_bytes=1 << 30), memory="1GiB") != first


def test_memory_below_the_least_is_refused() -> None:
    check_memory(Budget(800 << 20, None, 2))
    with pytest.raises(ResourceError, match=r"got: 0.50 GiB; expected: at least 0.68 GiB"):
        check_memory(Budget(512 << 20, None, 2))


@pytest.mark.parametrize("name", ["draft", "standard", "high"])
def test_a_preset_fills_in_what_is_not_given(name: Preset) -> None:
    size = {"draft": 640, "standard": 1280, "high": 2000}[name]
    expected = DenseOptions(StereoOptions(max_image_size=size), preset(name), FusionOptions())
    assert with_preset(name) == expected
    given = StereoOptions(n_sources=3), SplatOptions(), FusionOptions(min_views=2)
    assert with_preset(name, *given) == DenseOptions(*given)


def test_presets_take_more_time_step_by_step() -> None:
    seconds = [preset(name).planned_seconds for name in ("draft", "standard", "high")]
    assert seconds == sorted(seconds)
