"""Facts about the SparseUNets that need no reference outputs."""

from __future__ import annotations

import pytest
import torch

from recon3d.core.errors import FormatError, ShapeError, UsageError
from recon3d.pointcloud.sparse import PromptedSparseUNet, SparseUNet, SparseUNetOptions, voxel_tensor

SMALL = SparseUNetOptions(3, 4, 4, (4, 6, 6, 4), (1, 1, 1, 1))


def scene(n: int = 80, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randperm(9**3, generator=generator)[:n]
    grid = torch.stack([keys // 81, keys // 9 % 9, keys % 9], 1)
    return grid, torch.randn(n, 3, generator=generator)


def test_the_published_networks_have_their_numbers_of_parameters() -> None:
    with torch.device("meta"):
        plain, prompted = SparseUNet(), PromptedSparseUNet()
    assert sum(one.numel() for one in plain.parameters()) == 39_157_844
    assert sum(one.numel() for one in prompted.parameters()) == 43_598_272


def test_rows_and_scenes_do_not_depend_on_each_other() -> None:
    net = SparseUNet(SMALL).eval()
    grid, features = scene()
    alone = net(voxel_tensor(grid, features, torch.tensor([80])))
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    turned = net(voxel_tensor(grid[order], features[order], torch.tensor([80])))
    assert torch.allclose(turned, alone[order], atol=1e-5)
    other, more = scene(50, 2)
    both = net(voxel_tensor(torch.cat([grid, other]), torch.cat([features, more]), torch.tensor([80, 130])))
    assert torch.allclose(both[:80], alone, atol=1e-5)


def test_folding_is_exact() -> None:
    net = PromptedSparseUNet(SMALL, 5, ("a", "b")).double()
    x = voxel_tensor(*(one.double() if one.is_floating_point() else one for one in scene()), torch.tensor([80]))
    context = torch.randn(1, 5, generator=torch.Generator().manual_seed(3)).double()
    net(x, "b", context)  # moves the running statistics of b
    net.eval()
    assert torch.allclose(net.folded("b", context)(x), net(x, "b", context), rtol=1e-12, atol=1e-12)
    with pytest.raises(UsageError, match="expected: a, b"):
        net.folded("c", context)


def test_foreign_weights_are_one_clear_error() -> None:
    state = SparseUNet(SMALL).state_dict()
    wrapped = {f"module.backbone.{name}": one for name, one in state.items()}
    assert SparseUNet.from_state(wrapped).options == SMALL
    with pytest.raises(FormatError, match="bn1"):
        SparseUNet.from_state({name: one for name, one in state.items() if ".bn1." not in name})
    with pytest.raises(FormatError, match="not the weights"):
        SparseUNet.from_state({"a": torch.zeros(1)})
    with pytest.raises(ShapeError, match="offsets"):
        voxel_tensor(*scene(), torch.tensor([79]))
