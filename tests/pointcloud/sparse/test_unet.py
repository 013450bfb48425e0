"""Facts about the SparseUNets that need no reference outputs."""

from __future__ import annotations

import pytest
import torch

from recon3d.core.errors import FormatError, InputError, ShapeError, UsageError
from recon3d.pointcloud.sparse import PromptedSparseUNet, SparseTensor, SparseUNet, SparseUNetOptions, voxel_tensor

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


def one_scene(n: int = 80, seed: int = 0) -> SparseTensor:
    grid, features = scene(n, seed)
    return voxel_tensor(grid, features, torch.tensor([n]))


def test_names_are_those_of_the_published_code() -> None:
    plain, prompted = SparseUNet(SMALL), PromptedSparseUNet(SMALL, 5, ("a", "b"))
    names = set(plain.state_dict())
    assert {"conv_input.0.weight", "conv_input.1.running_var", "final.weight", "final.bias"} <= names
    assert {"down.0.0.weight", "down.1.1.weight", "up.1.0.weight", "enc.0.block0.conv1.weight"} <= names
    assert {"enc.1.block0.bn2.num_batches_tracked", "dec.0.block0.proj.0.weight", "dec.1.block0.proj.1.bias"} <= names
    assert not any(name.startswith("enc.") and "proj" in name for name in names)  # their channels do not change
    other = set(prompted.state_dict())
    assert {"conv_input.conv.weight", "conv_input.bn.bns.1.weight", "dec.0.block0.proj_conv.weight"} <= other
    assert {"dec.0.block0.proj_norm.modulation.1.bias", "enc.0.block0.bn1.bns.0.running_mean"} <= other


