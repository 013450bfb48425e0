"""Verdicts over whole captures: what is trusted, refused, dropped and reported."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from verify_captures import (
    FOCAL,
    arc_poses,
    box_points,
    mapped_of,
    moved,
    pairs_of,
    photograph,
    plane_points,
    turning_poses,
    with_poses,
)

from recon3d.core.errors import UsageError
from recon3d.sfm.verify import VerifyOptions, verify


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def has_number(text: str) -> bool:
    return re.search(r"\d", text) is not None


def test_good_capture_is_trusted_without_remarks(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(6), box_points(rng, 300), rng)
    models = [mapped_of(capture), mapped_of(capture, mapper="global")]
    verdict = verify(models, pairs_of(capture), 6)
    assert verdict.trusted and verdict.refused_because == () and verdict.warnings == ()
    assert verdict.drop == () and verdict.other_models == ()
    best = verdict.metrics["candidates"][0]
    assert best["consistent_share"] > 0.99 and best["sigma_deg"] < 0.5 and best["rotation_share"] < 0.5
    assert verdict.metrics["disagreement_deg"] < 1e-5  # one model, twice


def test_metrics_are_json_ready(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(4), box_points(rng, 100), rng)
    broken = with_poses(mapped_of(capture), np.full((4, 4, 4), np.nan))
    verdict = verify([mapped_of(capture), broken], pairs_of(capture), 4)
    assert verdict.trusted
    assert json.loads(json.dumps(verdict.metrics, allow_nan=False)) == verdict.metrics


def test_nothing_at_all_is_refused() -> None:
    verdict = verify([], [], 5)
    assert verdict.chosen is None and not verdict.trusted
    assert "no two of the 5 photos" in verdict.refused_because[0]


def test_no_model_of_a_turning_camera_names_the_cause(rng: np.random.Generator) -> None:
    capture = photograph(turning_poses(4), box_points(rng, 200), rng)
    verdict = verify([], pairs_of(capture, homography=0.99), 4)
    assert not verdict.trusted and "parallax" in verdict.refused_because[0] and "99 %" in verdict.refused_because[0]


def test_no_model_of_distant_views_names_the_overlap(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(3), box_points(rng, 60), rng)
    assert "overlap" in verify([], pairs_of(capture), 3).refused_because[0]


@pytest.mark.parametrize("focal_factor", [1.0, 0.6])
def test_turning_camera_is_refused_whatever_the_model_says(rng: np.random.Generator, focal_factor: float) -> None:
    capture = photograph(turning_poses(5), box_points(rng, 300), rng)
    invented = arc_poses(5, span_deg=20.0)
    invented[:, :3, :3] = turning_poses(5)[:, :3, :3]
    model = with_poses(mapped_of(capture), invented)
    K = model.cameras.K.copy()
    K[:, (0, 1), (0, 1)] *= focal_factor
    model = replace(model, cameras=replace(model.cameras, K=K))
    verdict = verify([model], pairs_of(capture, homography=0.99), 5)
    assert not verdict.trusted
    assert any("only turns" in reason and has_number(reason) for reason in verdict.refused_because)


def test_small_sideways_motion_before_a_far_scene_is_refused(rng: np.random.Generator) -> None:
    poses = turning_poses(5)
    poses[:, 0, 3] = 0.01 * np.arange(5)  # 1 cm steps, 4 to 8 m away
    capture = photograph(poses, box_points(rng, 300), rng)
    verdict = verify([mapped_of(capture)], pairs_of(capture, homography=0.95), 5)
    assert not verdict.trusted and any("parallax" in reason for reason in verdict.refused_because)


def test_flat_scene_with_parallax_is_trusted_with_a_remark(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(6, 70.0), plane_points(rng, 400), rng)
    models = [mapped_of(capture), mapped_of(capture, mapper="global")]
    verdict = verify(models, pairs_of(capture, homography=1.0), 6)
    assert verdict.trusted and any("flat" in text for text in verdict.warnings)


@pytest.mark.parametrize(("known", "n", "trusted"), [(True, 2, False), (True, 3, True), (False, 3, False)])
def test_few_photos_of_a_flat_scene(rng: np.random.Generator, known: bool, n: int, trusted: bool) -> None:
    capture = photograph(arc_poses(n, 50.0), plane_points(rng, 400), rng)
    focal = np.full(n, FOCAL) if known else None
    verdict = verify([mapped_of(capture)], pairs_of(capture, homography=1.0), n, focal_px=focal)
    assert verdict.trusted is trusted
    assert trusted or any("flat" in reason for reason in verdict.refused_because)


def test_two_photos_are_trusted_only_with_a_known_lens(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(2, 25.0), box_points(rng, 150), rng)
    model, pairs = mapped_of(capture), pairs_of(capture)
    unknown = verify([model], pairs, 2)
    known = verify([model], pairs, 2, focal_px=np.full(2, FOCAL))
    assert not unknown.trusted and "do not determine" in unknown.refused_because[0]
    assert known.trusted and any("two photos" in text for text in known.warnings)
    assert verify([model], pairs, 2, calibrated=True).trusted


def test_mirrored_cameras_are_refused(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(5), box_points(rng, 200), rng)
    model = mapped_of(capture)
    poses = model.cameras.cam_from_world @ np.diag([-1.0, 1.0, 1.0, 1.0])
    verdict = verify([with_poses(model, poses)], pairs_of(capture), 5)
    assert not verdict.trusted and "mirrored" in verdict.refused_because[0]


def test_points_behind_the_cameras_are_refused(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(5), box_points(rng, 200), rng)
    model = mapped_of(capture)
    poses = model.cameras.cam_from_world.copy()
    poses[:, :3, 3] *= -1.0  # the same epipolar lines, all points behind
    turned = replace(with_poses(model, poses), points=replace(model.points, xyz=-model.points.xyz))
    verdict = verify([turned], pairs_of(capture), 5)
    assert not verdict.trusted
    assert any("behind" in reason and "100 %" in reason for reason in verdict.refused_because)


def test_collapsed_cameras_are_refused(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(5), box_points(rng, 200), rng)
    model = mapped_of(capture)
    poses = model.cameras.cam_from_world.copy()
    poses[:, :3, 3] *= 1e-5
    verdict = verify([with_poses(model, poses)], pairs_of(capture), 5)
    assert not verdict.trusted and verdict.refused_because


def test_broken_numbers_and_focal_lengths_are_refused(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(3), box_points(rng, 100), rng)
    model = mapped_of(capture)
    K = model.cameras.K.copy()
    K[1, 0, 0] = 1e6
    far = replace(model, cameras=replace(model.cameras, K=K))
    assert "focal length" in verify([far], pairs_of(capture), 3).refused_because[0]
    nan = with_poses(model, model.cameras.cam_from_world * np.nan)
    assert "not finite" in verify([nan], pairs_of(capture), 3).refused_because[0]


def test_false_registration_is_dropped_with_a_reason(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(6), box_points(rng, 300), rng)
    capture.visible[3, 80:] = False
    model = moved(mapped_of(capture), 3, rotation_deg=12.0, shift=np.array([0.5, 0.4, 0.0]))
    verdict = verify([model], pairs_of(capture), 6)
    assert [drop.photo for drop in verdict.drop] == [3]
    assert has_number(verdict.drop[0].reason) and "agree" in verdict.drop[0].reason
    assert verdict.trusted and verdict.chosen is model


def test_photo_with_a_handful_of_matches_is_dropped(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(6), box_points(rng, 300), rng)
    capture.visible[5, 20:] = False  # 20 points tie it to the others
    verdict = verify([mapped_of(capture)], pairs_of(capture), 6)
    assert verdict.trusted and [drop.photo for drop in verdict.drop] == [5]
    assert "matches with depth" in verdict.drop[0].reason and "30" in verdict.drop[0].reason


def test_disconnected_models_are_reported_with_their_members(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(9), box_points(rng, 300), rng)
    capture.visible[:5, 150:] = False
    capture.visible[5:, :150] = False
    models = [mapped_of(capture, np.arange(5)), mapped_of(capture, np.arange(5, 9))]
    verdict = verify(models, pairs_of(capture), 9)
    assert verdict.trusted and verdict.chosen is models[0]
    assert verdict.other_models == ((5, 6, 7, 8),)
    assert any("2 models" in text and "5 photos" in text for text in verdict.warnings)


def test_larger_sound_model_wins(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(8), box_points(rng, 300), rng)
    small, large = mapped_of(capture, np.arange(4)), mapped_of(capture, mapper="global")
    verdict = verify([small, large], pairs_of(capture), 8)
    assert verdict.chosen is large and verdict.trusted and verdict.other_models == ()


def test_sound_small_model_wins_over_unsound_large_one(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(8), box_points(rng, 300), rng)
    wrong = mapped_of(capture, mapper="global")
    for row in range(8):
        wrong = moved(wrong, row, rotation_deg=9.0 * (-1) ** row)
    small = mapped_of(capture, np.arange(3))
    verdict = verify([wrong, small], pairs_of(capture), 8)
    assert verdict.chosen is small and verdict.trusted
    assert any("only 3 of 8" in text for text in verdict.warnings)


@pytest.mark.parametrize(("span_deg", "trusted"), [(50.0, True), (52.0, True), (75.0, False)])
def test_mappers_that_disagree_are_refused(rng: np.random.Generator, span_deg: float, trusted: bool) -> None:
    xyz = box_points(rng, 28)  # too few to contradict a model pair by pair
    capture = photograph(arc_poses(4, 50.0), xyz, rng)
    other = mapped_of(photograph(arc_poses(4, span_deg), xyz, rng), mapper="global")
    loose = VerifyOptions(tolerance_px=200.0, min_support=10, max_sigma_deg=5.0)
    verdict = verify([mapped_of(capture), other], pairs_of(capture), 4, loose)
    assert [candidate["against"] for candidate in verdict.metrics["candidates"]] == [[], []]
    assert verdict.trusted is trusted
    assert verdict.metrics["disagreement_photos"] == 4
    assert trusted or re.search(r"4 photos disagree by \d+\.\d degrees", verdict.refused_because[0])


def test_weak_agreement_needs_a_second_model(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(6), box_points(rng, 300), rng)
    pairs = pairs_of(capture)
    for index in (0, 5, 9):  # repeated structure: matches that fit one another, but not the scene
        pair = pairs[index]
        pairs[index] = replace(pair, xy=pair.xy + np.array([[[0.0, 0.0], [0.0, 25.0]]]))
    alone = verify([mapped_of(capture)], pairs, 6)
    confirmed = verify([mapped_of(capture), mapped_of(capture, mapper="global")], pairs, 6)
    assert not alone.trusted and "no second model" in alone.refused_because[0]
    assert confirmed.trusted
    posed = verify([mapped_of(capture)], pairs, 6, posed=True)  # the user's poses are the second opinion
    assert posed.trusted and "of the matches agree" in posed.warnings[0]


def test_same_input_same_verdict(rng: np.random.Generator) -> None:
    capture = photograph(arc_poses(5), box_points(rng, 200), rng)
    first, second = (verify([mapped_of(capture)], pairs_of(capture), 5) for _ in range(2))
    assert first.metrics == second.metrics


@pytest.mark.parametrize(
    "wrong", [{"tolerance_px": 0.0}, {"min_consistent": 1.5}, {"max_sigma_deg": -1.0}, {"max_rotation_share": -0.1}]
)
def test_impossible_limits_are_usage_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        VerifyOptions(**wrong)
