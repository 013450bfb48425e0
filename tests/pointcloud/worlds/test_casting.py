"""First hits of rays: against a march along each ray, and where solids are porous, far round or behind each other."""

import numpy as np
import pytest

from recon3d.pointcloud.worlds.casting import RayGrid, cast
from recon3d.pointcloud.worlds.lidar import Lidar, ray_grid
from recon3d.pointcloud.worlds.solids import Assembly, Gathering, Solids


def _grid(n_beams: int = 24, step_deg: float = 3.0, sector_deg: float = 360.0) -> RayGrid:
    lidar = Lidar(
        elevations_deg=tuple(np.linspace(-30, 30, n_beams)),
        step_deg=step_deg,
        noise=0.0,
        bias=0.0,
        dropout=0.0,
        gain=1.0,
        reach=100.0,
    )
    return ray_grid(np.random.default_rng(0), lidar, sector_deg)


def _inside(solids: Solids, index: int, points: np.ndarray) -> np.ndarray:
    """Return which points lie in a solid, by its definition and not by the closed forms."""
    row = solids.numbers[index]
    local = (points - row[:3]) @ row[3:12].reshape(3, 3).T
    kind, first, count = solids.codes[index]
    if kind == 0:
        planes = solids.planes[first : first + count]
        return (local @ planes[:, :3].T <= planes[:, 3]).all(1)
    scaled = local / row[12:15]
    if kind == 1:
        return (scaled**2).sum(1) <= 1
    return ((scaled[:, :2] ** 2).sum(1) <= 1) & (np.abs(scaled[:, 2]) <= 1)


def _scattered(seed: int, n: int = 30) -> Solids:
    rng, gathering = np.random.default_rng(seed), Gathering()
    for _ in range(n):
        thing = Assembly(1)
        kind = rng.integers(4)
        if kind == 0:
            thing.box((0, 0, 0), rng.uniform(0.3, 2, 3), yaw=rng.uniform(0, 6), pitch=rng.uniform(-1, 1))
        elif kind == 1:
            thing.ellipsoid((0, 0, 0), rng.uniform(0.3, 1, 3), pitch=rng.uniform(-1, 1))
        elif kind == 2:
            thing.rod(rng.normal(0, 1, 3), rng.normal(0, 1, 3), rng.uniform(0.1, 0.6))
        else:
            thing.profile(rng.normal(0, 1, (7, 2)), 1.5, lean=0.1, chamfer=0.2)
        angle = rng.uniform(0, 6.3)
        away = rng.uniform(5, 12)
        gathering.place(thing, (away * np.cos(angle), away * np.sin(angle), rng.normal(0, 2)), rng.uniform(0, 6))
    return gathering.solids()


@pytest.mark.parametrize("seed", range(3))
def test_the_first_hit_is_where_a_march_along_the_ray_first_enters_a_solid(seed: int) -> None:
    grid, solids = _grid(), _scattered(seed)
    hits = cast(grid, solids)
    depths = np.arange(0.0, 18.0, 0.01)
    rng = np.random.default_rng(seed)
    for row, column in zip(rng.integers(0, 24, 80), rng.integers(0, 120, 80), strict=True):
        points = depths[:, None] * grid.directions[row, column]
        entered = np.array([_inside(solids, k, points) for k in range(len(solids))]).any(0)
        if entered.any():
            assert abs(hits.depth[row, column] - depths[entered.argmax()]) < 0.011
        elif np.isfinite(hits.depth[row, column]):  # thinner than a step of the march
            at = hits.depth[row, column] * grid.directions[row, column]
            assert _inside(solids, hits.solid[row, column], at[None] * (1 + 1e-7))[0]


def test_normals_face_the_sensor_and_local_places_are_on_the_surface() -> None:
    grid, solids = _grid(), _scattered(7)
    hits = cast(grid, solids)
    seen = hits.solid >= 0
    assert seen.any()
    assert np.allclose(np.linalg.norm(hits.normals[seen], axis=1), 1)
    assert ((hits.normals[seen] * grid.directions[seen]).sum(1) <= 1e-9).all()
    rows = solids.numbers[hits.solid[seen]]
    world = np.einsum("nji,nj->ni", rows[:, 3:12].reshape(-1, 3, 3), hits.local[seen]) + rows[:, :3]
    assert np.allclose(world, hits.depth[seen, None] * grid.directions[seen])


def test_a_solid_behind_the_sensor_is_seen_across_the_seam_of_azimuths() -> None:
    thing, gathering = Assembly(1), Gathering()
    thing.box((0, 0, 0), (1, 4, 4))
    gathering.place(thing, (-6, 0, 0))
    grid = _grid()
    seen = cast(grid, gathering.solids()).solid >= 0
    azimuth = np.arctan2(grid.directions[seen][:, 1], grid.directions[seen][:, 0])
    assert (azimuth > 3.0).any() and (azimuth < -3.0).any()
    assert (np.abs(azimuth) > np.pi - np.arctan2(2, 5.5) - 0.1).all()


def test_a_wall_all_around_is_hit_by_every_ray_and_a_solid_around_the_sensor_by_none() -> None:
    walls, shell = Gathering(), Gathering()
    for angle in range(4):
        thing = Assembly(1)
        thing.box((5, 0, 0), (0.2, 10.2, 20))
        walls.place(thing, (0, 0, 0), angle * np.pi / 2)
    around = Assembly(1)
    around.ellipsoid((0, 0, 0), (3, 3, 3))
    shell.place(around, (0.1, 0, 0))
    assert (cast(_grid(), walls.solids()).solid >= 0).all()
    assert (cast(_grid(), shell.solids()).solid == -1).all()


def test_rays_end_in_a_porous_solid_after_the_free_path_of_its_density() -> None:
    gathering, thing = Gathering(), Assembly(1)
    thing.box((0, 0, 0), (10, 40, 40), density=0.5)
    gathering.place(thing, (10, 0, 0))
    grid = _grid(60, 0.5, 40.0)
    hits = cast(grid, gathering.solids(), seed=3)
    into = hits.depth - 5.0 / grid.directions[..., 0]
    length = 10.0 / grid.directions[..., 0]
    assert abs((hits.solid < 0).mean() - np.exp(-0.5 * length).mean()) < 0.01
    assert abs(into[hits.solid >= 0].mean() - 2.0) < 0.1
    assert not np.array_equal(hits.depth, cast(grid, gathering.solids(), seed=4).depth)


def test_the_ground_hides_what_lies_behind_it() -> None:
    gathering, thing = Gathering(), Assembly(1)
    thing.box((0, 0, 0), (1, 2, 2))
    gathering.place(thing, (8, 0, 0))
    grid = _grid()
    near = np.full(grid.directions.shape[:2], 4.0)
    hits = cast(grid, gathering.solids(), ground=near)
    assert (hits.solid == -2).all() and (hits.depth == 4.0).all()
