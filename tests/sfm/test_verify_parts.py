"""The statistics behind a verdict, one by one, against exact geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial.transform import Rotation
from verify_captures import (
    FOCAL,
    arc_poses,
    box_points,
    look_at,
    mapped_of,
    moved,
    pairs_of,
    photograph,
    plane_points,
    turning_poses,
    with_poses,
)

from recon3d.sfm.bundle import adjust, make_problem, to_cameras
from recon3d.sfm.verify_compare import disagreement_deg, restricted
from recon3d.sfm.verify_evidence import match_evidence, rotation_share
from recon3d.sfm.verify_options import VerifyOptions
from recon3d.sfm.verify_pairs import contradicted, fundamental_residual
from recon3d.sfm.verify_reversal import reversed_twin, try_reversal
from recon3d.sfm.verify_score import score_model
from recon3d.sfm.verify_sigma import lens_priors, pair_sigma_deg


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_evidence_of_exact_cameras_is_the_noise(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(3), box_points(rng, 200), rng, noise_px=0.5)
    evidence = match_evidence(mapped_of(capture), pairs_of(capture))
    assert len(evidence) == sum(len(pair.matches) for pair in evidence.pairs)
    assert 0.4 < np.sqrt(np.mean(evidence.epipolar_px**2)) < 0.6  # first order: one residual of the same spread
    assert not evidence.behind.any()


def test_evidence_measures_the_angle_between_rays(rng: np.random.Generator) -> None:
    poses = look_at(np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), np.array([0.0, 0.0, 5.0]))
    capture = photograph(poses, np.array([[0.0, 0.0, 5.0], [0.2, 0.1, 5.0]]), rng, noise_px=0.0)
    evidence = match_evidence(mapped_of(capture), pairs_of(capture, min_matches=1))
    assert evidence.angle_deg[0] == pytest.approx(np.degrees(2 * np.arctan(1 / 5)), abs=1e-9)
    assert evidence.shift_px[0] == pytest.approx(np.radians(evidence.angle_deg[0]) * FOCAL)
    assert evidence.epipolar_px == pytest.approx(0.0, abs=1e-9)


def test_evidence_sees_points_behind(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(2), box_points(rng, 100), rng)
    model = mapped_of(capture)
    poses = model.cameras.cam_from_world.copy()
    poses[:, :3, 3] *= -1.0
    assert match_evidence(with_poses(model, poses), pairs_of(capture)).behind.all()


def test_evidence_ignores_pairs_that_leave_the_model(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(4), box_points(rng, 100), rng)
    evidence = match_evidence(mapped_of(capture, np.array([1, 3])), pairs_of(capture))
    assert [(pair.first, pair.second) for pair in evidence.pairs] == [(1, 3)]
    nothing = match_evidence(mapped_of(capture, np.array([1, 3])), [])
    assert len(nothing) == 0 and nothing.pairs == ()


def test_evidence_is_thinned_evenly_where_there_is_very_much(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recon3d.sfm.verify_evidence.MAX_MATCHES", 300)
    capture = photograph(arc_poses(4), box_points(rng, 200), rng)
    evidence = match_evidence(mapped_of(capture), pairs_of(capture))
    counts = np.bincount(evidence.pair)
    assert len(counts) == 6 and (counts == 50).all()
    assert evidence.keypoint[evidence.pair == 5][-1, 0] == pairs_of(capture)[5].matches[-1, 0]


@pytest.mark.parametrize("focal_factor", [0.5, 1.0, 1.6])
def test_rotation_explains_a_turning_camera_at_any_assumed_focal_length(
    rng: np.random.Generator, focal_factor: float
) -> None:
    capture = photograph(turning_poses(4), box_points(rng, 200), rng)
    model = mapped_of(capture)
    K = model.cameras.K.copy()
    K[:, (0, 1), (0, 1)] *= focal_factor
    share, factor = rotation_share(replace(model, cameras=replace(model.cameras, K=K)), pairs_of(capture), 4.0, 3.0)
    assert share > 0.95
    assert factor * focal_factor == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize("points", [box_points, plane_points])
def test_rotation_does_not_explain_a_moving_camera(rng: np.random.Generator, points: object) -> None:
    capture = photograph(arc_poses(4), points(rng, 300), rng)  # type: ignore[operator]
    assert rotation_share(mapped_of(capture), pairs_of(capture), 4.0, 3.0)[0] < 0.4


def test_near_duplicates_do_not_hide_the_motion(rng: np.random.Generator) -> None:
    poses = np.repeat(arc_poses(3), 4, axis=0)  # four frames at each of three places
    capture = photograph(poses, box_points(rng, 200), rng)
    assert rotation_share(mapped_of(capture), pairs_of(capture), 4.0, 3.0)[0] < 0.4
    assert rotation_share(mapped_of(capture), [], 4.0, 3.0) == (0.0, 1.0)


def test_own_geometry_of_a_pair_reaches_the_noise(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(2), box_points(rng, 300), rng, noise_px=0.5)
    K = capture.cameras.K[0]
    rays = [np.c_[(capture.xy[side] - K[:2, 2]) / K[0, 0], np.ones(300)][None] for side in (0, 1)]
    mask = np.arange(300)[None] < 200
    rays[1][0, 200:] = 77.0  # masked out
    residual = fundamental_residual(rays, [np.full((1, 300, 2), FOCAL)] * 2, mask)
    assert 0.4 < np.sqrt(np.mean(residual[0, :200] ** 2)) < 0.6


def test_only_the_pairs_of_a_wrong_camera_are_contradicted(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(5), box_points(rng, 200), rng)
    model, pairs = mapped_of(capture), pairs_of(capture)
    assert not contradicted(model, match_evidence(model, pairs)).any()
    wrong = moved(model, 2, rotation_deg=0.0, shift=np.array([0.0, 0.02, 0.0]))  # 2 px, within the tolerance
    evidence = match_evidence(wrong, pairs)
    assert np.median(evidence.epipolar_px) < VerifyOptions().tolerance_px
    expected = [2 in (pair.first, pair.second) for pair in evidence.pairs]
    assert contradicted(wrong, evidence).tolist() == expected


def test_sigma_predicts_the_spread_of_adjusted_poses() -> None:
    truth = photograph(arc_poses(3, 30.0), box_points(np.random.default_rng(0), 60), np.random.default_rng(0), 0.0)
    errors, predicted = [], np.zeros((3, 3))
    for seed in range(12):
        capture = photograph(arc_poses(3, 30.0), truth.xyz, np.random.default_rng(seed), 0.5)
        model = mapped_of(capture)
        priors = lens_priors(model, calibrated=True)
        problem = adjust(make_problem(model.cameras, np.zeros(3, np.int64), model.points), priors).problem
        points = replace(model.points, xyz=problem.xyz)
        found = replace(model, cameras=to_cameras(problem, model.cameras), points=points)
        errors.append(disagreement_deg(mapped_of(truth), found))
        predicted = pair_sigma_deg(found, priors)
    spread = float(np.sqrt(np.mean(np.square(errors))))
    assert spread == pytest.approx(np.median(predicted[np.triu_indices(3, 1)]), rel=0.3)


def test_sigma_of_undetermined_photos_is_infinite(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(3), box_points(rng, 60), rng)
    capture.visible[2] = False
    sigma = pair_sigma_deg(mapped_of(capture), lens_priors(mapped_of(capture)))
    assert np.isinf(sigma[2, :2]).all() and np.isinf(sigma[:2, 2]).all()
    assert np.isfinite(sigma[:2, :2]).all() and (np.diag(sigma) == 0).all()


def test_sigma_grows_without_a_known_focal_length(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(2, 20.0), box_points(rng, 150), rng)
    model = mapped_of(capture)
    unknown, known, exact = (
        pair_sigma_deg(model, lens_priors(model, *given))[0, 1]
        for given in ((None,), (np.full(2, FOCAL),), (None, True))
    )
    assert unknown > 3 * known > 3 * exact


@settings(max_examples=20)
@given(
    vector=st.tuples(*[st.floats(-3, 3)] * 3),
    shift=st.tuples(*[st.floats(-50, 50)] * 3),
    scale=st.floats(0.01, 100),
)
def test_disagreement_ignores_the_frame(vector: tuple[float, ...], shift: tuple[float, ...], scale: float) -> None:
    capture = photograph(arc_poses(4), box_points(np.random.default_rng(1), 20), np.random.default_rng(1))
    model, new_from_old = mapped_of(capture), np.eye(4)
    new_from_old[:3, :3] = scale * Rotation.from_rotvec(vector).as_matrix()
    new_from_old[:3, 3] = shift
    other = replace(model, cameras=model.cameras.transformed(new_from_old))
    assert disagreement_deg(model, other) == pytest.approx(0.0, abs=1e-5)
    turned = moved(model, 1, rotation_deg=7.0)
    expected = disagreement_deg(model, turned)
    moved_frame = replace(turned, cameras=turned.cameras.transformed(new_from_old))
    assert disagreement_deg(model, moved_frame) == pytest.approx(expected, abs=1e-4)
    assert expected.max() > 6.9


def test_disagreement_counts_common_photos_only(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(6), box_points(rng, 50), rng)
    one, other = mapped_of(capture, np.arange(4)), mapped_of(capture, np.array([2, 3, 5]))
    assert len(disagreement_deg(one, other)) == 1
    assert len(disagreement_deg(mapped_of(capture, np.arange(2)), other)) == 0


def test_restricted_model_keeps_tracks_consistent(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(5), box_points(rng, 80), rng, noise_px=0.0)
    part = restricted(mapped_of(capture), np.arange(5) != 1, np.arange(80) % 3 == 0)
    assert part.photo.tolist() == [0, 2, 3, 4]
    pixels, _ = part.cameras.project(part.points.xyz[part.points.obs_point], part.points.obs_view.astype(np.int64))
    assert pixels == pytest.approx(part.points.obs_xy, abs=1e-9)
    assert (part.points.track_length >= 2).all() and (np.diff(part.points.obs_point) >= 0).all()


def test_twin_agrees_where_perspective_vanishes(rng: np.random.Generator) -> None:
    centers = np.array([[-300.0, 0, -2000], [0, 200, -2000], [300, 0, -2000]])
    capture = photograph(look_at(centers, np.zeros(3)), rng.uniform(-1, 1, (50, 3)), rng, noise_px=0.0)
    capture.visible[:] = True
    K = capture.cameras.K.copy()
    K[:, (0, 1), (0, 1)] = 300_000.0
    model = mapped_of(replace(capture, cameras=replace(capture.cameras, K=K)))
    twin = reversed_twin(model)
    camera = np.repeat(np.arange(3), 50)
    own, _ = model.cameras.project(np.tile(model.points.xyz, (3, 1)), camera)
    mirrored, _ = twin.cameras.project(np.tile(twin.points.xyz, (3, 1)), camera)
    assert np.abs(own - mirrored).max() < 0.5 < np.ptp(own)
    assert disagreement_deg(model, twin).min() > 5.0


def test_twin_of_a_perspective_capture_fails(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(4, 40.0), box_points(rng, 200), rng)
    model = mapped_of(capture)
    reversal = try_reversal(model, lens_priors(model))
    assert reversal.twin_px > 3 * reversal.own_px or reversal.apart_deg < 1.0


def test_lone_unknown_lens_needs_points_that_others_fix(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(4), box_points(rng, 200), rng)
    capture.visible[3] = False
    capture.visible[3, 100:] = True
    capture.visible[1:3, 120:] = False  # photo 3 shares 20 points with all and the others with photo 0 only
    model = mapped_of(capture)
    model = replace(model, camera_group=np.array([0, 0, 0, 1]))
    pairs = pairs_of(capture)
    unknown = score_model(model, pairs, lens_priors(model), VerifyOptions())
    known = score_model(model, pairs, lens_priors(model, np.full(4, FOCAL)), VerifyOptions())
    assert [drop.photo for drop in unknown.drop] == [3]
    assert known.drop == ()
