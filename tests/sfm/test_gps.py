"""GPS: WGS84 against known values, exact recovery, wild positions, intervals that hold the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.sfm.gps import GpsFit, ecef_from_geodetic, enu_from_geodetic, fit_gps, umeyama

ORIGIN = (48.137154, 11.576124, 519.0)


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


def geodetic(enu: np.ndarray, place: tuple[float, float, float] = ORIGIN) -> list[Any]:
    """Invert the local frame by Newton steps with unit metres per degree."""
    position = np.tile(np.array(place), (len(enu), 1))
    for _ in range(6):
        off = enu - enu_from_geodetic(*position.T, place)
        metres = 111_200 * np.cos(np.radians(place[0]))
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


def factor_of(similarity: np.ndarray) -> float:
    return float(np.cbrt(np.linalg.det(similarity[:3, :3])))


@pytest.mark.parametrize("place", [(-33.8568, 151.2153, 30.0), (64.1466, -21.9426, 12.0), (-0.5, -78.5, 2850.0)])
def test_every_hemisphere_works(place: tuple[float, float, float]) -> None:
    enu = capture(10)
    fit = fitted(model_of(enu), geodetic(enu, place))
    assert factor_of(fit.new_from_old) == pytest.approx(7, rel=1e-6)
    placed = model_of(enu) @ fit.new_from_old[:3, :3].T + fit.new_from_old[:3, 3]
    np.testing.assert_allclose(placed - placed[0], enu - enu[0], atol=5e-3)


def test_date_line_is_no_border() -> None:
    enu = capture(12)
    positions = [(lat, lon if lon < 180 else lon - 360, alt) for lat, lon, alt in geodetic(enu, (-17.0, 180.0, 5.0))]
    assert min(lon for _, lon, _ in positions) < 0 < max(lon for _, lon, _ in positions)
    fit = fitted(model_of(enu), positions)
    assert factor_of(fit.new_from_old) == pytest.approx(7, rel=1e-6) and abs(abs(fit.origin[1]) - 180) < 0.01


@pytest.mark.parametrize("junk", [(0.0, 0.0, 0.0), (91.0, 10.0, 0.0), (10.0, 181.0, None), (float("nan"), 1.0, 2.0)])
def test_impossible_positions_count_as_unknown(junk: Any) -> None:
    enu = capture(12)
    positions = geodetic(enu)
    positions[2] = positions[7] = junk
    fit = fitted(model_of(enu), positions)
    assert not fit.used[[2, 7]].any() and fit.used.sum() == 10
    assert factor_of(fit.new_from_old) == pytest.approx(7, rel=1e-6)


def test_straight_walk_gets_scale_and_heading_but_no_tilt() -> None:
    enu = np.stack([np.linspace(0, 100, 15), np.linspace(0, 40, 15), np.zeros(15)], -1)
    fit = fitted(model_of(enu), geodetic(enu))
    placed = model_of(enu) @ fit.new_from_old[:3, :3].T + fit.new_from_old[:3, 3]
    assert not fit.tilt
    np.testing.assert_allclose(placed - placed[0], enu - enu[0], atol=1e-2)


def test_origin_is_one_of_the_photos_and_lies_at_zero() -> None:
    enu = capture(15)
    positions = geodetic(enu)
    fit = fitted(model_of(enu), positions)
    index = [tuple(position) for position in positions].index(fit.origin)
    placed = model_of(enu)[index] @ fit.new_from_old[:3, :3].T + fit.new_from_old[:3, 3]
    np.testing.assert_allclose(placed, 0, atol=5e-3)


@given(st.integers(0, 10_000), st.floats(0, 360), st.floats(0.01, 100))
@settings(max_examples=15, deadline=None)
def test_any_heading_and_size_is_recovered(seed: int, heading: float, scale: float) -> None:
    enu = capture(8, seed=seed)
    fit = fitted(model_of(enu, scale, heading), geodetic(enu))
    assert factor_of(fit.new_from_old) == pytest.approx(scale, rel=1e-5)


def test_mirrored_model_is_not_accepted() -> None:
    enu = capture(15)
    assert isinstance(fit_gps(model_of(enu) * [-1, 1, 1], geodetic(enu)), str)
