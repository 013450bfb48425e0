from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recon3d.core.errors import ResourceError, ResultError, UsageError
from recon3d.core.kernels import threads
from recon3d.core.progress import LogProgress
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians
from recon3d.render.gaussians.types import FIELDS
from recon3d.splats import train
from recon3d.splats.checkpoint import NAME
from recon3d.splats.options import SplatOptions
from recon3d.splats.train import optimise_splats
from recon3d.splats.trainer import MAX_FAILURES, Trainer
from recon3d.splats.types import SplatInputs, SplatResult

OPTIONS = SplatOptions(iterations=45, max_gaussians=200, sh_degree=1)


def bits(result: SplatResult) -> list[bytes]:
    gaussians = [getattr(result.gaussians, name).numpy().tobytes() for name in FIELDS]
    return [*gaussians, result.colours.tobytes(), result.cameras.cam_from_world.tobytes()]


@pytest.mark.slow
def test_a_scene_with_exact_truth_is_found(tiny: SplatInputs) -> None:
    result = optimise_splats(tiny, replace(OPTIONS, iterations=300, max_gaussians=400, exposure=False))
    assert result.held_out == ("0.png", "4.png", "8.png")
    assert np.mean([one.psnr for one in result.errors]) > 28
    middle = next(one for one in result.errors if one.key == "4.png")
    assert middle.psnr > 30 and middle.ssim > 0.95
    assert result.history[-1]["loss"] < 0.3 * result.history[0]["loss"]


def test_same_bits_for_any_number_of_threads_and_another_seed_others(tiny: SplatInputs) -> None:
    found = []
    for n in (1, 2):
        with threads(n):
            found.append(bits(optimise_splats(tiny, OPTIONS)))
    assert found[0] == found[1]
    assert bits(optimise_splats(tiny, replace(OPTIONS, seed=1))) != found[0]


