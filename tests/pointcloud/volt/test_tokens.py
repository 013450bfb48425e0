"""Voxels to patches and back: exact indices, the rule for shared slots, and the duality with dense convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn
from volt_scenes import SMALL, one_batch, voxel_scene

from recon3d.core.errors import InputError
from recon3d.pointcloud.volt.backbone import PatchEmbedding, Unembedding
from recon3d.pointcloud.volt.tokens import Tokens, patch_features, slot_owners, tokenised


def tokens(grid: list[list[int]], sequence: list[int], sequences: int = 1, patch_size: int = 5) -> Tokens:
    return tokenised(
        torch.tensor(grid, dtype=torch.long).reshape(-1, 3),
        torch.tensor(sequence, dtype=torch.long),
        sequences,
        patch_size,
    )


def test_patches_are_sorted_and_offsets_count_z_first() -> None:
    found = tokens([[7, 0, 3], [0, 9, 1], [4, 4, 4], [0, 9, 2]], [0, 0, 0, 0])
    assert found.index.tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert found.inverse.tolist() == [2, 1, 0, 1]
    assert found.slot.tolist() == [2 * 25 + 3, 4 * 5 + 1, 124, 4 * 5 + 2]
    assert found.lengths == (3,)


def test_sequences_do_not_share_patches_and_empty_ones_count() -> None:
    found = tokens([[0, 0, 0], [0, 0, 0], [9, 9, 9]], [0, 2, 2], 4)
    assert found.lengths == (1, 0, 2, 0)
    assert found.cu_seqlens().tolist() == [0, 1, 1, 3, 3]
    assert found.index[:, 0].tolist() == [0, 2, 2]


def test_negative_voxels_are_divided_towards_minus_infinity() -> None:
    found = tokens([[-1, 0, 0], [-5, 0, 0], [-6, 0, 0], [0, 0, 0]], [0] * 4)
    assert found.index[:, 1].tolist() == [-2, -1, 0]
    assert found.slot.tolist() == [4 * 25, 0, 4 * 25, 0]


def test_no_voxels_make_no_tokens() -> None:
    found = tokens([], [], 2)
    assert found.index.shape == (0, 4)
    assert found.lengths == (0, 0)
    assert patch_features(torch.zeros(0, 6), found).shape == (0, 750)


def test_a_scene_without_end_is_refused() -> None:
    far = 2**40
    with pytest.raises(InputError, match="extend too far"):
        tokens([[0, 0, 0], [far, far, far]], [0, 0])


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_tokens_are_the_sorted_unique_patches(seed: int, patch_size: int) -> None:
    rng = np.random.default_rng(seed)
    grid, sequence = rng.integers(-20, 20, (50, 3)), np.sort(rng.integers(0, 3, 50))
    found = tokenised(torch.from_numpy(grid), torch.from_numpy(sequence), 3, patch_size)
    rows = np.concatenate([sequence[:, None], grid // patch_size], axis=1)
    want, inverse = np.unique(rows, axis=0, return_inverse=True)
    assert np.array_equal(found.index, want)
    assert np.array_equal(found.inverse, inverse)
    inside = grid % patch_size
    assert np.array_equal(found.slot, (inside[:, 0] * patch_size + inside[:, 1]) * patch_size + inside[:, 2])


def test_of_voxels_in_one_slot_the_first_row_owns_it() -> None:
    found = tokens([[1, 1, 1], [2, 0, 0], [1, 1, 1], [2, 0, 0], [1, 1, 1]], [0] * 5)
    assert slot_owners(found).tolist() == [0, 1]
    features = torch.arange(5.0)[:, None] + 1
    dense = patch_features(features, found)
    assert dense[0, found.slot].tolist() == [1, 2, 1, 2, 1]
    assert dense.sum() == 3


def test_features_that_lost_their_slot_get_no_gradient() -> None:
    found, features = tokens([[0, 0, 0], [0, 0, 0]], [0, 0]), torch.ones(2, 3, requires_grad=True)
    patch_features(features, found).sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_gradients_of_patch_features() -> None:
    found = tokens([[0, 0, 0], [3, 1, 0], [0, 1, 0], [0, 0, 0]], [0] * 4, patch_size=2)
    features = torch.randn(4, 2, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: patch_features(x, found), (features,))


def dense_grid(grid: Tensor, features: Tensor, side: int) -> Tensor:
    out = torch.zeros(1, features.shape[1], side, side, side)
    out[0, :, grid[:, 0], grid[:, 1], grid[:, 2]] = features.T
    return out


def test_embedding_is_a_strided_convolution() -> None:
    batch = one_batch(voxel_scene(1))
    embedding = PatchEmbedding(SMALL)
    found = tokenised(batch.grid, batch.sequence(), 1, 3)
    weight = embedding.proj.weight.view(-1, 3, 3, 3, 6).permute(0, 4, 1, 2, 3)
    want = nn.functional.conv3d(dense_grid(batch.grid, batch.features, 12), weight, embedding.proj.bias, stride=3)
    x, y, z = found.index[:, 1:].T
    torch.testing.assert_close(embedding(batch.features, found), want[0, :, x, y, z].T)


def test_unembedding_is_a_transposed_convolution_at_the_voxels() -> None:
    batch = one_batch(voxel_scene(2))
    found = tokenised(batch.grid, batch.sequence(), 1, 3)
    layer = Unembedding(4, 3)
    nn.init.normal_(layer.bias)
    x = torch.randn(len(found.index), 4)
    weight = layer.proj.weight.view(3, 3, 3, 4, 4).permute(4, 3, 0, 1, 2)  # in, out, x, y, z
    dense = nn.functional.conv_transpose3d(dense_grid(found.index[:, 1:], x, 4), weight, layer.bias, stride=3)
    i, j, k = batch.grid.T
    torch.testing.assert_close(layer(x, found), dense[0, :, i, j, k].T)


def test_unembedding_undoes_an_embedding_that_only_selects() -> None:
    batch = one_batch(voxel_scene(3))
    found = tokenised(batch.grid, batch.sequence(), 1, 2)
    cells, channels = 8, 6
    dense = patch_features(batch.features, found)  # an embedding with unit weights
    layer = Unembedding(cells * channels, 2)
    weight = torch.zeros(cells, cells * channels, cells * channels)
    for cell in range(cells):
        weight[cell, :channels, cell * channels : (cell + 1) * channels] = torch.eye(channels)
    layer.proj.weight.data = weight.flatten(0, 1)
    torch.testing.assert_close(layer(dense, found)[:, :channels], batch.features)


def test_gradients_of_the_unembedding() -> None:
    found = tokens([[0, 0, 0], [3, 1, 0], [0, 1, 0], [3, 1, 1]], [0] * 4, patch_size=2)
    layer = Unembedding(3, 2).double()
    x = torch.randn(len(found.index), 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x, found), (x, layer.proj.weight, layer.bias))
