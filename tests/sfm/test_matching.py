"""Matching against brute force, two-view geometry of exact scenes, pairs on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings, strategies as st
from sfm_captures import SIZE, OnDisk, cameras_at, cloud, fake_descriptors, ring_poses

from recon3d.core.workers import WorkerOptions, run_tasks
from recon3d.sfm.matching import (
    MAX_ANGLE,
    MAX_RATIO,
    count_homography,
    guess_camera,
    load_pairs,
    match_descriptors,
    match_pair,
    match_task,
    save_pairs,
    to_pycolmap,
)
from recon3d.sfm.types import Pair

GUESSES = (guess_camera(*SIZE, 600.0), guess_camera(*SIZE, 600.0))


def brute_force(first: np.ndarray, second: np.ndarray, max_ratio: float = MAX_RATIO) -> list[list[int]]:
    """Mutual neighbours that pass both tests in both directions, in plain loops and float64."""
    if min(len(first), len(second)) < 2:
        return []
    angle = np.arccos(np.clip(first.astype(np.float64) @ second.astype(np.float64).T / 512.0**2, -1, 1))

    def best(row: np.ndarray) -> int | None:
        order = np.argsort(row, kind="stable")
        near, next_near = row[order[0]], row[order[1]]
        return int(order[0]) if near <= MAX_ANGLE and near < max_ratio * next_near else None

    there, back = [best(row) for row in angle], [best(row) for row in angle.T]
    return [[i, j] for i, j in enumerate(there) if j is not None and back[j] == i]


def noisy(descriptors: np.ndarray, seed: int, size: float = 6.0) -> np.ndarray:
    moved = descriptors + size * np.random.default_rng(seed).standard_normal(descriptors.shape)
    return np.rint(moved).clip(0, 255).astype(np.uint8)


def with_twins(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors of which some occur twice, exactly or nearly."""
    return np.concatenate([descriptors, descriptors[:5], noisy(descriptors[5:9], 1, 1.0)])


@settings(max_examples=25)
@given(st.integers(0, 2**20), st.integers(2, 40), st.integers(2, 40), st.floats(0.0, 60.0))
def test_matches_are_those_of_brute_force(seed: int, n: int, m: int, noise: float) -> None:
    all_of_them = fake_descriptors(60, seed)
    first, second = with_twins(all_of_them[:n]), noisy(all_of_them[60 - m :], seed, noise)
    np.testing.assert_array_equal(match_descriptors(first, second), np.reshape(brute_force(first, second), (-1, 2)))


@settings(max_examples=25)
@given(st.integers(0, 2**20), st.floats(0.0, 40.0))
def test_swapping_the_photos_swaps_the_matches(seed: int, noise: float) -> None:
    first = with_twins(fake_descriptors(50, seed))
    second = noisy(first[np.random.default_rng(seed).permutation(len(first))], seed, noise)
    there, back = match_descriptors(first, second), match_descriptors(second, first)
    assert set(map(tuple, there.tolist())) == {(i, j) for j, i in back.tolist()}


def test_shuffled_descriptors_find_their_way_back_over_many_blocks() -> None:
    descriptors = fake_descriptors(700)
    order = np.random.default_rng(0).permutation(700)
    matches = match_descriptors(descriptors, noisy(descriptors[order], 2))
    assert matches.shape == (700, 2) and matches.dtype == np.int64
    np.testing.assert_array_equal(matches[:, 0], np.arange(700))
    np.testing.assert_array_equal(order[matches[:, 1]], np.arange(700))


def test_ties_match_nothing() -> None:
    descriptors = fake_descriptors(6)
    twice = np.concatenate([descriptors, descriptors[2:4]])
    assert match_descriptors(descriptors, twice).tolist() == [[0, 0], [1, 1], [4, 4], [5, 5]]
    assert match_descriptors(np.repeat(descriptors[:1], 5, 0), np.repeat(descriptors[:1], 5, 0)).shape == (0, 2)


@pytest.mark.parametrize("sizes", [(0, 0), (0, 9), (9, 0), (1, 9), (9, 1), (1, 1)])
def test_fewer_than_two_descriptors_cannot_pass_a_ratio_test(sizes: tuple[int, int]) -> None:
    descriptors = fake_descriptors(9)
    matches = match_descriptors(descriptors[: sizes[0]], descriptors[: sizes[1]])
    assert matches.shape == (0, 2) and matches.dtype == np.int64


def test_empty_and_strange_descriptors_match_nothing() -> None:
    black = np.zeros((4, 128), np.uint8)
    assert not len(match_descriptors(black, black))
    assert not len(match_descriptors(black, fake_descriptors(7)))
    left, right = np.zeros((2, 128), np.uint8), np.zeros((2, 128), np.uint8)
    left[:, :4], right[:, 64:68] = 255, 255
    assert not len(match_descriptors(left, right)), "nothing in common"


