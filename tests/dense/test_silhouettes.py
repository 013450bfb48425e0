"""Depth that grew over silhouettes: a body before a flat backdrop, with exact truth."""

from __future__ import annotations

import numpy as np
import pytest
from depth_truth import cameras_at, render, ring, sphere
from hypothesis import given, strategies as st
from scipy.ndimage import distance_transform_edt

from recon3d.core.errors import UsageError
from recon3d.dense.fuse import fuse_with_stats
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.silhouettes import TrimmedMaps, grown_over
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras

SIZE = 96
GROWN_PX = 5
Maps = list[tuple[DepthMap, np.ndarray]]


def grow(
    depth: DepthMap, rgb: np.ndarray, backdrop: float = 10.0, contrast: float = 2.0
) -> tuple[DepthMap, np.ndarray]:
    """Let the depth of a body grow into the backdrop, as matching windows do."""
    body = depth.depth_z > 0
    away, nearest = distance_transform_edt(~body, return_indices=True)
    noise = np.random.default_rng(0).normal(backdrop, contrast, rgb.shape)
    texture = np.random.default_rng(1).normal(0, 25, (*body.shape, 1))
    painted = np.where(body[..., None], rgb + texture, noise)
    z = np.where(away <= GROWN_PX, depth.depth_z[tuple(nearest)], 0).astype(np.float32)
    return DepthMap(z, (0.01 * (z > 0)).astype(np.float32)), np.clip(painted, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def exact() -> tuple[Maps, Cameras]:
    cameras = cameras_at(ring(12, 3.0), SIZE)
    return render(cameras, [sphere((0, 0, 0), 0.8)]), cameras


def test_what_grew_is_found_and_the_body_stays(exact: tuple[Maps, Cameras]) -> None:
    depth, rgb = exact[0][0]
    body = depth.depth_z > 0
    wide, painted = grow(depth, rgb)
    grown = grown_over(wide.depth_z, painted, 8)
    assert grown[(wide.depth_z > 0) & ~body].mean() > 0.99
    assert grown[body].mean() < 0.01
    assert not grown[wide.depth_z == 0].any()


def test_exact_maps_are_left_alone(exact: tuple[Maps, Cameras]) -> None:
    depth, _ = exact[0][0]
    _, painted = grow(*exact[0][0])
    assert grown_over(depth.depth_z, painted, 8).mean() < 0.001


def test_a_backdrop_with_texture_proves_nothing(exact: tuple[Maps, Cameras]) -> None:
    wide, painted = grow(*exact[0][0], backdrop=128, contrast=60)
    assert not grown_over(wide.depth_z, painted, 8).any()


def test_a_backdrop_of_the_colours_of_the_body_proves_nothing() -> None:
    z, rgb = np.zeros((60, 60), np.float32), np.full((60, 60, 3), 90, np.uint8)
    z[:, :30] = 1.0
    assert not grown_over(z, rgb, 8).any()


@pytest.mark.parametrize("width", [4, 14])
def test_small_holes_are_no_background(width: int) -> None:
    """A dark line on a body, in which no depth was found: discs of the reach do not fit in."""
    z, rgb = np.ones((80, 80), np.float32), np.full((80, 80, 3), 200, np.uint8)
    z[:, 40 : 40 + width] = 0
    rgb[:, 37 : 43 + width] = 20
    assert not grown_over(z, rgb, 8).any()


def test_a_straight_edge_is_cut_to_the_pixel_and_only_within_reach() -> None:
    z, rgb = np.zeros((80, 120), np.float32), np.full((80, 120, 3), 200, np.uint8)
    z[:, :60] = 1.0
    rgb[:, 53:] = 20
    assert np.flatnonzero(grown_over(z, rgb, 8)[40]).tolist() == list(range(53, 60))
    rgb[:, 40:] = 20
    assert not grown_over(z, rgb, 8)[:, :52].any()


def test_thin_bodies_have_no_inside_to_compare_with() -> None:
    z, rgb = np.zeros((80, 80), np.float32), np.full((80, 80, 3), 20, np.uint8)
    z[:, 38:42] = 1.0
    assert not grown_over(z, rgb, 8).any()


@given(st.integers(0, 3), st.booleans())
def test_turning_the_photo_turns_the_answer(turns: int, mirrored: bool) -> None:
    z, rgb = np.zeros((60, 70), np.float32), np.full((60, 70, 3), 160, np.uint8)
    z[10:50, :45] = 2.0
    rgb[:, 40:] = 30
    rgb[:14] = 30

    def turn(image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(image[:, ::-1] if mirrored else image, turns))

    assert grown_over(z, rgb, 6).any()
    assert (grown_over(turn(z), turn(rgb), 6) == turn(grown_over(z, rgb, 6))).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_maps_without_a_silhouette(value: float) -> None:
    z, rgb = np.full((40, 40), value, np.float32), np.zeros((40, 40, 3), np.uint8)
    assert not grown_over(z, rgb, 8).any()


def test_unknown_depth_may_be_nan() -> None:
    z, rgb = np.full((80, 120), np.nan, np.float32), np.full((80, 120, 3), 200, np.uint8)
    z[:, :60] = 1.0
    rgb[:, 55:] = 20
    assert grown_over(z, rgb, 8).sum() == 80 * 5


def test_trimmed_maps_are_those_maps_without_what_grew(exact: tuple[Maps, Cameras]) -> None:
    maps = [grow(*one) for one in exact[0][:2]]
    trimmed = TrimmedMaps(maps, 8)
    assert len(trimmed) == 2
    for _ in range(2):  # computed, and then remembered
        depth, rgb = trimmed[1]
        grown = grown_over(maps[1][0].depth_z, maps[1][1], 8)
        assert (depth.depth_z == np.where(grown, 0, maps[1][0].depth_z)).all()
        assert (depth.sigma[grown] == 0).all()
        assert rgb is maps[1][1]
    assert TrimmedMaps(maps, 0)[0] == maps[0]  # the same arrays


def test_the_mesh_of_a_body_before_a_backdrop_does_not_grow(exact: tuple[Maps, Cameras]) -> None:
    maps, cameras = [grow(*one) for one in exact[0]], exact[1]
    farthest = {}
    for trim in (0, 8):
        mesh, stats = fuse_with_stats(maps, cameras, FusionOptions(voxel_size=0.05, trim_px=trim))
        assert stats.closed
        farthest[trim] = np.linalg.norm(mesh.vertices, axis=1).max() - 0.8
    assert farthest[0] > 0.08
    assert farthest[8] < 0.03


def test_only_solids_are_trimmed(exact: tuple[Maps, Cameras]) -> None:
    """Where no solid is made, flat places beside texture may well be surface: a wall around a poster."""
    maps, cameras = [grow(*one) for one in exact[0]], exact[1]
    open_ones = [
        fuse_with_stats(maps, cameras, FusionOptions(voxel_size=0.05, closing="open", trim_px=trim))[0]
        for trim in (0, 8)
    ]
    assert (open_ones[0].vertices == open_ones[1].vertices).all()
    solids = [fuse_with_stats(maps, cameras, FusionOptions(voxel_size=0.05, closing=c))[0] for c in ("auto", "closed")]
    assert (solids[0].vertices == solids[1].vertices).all()


def test_the_reach_must_not_be_negative() -> None:
    with pytest.raises(UsageError, match="trim_px"):
        FusionOptions(trim_px=-1)
