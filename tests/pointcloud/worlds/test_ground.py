"""The ground: classes across the street, and rays that meet it where it is."""

import numpy as np
import pytest

from recon3d.pointcloud.worlds.ground import Ground
from recon3d.pointcloud.worlds.lidar import draw_lidar, ray_grid
from recon3d.pointcloud.worlds.manners import MANNERS, draw_ground
from recon3d.pointcloud.worlds.materials import ROAD, SIDEWALK, TERRAIN


def _flat(**changes: float) -> Ground:
    values = dict.fromkeys(Ground.__dataclass_fields__, 0.0)
    values |= {"sway_length": 100.0, "hill_length": 100.0, "half_width": 4.0, "mount": 1.7, "crossing": 1e6}
    return Ground(**(values | changes))


def test_across_the_street_come_road_verge_walk_and_terrain() -> None:
    ground = _flat(curb=0.12, verge_left=1.0, walk_left=2.0, walk_right=1.5)
    y = np.array([0.0, 3.9, 4.5, 6.0, 9.0, -3.9, -5.0, -7.0])
    labels = ground.labels(np.stack([np.zeros(8), y], 1))
    assert labels.tolist() == [ROAD, ROAD, TERRAIN, SIDEWALK, TERRAIN, ROAD, SIDEWALK, TERRAIN]


def test_the_curb_is_a_step_and_the_sensor_stands_at_its_mount() -> None:
    ground = _flat(curb=0.12, walk_left=2.0)
    heights = ground.height(np.array([[0.0, 0.0], [5.0, 3.9], [5.0, 4.06]]))
    assert np.allclose(heights, (-1.7, -1.7, -1.7 + 0.12 + 0.0009), atol=1e-3)


def test_on_a_plane_a_ray_meets_the_ground_at_the_mount_over_its_slope() -> None:
    grid = ray_grid(np.random.default_rng(0), draw_lidar(np.random.default_rng(0), "32", 2.0, 1.0), 360)
    depth = _flat(half_width=1e4).depth(grid)
    expected = np.where(grid.directions[..., 2] < 0, -1.7 / np.minimum(grid.directions[..., 2], -1e-9), np.inf)
    near = expected < 60
    assert np.allclose(depth[near], expected[near], rtol=1e-6)
    assert np.isinf(depth[grid.slopes > 0]).all()


@pytest.mark.parametrize("seed", range(4))
def test_hits_lie_on_the_ground_and_nothing_of_it_rises_before_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ground, _ = draw_ground(rng, MANNERS["suburb"], 1.7)
    grid = ray_grid(rng, draw_lidar(rng, "64", 4.0, 1.0), 360)
    depth = ground.depth(grid)
    rows, columns = np.nonzero(depth < 45)  # farther out the samples of the march are half a metre apart
    points = depth[rows, columns, None] * grid.directions[rows, columns]
    error = np.abs(ground.height(points[:, :2]) - points[:, 2])
    assert np.median(error) < 0.005 and np.percentile(error, 95) < 0.12  # a curb is a step between two samples
    for part in (0.3, 0.6, 0.9):
        assert (part * points[:, 2] - ground.height(part * points[:, :2]) > -0.12).all()


def test_a_place_on_the_road_and_back() -> None:
    ground = _flat(heading=0.3, lateral=-1.5, bend=0.002, sway=0.6)
    for along, left in ((0.0, 0.0), (12.0, 2.0), (-20.0, -5.0)):
        x, y, _ = ground.place(along, left)
        assert np.allclose(ground.road(np.array([[x, y]])), (along, left), atol=1e-6)


def test_the_heading_of_the_road_is_the_direction_in_which_it_goes_on() -> None:
    ground = _flat(heading=-0.4, bend=0.003, sway=0.5)
    x, y, yaw = ground.place(15.0, 0.0)
    further = ground.place(15.01, 0.0)
    assert np.isclose(np.arctan2(further[1] - y, further[0] - x), yaw, atol=1e-4)