@pytest.mark.parametrize(("shared", "matches"), [(10, 0), (14, 2)])
def test_distant_descriptors_do_not_match_even_without_a_rival(shared: int, matches: int) -> None:
    """``shared`` of 16 filled bins agree: angles of 0.90 and 0.51 radians, everything else at a right angle."""
    first, second = np.zeros((2, 128), np.uint8), np.zeros((2, 128), np.uint8)
    for k in range(2):
        first[k, 64 * k : 64 * k + 16] = 128
        second[k, 64 * k + 16 - shared : 64 * k + 32 - shared] = 128
    assert len(match_descriptors(first, second)) == matches


def test_stricter_ratios_keep_a_subset() -> None:
    first = fake_descriptors(80)
    second = noisy(first, 3, 55.0)
    loose, usual, strict = (set(map(tuple, match_descriptors(first, second, r).tolist())) for r in (1.0, 0.8, 0.6))
    assert strict <= usual <= loose and len(strict) < len(loose)
    assert match_descriptors(first, second, 0.7).tolist() == brute_force(first, second, 0.7)


def test_result_does_not_depend_on_memory_layout() -> None:
    first, second = fake_descriptors(300), noisy(fake_descriptors(300), 5)
    plain = match_descriptors(first, second)
    np.testing.assert_array_equal(match_descriptors(np.asfortranarray(first), np.asfortranarray(second)), plain)
    np.testing.assert_array_equal(match_descriptors(first[::-1], second)[::-1, 1], plain[:, 1])


# ---------------------------------------------------------------- two views


