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
from recon3d.sfm.gps import GpsFit, ecef_from_geodetic, enu_from_geodetic, fit_gps, umeyama
from recon3d.sfm.scale import ScaleEstimate, ScaleOptions, estimate_scale

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


def test_wgs84_known_values() -> None:
    latitude, longitude, altitude = np.array([0.0, 90, 0, 0, 48.8562]), np.array([0.0, 0, 90, 180, 2.3508]), np.zeros(5)
    altitude[3], altitude[4] = 1000, 0.0674 * 1000
    xyz = ecef_from_geodetic(latitude, longitude, altitude)
    expected = [[6378137, 0, 0], [0, 0, 6356752.314245], [0, 6378137, 0], [-6379137, 0, 0]]
    np.testing.assert_allclose(xyz[:4], expected, atol=1e-5)
    # Paris, from an independent closed form: N = a^2 / sqrt(a^2 cos^2 + b^2 sin^2).
    phi, lam, a, b = np.radians(48.8562), np.radians(2.3508), 6378137.0, 6356752.314245
    normal = a**2 / np.sqrt((a * np.cos(phi)) ** 2 + (b * np.sin(phi)) ** 2)
    across = (normal + 67.4) * np.cos(phi)
    paris = [across * np.cos(lam), across * np.sin(lam), (b**2 / a**2 * normal + 67.4) * np.sin(phi)]
    np.testing.assert_allclose(xyz[4], paris, atol=1e-4)


def test_enu_axes_and_lengths() -> None:
    one = np.array([ORIGIN[0], ORIGIN[0] + 1e-4, ORIGIN[0]])
    two = np.array([ORIGIN[1], ORIGIN[1], ORIGIN[1] + 1e-4])
    enu = enu_from_geodetic(one, two, np.array([ORIGIN[2] + 5, ORIGIN[2], ORIGIN[2]]), ORIGIN)
    np.testing.assert_allclose(enu[0], [0, 0, 5], atol=1e-8)
    assert enu[1][1] == pytest.approx(11.121, abs=0.005) and abs(enu[1][0]) < 1e-3
    assert enu[2][0] == pytest.approx(7.443, abs=0.005) and abs(enu[2][1]) < 1e-3


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


def fitted(centers: np.ndarray, gps: list[Any]) -> GpsFit:
    fit = fit_gps(centers, gps)
    assert isinstance(fit, GpsFit), fit
    return fit


def test_wide_capture_gets_scale_heading_and_tilt() -> None:
    enu = capture()
    fit = fitted(model_of(enu, tilt=3), geodetic(enu))
    placed = model_of(enu, tilt=3) @ fit.new_from_old[:3, :3].T + fit.new_from_old[:3, 3]
    assert fit.tilt and np.cbrt(np.linalg.det(fit.new_from_old[:3, :3])) == pytest.approx(7, rel=1e-6)
    np.testing.assert_allclose(placed - placed[0], enu - enu[0], atol=2e-3)


def test_small_capture_keeps_its_own_tilt() -> None:
    enu = capture(size=12) + np.random.default_rng(1).standard_normal((20, 3)) * 1.0
    fit = fitted(model_of(capture(size=12)), geodetic(enu))
    assert not fit.tilt
    np.testing.assert_allclose(fit.new_from_old[2, :2], 0, atol=1e-12)
    np.testing.assert_allclose(fit.new_from_old[:2, 2], 0, atol=1e-12)


def test_missing_altitudes_and_positions_are_fine() -> None:
    enu = capture()
    gps: list[Any] = [(lat, lon, None) for lat, lon, _ in geodetic(enu)]
    gps[4] = None
    fit = fitted(model_of(enu), gps)
    assert not fit.tilt and fit.used.sum() == 19 and not fit.used[4]
    # Without altitude the positions are laid on the ellipsoid, 500 m below: 0.01 % closer together.
    assert np.cbrt(np.linalg.det(fit.new_from_old[:3, :3])) == pytest.approx(7, rel=1.5e-4)


def test_wild_positions_are_left_out() -> None:
    enu = capture()
    broken = enu.copy()
    broken[[3, 9]] += [500, -300, 40]
    fit = fitted(model_of(enu), geodetic(broken))
    assert not fit.used[[3, 9]].any() and fit.used.sum() == 18
    assert np.cbrt(np.linalg.det(fit.new_from_old[:3, :3])) == pytest.approx(7, rel=1e-5)


@pytest.mark.parametrize("n", [4, 8, 25])
def test_interval_holds_the_truth_about_as_often_as_it_says(n: int) -> None:
    held = []
    for seed in range(30):
        enu = capture(n, 60, seed)
        noisy = enu + 3.0 * np.random.default_rng(seed + 99).standard_normal(enu.shape)
        fit = fit_gps(model_of(enu), geodetic(noisy))
        if isinstance(fit, GpsFit):
            off = np.log(np.cbrt(np.linalg.det(fit.new_from_old[:3, :3])) / 7)
            held.append(abs(off) < 1.959964 * fit.log_sigma)
    assert len(held) >= 20 and np.mean(held) >= 0.85


@pytest.mark.parametrize(
    ("centers", "positions", "words"),
    [
        (capture(3), [None, None, None], "0 registered photos"),
        (capture(3), [*geodetic(capture(2)), None], "three are needed"),
        (capture(5) / 100, geodetic(np.zeros((5, 3))), "coincide"),
        (capture(8) / 60, geodetic(capture(8, 1.0)), "too little"),
        (capture(20), geodetic(capture(20, seed=7)), "agree|too little"),
    ],
)
def test_gps_that_cannot_serve_says_why(centers: np.ndarray, positions: list[Any], words: str) -> None:
    answer = fit_gps(centers, positions)
    assert isinstance(answer, str)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(answer)


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


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_umeyama_inverts_any_similarity(seed: int) -> None:
    generator = np.random.default_rng(seed)
    a = generator.standard_normal((6, 3))
    q, _ = np.linalg.qr(generator.standard_normal((3, 3)))
    q *= np.sign(np.linalg.det(q))
    scale, shift = generator.uniform(0.1, 10), generator.standard_normal(3)
    similarity = umeyama(a, scale * a @ q.T + shift)
    np.testing.assert_allclose(similarity[:3, :3], scale * q, atol=1e-9)
    np.testing.assert_allclose(similarity[:3, 3], shift, atol=1e-9)


def test_result_has_the_same_bits_on_repeat() -> None:
    enu = capture(40)
    noisy = enu + np.random.default_rng(0).standard_normal(enu.shape)
    fits = [fitted(model_of(enu), geodetic(noisy)) for _ in range(2)]
    assert fits[0].new_from_old.tobytes() == fits[1].new_from_old.tobytes()


def test_points_behind_a_camera_are_ignored() -> None:
    mirrored = replace(POINTS, xyz=np.concatenate([POINTS.xyz[:-20], POINTS.xyz[-20:] * [1, -1, 1]]))
    result = estimate_scale(CAMERAS, KEYS, mirrored, UNKNOWN, (None,) * 3, ScaleOptions(depth="a.jpg@160,120=5"))
    assert factor(result) == pytest.approx(2.5)
