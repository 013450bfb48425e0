"""Undistortion: no empty pixels, exact sampling positions, and a worker task that writes what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from recon3d.core.errors import FormatError, InputError, ResultError
from recon3d.render.cameras import Cameras
from recon3d.sfm.undistort import (
    Undistortion,
    pinhole_twins,
    source_pixels,
    undistort_image,
    undistort_task,
    undistortion_tasks,
)


def one_camera(
    distortion: list[float] | None, *, size: tuple[int, int] = (320, 240), focal: float = 260.0, shift: float = 0.0
) -> Cameras:
    width, height = size
    K = np.array([[[focal, 0, width / 2 + shift], [0, focal * 1.01, height / 2 - shift], [0, 0, 1]]])
    coefficients = None if distortion is None else np.array([distortion])
    return Cameras(np.eye(4)[None], K, np.array([width]), np.array([height]), coefficients)


def gradient(width: int, height: int, gain: float = 0.5) -> np.ndarray:
    """Red rises with x, green with y, blue falls with x: colours tell where a pixel was sampled."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([gain * x, gain * y, 255 - gain * x], -1).round().astype(np.uint8)


LENSES = [[-0.1, 0.02, 0, 0], [0.08, 0, 0, 0], [-0.2, 0.05, 0.002, -0.001], [0.05, -0.01, 0.001, 0.003]]


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("shift", [0.0, 25.0])
def test_every_pixel_of_the_twin_comes_from_inside_the_photo(lens: list[float], shift: float) -> None:
    camera = one_camera(lens, shift=shift)
    twin = pinhole_twins(camera)
    assert twin.distortion is None
    edge = np.concatenate([np.linspace(0, 320, 201)[:, None] * [1, 0] + [0, y] for y in (0, 240)])
    source = source_pixels(edge, camera, 0, twin.K[0])
    assert source.min() >= -1e-3 and (source <= np.array([320, 240]) + 1e-3).all()


@pytest.mark.parametrize("lens", LENSES)
def test_twin_is_the_widest_that_fits_and_keeps_its_principal_point(lens: list[float]) -> None:
    camera = one_camera(lens, shift=10)
    twin = pinhole_twins(camera)
    np.testing.assert_array_equal(twin.K[0, :2, 2], camera.K[0, :2, 2])
    assert twin.K[0, 0, 0] / twin.K[0, 1, 1] == pytest.approx(camera.K[0, 0, 0] / camera.K[0, 1, 1])
    wider = twin.K[0].copy()
    wider[(0, 1), (0, 1)] *= 0.999
    lines = np.linspace(0, 1, 101)
    border = np.concatenate(
        [np.stack([320 * lines, 0 * lines + y], 1) for y in (0, 240)]
        + [np.stack([0 * lines + x, 240 * lines], 1) for x in (0, 320)]
    )
    source = source_pixels(border, camera, 0, wider)
    assert ((source < 0) | (source > (320, 240))).any()


def test_pinhole_is_its_own_twin_and_its_photo_is_returned_as_it_is() -> None:
    image = gradient(320, 240)
    for distortion in (None, [0.0, 0, 0, 0]):
        camera = one_camera(distortion, shift=7)
        twin = pinhole_twins(camera)
        np.testing.assert_array_equal(twin.K, camera.K)
        assert undistort_image(image, camera, twin, 0) is image


def test_equal_cameras_have_equal_twins() -> None:
    camera = one_camera(LENSES[0])
    index = np.zeros(3, dtype=np.int64)
    twins = pinhole_twins(camera[index])
    assert (twins.K[:1] == twins.K).all()


@pytest.mark.parametrize("lens", LENSES)
def test_sampling_position_is_right_to_a_twentieth_of_a_pixel(lens: list[float]) -> None:
    camera = one_camera(lens, shift=5)
    twin = pinhole_twins(camera)
    x, y = np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5)
    source = source_pixels(np.stack([x, y], -1).reshape(-1, 2), camera, 0, twin.K[0]).reshape(240, 320, 2)
    wave = np.stack([np.sin(x * 0.4), np.sin(y * 0.4), np.sin((x + y) * 0.3)], -1)
    result = undistort_image(np.rint(127.5 + 120 * wave).astype(np.uint8), camera, twin, 0).astype(float)
    for channel in (0, 1):
        expected, slope = 127.5 + 120 * np.sin(source[..., channel] * 0.4), 48 * np.cos(source[..., channel] * 0.4)
        difference = result[..., channel] - expected
        # Least-squares displacement of every block of 16 x 14 pixels.
        blocks = [(a * slope)[8:-8, 8:-8].reshape(16, 14, 19, 16).sum((1, 3)) for a in (difference, slope)]
        assert np.abs(blocks[0] / blocks[1]).max() < 0.05


