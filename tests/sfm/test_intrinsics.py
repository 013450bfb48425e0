"""Camera groups, what is assumed of them, and when the photos overrule it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sfm_captures import CENTRED, cameras_at, cloud, observe, problem_of, ring_poses

from recon3d.photos import Exif, Photo
from recon3d.render.cameras import Cameras
from recon3d.sfm.bundle import MIN_SIGMA_PX, Priors, Problem, adjust, linearise, make_layout, normal_equations
from recon3d.sfm.intrinsics import (
    CENTRE,
    CENTRE_CROP,
    FOCAL_EXIF,
    FOCAL_UNKNOWN,
    RADIAL,
    Assumptions,
    assume,
    choose_lens,
    drop_overruled_focals,
    find_crops,
    group_photos,
    make_priors,
    posterior_sigma,
    unshared_groups,
)

CANON = Exif(make="Canon", model="EOS 5D", lens="EF 35", focal_mm=35.0)
NIKON = Exif(make="Nikon", model="D90", lens="AF 35", focal_mm=35.0)


def photo(exif: Exif | None = None, size: tuple[int, int] = (640, 480), exif_conflict: bool = False) -> Photo:
    return Photo("a.jpg", Path("a.jpg"), *size, "0" * 64, exif or Exif(), exif_conflict=exif_conflict)


def groups(*photos: Photo, mode: str = "auto") -> list[int]:
    found = group_photos(photos, mode)
    assert found.dtype == np.int64
    return found.tolist()


def test_one_size_without_exif_is_one_camera() -> None:
    assert groups(photo(), photo(), photo()) == [0, 0, 0]


def test_other_sizes_are_other_cameras_numbered_by_first_appearance() -> None:
    portrait = photo(size=(480, 640))
    for mode in ("auto", "shared"):
        assert groups(portrait, photo(), portrait, photo(size=(320, 240)), photo(), mode=mode) == [0, 1, 0, 2, 1]


@pytest.mark.parametrize(
    "other",
    [
        replace(CANON, make="Leica"),
        replace(CANON, model="EOS R"),
        replace(CANON, lens="EF 50"),
        replace(CANON, focal_mm=50.0),
        replace(CANON, focal_35mm=56.0),
    ],
)
def test_exif_that_conflicts_splits_a_size(other: Exif) -> None:
    assert groups(photo(CANON), photo(other), photo(CANON)) == [0, 1, 0]
    assert groups(photo(CANON), photo(other), photo(CANON), mode="shared") == [0, 0, 0]


def test_what_says_nothing_about_the_lens_does_not_split() -> None:
    later = replace(CANON, time="2026:01:01 10:00:00", gps=(47.0, 8.0, None), pixels=(640, 480))
    assert groups(photo(CANON), photo(later)) == [0, 0]


def test_photo_without_exif_joins_the_only_camera_of_its_size() -> None:
    assert groups(photo(CANON), photo(), photo(CANON)) == [0, 0, 0]
    assert groups(photo(), photo(CANON)) == [0, 0]
    assert groups(photo(CANON), photo(size=(320, 240))) == [0, 1]
    assert groups(photo(CANON), photo(NIKON, (320, 240)), photo(), photo(size=(320, 240))) == [0, 1, 0, 1]


def test_photo_without_exif_stays_alone_between_two_cameras() -> None:
    assert groups(photo(CANON), photo(), photo(NIKON), photo()) == [0, 1, 2, 1]


def test_a_cropped_file_is_a_camera_of_its_own() -> None:
    assert groups(photo(CANON), photo(CANON, exif_conflict=True)) == [0, 1]


def test_per_photo_mode_shares_nothing() -> None:
    assert groups(photo(CANON), photo(CANON), photo(), mode="per-photo") == [0, 1, 2]
    assert groups(mode="per-photo") == groups() == []


@given(st.lists(st.tuples(st.sampled_from([None, CANON, NIKON]), st.sampled_from([(640, 480), (480, 640)]))))
def test_groups_have_no_gaps_and_never_mix_sizes(described: list[tuple[Exif | None, tuple[int, int]]]) -> None:
    found = groups(*(photo(exif, size) for exif, size in described))
    assert [g for i, g in enumerate(found) if g not in found[:i]] == list(range(len(set(found))))
    for g in set(found):
        assert len({size for (_, size), group in zip(described, found, strict=True) if group == g}) == 1


# ---------------------------------------------------------------- assumptions and priors


def two_groups(focal_px: float = np.nan, **changes: object) -> Assumptions:
    base = Assumptions(np.array([[640.0, 480], [300, 400]]), np.array([focal_px, np.nan]), np.array([False, False]))
    return replace(base, **changes)


def test_assumptions_at_the_start_take_exif_and_the_first_photo_of_each_group() -> None:
    cameras = cameras_at(ring_poses(4))
    cameras = replace(cameras, width=np.array([640, 300, 640, 300]), height=np.array([480, 400, 480, 400]))
    assumed = assume(cameras, np.array([0, 1, 0, 1]), np.array([555.0, np.nan, 555.0, np.nan]))
    np.testing.assert_array_equal(assumed.size, [[640, 480], [300, 400]])
    np.testing.assert_array_equal(assumed.long_side, [640, 400])
    np.testing.assert_array_equal(assumed.focal_px, [555, np.nan])
    assert not assumed.cropped.any() and not assumed.free_centre and not assumed.free_radial2
    assert assumed.calibration is None


def test_priors_of_simple_lenses() -> None:
    priors = make_priors(two_groups(555.0))
    np.testing.assert_allclose(priors.mean[:, 0], np.log([555.0, 1.2 * 400]))
    np.testing.assert_array_equal(priors.sigma[:, 0], [FOCAL_EXIF, FOCAL_UNKNOWN])
    np.testing.assert_array_equal(priors.mean[:, 1:], [[0, 320, 240, 0, 0, 0, 0], [0, 150, 200, 0, 0, 0, 0]])
    np.testing.assert_array_equal(priors.sigma[:, 4], RADIAL[0])
    assert (priors.sigma[:, [1, 2, 3, 5, 6, 7]] == 0).all()


def test_priors_of_free_centres_crops_and_second_radial_terms() -> None:
    priors = make_priors(two_groups(free_centre=True, free_radial2=True, cropped=np.array([False, True])))
    np.testing.assert_allclose(priors.sigma[:, 2], [CENTRE * 640, CENTRE_CROP * 400])
    np.testing.assert_array_equal(priors.sigma[:, 2], priors.sigma[:, 3])
    np.testing.assert_array_equal(priors.sigma[:, 5], RADIAL[1])
    only_crop = make_priors(two_groups(cropped=np.array([False, True])))
    np.testing.assert_allclose(only_crop.sigma[:, 2:4], [[0, 0], [100, 100]])


def test_calibration_fixes_everything() -> None:
    known = np.array([689.9, 691.0, 380.2, 251.7, -0.1, 0.01, 0.001, -0.002])
    priors = make_priors(two_groups(555.0, calibration=known, free_centre=True, free_radial2=True))
    assert (priors.sigma == 0).all()
    np.testing.assert_allclose(np.exp(priors.mean[:, 0]), 689.9)
    np.testing.assert_allclose(np.exp(priors.mean[:, 0] + priors.mean[:, 1]), 691.0)
    np.testing.assert_array_equal(priors.mean[:, 2:], [known[2:], known[2:]])


# ---------------------------------------------------------------- uncertainty


def adjusted(cameras: Cameras, noise_px: float = 0.3, group: np.ndarray | None = None) -> tuple[Problem, Assumptions]:
    """A noisy capture adjusted with the assumptions at the start, from its centred camera guess."""
    points = observe(cameras, cloud(80), noise_px, seed=9)
    group = np.zeros(len(cameras), np.int64) if group is None else group
    assumed = assume(cameras, group, np.full(len(cameras), np.nan))
    guess = replace(cameras, K=cameras_at(cameras.cam_from_world).K, distortion=np.zeros((len(cameras), 4)))
    problem = adjust(problem_of(guess, points, group), make_priors(assumed), 20, tolerance=1e-5).problem
    return problem, assumed


def test_posterior_without_photos_is_the_prior() -> None:
    problem = problem_of(cameras_at(ring_poses(3)), observe(cameras_at(ring_poses(3)), cloud(4)))
    empty = replace(problem, view=problem.view[:0], point=problem.point[:0], xy=problem.xy[:0])
    sigma = np.array([[0.03, 0.0, 6.0, 0.0, 0.1, 0.0, 0.0, 0.2]])
    np.testing.assert_allclose(posterior_sigma(empty, 1.0, Priors(problem.intrinsics, sigma)), sigma, rtol=1e-9)


def test_posterior_agrees_with_the_spread_of_repeated_captures() -> None:
    cameras = cameras_at(ring_poses(5))
    sigma = np.zeros((1, 8))
    sigma[0, [0, 4]] = np.inf
    found = []
    for seed in range(25):
        problem = problem_of(cameras, observe(cameras, cloud(40), 0.5, seed=seed))
        priors = Priors(problem.intrinsics, sigma)
        result = adjust(problem, priors, tolerance=1e-4)
        found.append(result.problem.intrinsics[0, [0, 4]])
    predicted = posterior_sigma(result.problem, 0.5, priors)[0]
    assert (predicted[[1, 2, 3, 5, 6, 7]] == 0).all()
    # The spread of 25 has a standard deviation of 14 %.
    np.testing.assert_allclose(np.std(found, axis=0), predicted[[0, 4]], rtol=0.45)


def test_posterior_grows_with_noise_and_shrinks_with_the_prior() -> None:
    problem, assumed = adjusted(cameras_at(ring_poses(5)))
    loose = make_priors(replace(assumed, free_centre=True))
    one, two = (posterior_sigma(problem, noise, loose) for noise in (0.3, 0.6))
    assert (two[:, [0, 2, 3, 4]] > one[:, [0, 2, 3, 4]]).all() and (one <= loose.sigma + 1e-9).all()
    at, layout = linearise(problem), make_layout(problem, loose)
    normal = normal_equations(problem, at, np.full(len(problem.xy), 1 / 0.09), loose, layout)
    inverse = np.linalg.pinv(normal.reduced, rcond=1e-12, hermitian=True)
    plain = np.sqrt(np.diag(inverse)[-4:])
    assert (one[0, [0, 2, 3, 4]] >= plain).all(), "robust weights only take information away"
    np.testing.assert_allclose(one[0, [0, 2, 3, 4]], plain, rtol=0.2)


# ---------------------------------------------------------------- crops


@pytest.mark.parametrize(
    ("centre", "cropped"),
    [((320, 240), False), ((308, 249), False), ((320 + 90, 240), True), ((320, 240 - 70), True), ((220, 180), True)],
)
def test_crops_are_found_by_their_principal_point(centre: tuple[int, int], cropped: bool) -> None:
    problem, assumed = adjusted(cameras_at(ring_poses(7, 90.0), (600.0, 600.0, *map(float, centre))))
    assert find_crops(problem, assumed).tolist() == [cropped]


def test_only_the_group_that_was_cropped_is() -> None:
    cameras, group = cameras_at(ring_poses(8, 90.0)), np.array([0, 1] * 4)
    K = cameras.K.copy()
    K[1::2, 0, 2] += 110
    problem, assumed = adjusted(replace(cameras, K=K), group=group)
    assert find_crops(problem, assumed).tolist() == [False, True]


def test_two_photos_never_prove_a_crop() -> None:
    problem, assumed = adjusted(cameras_at(ring_poses(2, 20.0)), noise_px=1.0)
    assert find_crops(problem, assumed).tolist() == [False]


# ---------------------------------------------------------------- focal lengths


@settings(max_examples=30)
@given(st.floats(0.5, 2.0))
def test_exif_is_dropped_beyond_three_sigmas(ratio: float) -> None:
    problem = problem_of(cameras_at(ring_poses(2)), observe(cameras_at(ring_poses(2)), cloud(3)))
    assumed = assume(cameras_at(ring_poses(2)), np.zeros(2, np.int64), np.full(2, 600.0 * ratio))
    kept = drop_overruled_focals(problem, assumed)
    assert np.isnan(kept.focal_px[0]) == (abs(np.log(ratio)) > 3 * FOCAL_EXIF)
    assert kept.size is assumed.size


def test_unknown_focals_stay_unknown_and_good_ones_stay() -> None:
    cameras, group = cameras_at(ring_poses(3)), np.arange(3)
    problem = problem_of(cameras, observe(cameras, cloud(3)), group)
    kept = drop_overruled_focals(problem, assume(cameras, group, np.array([np.nan, 615.0, 800.0])))
    np.testing.assert_array_equal(kept.focal_px, [np.nan, 615, np.nan])


def zoomed(ratio: float, group: np.ndarray, noise_px: float = 0.3) -> Problem:
    """Eight photos of which the third was taken with another focal length."""
    cameras = cameras_at(ring_poses(8))
    K = cameras.K.copy()
    K[2, :2, :2] *= ratio
    problem, _ = adjusted(replace(cameras, K=K), noise_px, group)
    return problem


@pytest.mark.parametrize(("ratio", "apart"), [(1.0, False), (1.02, False), (1.25, True), (0.8, True)])
def test_another_zoom_within_a_group_is_noticed(ratio: float, apart: bool) -> None:
    assert unshared_groups(zoomed(ratio, np.zeros(8, np.int64))).tolist() == [apart]


@pytest.mark.parametrize(("ratio", "noise_px"), [(1.045, 0.05), (1.12, 8.0)])
def test_small_or_uncertain_differences_do_not_split(ratio: float, noise_px: float) -> None:
    assert not unshared_groups(zoomed(ratio, np.zeros(8, np.int64), noise_px)).any()


def test_only_the_group_with_the_other_zoom_is_split() -> None:
    assert unshared_groups(zoomed(1.25, np.array([1, 1, 1, 1, 0, 0, 0, 0]))).tolist() == [False, True]


def test_photos_that_share_nothing_are_not_split_further() -> None:
    assert not unshared_groups(zoomed(1.25, np.arange(8))).any()


# ---------------------------------------------------------------- lenses


def test_good_simple_lenses_stay_simple() -> None:
    problem, assumed = adjusted(cameras_at(ring_poses(6), CENTRED, (-0.05, 0.0, 0.0, 0.0)))
    chosen, gains = choose_lens(problem, assumed)
    assert not chosen.free_centre and not chosen.free_radial2
    assert set(gains) == {"free_radial2", "free_centre"} and all(-1e-6 < gain < 0.01 for gain in gains.values())


def test_principal_point_is_freed_where_it_is_clearly_off() -> None:
    problem, assumed = adjusted(cameras_at(ring_poses(7, 90.0), (600.0, 600.0, 342.0, 224.0)))
    chosen, gains = choose_lens(problem, assumed)
    assert chosen.free_centre and gains["free_centre"] > 0.05
    assert not find_crops(problem, assumed).any()
    found = adjust(problem, make_priors(chosen), 20).problem.intrinsics[0, 2:4]
    assert np.abs(found - [342, 224]).max() < 6


def test_second_radial_coefficient_is_freed_where_it_is_needed() -> None:
    problem, assumed = adjusted(cameras_at(ring_poses(6), CENTRED, (-0.4, 0.8, 0.0, 0.0)))
    chosen, gains = choose_lens(problem, assumed)
    assert chosen.free_radial2 and not chosen.free_centre and 0.04 < gains["free_radial2"] < 0.1
    simple, rich = (adjust(problem, make_priors(lens), 20) for lens in (assumed, chosen))
    assert MIN_SIGMA_PX < rich.sigma_px < simple.sigma_px
    assert simple.problem.intrinsics[0, 5] == 0 and 0.05 < rich.problem.intrinsics[0, 5] < 0.8


def test_few_photos_choose_no_lens() -> None:
    problem, assumed = adjusted(cameras_at(ring_poses(4, 90.0), (600.0, 600.0, 342.0, 224.0)))
    chosen, gains = choose_lens(problem, assumed)
    assert not chosen.free_centre and not chosen.free_radial2 and gains == {}
