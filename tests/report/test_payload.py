from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.report import ReportInputs
from recon3d.report.payload import frame, pack_points, payload, subsample, to_script_json
from recon3d.scene import Scene


def _array(packed: dict[str, Any], name: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed[name]), dtype)


def test_points_decode_exactly(scene: Scene) -> None:
    origin = np.array([100.0, -200.0, 3.0])
    packed = pack_points(scene.points, origin)
    xyz = _array(packed, "xyz", "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(xyz, (scene.points.xyz - origin).astype(np.float32))
    np.testing.assert_array_equal(_array(packed, "rgb", "u1").reshape(-1, 3), scene.points.rgb)
    np.testing.assert_array_equal(_array(packed, "track", "u1"), scene.points.track_length)
    np.testing.assert_array_equal(_array(packed, "error", "u1"), 25)
    assert packed["origin"] == origin.tolist()


def test_far_coordinates_keep_millimetres(scene: Scene) -> None:
    far = np.array([4.2e6, 1.7e5, 4.78e6])
    moved = replace(scene.points, xyz=scene.points.xyz + far)
    packed = pack_points(moved, far)
    xyz = _array(packed, "xyz", "<f4").reshape(-1, 3).astype(np.float64) + far
    assert np.abs(xyz - moved.xyz).max() < 1e-6


def test_points_at_infinity_are_left_out(scene: Scene) -> None:
    xyz = scene.points.xyz.copy()
    xyz[3] = np.inf
    packed = pack_points(replace(scene.points, xyz=xyz), np.zeros(3))
    assert (packed["n"], packed["total"]) == (len(xyz) - 1, len(xyz))


@given(st.integers(0, 5000), st.integers(1, 500))
def test_subsampling_is_even_and_bounded(n_points: int, limit: int) -> None:
    chosen = subsample(n_points, limit)
    assert len(chosen) == min(n_points, limit)
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) < 2 or np.ptp(np.diff(chosen)) <= 1
    np.testing.assert_array_equal(chosen, subsample(n_points, limit))


def test_frame_ignores_strays(scene: Scene) -> None:
    center, radius = frame(scene)
    xyz = scene.points.xyz.copy()
    xyz[:3] = 1e5
    stray_center, stray_radius = frame(replace(scene, points=replace(scene.points, xyz=xyz)))
    assert np.linalg.norm(stray_center - center) < 0.3
    assert stray_radius == pytest.approx(radius, rel=0.2)


def test_cameras_in_the_payload_are_those_of_the_scene(inputs: ReportInputs, scene: Scene) -> None:
    data = json.loads(to_script_json(payload(inputs)))
    for index, view in enumerate(scene.registered):
        place = [entry["camera"] for entry in data["views"]].index(index)
        assert inputs.views[place].key == view.key
        camera = data["scene"]["cameras"][index]
        np.testing.assert_array_equal(np.reshape(camera["pose"], (3, 4)), scene.cameras.cam_from_world[index, :3])
        assert camera["K"] == [500.0, 500.0, 321.0, 239.0]
        assert camera["size"] == [640, 480]
        assert 3 < camera["depth"] < 5
    assert data["scene"]["gridLabel"].endswith(" m")


def test_a_refused_capture_has_no_scene(refused: ReportInputs) -> None:
    data = payload(refused)
    assert data["scene"] is None
    assert {entry["camera"] for entry in data["views"]} == {-1}


@given(st.text())
def test_json_cannot_leave_its_script_element(text: str) -> None:
    encoded = to_script_json({"text": text})
    assert "<" not in encoded
    assert json.loads(encoded) == {"text": text}


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_script_json(float("nan"))