def test_half_pixel_shift_averages_neighbours_and_rounds() -> None:
    camera = one_camera([1e-12, 0, 0, 0], size=(6, 4), focal=50.0)
    twin = replace(camera, K=camera.K + np.array([[0, 0, -0.5], [0, 0, 0], [0, 0, 0]]), distortion=None)
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3] = 201
    result = undistort_image(image, camera, twin, 0)
    np.testing.assert_array_equal(result[..., 0], np.tile(np.array([0, 0, 101, 101, 0, 0]), (4, 1)))


def test_no_black_border() -> None:
    white = np.full((240, 320, 3), 255, np.uint8)
    for lens in LENSES:
        camera = one_camera(lens)
        assert undistort_image(white, camera, pinhole_twins(camera), 0).min() == 255


def test_straight_line_becomes_straight() -> None:
    camera = one_camera([-0.25, 0.05, 0, 0], focal=200)
    twin = pinhole_twins(camera)
    y, x = np.mgrid[:240, :320] + 0.5
    normalized = (np.stack([x, y], -1).reshape(-1, 2) - camera.K[0, :2, 2]) / camera.K[0, (0, 1), (0, 1)]
    assert camera.distortion is not None
    ideal = undistorted(normalized, camera.distortion[0]).reshape(240, 320, 2)
    # A dark line at ideal x = 0.5, soft-edged.
    value = 255 * (1 - np.exp(-(((ideal[..., 0] - 0.5) * 200 / 2) ** 2)))
    photo = np.repeat(np.rint(value)[..., None], 3, -1).astype(np.uint8)
    weight = 255.0 - undistort_image(photo, camera, twin, 0)[..., 0]
    column = (weight * (np.arange(320) + 0.5)).sum(1) / weight.sum(1)
    expected = 0.5 * twin.K[0, 0, 0] + twin.K[0, 0, 2]
    assert np.abs(column - expected).max() < 0.1 and abs((column - expected).mean()) < 0.05


def undistorted(normalized: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    from recon3d.render.cameras import undistort as invert

    return invert(normalized, np.broadcast_to(coefficients, (len(normalized), 4)).copy(), 200)


def test_folding_lens_is_refused() -> None:
    with pytest.raises(ResultError, match="folds"):
        pinhole_twins(one_camera([-40.0, 0, 0, 0]))


def test_wrong_photo_size_is_an_error() -> None:
    camera = one_camera(LENSES[0])
    with pytest.raises(InputError, match="320x240"):
        undistort_image(gradient(240, 320), camera, pinhole_twins(camera), 0)


@given(k1=st.floats(-0.3, 0.3), shift=st.floats(-40, 40))
@settings(max_examples=15, deadline=None)
def test_any_lens_fills_the_whole_photo(k1: float, shift: float) -> None:
    camera = one_camera([k1, 0.0, 0.0, 0.0], size=(64, 48), focal=60.0, shift=shift / 5)
    white = np.full((48, 64, 3), 255, np.uint8)
    assert undistort_image(white, camera, pinhole_twins(camera), 0).min() == 255


@pytest.mark.parametrize("name", ["out.png", "out.jpg"])
def test_task_writes_the_undistorted_photo(tmp_path: Path, name: str) -> None:
    image = gradient(320, 240)
    Image.fromarray(image).save(tmp_path / "in.png")
    camera = one_camera(LENSES[0])
    twins = pinhole_twins(camera)
    target = tmp_path / "images" / name
    (task,) = undistortion_tasks(camera, twins, [Undistortion(tmp_path / "in.png", target)], 10**6)
    answer: dict[str, Any] = undistort_task(**task)
    assert answer == {"target": str(target), "width": 320, "height": 240}
    written = np.asarray(Image.open(target)).astype(int)
    expected = undistort_image(image, camera, twins, 0).astype(int)
    assert np.abs(written - expected).max() <= (0 if name.endswith("png") else 12)
    assert [path.name for path in target.parent.iterdir()] == [name]


def test_barrel_keeps_the_view_wide_and_pincushion_crops() -> None:
    barrel, pincushion = (pinhole_twins(one_camera([k1, 0, 0, 0])).K[0, 0, 0] / 260 for k1 in (-0.1, 0.1))
    assert barrel < 1 < pincushion


def test_mixed_cameras_keep_their_own_twins() -> None:
    parts = [one_camera(LENSES[0]), one_camera([0.0, 0, 0, 0], focal=300), one_camera(LENSES[1], size=(240, 320))]
    stacked = {name: np.concatenate([getattr(c, name) for c in parts]) for name in vars(parts[0])}
    twins = pinhole_twins(Cameras(**stacked))
    for index, part in enumerate(parts):
        np.testing.assert_array_equal(twins.K[index], pinhole_twins(part).K[0])


def test_pixels_of_a_pinhole_are_their_own_source() -> None:
    camera = one_camera(None, shift=9)
    pixels = np.random.default_rng(0).uniform(0, 240, (50, 2))
    np.testing.assert_allclose(source_pixels(pixels, camera, 0, camera.K[0]), pixels, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3), (2, 2), (17, 9)])
