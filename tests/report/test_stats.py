from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.report.stats import lens_stats, observation_errors, photo_stats, triangulation_angles
from recon3d.report.text import count, escape, length, plain_verdict, scale_statement, seconds, signed, significant
from recon3d.scene import Scale, Scene


def test_errors_are_the_half_pixel_that_was_put_in(scene: Scene) -> None:
    errors = observation_errors(scene)
    assert len(errors) == len(scene.points.obs_point)
    np.testing.assert_allclose(errors, 0.5, atol=1e-9)


def test_observations_behind_the_camera_are_left_out(scene: Scene) -> None:
    xyz = scene.points.xyz.copy()
    xyz[0] = 2 * scene.cameras.centers[0] - xyz[0]
    changed = replace(scene, points=replace(scene.points, xyz=xyz))
    assert len(observation_errors(changed)) < len(scene.points.obs_point)
    assert np.isfinite(observation_errors(changed)).all()


def test_photo_stats_count_observations_and_take_the_worst_axis(scene: Scene) -> None:
    rows = photo_stats(scene)
    assert sum(row.n_observations for row in rows) == len(scene.points.obs_point)
    assert rows[0].n_observations == len(scene.points)
    assert rows[0].mean_error_px == pytest.approx(0.5)
    assert (rows[0].sigma_rotation_deg, rows[0].sigma_position) == (0.02, 0.003)
    assert np.isnan(rows[5].sigma_position)


def test_a_photo_without_observations_has_no_error(scene: Scene) -> None:
    keep = scene.points.obs_view != 5
    arrays = {name: getattr(scene.points, name)[keep] for name in ("obs_point", "obs_view", "obs_xy")}
    rows = photo_stats(replace(scene, points=replace(scene.points, **arrays)))
    assert rows[5].n_observations == 0
    assert np.isnan(rows[5].mean_error_px)


def test_lens_stats_group_photos(scene: Scene) -> None:
    lenses = lens_stats(scene)
    assert [(lens.camera_group, lens.n_photos) for lens in lenses] == [(0, 4), (1, 2)]
    assert lenses[0].focal_35mm == pytest.approx(500 * 43.267 / 800)
    assert lenses[0].horizontal_fov_deg == pytest.approx(2 * np.degrees(np.arctan(0.64)))
    assert lenses[0].principal_px == (321.0, 239.0)


def test_triangulation_angle_is_the_widest_of_the_track(scene: Scene) -> None:
    angles = triangulation_angles(scene)
    points, centers = scene.points, scene.cameras.centers
    for index in (0, 4, 17):
        rays = points.xyz[index] - centers[points.obs_view[points.obs_point == index]]
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        expected = np.degrees(np.arccos(np.clip(rays @ rays.T, -1, 1))).max()
        assert angles[index] == pytest.approx(expected, rel=1e-6)


def test_plain_verdict_speaks_plainly(scene: Scene) -> None:
    assert plain_verdict(scene.views, scene) == "6 of 8 photos placed, 60 points, mean reprojection error 0.50 px."
    assert plain_verdict(scene.views, None) == "No model that can be trusted was found in 8 photos."


def test_relative_scenes_never_speak_of_metres() -> None:
    assert "units" in length(0.5, Scale())
    assert not length(0.5, Scale()).endswith(" m")
    assert "not known" in scale_statement(Scale())


@pytest.mark.parametrize(
    ("value", "text"), [(0.00123, "1.2 mm"), (0.25, "25 cm"), (3.14159, "3.14 m"), (float("nan"), "\N{EN DASH}")]
)
def test_lengths_choose_their_unit(value: float, text: str) -> None:
    assert length(value, Scale("metric")) == text


def test_scale_statement_gives_the_interval() -> None:
    text = scale_statement(Scale("metric", "GPS", (0.98, 1.031)))
    assert "Source: GPS." in text
    assert "\N{MINUS SIGN}2.0 % to +3.1 %" in text


@pytest.mark.parametrize(("value", "text"), [(0.42, "0.4 s"), (42.4, "42 s"), (192.0, "3 min 12 s")])
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text


def test_numbers_in_words() -> None:
    assert count(1, "point") == "1 point"
    assert count(12345, "point") == "12,345 points"
    assert count(2, "entry", "entries") == "2 entries"
    assert signed(-1.25, 1) == "\N{MINUS SIGN}1.2"
    assert significant(0.0) == "0"
    assert significant(1234.5) == "1,234"
    assert significant(1e-9) == "1.00e-09"


@given(st.floats(1e-4, 1e6))
def test_significant_keeps_three_digits(value: float) -> None:
    assert float(significant(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


@given(st.text())
def test_escaped_text_holds_no_markup(text: str) -> None:
    escaped = escape(text)
    assert not set("<>\"'") & set(escaped)
    escaped.encode("utf-8")


def test_file_names_that_are_no_text_can_be_shown() -> None:
    assert escape("bad\udcff.jpg") == "bad?.jpg"
