"""Quaternions and rotation matrices say the same, everywhere on the sphere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from recon3d.formats.quaternions import quaternion_from_rotation, rotation_from_quaternion

components = arrays(np.float64, (1, 4), elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1)


@given(components)
def test_round_trip_up_to_the_sign(quaternion: np.ndarray) -> None:
    unit = quaternion / np.linalg.norm(quaternion)
    back = quaternion_from_rotation(rotation_from_quaternion(quaternion))
    assert abs((unit * back).sum()) == pytest.approx(1, abs=1e-14)
    assert back[0, 0] >= 0


@given(components)
def test_agrees_with_scipy(quaternion: np.ndarray) -> None:
    expected = Rotation.from_quat(quaternion[0, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(rotation_from_quaternion(quaternion)[0], expected, atol=1e-14)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns(axis: int) -> None:
    rotation = -np.eye(3)
    rotation[axis, axis] = 1
    expected = np.zeros(4)
    expected[axis + 1] = 1
    np.testing.assert_allclose(np.abs(quaternion_from_rotation(rotation[None])[0]), expected, atol=1e-15)


def test_quarter_turn_about_z() -> None:
    turn = np.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    np.testing.assert_allclose(quaternion_from_rotation(turn), [[np.sqrt(0.5), 0, 0, np.sqrt(0.5)]], atol=1e-15)


def test_none() -> None:
    assert quaternion_from_rotation(np.zeros((0, 3, 3))).shape == (0, 4)
    assert rotation_from_quaternion(np.zeros((0, 4))).shape == (0, 3, 3)