class Stop(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("stop_at", [7, 43])
def test_an_interrupted_run_continues_with_the_same_bits(
    tiny: SplatInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    options = replace(OPTIONS, refine_poses=True)
    wanted = optimise_splats(tiny, options)
    monkeypatch.setattr(train, "CHECKPOINT_S", 0.0)
    step = Trainer.step

    def stopping(self: Trainer) -> object:
        if self.iteration == stop_at:
            raise Stop
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stopping)
        with pytest.raises(Stop):
            optimise_splats(tiny, options, checkpoint_folder=tmp_path)
    assert (tmp_path / NAME).is_file()
    resumed_from: list[int] = []
    restore = Trainer.restore
    monkeypatch.setattr(
        Trainer, "restore", lambda self, v, a: (resumed_from.append(v["iteration"]), restore(self, v, a))[1]
    )
    found = optimise_splats(tiny, options, checkpoint_folder=tmp_path)
    assert resumed_from and 0 <= resumed_from[0] <= stop_at
    assert bits(found) == bits(wanted)


def test_a_checkpoint_of_other_photos_is_not_used(
    tiny: SplatInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CHECKPOINT_S", 0.0)
    optimise_splats(tiny, OPTIONS, checkpoint_folder=tmp_path)
    other = replace(tiny, images=tuple(255 - image for image in tiny.images))
    assert bits(optimise_splats(other, OPTIONS, checkpoint_folder=tmp_path)) == bits(optimise_splats(other, OPTIONS))


def poison(monkeypatch: pytest.MonkeyPatch, bad: set[int], once: bool) -> list[int]:
    """Make the gradients of some iterations NaN; return where that happened."""
    seen: list[int] = []
    compare = Trainer._compare

    def poisoned(self: Trainer, *args: object) -> object:
        found = compare(self, *args)  # type: ignore[arg-type]
        if self.iteration in bad and not (once and self.iteration in seen):
            seen.append(self.iteration)
            return replace(found, loss=found.loss * float("nan"))
        return found

    monkeypatch.setattr(Trainer, "_compare", poisoned)
    return seen


def test_a_step_that_is_not_finite_is_rolled_back(
    tiny: SplatInputs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = poison(monkeypatch, {25}, once=True)
    with caplog.at_level(logging.WARNING, "recon3d.splats"):
        result = optimise_splats(tiny, OPTIONS)
    assert seen == [25] and "step 25 was not finite: back to 20" in caplog.text
    assert all(torch.isfinite(getattr(result.gaussians, name)).all() for name in FIELDS)
    assert [one["iteration"] for one in result.history] == sorted({one["iteration"] for one in result.history})


def test_steps_that_never_become_finite_end_in_one_error(tiny: SplatInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = poison(monkeypatch, {25}, once=False)
    with pytest.raises(ResultError, match="does not stay finite; got: 9 failures, the last at iteration 25"):
        optimise_splats(tiny, OPTIONS)
    assert len(seen) == MAX_FAILURES + 1


def test_masked_pixels_do_not_matter(tiny: SplatInputs) -> None:
    """Something walks through the photos, at another place in each; masks hide it."""
    images, masks = [image.copy() for image in tiny.images], []
    for i, image in enumerate(images):
        image[10:30, 4 * i : 4 * i + 12] = (255, 0, 255)
        masks.append(np.ones(image.shape[:2], np.uint8))
        masks[-1][10:30, 4 * i : 4 * i + 12] = 0
    disturbed = replace(tiny, images=tuple(images), masks=tuple(masks))
    other = [image.copy() for image in images]
    for image, mask in zip(other, masks, strict=True):
        image[mask == 0] = 0
    blank = replace(disturbed, images=tuple(other))
    start = replace(OPTIONS, iterations=40, exposure=False)
    found, blanked = optimise_splats(disturbed, start), optimise_splats(blank, start)
    unmasked = optimise_splats(replace(disturbed, masks=None), start)
    psnr = [np.mean([one.psnr for one in result.errors]) for result in (found, blanked, unmasked)]
    assert bits(found) == bits(blanked) and psnr[0] > psnr[2] + 1


def test_exposures_of_the_photos_are_found(tiny: SplatInputs) -> None:
    gain = np.where(np.arange(9) % 2 == 0, 0.8, 1.0)
    darker = tuple((image * g).astype(np.uint8) for image, g in zip(tiny.images, gain, strict=True))
    options = replace(OPTIONS, iterations=120, holdout="none")
    result = optimise_splats(replace(tiny, images=darker), options)
    level = result.colours[:, (0, 1, 2), (0, 1, 2)].mean(axis=1)
    assert level[gain == 0.8].mean() < level[gain == 1.0].mean() - 0.02
    np.testing.assert_allclose(result.colours.mean(axis=0), np.eye(3, 4), atol=0.05)


def test_two_photos_without_points_give_a_result_and_say_so(tiny: SplatInputs) -> None:
    two = SplatInputs(tiny.keys[:2], tiny.images[:2], tiny.cameras[:2], np.zeros((0, 3)), np.zeros((0, 3), np.uint8))
    result = optimise_splats(two, replace(OPTIONS, iterations=20))
    assert len(result.gaussians) > 0 and result.errors == () and result.held_out == ()
    assert any("too few photos" in note for note in result.notes)
    assert any("only 0 points" in note for note in result.notes)


def test_one_photo_is_refused(tiny: SplatInputs) -> None:
    one = SplatInputs(tiny.keys[:1], tiny.images[:1], tiny.cameras[:1], tiny.points_xyz, tiny.points_rgb)
    with pytest.raises(UsageError, match="at least two photos"):
        optimise_splats(one)


def test_a_far_away_photo_does_not_spoil_the_others(tiny: SplatInputs) -> None:
    poses = tiny.cameras.cam_from_world.copy()
    poses[2, 2, 3] = 4000.0
    far = replace(tiny, cameras=replace(tiny.cameras, cam_from_world=poses))
    near_psnr, far_psnr = (
        np.mean([one.psnr_fit or 0 for one in optimise_splats(case, OPTIONS).errors]) for case in (tiny, far)
    )
    assert far_psnr > near_psnr - 4  # one of six photos to learn from is lost


def test_the_world_of_the_input_is_that_of_the_result(tiny: SplatInputs) -> None:
    similarity = np.eye(4)
    similarity[:3, :3] *= 250.0
    similarity[:3, 3] = (3000, -200, 40)
    moved = replace(
        tiny,
        cameras=tiny.cameras.transformed(similarity),
        points_xyz=tiny.points_xyz @ similarity[:3, :3].T + similarity[:3, 3],
    )
    a, b = optimise_splats(tiny, OPTIONS), optimise_splats(moved, OPTIONS)
    assert a.errors[1].psnr == pytest.approx(b.errors[1].psnr, abs=0.5)
    size = b.gaussians.scales.median() / a.gaussians.scales.median()
    assert size.item() == pytest.approx(250, rel=0.1)


def test_refined_poses_undo_an_error_of_the_cameras(tiny: SplatInputs) -> None:
    poses = tiny.cameras.cam_from_world.copy()
    poses[::2, 0, 3] += 0.06
    wrong = replace(tiny, cameras=replace(tiny.cameras, cam_from_world=poses))
    options = replace(OPTIONS, iterations=120, holdout="none", refine_poses=True)
    result = optimise_splats(wrong, options)

    def spread(cameras: Cameras) -> float:
        offset = cameras.cam_from_world[:, 0, 3]
        return float(abs(offset[::2].mean() - offset[1::2].mean()))

    assert spread(result.cameras) < 0.95 * spread(wrong.cameras)
    fixed = optimise_splats(wrong, replace(options, iterations=5, refine_poses=False))
    assert (fixed.cameras.cam_from_world == poses).all()


def test_progress_tells_loss_psnr_count_and_time(tiny: SplatInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "NOTE_S", 0.0)
    stream = io.StringIO()
    optimise_splats(tiny, replace(OPTIONS, iterations=20), LogProgress(stream))
    lines = [line for line in stream.getvalue().splitlines() if "iteration 20 of 20" in line]
    assert lines and all(word in lines[0] for word in ("loss", "PSNR", "Gaussians", "left"))


def test_torch_gets_its_threads_back(tiny: SplatInputs) -> None:
    before = torch.get_num_threads()
    with pytest.raises(UsageError):
        optimise_splats(tiny, replace(OPTIONS, holdout="2", device="cuda") if not torch.cuda.is_available() else None)
    assert torch.get_num_threads() == before


def test_a_white_background_is_possible(tiny: SplatInputs) -> None:
    images = tuple(np.full_like(image, 255) for image in tiny.images)
    result = optimise_splats(replace(tiny, images=images), replace(OPTIONS, iterations=30, background="white"))
    assert np.mean([one.psnr for one in result.errors]) > 15
    assert isinstance(result.gaussians, Gaussians)


def test_fewer_gaussians_for_little_memory_are_said(tiny: SplatInputs) -> None:
    options = replace(OPTIONS, iterations=3, max_gaussians=100_000)
    result = optimise_splats(replace(tiny, max_memory_bytes=8 << 20), options)
    said = [note for note in result.notes if "instead of 100,000" in note]
    assert len(said) == 1
    assert len(result.gaussians) <= int(said[0].split()[2].replace(",", ""))
    with pytest.raises(ResourceError, match="too little memory for splats of"):
        optimise_splats(replace(tiny, max_memory_bytes=1 << 20), options)
