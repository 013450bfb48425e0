"""Boxes as the numbers of the head, and back."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.pointcloud.flatformer import detector_options
from recon3d.pointcloud.flatformer.coding import decode_boxes, encode_boxes, map_cells

TINY = detector_options("flatformer-tiny")
LEGACY = detector_options("flatformer-tiny", box_convention="mmdet3d_v0")
STILL = torch.zeros(1, 2)


@settings(max_examples=60)
@given(
    place=st.tuples(st.floats(-10.2, 12.7), st.floats(-20.4, 15.3), st.floats(-3, 2)),
    sides=st.tuples(*[st.floats(0.1, 20)] * 3),
    yaw=st.floats(-10, 10),
    convention=st.sampled_from(["recon3d", "mmdet3d_v0"]),
    stride=st.sampled_from([1, 2, 4]),
)
def test_a_box_comes_back(
    place: tuple[float, ...], sides: tuple[float, ...], yaw: float, convention: str, stride: int
) -> None:
    options = replace(TINY, box_convention=convention, stride=stride)
    box = torch.tensor([[*place, *sides, yaw]])
    codes, cell = encode_boxes(box, STILL, options)
    assert bool(((codes[:, :2] >= 0) & (codes[:, :2] < 1)).all())
    back, speed = decode_boxes(codes, cell, options)
    torch.testing.assert_close(back[:, :6], box[:, :6], rtol=1e-5, atol=1e-5)
    turn = float(back[0, 6] - box[0, 6])
    assert abs(math.remainder(turn, 2 * math.pi)) < 1e-4
    assert -math.pi <= float(back[0, 6]) < math.pi
    assert torch.equal(speed, STILL)


def test_numbers_of_a_box_by_hand() -> None:
    box = torch.tensor([[-10.24 + 3.5 * 0.32, -20.48 + 7.25 * 0.32, -1.0, 4.0, 2.0, 1.5, 0.3]])
    speed = torch.tensor([[3.0, -4.0]])
    codes, cell = encode_boxes(box, speed, TINY)
    assert cell.tolist() == [[3, 7]]
    want = [0.5, 0.25, -1.0, math.log(4), math.log(2), math.log(1.5), math.sin(0.3), math.cos(0.3), 3.0, -4.0]
    torch.testing.assert_close(codes[0], torch.tensor(want), rtol=0, atol=2e-5)
    old, _ = encode_boxes(box, speed, LEGACY)
    turned = -0.3 - math.pi / 2  # the angle of that code
    want[3:8] = [math.log(2), math.log(4), math.log(1.5), math.sin(turned), math.cos(turned)]
    torch.testing.assert_close(old[0], torch.tensor(want), rtol=0, atol=2e-5)


def test_a_centre_before_the_map_is_cut_off_towards_zero() -> None:
    codes, cell = encode_boxes(torch.tensor([[-10.24 - 0.16, -20.0, 0, 1, 1, 1, 0]]), STILL, TINY)
    assert cell[0, 0] == 0
    assert float(codes[0, 0]) == pytest.approx(-0.5, abs=1e-4)


def test_a_head_without_velocities_says_that_they_are_unknown() -> None:
    codes, cell = encode_boxes(torch.tensor([[0.0, 0, 0, 1, 1, 1, 0]]), STILL, TINY)
    boxes, speeds = decode_boxes(codes[:, :8], cell, TINY)
    assert boxes.shape == (1, 7)
    assert bool(speeds.isnan().all())


def test_a_direction_of_any_length_is_one_angle() -> None:
    codes, cell = encode_boxes(torch.tensor([[0.0, 0, 0, 1, 1, 1, 0.7]]), STILL, TINY)
    longer = codes.clone()
    longer[:, 6:8] *= 5
    assert torch.allclose(decode_boxes(longer, cell, TINY)[0], decode_boxes(codes, cell, TINY)[0], atol=1e-6)


def test_half_a_turn_is_minus_pi() -> None:
    codes, cell = encode_boxes(torch.tensor([[0.0, 0, 0, 1, 1, 1, 0]]), STILL, TINY)
    codes[:, 6:8] = torch.tensor([0.0, -1.0])
    assert float(decode_boxes(codes, cell, TINY)[0][0, 6]) == pytest.approx(-math.pi)


def test_cells_are_numbered_row_by_row() -> None:
    found = map_cells(torch.arange(12).view(3, 4), 4)
    assert found[2, 1].tolist() == [1, 2]
    assert torch.equal(found[..., 1] * 4 + found[..., 0], torch.arange(12).view(3, 4))


def test_gradients_of_decoding() -> None:
    codes, cell = encode_boxes(torch.tensor([[1.0, 2, 0, 3, 1, 1, 0.7]]), STILL, TINY)
    leaf = codes.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: decode_boxes(value, cell, TINY)[0], (leaf,))
    assert torch.autograd.gradcheck(lambda value: decode_boxes(value, cell, LEGACY)[0], (leaf,))
