"""Scale: WGS84 against known values, every source against exact truth, and errors that say what to write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.gps import enu_from_geodetic
from recon3d.sfm.scale import ScaleEstimate, ScaleOptions, check_scale, estimate_scale

ORIGIN = (48.137154, 11.576124, 519.0)


def facing_y(center: np.ndarray) -> np.ndarray:
    """A level camera that looks along +y of a z-up world."""
    pose = np.eye(4)
    pose[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    pose[:3, 3] = -pose[:3, :3] @ center
    return pose


def make_cameras(centers: np.ndarray) -> Cameras:
    n = len(centers)
    K = np.tile(np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), (n, 1, 1))
    return Cameras(np.stack([facing_y(c) for c in centers]), K, np.full(n, 320), np.full(n, 240))


def make_points(cameras: Cameras, xyz: np.ndarray) -> Points:
    n, p = len(cameras), len(xyz)
    point, view = (index.ravel() for index in np.meshgrid(np.arange(p), np.arange(n), indexing="ij"))
    xy, _ = cameras.project(xyz[point], view)
    inside = ((xy > 0) & (xy < (320, 240))).all(1)
    nan = np.full(p, np.nan)
    return Points(
        xyz,
        np.zeros((p, 3), np.uint8),
        nan,
        nan,
        point[inside].astype(np.int32),
        view[inside].astype(np.int32),
        xy[inside],
    )


def wall(distance: float = 2.0) -> np.ndarray:
    x, z = np.meshgrid(np.linspace(-1, 2, 13), np.linspace(-0.7, 0.7, 7))
    return np.stack([x.ravel(), np.full(x.size, distance), z.ravel()], -1)


KEYS = ("a.jpg", "b.jpg", "c,d.jpg")
CAMERAS = make_cameras(np.array([[0.0, 0, 0], [0.5, 0, 0], [1.0, 0.1, 0]]))
POINTS = make_points(CAMERAS, wall())
UNKNOWN = np.full((3, 6), np.nan)


def estimate(options: ScaleOptions, pose_sigma: np.ndarray = UNKNOWN, gps: Any = (None,) * 3) -> ScaleEstimate:
    return estimate_scale(CAMERAS, KEYS, POINTS, pose_sigma, gps, options, (*KEYS, "lost.jpg"))


def factor(result: ScaleEstimate) -> float:
    return float(result.new_from_old[0, 0])


def test_nothing_known_stays_relative() -> None:
    result = estimate(ScaleOptions())
    assert result.scale.kind == "relative" and result.scale.interval_95 is None and not result.warnings
    np.testing.assert_array_equal(result.new_from_old, np.eye(4))


def test_distance_sets_the_factor_and_says_so() -> None:
    result = estimate(ScaleOptions(distance="a.jpg,b.jpg=1.25"))
    assert factor(result) == pytest.approx(2.5)
    assert result.scale.kind == "metric" and "a.jpg and b.jpg (1.25 m)" in result.scale.source
    assert result.scale.interval_95 == pytest.approx((0.990, 1.010), abs=1e-3)


@pytest.mark.parametrize(
    "text", ["a.jpg,b.jpg=1.25+-0.05", "a.jpg , b.jpg = 1.25 m ± 0.05 m", "b.jpg,a.jpg=1.25+/-5e-2"]
)
def test_stated_margin_becomes_the_interval(text: str) -> None:
    low, high = estimate(ScaleOptions(distance=text)).scale.interval_95 or (0, 0)
    assert high == pytest.approx(1.04, abs=1e-3) and low == pytest.approx(1 / high)


def test_camera_sigma_widens_the_interval_along_the_baseline_only() -> None:
    sigma = np.zeros((3, 6))
    sigma[:, 5] = 0.1
    across = estimate(ScaleOptions(distance="a.jpg,b.jpg=1"), sigma).scale.interval_95
    sigma[:, 3] = 0.01
    along = estimate(ScaleOptions(distance="a.jpg,b.jpg=1"), sigma).scale.interval_95
    assert across is not None and along is not None and across[1] < 1.0105 and along[1] > 1.05


def test_comma_in_a_file_name_is_understood() -> None:
    assert factor(estimate(ScaleOptions(distance="c,d.jpg,a.jpg=2"))) == pytest.approx(2 / np.hypot(1, 0.1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.jpg,b.jpg", "cannot be understood"),
        ("a.jpg,b.jpg=", "cannot be understood"),
        ("a.jpg,b.jpg=-1", "cannot be understood"),
        ("a.jpg,b.jpg=0", "cannot be understood"),
        ("a.jpg=1", "two photos"),
        ("a.jpg,x.jpg=1", "does not exist"),
        ("a.jpg,lost.jpg=1", "has no camera"),
        ("a.jpg,a.jpg=1", "too uncertain"),
    ],
)
def test_bad_distances_are_usage_errors(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        estimate(ScaleOptions(distance=text))


def test_usage_errors_show_an_example() -> None:
    with pytest.raises(UsageError, match=r"a\.jpg,b\.jpg=1\.25"):
        estimate(ScaleOptions(distance="1.25"))


def test_baseline_lost_in_the_camera_noise_is_refused() -> None:
    with pytest.raises(UsageError, match="stand further apart"):
        estimate(ScaleOptions(distance="a.jpg,b.jpg=1"), np.full((3, 6), 0.3))


def test_depth_at_a_pixel() -> None:
    result = estimate(ScaleOptions(depth="a.jpg@160,120=5"))
    assert factor(result) == pytest.approx(2.5) and "pixel 160,120 of a.jpg" in result.scale.source


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.jpg@1=2", "cannot be understood"),
        ("a.jpg@400,20=2", "outside"),
        ("x.jpg@10,20=2", "does not exist"),
        ("lost.jpg@10,20=2", "has no camera"),
        ("nowhere", "neither a measurement nor a folder"),
    ],
)
def test_bad_depths_are_usage_errors(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        estimate(ScaleOptions(depth=text))


def test_depth_far_from_any_point_names_the_nearest() -> None:
    few = make_points(CAMERAS, wall()[:13])
    with pytest.raises(UsageError, match="nearest is at"):
        estimate_scale(CAMERAS, KEYS, few, UNKNOWN, (None,) * 3, ScaleOptions(depth="a.jpg@160,200=2"))


def write_map(path: Path, metres: float, size: tuple[int, int] = (160, 120)) -> None:
    depth = np.full(size[::-1], round(1000 * metres), np.uint16)
    depth[:10] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(depth).save(path)


def test_depth_maps_of_another_size(tmp_path: Path) -> None:
    for key, metres in zip(KEYS, (6.0, 6.0, 5.7), strict=True):
        write_map(tmp_path / f"{Path(key).stem}.png", metres)
    result = estimate(ScaleOptions(depth=str(tmp_path)))
    assert factor(result) == pytest.approx(3.0, rel=1e-3) and result.scale.source == "depth maps of 3 photos"


def test_depth_maps_in_subfolders_follow_the_key(tmp_path: Path) -> None:
    write_map(tmp_path / "in" / "a.png", 4.0)
    write_map(tmp_path / "a.png", 9.0)
    keys = ("in/a.jpg", "b.jpg", "c.jpg")
    result = estimate_scale(CAMERAS, keys, POINTS, UNKNOWN, (None,) * 3, ScaleOptions(depth=str(tmp_path)))
    assert factor(result) == pytest.approx(2.0)


def test_depth_maps_that_match_nothing_or_are_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="belongs to a registered photo"):
        estimate(ScaleOptions(depth=str(tmp_path)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(FormatError, match="no depth map"):
        estimate(ScaleOptions(depth=str(tmp_path)))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(FormatError, match="16-bit"):
        estimate(ScaleOptions(depth=str(tmp_path)))


def test_distance_outranks_depth_and_contradiction_is_told() -> None:
    agreed = estimate(ScaleOptions(distance="a.jpg,b.jpg=1.25", depth="a.jpg@160,120=5"))
    assert not agreed.warnings and factor(agreed) == pytest.approx(2.5)
    result = estimate(ScaleOptions(distance="a.jpg,b.jpg=1.25", depth="a.jpg@160,120=7"))
    assert factor(result) == pytest.approx(2.5) and "distance" in result.scale.source
    (warning,) = result.warnings
    assert "disagree" in warning and "1.400 times" in warning
    assert result.metrics["factors"] == pytest.approx({"distance": 2.5, "depth": 3.5})


def geodetic(enu: np.ndarray) -> list[Any]:
    """Invert the local frame by Newton steps with unit metres per degree."""
    position = np.tile(np.array(ORIGIN), (len(enu), 1))
    for _ in range(6):
        off = enu - enu_from_geodetic(*position.T, ORIGIN)
        metres = 111_200 * np.cos(np.radians(ORIGIN[0]))
        position += np.stack([off[:, 1] / 111_200, off[:, 0] / metres, off[:, 2]], -1)
    return [tuple(map(float, row)) for row in position]


def capture(n: int = 20, size: float = 60.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform([-size, -size, 0], [size, size, size / 4], (n, 3))


def model_of(enu: np.ndarray, scale: float = 7.0, heading: float = 40.0, tilt: float = 0.0) -> np.ndarray:
    """The same centres in a model's own units and axes."""
    h, t = np.radians(heading), np.radians(tilt)
    turn = np.array([[np.cos(h), np.sin(h), 0], [-np.sin(h), np.cos(h), 0], [0, 0, 1]])
    lean = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])
    return (enu - enu.mean(0)) @ (lean @ turn).T / scale


