"""Single steps of the optimisation: what they may change, how they fall back, and that a state is whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recon3d.core.errors import ResultError
from recon3d.render.gaussians import Gaussians
from recon3d.splats.checkpoint import read_checkpoint, write_checkpoint
from recon3d.splats.exposure import IDENTITY
from recon3d.splats.options import SplatOptions
from recon3d.splats.poses import moved
from recon3d.splats.rates import Rates
from recon3d.splats.schedule import Level, Schedule
from recon3d.splats.targets import make_targets
from recon3d.splats.train import _key, optimise_splats
from recon3d.splats.trainer import MAX_FAILURES, Setting, Trainer
from recon3d.splats.types import SplatInputs

from .conftest import coloured_blobs, photos, ring

OPTIONS = SplatOptions(sh_degree=0, lambda_dssim=0.0, opacity_reg=0.0, scale_reg=0.0, noise=0.0, exposure=False)
STILL = Rates(means=1e-30, means_end=1e-30, quats=0, log_scales=0, opacity_logits=0, sh0=0)
CPU = torch.device("cpu")


def schedule(n: int = 200, **changes: Any) -> Schedule:
    plain = Schedule(
        (Level(1.0, 0, n),), cap=70, growth=1.05, refine_every=10_000, sh_from=(), snapshot_every=10, costs=(1.0,)
    )
    return replace(plain, **changes)


def truth() -> Gaussians:
    """Blobs whose colours lie between 0 and 1, as those of photos do."""
    blobs = coloured_blobs()
    return replace(blobs, sh=blobs.sh.clamp(-1.7, 1.7))


def trainer(
    options: SplatOptions = OPTIONS,
    plan: Schedule | None = None,
    rates: Rates = STILL,
    change: Callable[[Gaussians], Gaussians] = lambda g: g,
    n_views: int = 3,
) -> Trainer:
    """A trainer that knows the truth, or what ``change`` makes of it."""
    scene, cameras = truth(), ring(n_views)
    images = photos(scene, cameras)
    levels = (make_targets(images, [None] * n_views, cameras, 1.0, CPU),)
    return Trainer(Setting(options, plan or schedule(), levels, rates, 0.1), change(scene))


def same(one: tuple[dict[str, Any], Any], other: tuple[dict[str, Any], Any]) -> bool:
    values = [{**state[0], "failures": 0} for state in (one, other)]
    return values[0] == values[1] and all(np.array_equal(one[1][name], other[1][name]) for name in one[1])


def test_the_truth_has_no_loss_but_rounding() -> None:
    found = trainer()
    for _ in range(3):
        report = found.step()
        assert report is not None and report.loss < 0.3 / 255 and report.mse < (0.5 / 255) ** 2
    assert found.iteration == 3 and found.failures == 0


def test_rates_of_zero_move_nothing() -> None:
    found = trainer(replace(OPTIONS, opacity_reg=0.01), change=lambda g: replace(g, means=g.means + 0.02))
    before = found.model.arrays()
    for _ in range(5):
        found.step()
    after = found.model.arrays()
    assert all(np.array_equal(before[name], after[name]) for name in before if name.endswith("value"))
    assert any(before[name].any() != after[name].any() for name in before if name.endswith("square"))


@pytest.mark.parametrize(
    ("rate", "field"),
    [("sh0", "sh"), ("opacity_logits", "opacity_logits"), ("log_scales", "log_scales"), ("quats", "quats")],
)
def test_each_rate_moves_its_own_field(rate: str, field: str) -> None:
    found = trainer(rates=replace(STILL, **{rate: 0.01}), change=lambda g: replace(g, means=g.means + 0.02))
    before = {name: value.detach().clone() for name, value in found.model.values.items()}
    found.step()
    changed = {name for name, value in found.model.values.items() if not torch.equal(value.detach(), before[name])}
    assert changed == {field}


def test_steps_bring_disturbed_colours_back() -> None:
    found = trainer(rates=replace(STILL, sh0=0.05), change=lambda g: replace(g, sh=g.sh + 0.4), n_views=3)
    reports = [found.step() for _ in range(30)]
    assert reports[0] is not None and reports[-1] is not None and reports[-1].loss < 0.4 * reports[0].loss
    off = (found.model.values["sh"].detach() - truth().sh).abs().median()
    assert off < 0.15


def test_every_photo_has_its_turn_before_any_has_a_second() -> None:
    found = trainer(n_views=4)
    seen = []
    for _ in range(12):
        left = len(found.order)
        found.step()
        assert len(found.order) == (left or 4) - 1
        seen.append(found.generator.bit_generator.state["state"]["state"])
    assert len(set(seen)) == 3  # a new order is drawn every four steps


@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_state_is_whole(at: int) -> None:
    options = replace(OPTIONS, exposure=True, refine_poses=True, noise=1.0)
    plan = schedule(20, refine_every=2, sh_from=(2,))
    one = trainer(options, plan, Rates())
    for _ in range(at):
        one.step()
    values, arrays = one.snapshot()
    wanted = [one.step() for _ in range(6)]
    other = trainer(options, plan, Rates(), change=lambda g: g[:7])
    other.restore(json.loads(json.dumps(values)), arrays)
    assert [other.step() for _ in range(6)] == wanted
    assert same(one.snapshot(), other.snapshot())


def test_a_state_survives_its_file(tmp_path: Path) -> None:
    one = trainer(replace(OPTIONS, exposure=True), schedule(20), Rates())
    for _ in range(4):
        one.step()
    write_checkpoint(tmp_path / "c", "key", *one.snapshot())
    _, values, arrays = read_checkpoint(tmp_path / "c")
    other = trainer(replace(OPTIONS, exposure=True), schedule(20), Rates())
    other.restore(values, arrays)
    assert same(one.snapshot(), other.snapshot())


@pytest.mark.parametrize("field", ["means", "sh", "opacity_logits", "log_scales"])
def test_a_state_that_became_nan_is_left_behind(field: str) -> None:
    found = trainer(plan=schedule(40), rates=Rates())
    for _ in range(13):
        found.step()
    good = found.good
    assert found.iteration == 13 and good[0]["iteration"] == 10
    with torch.no_grad():
        found.model.values[field][:] = float("nan")
    assert found.step() is None
    assert found.iteration == 10 and found.failures == 1 and found.rate_scale == 0.5
    assert all(np.array_equal(found.model.arrays()[name], good[1][name]) for name in found.model.arrays())
    assert found.step() is not None


def test_each_failure_halves_the_steps_until_the_last_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trainer(plan=schedule(40), rates=Rates())
    monkeypatch.setattr(
        "recon3d.splats.trainer.Trainer._pull",
        lambda self: torch.tensor(float("nan"), requires_grad=True) * self.model.values["means"].sum(),
    )
    for n in range(1, MAX_FAILURES + 1):
        assert found.step() is None and found.rate_scale == 0.5**n and found.failures == n
    with pytest.raises(ResultError, match="does not stay finite"):
        found.step()


def test_smaller_steps_stay_after_a_failure() -> None:
    found = trainer(plan=schedule(40), rates=replace(STILL, sh0=0.01), change=lambda g: replace(g, sh=g.sh + 0.4))
    found.rate_scale = 0.25
    before = found.model.values["sh"].detach().clone()
    found.step()
    moved_by = (found.model.values["sh"].detach() - before).abs()
    assert moved_by.max().item() == pytest.approx(0.0025, rel=0.05)


@pytest.mark.parametrize("shift", [(0.03, 0, 0, 0, 0, 0), (0, 0, 0.04, 0.05, 0, 0), (0, 0, 0, 0, -0.04, 0.1)])
def test_a_small_known_motion_is_recovered(shift: tuple[float, ...]) -> None:
    """The Gaussians are the truth and stay; the photo was taken from a little beside its camera."""
    scene, cameras = truth(), ring(1)
    pose = torch.from_numpy(cameras.cam_from_world[0])
    true_pose = moved(pose, torch.tensor(shift, dtype=torch.float64)).numpy()
    images = photos(scene, replace(cameras, cam_from_world=true_pose[None]))
    levels = (make_targets(images, [None], cameras, 1.0, CPU),)
    options = replace(OPTIONS, refine_poses=True)
    found = Trainer(Setting(options, schedule(60), levels, replace(STILL, poses=3e-3, end=0.05), 0.1), scene)
    for _ in range(60):
        found.step()
    points = scene.means.double().numpy()
    start, end, wanted = (
        cam[:, :2] / cam[:, 2:]
        for cam in (points @ one[:3, :3].T + one[:3, 3] for one in (pose.numpy(), refined(found, pose), true_pose))
    )
    assert np.abs(end - wanted).mean() < 0.15 * np.abs(start - wanted).mean()
    assert torch.equal(found.model.values["sh"].detach(), scene.sh)


def refined(found: Trainer, pose: torch.Tensor) -> np.ndarray:
    return moved(pose, found.motions[0].double()).numpy()


def test_known_exposures_are_recovered() -> None:
    """Photos of 0.9 and 1.1 times the light of Gaussians whose colours are between them."""
    scene, cameras = truth(), ring(2)
    dim = replace(scene, sh=0.8 * scene.sh - 0.1 / 0.28209479177387814)  # 0.8 times the colours
    gains = 0.8 * np.array([0.9, 1.1])
    images = tuple(np.rint(g * one).astype(np.uint8) for g, one in zip(gains, photos(scene, cameras), strict=True))
    levels = (make_targets(images, [None] * 2, cameras, 1.0, CPU),)
    rates = replace(STILL, colours=5e-3)
    found = Trainer(Setting(replace(OPTIONS, exposure=True), schedule(60), levels, rates, 0.1), dim)
    for _ in range(60):
        found.step()
    grey = (found.colours @ torch.tensor([0.4, 0.4, 0.4, 1.0])).mean(1)
    assert grey.tolist() == pytest.approx([0.36, 0.44], abs=0.015)


def test_exposures_and_poses_wait_for_their_part_of_the_plan() -> None:
    found = trainer(replace(OPTIONS, exposure=True, refine_poses=True), schedule(100), Rates(), n_views=2)
    for _ in range(5):
        found.step()
    assert np.array_equal(found.colours.numpy(), np.repeat(IDENTITY[None], 2, 0)) and not found.motions.any()
    for _ in range(5):
        found.step()
    assert not np.array_equal(found.colours.numpy(), np.repeat(IDENTITY[None], 2, 0)) and not found.motions.any()
    for _ in range(4):
        found.step()
    assert found.motions.any()


def test_scales_are_limited_by_the_distance_from_the_centre() -> None:
    found = trainer(replace(OPTIONS, max_scale=0.05), change=lambda g: replace(g, means=4 * g.means))
    found.step()
    distance = found.model.values["means"].detach().norm(dim=1).clamp(min=1)
    assert (found.model.values["log_scales"].exp() <= 0.05 * distance[:, None] * (1 + 1e-5)).all()


def test_the_number_grows_to_the_cap_and_no_further() -> None:
    found = trainer(plan=schedule(40, refine_every=2, cap=66))
    counts = []
    for _ in range(30):
        found.step()
        counts.append(len(found.model))
    assert counts == sorted(counts) and counts[-1] == 66 and counts[0] == 60


def test_pulls_make_everything_fainter_and_smaller() -> None:
    rates = replace(STILL, opacity_logits=0.05, log_scales=0.01)
    found = trainer(replace(OPTIONS, opacity_reg=5.0, scale_reg=5.0), rates=rates)
    before = [found.model.values[name].detach().clone() for name in ("opacity_logits", "log_scales")]
    for _ in range(5):
        found.step()
    after = [found.model.values[name].detach() for name in ("opacity_logits", "log_scales")]
    assert all((b.mean() < a.mean()).item() for a, b in zip(before, after, strict=True))


def test_only_faint_gaussians_are_shaken() -> None:
    def half_faint(g: Gaussians) -> Gaussians:
        return replace(g, opacity_logits=torch.where(torch.arange(60) < 30, -8.0, 2.0))

    found = trainer(replace(OPTIONS, noise=1.0), rates=replace(STILL, means=1e-3, means_end=1e-3), change=half_faint)
    quiet = trainer(rates=replace(STILL, means=1e-3, means_end=1e-3), change=half_faint)
    for one in (found, quiet):
        one.step()
    off = (found.model.values["means"] - quiet.model.values["means"]).detach().norm(dim=1)
    assert (off[:30] > 0).all() and (off[30:] == 0).all()


@pytest.mark.parametrize(
    "what", ["images", "masks", "points_xyz", "points_rgb", "normals", "keys", "cameras", "max_memory_bytes"]
)
def test_every_input_is_part_of_the_key_of_a_state(tiny: SplatInputs, what: str) -> None:
    ones = np.ones((48, 48), np.uint8)
    first = replace(tiny, masks=(ones, *[None] * 8), normals=np.zeros_like(tiny.points_xyz), max_memory_bytes=1 << 30)
    other: dict[str, Any] = {
        "images": tuple(255 - image for image in tiny.images),
        "masks": (None, ones, *[None] * 7),  # the same mask, of another photo
        "points_xyz": tiny.points_xyz + 1e-9,
        "points_rgb": tiny.points_rgb[::-1],
        "normals": None,
        "keys": tiny.keys[::-1],
        "cameras": ring(9, distance=4.001),
        "max_memory_bytes": 1 << 31,
    }
    assert _key(first, OPTIONS) == _key(replace(first), OPTIONS)
    assert _key(replace(first, **{what: other[what]}), OPTIONS) != _key(first, OPTIONS)
    assert _key(first, replace(OPTIONS, seed=1)) != _key(first, OPTIONS)


def test_what_is_held_out_teaches_nothing(tiny: SplatInputs) -> None:
    options = SplatOptions(iterations=12, max_gaussians=120, sh_degree=0)
    spoilt = tuple(255 - one if i in (0, 4, 8) else one for i, one in enumerate(tiny.images))
    one, other = (optimise_splats(case, options) for case in (tiny, replace(tiny, images=spoilt)))
    assert torch.equal(one.gaussians.means, other.gaussians.means) and torch.equal(one.gaussians.sh, other.gaussians.sh)
    assert [e.key for e in one.errors] == ["0.png", "4.png", "8.png"]
    assert all(a.psnr > b.psnr for a, b in zip(one.errors, other.errors, strict=True))
    assert np.array_equal(one.colours[[0, 4, 8]], np.repeat(IDENTITY[None], 3, 0))
