"""Layers: names, keys, normalisation, dense grids."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sparse_voxels import random_voxels
from torch import nn
from torch.autograd import gradcheck

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.sparse import (
    SparseBatchNorm,
    SparseConv3d,
    SparseInverseConv3d,
    SparseReLU,
    SparseSequential,
    SparseTensor,
    SubMConv3d,
)


def test_parameters_have_the_names_and_shapes_of_spconv() -> None:
    layers = (SubMConv3d(2, 5, (1, 3, 5)), SparseConv3d(2, 5, (1, 3, 5)), SparseInverseConv3d(2, 5, (1, 3, 5), "d"))
    for layer in layers:
        shapes = {name: tuple(one.shape) for name, one in layer.state_dict().items()}
        assert shapes == {"weight": (5, 1, 3, 5, 2), "bias": (5,)}
    assert list(SubMConv3d(2, 5, 3, bias=False).state_dict()) == ["weight"]


@pytest.mark.parametrize("kernel", [1, 3, (1, 3, 3)])
def test_fresh_weights_stay_in_their_bound(kernel: Any) -> None:
    torch.manual_seed(0)
    layer = SubMConv3d(16, 40, kernel)
    bound = (16 * layer.window.volume) ** -0.5
    assert bound * 0.9 < float(layer.weight.detach().abs().max()) <= bound
    assert layer.bias is not None
    assert float(layer.bias.detach().abs().max()) <= bound
    assert abs(float(layer.weight.detach().mean())) < bound / 5


def test_a_submanifold_layer_ignores_stride_and_padding() -> None:
    x = random_voxels(40, (5, 5, 5), 2, dtype=torch.float32)
    torch.manual_seed(0)
    plain = SubMConv3d(2, 3, 3)
    odd = SubMConv3d(2, 3, 3, stride=2, padding=7)
    odd.load_state_dict(plain.state_dict())
    assert torch.equal(odd(x).features, plain(x).features)


def test_sites_and_rulebooks_are_handed_on_not_made_again() -> None:
    x = random_voxels(40, (5, 5, 5), 2, dtype=torch.float32)
    first, second = SubMConv3d(2, 3, 3, indice_key="a"), SubMConv3d(3, 2, 3, indice_key="a")
    y = second(first(x))
    assert y.sites is x.sites
    assert y.indices is x.indices
    assert list(y.keys) == ["a"]
    assert list(x.keys) == []  # the input is not changed
    assert len(x.sites.rules) == 1
    coarse = SparseConv3d(2, 2, 2, 2, indice_key="d")(y)
    assert sorted(coarse.keys) == ["a", "d"]
    back = SparseInverseConv3d(2, 2, 2, "d")(coarse)
    assert back.sites is x.sites
    assert SubMConv3d(2, 3, 3, indice_key="a")(back).keys["a"] is y.keys["a"]


def test_a_kernel_of_one_entry_leaves_no_key() -> None:
    x = random_voxels(10, (5, 5, 5), 2, dtype=torch.float32)
    y = SubMConv3d(2, 3, 3, indice_key="a")(SubMConv3d(2, 2, 1, indice_key="a")(x))
    assert y.keys["a"].window.kernel == (3, 3, 3)


def test_a_key_names_one_rulebook() -> None:
    x = random_voxels(10, (5, 5, 5), 2, dtype=torch.float32)
    y = SubMConv3d(2, 2, 3, indice_key="a")(x)
    with pytest.raises(UsageError, match=r"used for two rulebooks.*'a' holds.*on 10 voxels"):
        SparseConv3d(2, 2, 2, 2, indice_key="a")(y)
    with pytest.raises(UsageError, match="two rulebooks"):
        SubMConv3d(2, 2, 3, dilation=2, indice_key="a")(y)


def test_an_inverse_layer_names_the_partners_that_there_are() -> None:
    x = random_voxels(10, (5, 5, 5), 2, dtype=torch.float32)
    coarse = SparseConv3d(2, 2, 2, 2, indice_key="d")(x)
    with pytest.raises(UsageError, match="a SparseConv3d before"):
        SparseInverseConv3d(2, 2, 2, "d")(x)
    with pytest.raises(UsageError, match=r"indice_key 'e'.*'d' \(2, 2, 2\)"):
        SparseInverseConv3d(2, 2, 2, "e")(coarse)
    with pytest.raises(UsageError, match=r"kernel \(3, 3, 3\)"):
        SparseInverseConv3d(2, 2, 3, "d")(coarse)
    with pytest.raises(UsageError, match="no partner"):  # the fine voxels are not the outputs of the partner
        SparseInverseConv3d(2, 2, 2, "d")(SparseTensor(x.indices, x.features, (5, 5, 5), 2, coarse.keys, x.sites))


def test_voxels_that_the_partner_dropped_get_the_bias() -> None:
    rows = torch.tensor([[0, 4, 0, 0], [0, 1, 1, 1]], dtype=torch.int32)  # with stride 2, plane 4 is beyond the output
    x = SparseTensor(rows, torch.ones(2, 1), (5, 4, 4), 1)
    coarse = SparseConv3d(1, 1, 2, 2, indice_key="d")(x)
    assert coarse.indices.tolist() == [[0, 0, 0, 0]]
    up = SparseInverseConv3d(1, 3, 2, "d")
    assert torch.equal(up(coarse).features[0], up.bias)
    assert not torch.equal(up(coarse).features[1], up.bias)


@pytest.mark.parametrize("layer", [SubMConv3d(3, 2, 3), SubMConv3d(3, 2, 1), SparseConv3d(3, 2, 2, 2)])
def test_a_wrong_number_of_channels_is_named(layer: Any) -> None:
    with pytest.raises(ShapeError, match=r"channels of a sparse tensor.*2.*3"):
        layer(random_voxels(10, (5, 5, 5), 2, dtype=torch.float32))


def test_normalisation_is_over_the_voxels_of_all_items() -> None:
    x = random_voxels(60, (5, 5, 5), 3)
    ours, plain = SparseBatchNorm(3, eps=1e-3, momentum=0.1).double(), nn.BatchNorm1d(3, eps=1e-3).double()
    for _ in range(2):
        assert torch.equal(ours(x).features, plain(x.features))
    assert all(torch.equal(one, plain.state_dict()[name]) for name, one in ours.state_dict().items())
    by_hand = (x.features - x.features.mean(0)) / (x.features.var(0, unbiased=False) + 1e-3).sqrt()
    torch.testing.assert_close(ours(x).features, by_hand)
    ours.load_state_dict(plain.state_dict())
    ours.eval()
    assert torch.equal(ours(x).features, plain.eval()(x.features))
    assert torch.equal(ours(x.features), ours(x).features)  # plain features are taken too


def test_a_sequence_takes_sparse_and_plain_modules() -> None:
    x = random_voxels(30, (5, 5, 5), 3, dtype=torch.float32)
    torch.manual_seed(0)
    net = SparseSequential(SubMConv3d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), SubMConv3d(4, 2, 1), SparseReLU())
    y = net(x)
    step = torch.relu(net[1](net[0](x).features))
    assert torch.equal(y.features, torch.relu(net[3](y.with_features(step)).features))
    assert float(y.features.detach().min()) == 0
    assert sorted(net.state_dict())[:2] == ["0.bias", "0.weight"]


def test_a_dense_grid_holds_the_features_and_zeros() -> None:
    x = random_voxels(20, (3, 4, 5), 2)
    grid = x.dense()
    assert grid.shape == (2, 2, 3, 4, 5)
    for (b, i, j, k), row in zip(x.indices.tolist(), x.features, strict=True):
        assert torch.equal(grid[b, :, i, j, k], row)
    assert int((grid != 0).any(1).sum()) == 20
    leaf = x.features.clone().requires_grad_()
    assert gradcheck(lambda value: x.with_features(value).dense(), (leaf,))


def test_other_features_keep_voxels_and_keys() -> None:
    x = SubMConv3d(2, 3, 3, indice_key="a")(random_voxels(20, (3, 4, 5), 2, dtype=torch.float32))
    y = x.with_features(torch.zeros(20, 7))
    assert (y.sites, y.keys, len(y)) == (x.sites, x.keys, 20)
    assert y.features.shape == (20, 7)


def test_printed_layers_tell_their_sizes() -> None:
    assert "2, 5, kernel_size=(1, 3, 3), key='a'" in repr(SubMConv3d(2, 5, (1, 3, 3), indice_key="a"))


def test_a_small_network_learns_one_batch_by_heart() -> None:
    x = random_voxels(60, (6, 6, 6), 3, 1, dtype=torch.float32)
    torch.manual_seed(0)
    down = SparseSequential(SubMConv3d(3, 16, 3), SparseBatchNorm(16), SparseReLU())
    net = nn.ModuleList([down, SparseConv3d(16, 16, 2, 2, indice_key="d"), SparseInverseConv3d(16, 4, 2, "d")])
    labels = torch.randint(0, 4, (60,), generator=torch.Generator().manual_seed(2))
    best = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(30):
        y = x
        for part in net:
            y = part(y)
        loss = nn.functional.cross_entropy(y.features, labels)
        best.zero_grad()
        loss.backward()
        best.step()
    assert float(loss.detach()) < 0.25
