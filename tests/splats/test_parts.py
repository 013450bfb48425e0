from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from recon3d.core.errors import ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.render.cameras import Cameras
from recon3d.splats.adam import Moments, is_finite
from recon3d.splats.exposure import centred, fit_affine, regularised
from recon3d.splats.frame import find_frame
from recon3d.splats.holdout import held_out
from recon3d.splats.options import SplatOptions, preset
from recon3d.splats.poses import moved
from recon3d.splats.rates import FEW_ITERATIONS, Rates, rates_for
from recon3d.splats.schedule import gaussians_in_memory, make_schedule, step_seconds
from recon3d.splats.targets import make_targets, resize, resize_mask, scale_cameras
from recon3d.splats.types import SplatInputs

KEYS = [f"{i:02d}.jpg" for i in range(20)]


@pytest.mark.parametrize(
    ("n", "rule", "expected"),
    [
        (20, "auto", ["00.jpg", "08.jpg", "16.jpg"]),
        (16, "auto", ["00.jpg", "08.jpg"]),
        (15, "auto", ["00.jpg", "04.jpg", "08.jpg", "12.jpg"]),
        (5, "auto", ["00.jpg", "04.jpg"]),
        (4, "auto", []),
        (20, "none", []),
        (7, "3", ["00.jpg", "03.jpg", "06.jpg"]),
    ],
)
def test_which_photos_are_held_out(n: int, rule: str, expected: list[str]) -> None:
    assert list(held_out(KEYS[:n][::-1], rule)) == expected


def test_rules_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown"):
        held_out(KEYS, "some")
    with pytest.raises(UsageError, match="too few photos"):
        held_out(KEYS[:3], "2")


@pytest.mark.usefixtures("without_shape_checks")
def test_presets_spend_more_and_more() -> None:
    seconds = [preset(name).planned_seconds for name in ("draft", "standard", "high")]
    assert seconds == sorted(seconds) and preset("standard") == SplatOptions()
    with pytest.raises(UsageError, match="no such preset"):
        preset("best")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"sh_degree": 4}, {"iterations": 0}, {"holdout": "1"}, {"holdout": "often"}, {"lambda_dssim": 1.5}, {"seed": -1}],
)
def test_options_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        SplatOptions(**change)  # type: ignore[arg-type]


def cameras(n: int, distance: float = 5.0) -> Cameras:
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, 0, 3] = np.linspace(-1, 1, n)
    poses[:, 2, 3] = distance
    K = np.tile(np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]), (n, 1, 1))
    return Cameras(poses, K, np.full(n, 100, np.int64), np.full(n, 80, np.int64))


def test_the_frame_puts_the_scene_at_unit_depth() -> None:
    xyz = np.random.default_rng(0).normal(size=(500, 3)) * 0.3
    frame = find_frame(cameras(6), xyz)
    assert frame.unit == pytest.approx(5, rel=0.02)
    assert np.linalg.norm(frame.centre) < 0.1
    local = cameras(6).transformed(frame.frame_from_world)
    assert local.project(frame.points(xyz[:1]), np.zeros(1, np.int64))[1] == pytest.approx(1, rel=0.3)


def test_one_far_photo_and_wrong_points_do_not_move_the_frame() -> None:
    xyz = np.random.default_rng(0).normal(size=(500, 3)) * 0.3
    far = cameras(7)
    far.cam_from_world[3, 2, 3] = 5000.0
    xyz[:20] *= 1e4
    frame = find_frame(far, xyz)
    assert frame.unit == pytest.approx(5, rel=0.05) and np.linalg.norm(frame.centre) < 0.3


def test_a_scene_without_points_has_a_frame() -> None:
    frame = find_frame(cameras(3), np.zeros((0, 3)))
    assert frame.unit > 0 and np.isfinite(frame.centre).all()
    same = replace(cameras(3), cam_from_world=np.tile(np.eye(4), (3, 1, 1)))
    assert find_frame(same, np.zeros((0, 3))).unit == 1.0


def test_an_affine_map_of_colours_is_found_exactly() -> None:
    random = np.random.default_rng(1)
    rendered, colour = random.random((500, 3)), np.eye(3, 4) + random.normal(0, 0.2, (3, 4))
    photo = rendered @ colour[:, :3].T + colour[:, 3]
    np.testing.assert_allclose(fit_affine(rendered, photo, ridge=0.0), colour, atol=1e-10)
    np.testing.assert_allclose(fit_affine(rendered, photo), colour, atol=1e-3)


