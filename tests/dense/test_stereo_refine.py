"""The last sweep on a slanted wall, whose planes are known: what it keeps, what it repairs, how far it comes."""

from __future__ import annotations

import numpy as np
import pytest
from stereo_scene import BallAndWall

from recon3d.dense.stereo_geometry import pixel_maps
from recon3d.dense.stereo_images import Sources, grey_pyramid, pack_sources, padded_reference
from recon3d.dense.stereo_patchmatch import Search, from_neighbour, parallax
from recon3d.dense.stereo_refine import polish

WALL = BallAndWall(n_views=3, wall_only=True)
VIEW = 1
INNER = (slice(16, 56), slice(28, 68))  # seen by both neighbours
f32 = np.float32


def greys() -> list[np.ndarray]:
    return [grey_pyramid(photo, WALL.width, WALL.height)[0] for photo in WALL.photos()]


def sources() -> Sources:
    cameras, here, others = WALL.cameras(), np.array([VIEW, VIEW]), np.array([0, 2])
    into, back = pixel_maps(cameras, here, cameras, others), pixel_maps(cameras, others, cameras, here)
    images = greys()
    return pack_sources([images[0], images[2]], [], np.concatenate([into, into, back], 1))


def true_field() -> np.ndarray:
    w = 1 / WALL.depth(VIEW)
    planes = np.stack([w, np.gradient(w, axis=1), np.gradient(w, axis=0), np.zeros_like(w)], -1)
    return planes.astype(np.float32)


def search() -> Search:
    w = 1 / WALL.depth(VIEW)
    return Search(
        w_min=f32(0.5 * w.min()),
        w_max=f32(2 * w.max()),
        focal=f32(WALL.cameras().K[VIEW, 0, 0]),
        max_slope=f32(4),
        step_px=f32(1),
        step_slope=f32(0.25),
        weight=f32(0),
        same_px=f32(0.25),
        n_random=2,
        n_best=2,
        ranked=True,
        seed=np.uint32(0),
    )


def polished(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    field = field.copy()
    spread = polish(field, padded_reference(greys()[VIEW], None), sources(), search())
    return field, spread


def moves() -> float:
    """Pixels that the middle of the wall moves per unit of inverse depth."""
    return float(parallax(sources().maps, (f32(48.5), f32(36.5)), true_field()[36, 48, 0]))


def test_planes_that_match_well_keep_their_slopes() -> None:
    before = true_field()
    after, spread = polished(before)
    assert (after[INNER][..., 3] < 0.15).mean() > 0.9
    sure = after[INNER][..., 3] < 0.15
    assert (after[INNER][sure, 1:3] == before[INNER][sure, 1:3]).mean() > 0.95
    assert (spread[INNER] > 0).all()


@pytest.mark.parametrize("offset_px", [-0.15, 0.2])
def test_parabola_finds_the_depth_between_its_outer_two(offset_px: float) -> None:
    field, truth = true_field(), true_field()[..., 0]
    field[..., 0] += f32(offset_px / moves())
    error = np.abs(polished(field)[0][..., 0] - truth)[INNER] * moves()
    assert np.median(error) < 0.3 * abs(offset_px)


@pytest.mark.parametrize("wrong", [0.85, 1.15])
def test_a_wrong_plane_is_replaced_by_that_of_a_neighbour(wrong: float) -> None:
    field, truth = true_field(), true_field()[..., 0]
    places = [(v, u) for v in range(20, 52, 8) for u in range(32, 64, 8)]
    for v, u in places:
        field[v, u, 0] *= f32(wrong)
    after = polished(field)[0]
    error = np.array([abs(after[v, u, 0] - truth[v, u]) for v, u in places]) * moves()
    assert (error < 0.3).mean() > 0.9


def test_masked_pixels_are_left_alone() -> None:
    field, mask = true_field(), np.ones((WALL.height, WALL.width), bool)
    mask[:, :40], before = False, true_field()
    spread = polish(field, padded_reference(greys()[VIEW], mask), sources(), search())
    assert (field[:, :40] == before[:, :40]).all() and (spread[:, :40] == 0).all()


def flat_field() -> np.ndarray:
    field = np.zeros((13, 13, 4), np.float32)
    field[..., 0], field[..., 3] = 0.5, 0.9
    return field


@pytest.mark.parametrize(
    ("direction", "nearest", "place"),
    [(0, 1, (6, 9)), (1, 1, (6, 1)), (2, 1, (11, 6)), (3, 1, (5, 6)), (0, -5, (6, 3)), (2, -5, (1, 6))],
)
def test_the_cheapest_pixel_of_a_line_gives_its_plane(direction: int, nearest: int, place: tuple[int, int]) -> None:
    field = flat_field()
    field[place] = 0.25, 0.01, -0.02, 0.1
    v, u = place
    got = from_neighbour(field, 6, 6, direction, nearest, f32(1e-6))
    np.testing.assert_allclose(got, (0.25 + 0.01 * (6 - u) - 0.02 * (6 - v), 0.01, -0.02), rtol=1e-5)


@pytest.mark.parametrize("place", [(6, 8), (6, 4), (7, 7), (6, 12)])
def test_only_the_other_colour_within_five_steps_counts(place: tuple[int, int]) -> None:
    field = flat_field()
    field[place] = 0.25, 0.0, 0.0, 0.1
    for direction in (0, 2):
        assert from_neighbour(field, 6, 6, direction, -5, f32(1e-6))[0] == 0


def test_no_plane_beyond_the_border() -> None:
    field = flat_field()
    field[0, 0, 0] = 0.4
    assert from_neighbour(field, 0, 0, 1, 1, f32(1e-6))[0] == 0
    assert from_neighbour(field, 0, 0, 3, 1, f32(1e-6))[0] == 0
    assert from_neighbour(field, 0, 0, 0, -5, f32(1e-6))[0] == 0.5