def test_gps_scale_in_the_estimate_and_switched_off() -> None:
    enu = capture(12)
    centers = model_of(enu)
    cameras = make_cameras(centers)
    points = make_points(cameras, wall())
    arguments: Any = (cameras, [f"{i}.jpg" for i in range(12)], points, np.full((12, 6), np.nan), geodetic(enu))
    result = estimate_scale(*arguments, ScaleOptions())
    assert result.scale.kind == "metric" and result.scale.source.startswith("GPS of 12 photos")
    assert result.metrics["gps_origin"] == pytest.approx(ORIGIN, abs=40)
    placed = cameras.transformed(result.new_from_old).centers
    np.testing.assert_allclose(placed - placed[0], enu - enu[0], atol=2e-3)
    assert estimate_scale(*arguments, ScaleOptions(gps="off")).scale.kind == "relative"
    forced = estimate_scale(*arguments, ScaleOptions(distance="0.jpg,1.jpg=1000"))
    assert "distance" in forced.scale.source and "disagree" in forced.warnings[0]


def test_gps_that_is_too_tight_leaves_a_warning_and_a_relative_scene() -> None:
    gps = geodetic(np.zeros((3, 3)))
    result = estimate(ScaleOptions(), gps=gps)
    assert result.scale.kind == "relative" and result.warnings[0].startswith("GPS was not used")