def test_grey_pixels_leave_the_colours_alone() -> None:
    grey = np.full((50, 3), 0.5)
    np.testing.assert_allclose(fit_affine(grey, grey), np.eye(3, 4), atol=1e-9)


def test_exposures_keep_their_mean_and_are_pulled_to_none() -> None:
    colours = torch.eye(3, 4).repeat(4, 1, 1) + 0.1 * torch.randn(4, 3, 4)
    moved_back = centred(colours)
    assert torch.allclose(moved_back.mean(0), torch.eye(3, 4), atol=1e-6)
    assert torch.allclose(moved_back[0] - moved_back[1], colours[0] - colours[1], atol=1e-6)
    pull = regularised(torch.zeros(3, 4), colours[0], 2.0)
    assert torch.allclose(pull, 2 * (colours[0] - torch.eye(3, 4)))


@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_moved_poses_are_rigid(values: list[float]) -> None:
    pose = moved(torch.eye(4, dtype=torch.float64), torch.tensor(values, dtype=torch.float64))
    rotation = pose[:3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert pose[:3, 3].tolist() == values[3:] and pose[3].tolist() == [0, 0, 0, 1]
    angle = torch.arccos(((rotation.trace() - 1) / 2).clamp(-1, 1)).item()
    turned = np.linalg.norm(values[:3]) % (2 * np.pi)
    assert min(abs(angle - turned), abs(angle - (2 * np.pi - turned))) < 1e-6


@pytest.mark.parametrize("size", [0.0, 1e-6, 0.3])
def test_motions_have_gradients_even_at_rest(size: float) -> None:
    delta = (size * torch.arange(1, 7, dtype=torch.float64)).requires_grad_()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = 2
    assert torch.autograd.gradcheck(lambda d: moved(pose, d)[:3], (delta,))


def test_adam_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(9000, 3, generator=generator)
    other = value.clone().requires_grad_()
    theirs = torch.optim.Adam([other], lr=0.01, eps=1e-15)
    moments, rates = Moments.of(value), torch.full((3,), 0.01)
    for _ in range(5):
        grad = torch.randn(9000, 3, generator=generator)
        moments.update(value, grad, rates)
        other.grad = grad.clone()
        theirs.step()
    assert torch.allclose(value, other, atol=1e-6)


def test_adam_has_the_same_bits_on_any_number_of_threads_and_a_rate_per_column() -> None:
    found = []
    for n in (1, 3):
        value, grad = torch.zeros(20_000, 2), torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1))
        with threads(n):
            Moments.of(value).update(value, grad, torch.tensor([0.1, 0.0]))
        found.append(value)
    assert torch.equal(*found)
    assert (found[0][:, 1] == 0).all() and found[0][:, 0].abs().sub(0.1).abs().max() < 1e-4