def two_views(wrong: int = 0, plane: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of 120 points in two photos and their descriptors; the first ``wrong`` points moved in the second one."""
    xyz = cloud(120)
    if plane:
        xyz[:, 2] = 0.3 * xyz[:, 0]
    cameras = cameras_at(ring_poses(2, 20.0))
    first, second = (cameras.project(xyz, np.full(120, camera))[0] for camera in (0, 1))
    rng = np.random.default_rng(1)
    second = second + 0.3 * rng.standard_normal(second.shape)
    second[:wrong] = rng.uniform([0, 0], SIZE, (wrong, 2))
    return first, second, fake_descriptors(120)


def test_inliers_of_a_two_view_geometry_are_found() -> None:
    first, second, descriptors = two_views(wrong=30)
    order = np.random.default_rng(3).permutation(120)
    pair = match_pair(4, 9, (first, descriptors), (second[order], descriptors[order]), GUESSES, 0)
    assert pair is not None
    assert (pair.first, pair.second, pair.n_putative, pair.config) == (4, 9, 120, "CALIBRATED")
    np.testing.assert_array_equal(order[pair.matches[:, 1]], pair.matches[:, 0])
    np.testing.assert_array_equal(pair.xy[:, 0], first[pair.matches[:, 0]])
    np.testing.assert_array_equal(pair.xy[:, 1], second[order][pair.matches[:, 1]])
    right = (pair.matches[:, 0] >= 30).sum()
    assert right >= 88 and len(pair.matches) - right <= 6
    assert 4 <= pair.n_homography < 0.5 * len(pair.matches)


def test_the_seed_and_the_photos_decide_the_bits() -> None:
    first, second, descriptors = two_views(wrong=50)
    pairs = [match_pair(0, 1, (first, descriptors), (second, descriptors), GUESSES, seed) for seed in (5, 5)]
    assert pairs[0] is not None and pairs[1] is not None
    for item in fields(Pair):
        np.testing.assert_array_equal(getattr(pairs[0], item.name), getattr(pairs[1], item.name))


def test_pairs_without_geometry_are_none() -> None:
    first, second, descriptors = two_views()
    few = slice(0, 12)
    assert match_pair(0, 1, (first[few], descriptors[few]), (second[few], descriptors[few]), GUESSES, 0) is None
    anywhere = np.random.default_rng(0).uniform([0, 0], SIZE, (20, 2))
    assert match_pair(0, 1, (first[:20], descriptors[:20]), (anywhere, descriptors[:20]), GUESSES, 0) is None
    empty = np.zeros((0, 2)), np.zeros((0, 128), np.uint8)
    assert match_pair(0, 1, empty, (second, descriptors), GUESSES, 0) is None


def test_homography_explains_a_plane_and_little_else() -> None:
    ransac = pycolmap.TwoViewGeometryOptions().ransac
    for plane, share in ((True, (0.97, 1.0)), (False, (0.04, 0.5))):
        first, second, _ = two_views(plane=plane)
        count = count_homography(np.stack([first, second], axis=1), ransac)
        assert share[0] * 120 <= count <= share[1] * 120
    assert count_homography(np.zeros((0, 2, 2)), ransac) == 0
    assert count_homography(np.zeros((3, 2, 2)), ransac) == 0


def test_plane_is_called_planar() -> None:
    first, second, descriptors = two_views(plane=True)
    pair = match_pair(0, 1, (first, descriptors), (second, descriptors), GUESSES, 0)
    assert pair is not None and pair.config in ("PLANAR", "PLANAR_OR_PANORAMIC", "CALIBRATED")
    assert pair.n_homography > 0.9 * len(pair.matches)


# ---------------------------------------------------------------- cameras


def test_guess_follows_exif_or_the_long_side() -> None:
    guess = guess_camera(640, 480, None)
    assert guess["params"] == [768.0, 320.0, 240.0, 0.0] and guess["prior"] is False
    assert guess_camera(300, 900, None)["params"][0] == 1080.0
    known = guess_camera(641, 480, 500.5)
    assert known["params"] == [500.5, 320.5, 240.0, 0.0] and known["prior"] is True
    assert json.loads(json.dumps(guess)) == guess


def test_guess_becomes_the_same_colmap_camera() -> None:
    for focal, prior in ((None, False), (500.0, True)):
        guess = guess_camera(640, 480, focal)
        camera = to_pycolmap(guess)
        assert camera.model.name == "SIMPLE_RADIAL" and (camera.width, camera.height) == (640, 480)
        assert list(camera.params) == guess["params"] and camera.has_prior_focal_length is prior
        # Pixel origin of COLMAP is the outer corner, like ours.
        assert camera.cam_from_img(np.array([320.0, 240.0])) == pytest.approx([0.0, 0.0])


def test_known_calibration_becomes_an_opencv_camera() -> None:
    params = [600.0, 610.0, 321.0, 239.0, -0.1, 0.01, 0.001, -0.002]
    camera = to_pycolmap({"model": "OPENCV", "width": 640, "height": 480, "params": params, "prior": True})
    assert list(camera.params) == params and camera.has_prior_focal_length


# ---------------------------------------------------------------- disk


def made_pairs(sizes: list[int]) -> list[Pair]:
    rng = np.random.default_rng(0)
    return [
        Pair(k, k + 3, rng.integers(0, 9000, (n, 2)), rng.normal(size=(n, 2, 2)), n + 7, n // 2, config)
        for k, (n, config) in enumerate(zip(sizes, ["CALIBRATED", "PANORAMIC", "PLANAR"] * 9, strict=False))
    ]


@settings(max_examples=20)
@given(st.lists(st.integers(0, 30), max_size=6))
def test_pairs_come_back_bit_by_bit(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs.npz"
    pairs = made_pairs(sizes)
    save_pairs(path, pairs)
    again = load_pairs(path)
    assert len(again) == len(pairs)
    for before, after in zip(pairs, again, strict=True):
        for item in fields(Pair):
            old, new = getattr(before, item.name), getattr(after, item.name)
            assert type(old) is type(new)
            np.testing.assert_array_equal(old, new)
        assert after.matches.dtype == np.int64 and after.xy.dtype == np.float64


def test_pairs_are_written_the_same_and_whole(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_pairs(tmp_path / name, made_pairs([3, 0, 5]))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


@pytest.fixture
def task(capture: OnDisk, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    def make(name: str) -> dict[str, Any]:
        return {
            "pairs": [[0, 1], [0, 6], [2, 5]],
            "features": list(capture.features),
            "cameras": list(capture.guesses),
            "target": str(tmp_path / name),
            "seed": 3,
        }

    return make


def test_task_matches_its_pairs(capture: OnDisk, task: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    assert match_task(**task("here.npz")) == {"n_verified": 3}
    pairs = load_pairs(tmp_path / "here.npz")
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1), (0, 6), (2, 5)]
    for pair in pairs:
        # All keypoints match; those outside the frame are as exact as the others.
        assert pair.n_putative == 200 and len(pair.matches) >= 190
        np.testing.assert_array_equal(pair.xy[:, 1], capture.xy[pair.second, pair.matches[:, 1]].astype(np.float64))


def test_task_gives_the_same_bits_in_a_worker(task: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    here = match_task(**task("here.npz"))
    done = run_tasks("recon3d.sfm.matching:match_task", [task("there.npz")], WorkerOptions(n_workers=1))
    assert done == [here]
    assert (tmp_path / "here.npz").read_bytes() == (tmp_path / "there.npz").read_bytes()