def test_stages_come_in_order_with_their_voxels_and_channels() -> None:
    x = one_scene()
    found = dict(SparseUNet(SMALL).steps(x))
    assert list(found) == ["conv_input", "down.0", "enc.0", "down.1", "enc.1", "up.1", "dec.1", "up.0", "dec.0"]
    channels = {name: one.features.shape[1] for name, one in found.items()}
    assert channels == dict(zip(found, (4, 4, 4, 6, 6, 6, 6, 4, 4), strict=True))
    halved = {tuple(row) for row in (x.indices // torch.tensor([1, 2, 2, 2], dtype=torch.int32)).tolist()}
    assert {tuple(row) for row in found["enc.0"].indices.tolist()} == halved
    assert found["dec.1"].sites is found["enc.0"].sites
    assert found["dec.0"].sites is x.sites


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_voxels_pass(n: int) -> None:
    out = SparseUNet(SMALL).eval()(one_scene(n))
    assert out.shape == (n, 4)
    assert bool(out.isfinite().all())
    nothing = SparseUNet(SMALL).eval()(voxel_tensor(*scene(0), torch.zeros(0, dtype=torch.int64)))
    assert nothing.shape == (0, 4)


def test_empty_scenes_between_others_change_nothing() -> None:
    net = SparseUNet(SMALL).eval()
    grid, features = scene()
    alone = net(voxel_tensor(grid, features, torch.tensor([80])))
    padded = net(voxel_tensor(grid, features, torch.tensor([0, 80, 80])))
    torch.testing.assert_close(padded, alone)


def test_a_shift_by_whole_coarse_voxels_changes_nothing() -> None:
    net = SparseUNet(SMALL).eval()
    grid, features = scene()
    moved = net(voxel_tensor(grid + torch.tensor([4, 8, 40]), features, torch.tensor([80])))
    torch.testing.assert_close(moved, net(voxel_tensor(grid, features, torch.tensor([80]))), rtol=0, atol=1e-5)


def test_gradients_reach_every_parameter_and_agree_with_differences() -> None:
    torch.manual_seed(0)
    net = SparseUNet(SMALL).double().eval()  # fixed statistics: the loss is smooth but for the ReLUs
    x = one_scene(40)
    x = x.with_features(x.features.double())
    weights = torch.randn(40, 4, generator=torch.Generator().manual_seed(1)).double()
    (net(x) * weights).sum().backward()
    for name, one in net.named_parameters():
        assert one.grad is not None, name
        assert bool(one.grad.isfinite().all()), name
    for name in ("conv_input.0.weight", "down.1.0.weight", "up.1.0.weight", "dec.0.block0.proj.0.weight", "final.bias"):
        one = net.get_parameter(name)
        assert one.grad is not None
        direction = torch.sign(one.grad)
        sides = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                one += step * direction
                sides.append(float((net(x) * weights).sum()))
                one -= step * direction
        assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(float((one.grad * direction).sum()), rel=1e-4), name


def test_norms_of_data_sets_learn_for_themselves() -> None:
    net = PromptedSparseUNet(SMALL, 5, ("a", "b"))
    context = torch.randn(1, 5, generator=torch.Generator().manual_seed(3))
    before = {name: one.clone() for name, one in net.state_dict().items()}
    net(one_scene(), "b", context)
    moved = {name for name, one in net.state_dict().items() if not torch.equal(one, before[name])}
    assert moved
    assert all(".bns.1." in name for name in moved)


@pytest.mark.parametrize("condition", ["a", "b"])
def test_folded_weights_are_those_of_the_plain_network(condition: str) -> None:
    net = PromptedSparseUNet(SMALL, 5, ("a", "b"))
    context = torch.randn(1, 5, generator=torch.Generator().manual_seed(3))
    net(one_scene(), condition, context)
    net.double().eval()
    context = context.double()
    plain = net.folded(condition, context)
    x = one_scene()
    x = x.with_features(x.features.double())
    assert set(plain.state_dict()) == set(SparseUNet(SMALL).state_dict())
    assert not plain.training
    torch.testing.assert_close(plain(x), net(x, condition, context), rtol=1e-12, atol=1e-12)
    other = net(x, {"a": "b", "b": "a"}[condition], context)
    assert float((plain(x) - other).detach().abs().max()) > 1e-7  # that norm has seen nothing yet


def test_what_a_prompted_network_is_told_is_checked(without_shape_checks: None) -> None:
    net = PromptedSparseUNet(SMALL, 5, ("a", "b"))
    with pytest.raises(UsageError, match=r"unknown data set.*c.*a, b"):
        net(one_scene(), "c", torch.zeros(1, 5))
    with pytest.raises(ShapeError, match="embedding of a data set"):
        net(one_scene(), "a", torch.zeros(1, 6))


def test_sizes_are_read_from_weights() -> None:
    options = SparseUNetOptions(5, 0, 3, (4, 5, 6, 6, 5, 4), (1, 2, 1, 2, 1, 1))
    for net in (SparseUNet(options), PromptedSparseUNet(options, 7, ("a", "b", "c"))):
        state = {f"module.backbone.{name}": one for name, one in net.state_dict().items()}
        state["module.seg_head.weight"] = torch.zeros(2)  # not of the backbone
        again = type(net).from_state(state) if isinstance(net, SparseUNet) else type(net).from_state(state, "abc")
        assert again.options == options
        assert all(torch.equal(one, net.state_dict()[name]) for name, one in again.state_dict().items())
    with pytest.raises(FormatError, match="do not fit"):
        PromptedSparseUNet.from_state(net.state_dict(), "ab")


@pytest.mark.parametrize("wrong", [((4, 4, 4), (1, 1, 1)), ((4, 4), (1,)), ((), ())])
def test_stages_come_in_pairs(wrong: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match="as many stages down as up"):
        SparseUNetOptions(3, 4, 4, *wrong)


def test_scenes_are_checked() -> None:
    grid, features = scene()
    for offset in ([80, 79], [79], [90, 80], []):
        with pytest.raises(ShapeError, match="offsets"):
            voxel_tensor(grid, features, torch.tensor(offset, dtype=torch.int64))
    with pytest.raises(InputError, match="outside the grid"):
        voxel_tensor(grid - 1, features, torch.tensor([80]))
    with pytest.raises(InputError, match="hold one voxel"):
        voxel_tensor(torch.cat([grid, grid[:1]]), torch.cat([features, features[:1]]), torch.tensor([81]))
    twice = voxel_tensor(torch.cat([grid, grid]), torch.cat([features, features]), torch.tensor([80, 160]))
    assert (twice.batch_size, len(twice)) == (2, 160)  # of two scenes each may hold it
    assert all(n == top + 96 for n, top in zip(twice.spatial_shape, grid.amax(0).tolist(), strict=True))
    with pytest.raises(ShapeError, match="channels"):
        SparseUNet(SMALL)(twice.with_features(torch.zeros(160, 2)))