def test_moments_in_float64_follow_those_in_float32() -> None:
    value, grad = torch.randn(50, 3, 3), torch.randn(50, 3, 3)
    wide = value.double()
    rates = torch.linspace(0.01, 0.09, 9)
    moments, wide_moments = Moments.of(value), Moments.of(wide)
    for _ in range(3):
        moments.update(value, grad, rates)
        wide_moments.update(wide, grad.double(), rates)
    assert torch.allclose(value, wide.float(), atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_seen(bad: float) -> None:
    for dtype in (torch.float32, torch.float64):
        values = torch.full((7, 5, 3), 3e38 if dtype == torch.float32 else 1.0, dtype=dtype)
        assert is_finite(values)
        values[6, 4, 2] = bad
        assert not is_finite(values)


def test_rates_fall_and_failures_lower_them() -> None:
    rates = Rates()
    start, end = (rates.columns(p, 4, 1.0, torch.device("cpu")) for p in (0.0, 1.0))
    assert start["means"][0].item() == pytest.approx(rates.means)
    assert end["means"][0].item() == pytest.approx(rates.means_end)
    assert end["opacity_logits"][0] < start["opacity_logits"][0]
    assert len(start["sh"]) == 12 and start["sh"][3] < start["sh"][0]
    half = rates.columns(0.0, 4, 0.5, torch.device("cpu"))
    assert all(torch.allclose(half[name], start[name] / 2) for name in start)


def test_many_iterations_have_small_rates() -> None:
    assert rates_for(10) == rates_for(FEW_ITERATIONS) == Rates()
    many = rates_for(30_000)
    assert many.means == pytest.approx(2 * 1.6e-4, rel=0.1) and many.opacity_logits == pytest.approx(0.05, rel=0.1)
    assert many.poses == Rates().poses


def test_the_schedule_goes_from_small_to_large_within_its_seconds() -> None:
    schedule = make_schedule(SplatOptions(planned_seconds=100), [(512, 768)] * 11, 5000)
    assert [level.shrink for level in schedule.levels] == [0.25, 0.5, 1.0]
    assert schedule.seconds == pytest.approx(100, rel=0.02)
    assert [level.start for level in schedule.levels] == [0, *(level.end for level in schedule.levels[:-1])]
    assert schedule.level(0) == 0 and schedule.level(schedule.iterations - 1) == 2
    assert schedule.sh_degree(0) == 0 and schedule.sh_degree(schedule.iterations - 1) == 3
    assert schedule.seconds_until(0) == 0


def test_iterations_can_be_given_and_large_photos_are_reduced() -> None:
    schedule = make_schedule(SplatOptions(iterations=321, max_image_size=512), [(4000, 6000)], 5000)
    assert schedule.iterations == 321 and schedule.levels[-1].shrink == pytest.approx(512 / 6000)
    one = make_schedule(SplatOptions(iterations=1), [(40, 30)], 10)
    assert one.iterations == 1 and len(one.levels) == 1


def test_larger_photos_get_fewer_iterations() -> None:
    options = SplatOptions(planned_seconds=60, max_image_size=4000)
    n = [make_schedule(options, [(size, size)], 5000).iterations for size in (300, 600, 1200)]
    assert n == sorted(n, reverse=True) and step_seconds(1e6, 1e4) > step_seconds(1e5, 1e4)


def test_the_memory_caps_the_gaussians() -> None:
    sizes = [(512, 768)] * 11
    assert gaussians_in_memory(SplatOptions(max_gaussians=60_000), sizes, None) == 60_000
    assert gaussians_in_memory(SplatOptions(max_gaussians=60_000), sizes, 8 << 30) == 60_000
    assert 1000 <= gaussians_in_memory(SplatOptions(max_gaussians=10_000_000), sizes, 1 << 30) < 1_000_000


def test_images_shrink_to_the_mean_of_what_they_cover() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    small = resize(image, 0.5)
    wanted = image.reshape(2, 2, 3, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(small.astype(float) - wanted).max() <= 0.5 and small.shape == (2, 3, 3)
    assert resize(image, 1.0) is image
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 9]], np.uint8)
    assert resize_mask(mask, 0.5).tolist() == [[1, 0]]


def test_cameras_shrink_with_their_images() -> None:
    image, device = np.zeros((80, 100, 3), np.uint8), torch.device("cpu")
    (target,) = make_targets([image], [None], cameras(1), 0.5, device)
    camera = target.camera()
    assert (camera.height, camera.width) == (40, 50) == target.image.shape[:2]
    assert camera.K[0, 0].tolist() == [50, 0, 25] and target.n_pixels == 2000
    assert scale_cameras(cameras(1), [(80, 100)]).K.tolist() == cameras(1).K.tolist()


@pytest.mark.usefixtures("without_shape_checks")
def test_inputs_that_do_not_agree_are_refused() -> None:
    image = np.zeros((80, 100, 3), np.uint8)
    good = SplatInputs(("a", "b"), (image, image), cameras(2), np.zeros((1, 3)), np.zeros((1, 3), np.uint8))
    with pytest.raises(ShapeError, match="photo of b has another size"):
        replace(good, images=(image, image[:-1]))
    with pytest.raises(ShapeError, match="disagree"):
        replace(good, keys=("a",))
    with pytest.raises(UsageError, match="share a key"):
        replace(good, keys=("a", "a"))
    with pytest.raises(UsageError, match="points of a scene must be finite"):
        replace(good, points_xyz=np.full((1, 3), np.nan))
    with pytest.raises(ShapeError, match="mask of a"):
        replace(good, masks=(np.zeros((2, 2), np.uint8), None))
