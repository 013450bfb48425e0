"""The beams of the simulated sensor, and what its returns tell of noise, losses and materials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.pointcloud.worlds.casting import Hits, RayGrid, cast
from recon3d.pointcloud.worlds.ground import Ground
from recon3d.pointcloud.worlds.lidar import BEAM_TABLES, Lidar, draw_lidar, ray_grid
from recon3d.pointcloud.worlds.materials import CABIN, CLOTH, DULL, FACADE, GLASS, PAINT, RETRO, returns_of
from recon3d.pointcloud.worlds.sensing import Returns, sense
from recon3d.pointcloud.worlds.solids import Assembly, Solids
from tests.support.world_oracle import placed, rays, sensor


@pytest.mark.parametrize("name", list(BEAM_TABLES))
def test_tables_rise_and_have_their_number_of_beams(name: str) -> None:
    table = np.array(BEAM_TABLES[name])
    assert len(table) == int(name)
    assert (np.diff(table) > 0).all()
    assert table.min() >= -31 and table.max() <= 16


def test_the_tables_are_those_of_the_data_sheets() -> None:
    assert np.allclose(np.diff(BEAM_TABLES["16"]), 2.0)
    assert np.allclose(np.diff(BEAM_TABLES["32"]), 1.333, atol=2e-3)
    assert np.allclose((BEAM_TABLES["64"][0], BEAM_TABLES["64"][-1]), (-24.8, 2.0))
    fine = np.diff(BEAM_TABLES["128"])
    assert np.isclose(fine.min(), 13 / 95) and (fine < 0.2).sum() == 95  # the middle is dense


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([*BEAM_TABLES, "random", "any"]))
def test_a_drawn_sensor_lies_within_the_ranges(seed: int, beams: str) -> None:
    lidar = draw_lidar(np.random.default_rng(seed), beams, None, None)
    elevations = np.array(lidar.elevations_deg)
    assert 16 <= len(elevations) <= 128 and (np.diff(elevations) > 0).all()
    assert -45 < elevations.min() < elevations.max() < 30
    assert 0.1 < lidar.step_deg < 0.4
    assert 0.005 <= lidar.noise <= 0.02 and 0 <= lidar.bias <= 0.012
    assert 0.005 <= lidar.dropout <= 0.05 and 60 <= lidar.reach <= 120
    assert 0.2 < lidar.gain <= 1.3


@pytest.mark.parametrize("name", list(BEAM_TABLES))
def test_beams_stay_near_their_table(name: str) -> None:
    lidar = draw_lidar(np.random.default_rng(1), name, None, None)
    gap = np.diff(BEAM_TABLES[name]).min()
    assert np.abs(np.array(lidar.elevations_deg) - BEAM_TABLES[name]).max() < 0.35 * gap


def test_what_is_asked_for_is_kept() -> None:
    lidar = draw_lidar(np.random.default_rng(0), "32", 1.25, 0.5)
    assert (lidar.step_deg, lidar.gain, len(lidar.elevations_deg)) == (1.25, 0.5, 32)


def test_the_scale_of_the_64_beam_sensor_is_known_best() -> None:
    def gains(beams: str) -> np.ndarray:
        return np.array([draw_lidar(np.random.default_rng(seed), beams, None, None).gain for seed in range(60)])

    assert gains("64").min() > 0.7 and gains("32").min() < 0.4
    assert max(gains("64").max(), gains("32").max()) <= 1.3


@settings(max_examples=20)
@given(st.integers(2, 40), st.floats(0.3, 6.0), st.integers(0, 99))
def test_rays_of_a_turn_are_unit_and_evenly_spread(n_beams: int, step: float, seed: int) -> None:
    grid = rays(n_beams, step, seed=seed)
    assert grid.closed and grid.directions.shape == (n_beams, round(360 / step), 3)
    assert np.allclose(np.linalg.norm(grid.directions, axis=-1), 1)
    assert np.isclose(grid.step * grid.directions.shape[1], 2 * np.pi)
    azimuth = np.unwrap(np.arctan2(grid.directions[..., 1], grid.directions[..., 0]), axis=1)
    assert np.allclose(np.diff(azimuth, axis=1), grid.step)
    beside = azimuth[:, 0] - grid.first_azimuth
    beside -= 2 * np.pi * np.round(beside / (2 * np.pi))
    assert (np.abs(beside) <= grid.step / 2 + 1e-9).all()
    elevation = np.arcsin(grid.directions[..., 2])
    assert np.allclose(np.tan(elevation), grid.slopes[:, None])
    assert np.allclose(np.degrees(elevation[:, 0]), np.linspace(-30, 30, n_beams))


@settings(max_examples=20)
@given(st.floats(1.0, 359.0), st.floats(0.3, 4.0))
def test_a_sector_lies_about_the_x_axis(sector: float, step: float) -> None:
    grid = rays(3, step, sector)
    columns = grid.directions.shape[1]
    assert not grid.closed
    assert sector / np.degrees(grid.step) <= columns + 1e-9
    assert columns < sector / np.degrees(grid.step) + 1 + 1e-6 or columns == round(360 / step)
    azimuth = np.unwrap(np.arctan2(grid.directions[..., 1], grid.directions[..., 0]), axis=1)
    half = np.radians(sector) / 2 + 2 * grid.step
    assert azimuth.min() > -half and azimuth.max() < half


def test_beams_do_not_fire_at_one_azimuth() -> None:
    grid = rays(20, 1.0)
    first = np.arctan2(grid.directions[:, 0, 1], grid.directions[:, 0, 0])
    assert len(np.unique(np.round(first, 6))) == 20


# --- what is reported ---


def flat(mount: float = 1.7) -> Ground:
    values = dict.fromkeys(Ground.__dataclass_fields__, 0.0)
    values |= {"sway_length": 100.0, "hill_length": 100.0, "half_width": 1e4, "mount": mount, "crossing": 1e6}
    return Ground(**values)


def wall(distance: float, material: int = DULL, colour: float = 0.5, yaw: float = 0.0) -> Solids:
    thing = Assembly(7)
    thing.box((0, 0, 0), (0.2, 400, 400), yaw=yaw, material=material, colour=colour)
    return placed(thing, (distance + 0.1, 0, 0))


def seen(solids: Solids, lidar: Lidar, grid: RayGrid | None = None, seed: int = 0) -> tuple[Returns, Hits, RayGrid]:
    rays_ = grid or ray_grid(np.random.default_rng(seed), lidar, 90.0)
    hits = cast(rays_, solids)
    return sense(np.random.default_rng(seed), lidar, rays_, hits, solids, flat()), hits, rays_


SMALL = sensor(20, 0.5, reach=1e4)
NARROW = replace(SMALL, elevations_deg=tuple(np.linspace(-2, 2, 20)))


def test_without_errors_points_are_the_exact_hits() -> None:
    solids = wall(10)
    solids.materials[:] = RETRO  # nothing of it is lost
    returns, hits, grid = seen(solids, NARROW)
    rows, columns = np.nonzero(hits.solid >= 0)
    assert np.allclose(returns.xyz, hits.depth[rows, columns, None] * grid.directions[rows, columns])
    assert np.array_equal(returns.ring, rows)
    assert (returns.label == 7).all() and (returns.instance == 1).all()
    assert np.allclose(returns.xyz[:, 0], 10)


def test_rays_into_the_sky_return_nothing() -> None:
    thing = Assembly(1)
    thing.box((0, 0, 0), (1, 1, 1))
    returns, hits, _ = seen(placed(thing, (10, 0, 0)), SMALL)
    assert 0 < len(returns.xyz) <= (hits.solid >= 0).sum() < hits.solid.size / 10


@pytest.mark.parametrize("noise", [0.005, 0.05])
def test_noise_lies_along_the_rays_and_has_its_deviation(noise: float) -> None:
    returns, _, _ = seen(wall(10), replace(NARROW, noise=noise, step_deg=0.1))
    direction = returns.xyz / np.linalg.norm(returns.xyz, axis=1, keepdims=True)
    error = (returns.xyz[:, 0] - 10) / direction[:, 0]
    assert np.isclose(error.std(), noise, rtol=0.05) and abs(error.mean()) < 0.1 * noise


def test_a_bias_is_one_number_per_beam() -> None:
    returns, _, _ = seen(wall(10), replace(NARROW, bias=0.05))
    error = (returns.xyz[:, 0] - 10) / (returns.xyz[:, 0] / np.linalg.norm(returns.xyz, axis=1))
    means = np.array([error[returns.ring == ring].mean() for ring in range(20)])
    within = np.array([error[returns.ring == ring].std() for ring in range(20)])
    assert means.std() > 0.02 and within.max() < 1e-9


@pytest.mark.parametrize("dropout", [0.0, 0.05, 0.4])
def test_the_share_of_lost_returns_is_the_dropout(dropout: float) -> None:
    lidar = replace(NARROW, dropout=dropout, step_deg=0.1)
    returns, hits, _ = seen(wall(10, CLOTH, 1.0), lidar)
    share = len(returns.xyz) / (hits.solid >= 0).sum()
    assert abs(share - (1 - dropout) * (1 - returns_of(np.array([CLOTH]))[2][0])) < 0.01


def test_far_and_dark_surfaces_are_lost_more_often() -> None:
    def share(distance: float, colour: float) -> float:
        returns, hits, _ = seen(wall(distance, DULL, colour), replace(NARROW, reach=60.0))
        return len(returns.xyz) / int((hits.solid >= 0).sum())

    shares = [share(distance, 0.3) for distance in (10, 40, 80, 160)]
    assert shares[0] > 0.97 and (np.diff(shares) < 0).all() and shares[-1] < 0.3
    assert share(80, 0.05) < share(80, 0.3) < share(80, 0.9)


def test_intensity_falls_with_distance_and_incidence_and_rises_with_albedo() -> None:
    def mean(distance: float = 10.0, colour: float = 0.5, yaw: float = 0.0, material: int = DULL) -> float:
        return float(seen(wall(distance, material, colour, yaw), NARROW)[0].intensity.mean())

    assert mean(10) > mean(50) > mean(100)
    assert mean(colour=0.2) < mean(colour=0.4) < mean(colour=0.8)
    assert mean(yaw=0.0) > mean(yaw=0.5) > mean(yaw=1.0)
    assert mean(material=RETRO, colour=0.2) > 2 * mean(material=DULL, colour=0.2)


def test_the_gain_scales_intensities_and_moves_no_point() -> None:
    one, _, _ = seen(wall(10), replace(NARROW, gain=0.4))
    other, _, _ = seen(wall(10), replace(NARROW, gain=0.8))
    assert np.array_equal(one.xyz, other.xyz)
    assert np.isclose(other.intensity.mean() / one.intensity.mean(), 2.0, atol=0.05)


def test_intensities_are_hundredths_below_one_with_some_zeros() -> None:
    values = seen(wall(10, RETRO, 1.0), NARROW)[0].intensity
    assert np.allclose(values * 100, np.round(values * 100)) and values.max() <= 0.99
    assert 0.01 < (values == 0).mean() < 0.08


def test_beams_differ_in_brightness_by_a_fifth() -> None:
    returns, _, _ = seen(wall(10), replace(NARROW, step_deg=0.1))
    means = np.array([returns.intensity[returns.ring == ring].mean() for ring in range(20)])
    assert 0.03 < means.std() / means.mean() < 0.25
    assert means.max() / means.min() < 1.6


@pytest.mark.parametrize(("material", "least", "most"), [(GLASS, 0.08, 0.25), (PAINT, 0.9, 0.97), (RETRO, 0.99, 1.0)])
def test_glass_lets_most_rays_pass(material: int, least: float, most: float) -> None:
    returns, hits, _ = seen(wall(10, material, 1.0), NARROW)
    assert least < len(returns.xyz) / (hits.solid >= 0).sum() <= most


def test_facades_have_panes_and_cabins_have_windows() -> None:
    """Of both, some returns are lost in bands, and none of a part that is no window."""
    facade = Assembly(3)
    facade.box((0, 0, 10), (0.5, 200, 30), material=FACADE, colour=1.0)
    returns, hits, _ = seen(placed(facade, (12, 0, 0)), SMALL)
    share = len(returns.xyz) / (hits.solid >= 0).sum()
    assert 0.7 < share < 0.95
    cabin = Assembly(9)
    cabin.box((0, 0, 0), (3, 3, 2), material=CABIN, colour=1.0)
    returns, hits, grid = seen(placed(cabin, (6, 0, 0)), replace(SMALL, step_deg=0.2))
    exact = hits.depth[..., None] * grid.directions - (6, 0, 0)
    low = (hits.solid >= 0) & (exact[..., 2] < -0.87)  # below the windows
    kept = returns.xyz[:, 2] < -0.87
    assert 0.9 < kept.sum() / low.sum() <= 1.0
    assert (~kept).sum() / ((hits.solid >= 0) & ~low).sum() < 0.5


def test_all_materials_lose_a_share_and_only_glass_most() -> None:
    bright, diffuse, lost = returns_of(np.arange(12))
    assert (bright > 0).all() and ((diffuse >= 0) & (diffuse <= 1)).all() and ((lost >= 0) & (lost < 1)).all()
    assert set(np.flatnonzero(lost > 0.5)) == {CABIN, GLASS}
    assert bright.argmax() == RETRO
    assert returns_of(np.zeros((3, 4), np.int64))[0].shape == (3, 4)


def test_grass_is_uneven_and_asphalt_is_not() -> None:
    def scatter(ground: Ground) -> np.ndarray:
        grid = rays(20, 1.0)
        solids = wall(1000)
        hits = cast(grid, solids, ground=ground.depth(grid))
        returns = sense(np.random.default_rng(0), SMALL, grid, hits, solids, ground)
        return returns.xyz[returns.label != 7, 2] + 1.7

    road, meadow = flat(), replace(flat(), half_width=1e-3)
    assert np.abs(scatter(road)).max() < 1e-6
    near = scatter(meadow)
    assert near.std() > 0.01


def test_the_same_seed_senses_the_same_and_another_does_not() -> None:
    lidar = replace(NARROW, noise=0.02, dropout=0.1)
    solids, grid = wall(10), ray_grid(np.random.default_rng(0), lidar, 90.0)
    one, again, other = (seen(solids, lidar, grid, seed)[0] for seed in (1, 1, 2))
    assert one.xyz.tobytes() == again.xyz.tobytes() and one.intensity.tobytes() == again.intensity.tobytes()
    assert len(one.xyz) != len(other.xyz)
