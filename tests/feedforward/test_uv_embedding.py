from __future__ import annotations

import math

import pytest
import torch

from recon3d.feedforward.layers.uv_embedding import uv_embedding

LIKE = torch.zeros((), dtype=torch.float64)


def test_the_channels_are_sine_and_cosine_of_u_then_of_v() -> None:
    rows, cols, aspect = 3, 5, 2.0
    found = uv_embedding(8, (rows, cols), aspect, like=LIKE)
    assert found.shape == (8, rows, cols)
    diagonal = math.hypot(aspect, 1.0)
    u = aspect / diagonal * ((2 * 4 + 1) / cols - 1)  # column 4
    v = 1.0 / diagonal * ((2 * 0 + 1) / rows - 1)  # row 0
    waves = [math.sin(u), math.sin(u / 10), math.cos(u), math.cos(u / 10)]
    waves += [math.sin(v), math.sin(v / 10), math.cos(v), math.cos(v / 10)]
    assert torch.allclose(found[:, 0, 4], 0.1 * torch.tensor(waves, dtype=torch.float64))


def test_a_place_means_the_same_in_every_resolution() -> None:
    coarse, fine = (uv_embedding(16, (n, n), 1.0, like=LIKE) for n in (3, 9))
    assert torch.allclose(coarse[:, 1, 2], fine[:, 4, 7])


def test_the_middle_is_zero_and_the_sides_are_opposite() -> None:
    found = uv_embedding(8, (5, 7), 1.5, like=LIKE)
    assert torch.allclose(found[:2, :, 3], torch.zeros(2, 5, dtype=torch.float64), atol=1e-15)
    assert torch.allclose(found[:2], -found[:2].flip(-1))
    assert torch.allclose(found[2:4], found[2:4].flip(-1))


def test_a_wide_image_spans_more_of_u_than_of_v() -> None:
    found = uv_embedding(4, (64, 64), 3.0, like=LIKE)
    assert found[0].max() / found[2].max() == pytest.approx(math.sin(3 / 10**0.5) / math.sin(1 / 10**0.5), rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_follows_the_maps(dtype: torch.dtype) -> None:
    assert uv_embedding(8, (2, 2), 1.0, like=torch.zeros((), dtype=dtype)).dtype == dtype