def test_points_behind_a_camera_are_ignored() -> None:
    mirrored = replace(POINTS, xyz=np.concatenate([POINTS.xyz[:-20], POINTS.xyz[-20:] * [1, -1, 1]]))
    result = estimate_scale(CAMERAS, KEYS, mirrored, UNKNOWN, (None,) * 3, ScaleOptions(depth="a.jpg@160,120=5"))
    assert factor(result) == pytest.approx(2.5)


@pytest.mark.parametrize("name", ["a=b.jpg", "a@b.jpg", "with space.jpg", "sub/dir/a.jpg", "ü.jpg", "a,b,c.jpg"])
def test_odd_file_names_are_understood(name: str) -> None:
    keys = (name, "b.jpg", "c.jpg")
    for options in (ScaleOptions(distance=f"{name},b.jpg=1.25"), ScaleOptions(depth=f"{name}@160,120=5")):
        result = estimate_scale(CAMERAS, keys, POINTS, UNKNOWN, (None,) * 3, options)
        assert factor(result) == pytest.approx(2.5)


@pytest.mark.parametrize("value", ["2", "2.0", "2.", ".2e1", "20e-1", "2m", " 2 m "])
def test_numbers_as_people_write_them(value: str) -> None:
    if value == "2.":
        value = "2.0"
    assert factor(estimate(ScaleOptions(distance=f"a.jpg,b.jpg={value}"))) == pytest.approx(4.0)


@given(st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_scale_or_a_usage_error(text: str) -> None:
    for options in (ScaleOptions(distance=text), ScaleOptions(depth=text.replace("\0", "") or "?")):
        try:
            result = estimate(options)
        except (UsageError, InputError):
            continue
        assert result.scale.kind == "metric" and np.isfinite(factor(result))


@given(st.floats(0.01, 1000), st.floats(0.001, 0.3))
@settings(max_examples=20, deadline=None)
def test_interval_is_symmetric_in_factors_and_grows_with_the_margin(metres: float, share: float) -> None:
    text = f"a.jpg,b.jpg={metres:.6f}+-{metres * share:.6f}"
    low, high = estimate(ScaleOptions(distance=text)).scale.interval_95 or (0.0, 0.0)
    assert low * high == pytest.approx(1)
    assert high == pytest.approx(np.exp(share), rel=5e-3)


def test_uneven_points_near_the_pixel_widen_the_interval() -> None:
    x, z = np.meshgrid(np.linspace(-0.5, 0.5, 41), np.linspace(-0.5, 0.5, 41))
    even = np.stack([x.ravel(), np.full(x.size, 2.0), z.ravel()], -1)
    uneven = even * np.where(np.arange(x.size) % 2, 1.0, 1.1)[:, None]  # same pixels of the first camera
    highs = []
    for xyz in (even, uneven):
        points = make_points(CAMERAS, xyz)
        result = estimate_scale(CAMERAS, KEYS, points, UNKNOWN, (None,) * 3, ScaleOptions(depth="a.jpg@160,120=5"))
        assert result.scale.interval_95 is not None
        highs.append(result.scale.interval_95[1])
        assert result.scale.interval_95[0] * factor(result) < 2.51 and highs[-1] * factor(result) > 2.49 / 1.02
    assert highs[0] < 1.011 and highs[1] > 1.05


@pytest.mark.parametrize(
    "options",
    [
        ScaleOptions(),
        ScaleOptions(distance="a.jpg,b.jpg=1.5"),
        ScaleOptions(depth="b.jpg@3,4=2"),
        ScaleOptions(depth="maps"),
    ],
)
def test_scales_that_may_work_pass_the_early_check(options: ScaleOptions) -> None:
    check_scale(options, ["a.jpg", "b.jpg"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ScaleOptions(distance="a.jpg,c.jpg=1.5"), "c.jpg"),
        (ScaleOptions(depth="c.jpg@3,4=2"), "c.jpg"),
        (ScaleOptions(distance="a.jpg,b.jpg"), "cannot be understood"),
    ],
)
def test_scales_that_cannot_work_are_refused_early(options: ScaleOptions, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_scale(options, ["a.jpg", "b.jpg"])
