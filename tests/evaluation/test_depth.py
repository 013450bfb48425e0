"""Depth errors on maps whose numbers can be worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from recon3d.core.errors import FormatError, InputError, ShapeError, UsageError
from recon3d.evaluation.depth import evaluate_depth, near_steps, read_depth_png, resize_depth, sample_depth


def ramp(h: int = 20, w: int = 30) -> np.ndarray:
    """A slanted plane: 1/d is linear in the pixel."""
    x, y = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    return 1.0 / (0.3 + 0.002 * x + 0.001 * y)


def test_truth_is_perfect_against_itself() -> None:
    errors = evaluate_depth([(ramp(), ramp())], "metric")
    assert (errors.abs_rel, errors.rmse, errors.rmse_log, errors.sq_rel) == (0, 0, 0, 0)
    assert (errors.delta_1, errors.delta_1_05, errors.coverage, errors.n_images) == (1, 1, 1, 1)


def test_numbers_of_a_known_error() -> None:
    truth = np.full((4, 4), 2.0)
    estimate = truth.copy()
    estimate[:2] = 3.0  # ratio 1.5: above 1.25, below 1.25 squared
    estimate[0, 0] = 0.0
    errors = evaluate_depth([(estimate, truth)], "metric")
    share = 7 / 15
    assert errors.abs_rel == pytest.approx(0.5 * share)
    assert errors.sq_rel == pytest.approx(0.5 * share)
    assert errors.rmse == pytest.approx(math.sqrt(share))
    assert errors.rmse_log == pytest.approx(math.log(1.5) * math.sqrt(share))
    assert errors.delta_1 == errors.delta_1_05 == pytest.approx(1 - share)
    assert errors.delta_2 == errors.delta_3 == 1
    assert errors.coverage == pytest.approx(15 / 16)


def test_images_count_equally_whatever_their_pixels() -> None:
    small, large = np.full((2, 2), 1.0), np.full((20, 20), 1.0)
    errors = evaluate_depth([(1.2 * small, small), (large, large)], "metric")
    assert errors.abs_rel == pytest.approx(0.1)


@given(st.floats(0.01, 100.0), st.sampled_from(["pose", "median"]))
def test_a_known_factor_is_taken_away(factor: float, mode: str) -> None:
    errors = evaluate_depth([(ramp() / factor, ramp())], mode, factor)  # type: ignore[arg-type]
    assert errors.abs_rel < 1e-9
    assert errors.scale == pytest.approx(factor)


def test_affine_takes_an_offset_away_as_well() -> None:
    estimate = 3.0 * ramp() + 0.5
    assert evaluate_depth([(estimate, ramp())], "affine").abs_rel < 1e-9
    assert evaluate_depth([(estimate, ramp())], "median").abs_rel > 1e-3
    assert math.isfinite(evaluate_depth([(np.ones((20, 30)), ramp())], "affine").abs_rel)


def test_steps_are_left_out_but_not_slopes() -> None:
    truth = np.full((11, 20), 1.0)
    truth[:, 10:] = 1.06
    left_out = near_steps(truth)
    assert left_out[0].nonzero()[0].tolist() == [7, 8, 9, 10, 11, 12]
    truth[:, 10:] = 1.04
    assert not near_steps(truth).any()
    truth[:, 10:] = 0.0
    assert not near_steps(truth).any()


def test_errors_at_steps_do_not_count_but_their_coverage_does() -> None:
    truth = np.full((11, 20), 1.0)
    truth[:, 10:] = 2.0
    estimate = truth.copy()
    estimate[:, 9] = 2.0
    assert evaluate_depth([(estimate, truth)], "metric").abs_rel == 0
    estimate[:, 9] = 0.0
    assert evaluate_depth([(estimate, truth)], "metric").coverage == pytest.approx(0.95)


def test_no_common_pixel() -> None:
    errors = evaluate_depth([(np.zeros((3, 3)), np.ones((3, 3)))], "pose")
    assert (errors.n_images, errors.coverage) == (0, 0.0)
    assert errors.to_json()["abs_rel"] is None
    assert math.isnan(evaluate_depth([], "pose").coverage)


def test_maps_of_different_sizes_are_no_problem_for_different_images() -> None:
    errors = evaluate_depth([(np.ones((3, 4)), np.ones((3, 4))), (np.ones((5, 6)), np.ones((5, 6)))], "metric")
    assert errors.n_images == 2


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_arguments() -> None:
    with pytest.raises(ShapeError):
        evaluate_depth([(np.ones((3, 4)), np.ones((4, 3)))], "metric")
    with pytest.raises(UsageError, match="median"):
        evaluate_depth([], "best")  # type: ignore[arg-type]


def test_sampling_is_exact_on_a_plane() -> None:
    pixels = np.random.default_rng(0).uniform((0.5, 0.5), (29.5, 19.5), (50, 2))
    wanted = 1.0 / (0.3 + 0.002 * pixels[:, 0] + 0.001 * pixels[:, 1])
    assert np.allclose(sample_depth(ramp(), pixels), wanted, rtol=1e-12)


def test_sampling_beside_holes_and_outside() -> None:
    depth = ramp()
    depth[:, 10] = 0.0
    depth[0, 0] = np.nan
    values = sample_depth(
        depth, np.array([[9.9, 5.5], [10.1, 5.5], [-0.1, 3.0], [30.0, 3.0], [np.nan, 1.0], [0.4, 0.4]])
    )
    assert values[0] == pytest.approx(depth[5, 9], rel=1e-9)
    assert (values[1:] == 0).all()


def test_resizing_keeps_the_plane_and_the_masks() -> None:
    larger = resize_depth(ramp(), 40, 60)
    assert np.allclose(larger[1:-1, 1:-1], (ramp(40, 60) * 0 + resize_exact(40, 60))[1:-1, 1:-1], rtol=1e-6)
    holes = ramp()
    holes[:10] = 0
    assert (resize_depth(holes, 40, 60)[:20] == 0).all()
    assert (resize_depth(holes, 40, 60)[20:] > 0).all()
    assert (resize_depth(holes, 20, 30) == holes.astype(np.float32)).all()


def resize_exact(h: int, w: int) -> np.ndarray:
    x, y = np.meshgrid((np.arange(w) + 0.5) * 30 / w, (np.arange(h) + 0.5) * 20 / h)
    return 1.0 / (0.3 + 0.002 * x + 0.001 * y)


def test_png_of_millimetres(tmp_path: Path) -> None:
    values = np.array([[0, 1, 1500], [40000, 65535, 2]], np.uint16)
    Image.fromarray(values).save(tmp_path / "d.png")
    assert np.allclose(read_depth_png(tmp_path / "d.png"), values / 1000.0, rtol=1e-6)


def test_files_that_are_no_depth_maps(tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "rgb.png")
    (tmp_path / "text.png").write_text("no picture")
    for name in ("rgb.png", "text.png"):
        with pytest.raises(FormatError):
            read_depth_png(tmp_path / name)
    with pytest.raises(InputError):
        read_depth_png(tmp_path / "absent.png")
