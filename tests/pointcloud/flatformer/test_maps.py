"""The 2D network and the head: layers, their folding in evaluation, and gradients of the whole at batch size 1."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recon3d.pointcloud.flatformer import EncoderOptions, PillarDetector, PillarGrid, detector_options
from recon3d.pointcloud.flatformer.bev import BevBackbone, BevNeck, scatter_bev
from recon3d.pointcloud.flatformer.head import CenterHead
from recon3d.pointcloud.flatformer.normed import NormedSequence, normed

GRID = PillarGrid(lower=(0.0, 0.0, -2.0), upper=(2.56, 3.84, 2.0), size=(0.32, 0.32, 4.0))  # 8 by 12 cells
SMALL = replace(
    detector_options("flatformer-tiny"),
    grid=GRID,
    vfe_channels=(4, 8),
    encoder=EncoderOptions(channels=8, heads=2, blocks=1, window=(3, 3), group=6, cells=GRID.shape[:2]),
    backbone_channels=(4, 6),
    backbone_layers=(1, 1),
    neck_channels=5,
    shared_channels=6,
    branch_channels=4,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(module: nn.Module) -> nn.Module:
    """Norms that have seen something, as after training."""
    torch.manual_seed(1)
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.uniform_(one.weight, 0.5, 2)
            nn.init.normal_(one.bias)
            one.running_mean.normal_()  # type: ignore[union-attr, operator]
            one.running_var.uniform_(0.3, 3)  # type: ignore[union-attr, operator]
    return module.eval()


def test_pillars_are_scattered_to_their_rows_and_columns() -> None:
    coords = torch.tensor([[1, 0, 2, 3], [0, 0, 0, 0], [1, 0, 3, 1]])
    features = draw(3, 4)
    found = scatter_bev(coords, features, 3, (4, 5))
    assert found.shape == (3, 4, 4, 5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for (sample, _, row, column), one in zip(coords.tolist(), features, strict=True):
        assert torch.equal(found[sample, :, row, column], one)
    assert int(found.any(1).sum()) == 3
    assert not found[2].any()
    leaf = features.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: scatter_bev(coords, value, 3, (4, 5)), (leaf,))


CONVOLUTIONS: list[tuple[Any, tuple[int, int]]] = [
    (lambda: nn.Conv2d(3, 5, 3, 1, 1, bias=False), (9, 8)),
    (lambda: nn.Conv2d(3, 5, 3, 2, 1, bias=False), (9, 8)),
    (lambda: nn.ConvTranspose2d(3, 5, 1, 1, bias=False), (9, 8)),
    (lambda: nn.ConvTranspose2d(3, 5, 2, 2, bias=False), (5, 4)),
]


@pytest.mark.parametrize(("make", "size"), CONVOLUTIONS)
def test_the_norm_goes_into_the_convolution(make: Any, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = trained(NormedSequence(make(), nn.BatchNorm2d(5, eps=1e-3))).double()
    x = draw(2, 3, *size).double()
    plain = torch.relu(layer[1](layer[0](x)))  # type: ignore[index]
    assert torch.equal(layer(x), plain)  # with gradients: one after the other
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain, rtol=1e-12, atol=1e-12)
        assert float(layer(x).min()) == 0
    assert list(layer.state_dict())[:2] == ["0.weight", "1.weight"]


def test_statistics_are_gathered_in_training_only() -> None:
    norm, convolution = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1, bias=False)
    with torch.no_grad():
        first = normed(convolution, norm, draw(2, 2, 4, 4))
    assert norm.running_mean is not None
    assert bool(norm.running_mean.any())  # without gradients too
    assert float(first.min()) == 0
    before = norm.running_mean.clone()
    norm.eval()
    with torch.no_grad():
        normed(convolution, norm, draw(2, 2, 4, 4))
    assert torch.equal(norm.running_mean, before)
    free = nn.BatchNorm2d(2, track_running_stats=False).eval()
    assert bool(normed(convolution, free, draw(2, 2, 4, 4)).isfinite().all())


@pytest.mark.parametrize("stride", [1, 2])
def test_the_network_is_the_same_with_and_without_gradients(stride: int) -> None:
    torch.manual_seed(0)
    options = replace(SMALL, stride=stride)
    parts = [trained(one).double() for one in (BevBackbone(options), BevNeck(options), CenterHead(options))]
    x = draw(2, 8, 12, 8).double().to(memory_format=torch.channels_last)
    kept = x.clone()

    def run() -> dict[str, Tensor]:
        found: dict[str, Tensor] = parts[2](parts[1](parts[0](x)))
        return found

    slow = run()
    with torch.no_grad():
        fast = run()
    assert torch.equal(x, kept)  # nothing was changed in place that belongs to the caller
    for name, one in slow.items():
        torch.testing.assert_close(fast[name], one, rtol=1e-10, atol=1e-10)
        assert one.shape[2:] == (12 // stride, 8 // stride)


def test_a_layer_of_equal_shape_adds_its_input_after_the_relu() -> None:
    torch.manual_seed(0)
    backbone = trained(BevBackbone(SMALL))
    x = draw(1, 8, 12, 8)
    first, second = backbone.blocks[0]  # type: ignore[misc, index]
    halfway = first(x)
    torch.testing.assert_close(backbone(x)[0], second(halfway) + halfway)
    assert [one.shape[1:] for one in backbone(x)] == [(4, 12, 8), (6, 6, 4)]


def test_both_stages_stand_side_by_side() -> None:
    torch.manual_seed(0)
    neck, maps = trained(BevNeck(SMALL)), [draw(1, 4, 12, 8), draw(1, 6, 6, 4, seed=1)]
    found = neck(maps)
    assert found.shape == (1, 10, 12, 8)
    other = neck([maps[0], maps[1] + 1])
    assert torch.equal(other[:, :5], found[:, :5])
    assert not torch.equal(other[:, 5:], found[:, 5:])


def test_the_head_has_the_official_names_and_begins_without_boxes() -> None:
    head = CenterHead(SMALL)
    names = list(head.task_heads[0])  # type: ignore[arg-type]
    assert names == ["reg", "height", "dim", "rot", "vel", "iou", "heatmap"]
    assert "vel" not in list(CenterHead(replace(SMALL, velocity=False)).task_heads[0])  # type: ignore[arg-type]
    state = head.state_dict()
    assert {"shared_conv.conv.weight", "shared_conv.bn.bias", "task_heads.0.rot.0.conv.weight"} <= set(state)
    assert state["task_heads.0.heatmap.1.bias"].tolist() == pytest.approx([-2.19] * 3)
    share = head.eval()(torch.zeros(1, 10, 4, 4))["heatmap"].sigmoid()
    assert float(share.detach().max()) < 0.2


def test_weights_load_strictly_or_not_at_all() -> None:
    torch.manual_seed(0)
    state = PillarDetector(SMALL).state_dict()
    again = PillarDetector(SMALL)
    again.load_state_dict(state)
    assert all(torch.equal(one, state[name]) for name, one in again.state_dict().items())
    with pytest.raises(RuntimeError, match=r"Missing key.*neck\.deblocks"):
        again.load_state_dict({name: one for name, one in state.items() if not name.startswith("neck")})
    with pytest.raises(RuntimeError, match="size mismatch"):
        PillarDetector(replace(SMALL, neck_channels=6)).load_state_dict(state)


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_of_the_whole_network_behind_the_pillars(training: bool) -> None:
    torch.manual_seed(0)
    network = PillarDetector(SMALL).double().train(training)
    cells = torch.randperm(96, generator=torch.Generator().manual_seed(2))[:20].sort().values
    coords = torch.stack([torch.zeros(20).long(), torch.zeros(20).long(), cells // 8, cells % 8], 1)
    leaf = draw(20, 8).double().requires_grad_()
    weights = {name: draw(*one.shape, seed=3).double() for name, one in run(network, coords, leaf).items()}

    def value(features: Tensor) -> Tensor:
        return torch.stack([(one * weights[name]).sum() for name, one in run(network, coords, features).items()]).sum()

    value(leaf).backward()
    direction = draw(20, 8, seed=4).double()
    sides = [float(value(leaf.detach() + step * direction).detach()) for step in (1e-6, -1e-6)]
    assert leaf.grad is not None
    assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(float((leaf.grad * direction).sum()), rel=1e-4, abs=1e-6)
    for name, one in network.named_parameters():
        assert name.startswith("voxel_encoder") or (one.grad is not None and bool(one.grad.isfinite().all())), name


def run(network: PillarDetector, coords: Tensor, features: Tensor) -> dict[str, Tensor]:
    encoded = network.middle_encoder(coords, features, 1)
    maps: dict[str, Tensor] = network.bbox_head(
        network.neck(network.backbone(scatter_bev(coords, encoded, 1, (12, 8))))
    )
    return maps