def test_tiny_photos_work(size: tuple[int, int]) -> None:
    camera = one_camera([-0.05, 0, 0, 0], size=size, focal=20.0)
    image = np.full((size[1], size[0], 3), 77, np.uint8)
    np.testing.assert_array_equal(undistort_image(image, camera, pinhole_twins(camera), 0), image)


def test_result_stays_between_the_extremes_of_the_photo() -> None:
    image = np.random.default_rng(1).integers(40, 200, (240, 320, 3), dtype=np.uint8)
    camera = one_camera(LENSES[2])
    result = undistort_image(image, camera, pinhole_twins(camera), 0)
    assert image.min() <= result.min() and result.max() <= image.max()
    assert abs(float(result.mean()) - float(image.mean())) < 0.5


def test_photos_go_through_real_workers_and_a_broken_one_stays_alone(tmp_path: Path) -> None:
    from recon3d.core.workers import TaskFailure, WorkerOptions, run_tasks

    good, broken = tmp_path / "good.png", tmp_path / "broken.png"
    Image.fromarray(gradient(64, 48)).save(good)
    broken.write_bytes(good.read_bytes()[:60])
    camera = one_camera(LENSES[0], size=(64, 48), focal=50.0)
    both = camera[np.zeros(2, dtype=np.int64)]
    targets = [tmp_path / "out" / "good.png", tmp_path / "out" / "broken.png"]
    photos = [Undistortion(source, target) for source, target in zip([good, broken], targets, strict=True)]
    tasks = undistortion_tasks(both, pinhole_twins(both), photos, 10**6)
    answers = run_tasks("recon3d.sfm.undistort:undistort_task", tasks, WorkerOptions(n_workers=2))
    assert answers[0] == {"target": str(targets[0]), "width": 64, "height": 48}
    assert isinstance(answers[1], TaskFailure)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


def test_a_mask_is_undistorted_with_its_photo(tmp_path: Path) -> None:
    """The left half is masked; in the twin, the border lies where the photo's column of the same colour lies."""
    camera = one_camera(LENSES[0])
    Image.fromarray(gradient(320, 240)).save(tmp_path / "in.png")
    Image.fromarray(np.tile(np.arange(320)[None] >= 100, (240, 1))).save(tmp_path / "mask.png")
    paths = tmp_path / "out.png", tmp_path / "mask.png", tmp_path / "masks" / "out.png"
    (task,) = undistortion_tasks(camera, pinhole_twins(camera), [Undistortion(tmp_path / "in.png", *paths)], 10**6)
    undistort_task(**task)
    red = np.asarray(Image.open(paths[0]))[..., 0].astype(float)
    mask = np.asarray(Image.open(paths[2]))
    assert set(np.unique(mask)) == {0, 255}
    assert red[mask == 0].max() <= 51.0 and red[mask == 255].min() >= 49.0


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    camera = one_camera(LENSES[0])
    Image.fromarray(gradient(320, 240)).save(tmp_path / "in.png")
    Image.new("L", (160, 120), 255).save(tmp_path / "mask.png")
    photo = Undistortion(tmp_path / "in.png", tmp_path / "out.png", tmp_path / "mask.png", tmp_path / "m.png")
    (task,) = undistortion_tasks(camera, pinhole_twins(camera), [photo], 10**6)
    with pytest.raises(FormatError, match="does not fit its photo; got: 160x120"):
        undistort_task(**task)
