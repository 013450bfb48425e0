"""The backbone: sizes, independence of scenes, order of voxels, and what training draws from its seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from volt_scenes import SMALL, network, one_batch, voxel_scene

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.volt import VOLT_B, VOLT_CONFIGS, VOLT_S, SegmentorOptions, Volt, VoltOptions, VoxelScene
from recon3d.pointcloud.volt.backbone import DropPath, VoltBlock


def parameters(options: VoltOptions) -> int:
    with torch.device("meta"):
        return sum(one.numel() for one in Volt(options).parameters())


@pytest.mark.parametrize(
    ("options", "want"),
    [
        (VOLT_S, 23_683_584),
        (replace(VOLT_S, in_channels=4), 23_587_584),
        (VOLT_B, 94_025_728),
        (replace(VOLT_B, up_dim=128), 87_782_784),
    ],
)
def test_parameter_counts(options: VoltOptions, want: int) -> None:
    assert parameters(options) == want


@pytest.mark.parametrize("name", VOLT_CONFIGS)
def test_every_named_size_can_be_built(name: str) -> None:
    assert parameters(VOLT_CONFIGS[name]) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"dim": 0},
        {"dim": 63},
        {"heads": 5},
        {"drop_path": 1.0},
        {"rope_split": (1, 1, 1)},
        {"rope_split": (40, -4, -4)},
    ],
)
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        VoltOptions(**wrong)


def test_a_segmentor_needs_classes() -> None:
    for classes in ({}, {"rooms": 0}):
        with pytest.raises(UsageError, match="needs classes"):
            SegmentorOptions(classes=classes)


def test_scenes_in_a_batch_do_not_feel_each_other() -> None:
    model, scenes = network(), [voxel_scene(seed, count) for seed, count in ((1, 40), (2, 90), (3, 5))]
    together = model(one_batch(*scenes))
    alone = torch.cat([model(one_batch(scene)) for scene in scenes])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_an_empty_scene_in_the_middle_changes_nothing() -> None:
    model, first, last = network(), voxel_scene(1), voxel_scene(2)
    empty = VoxelScene(grid=np.zeros((0, 3), np.int64), features=np.zeros((0, 6), np.float32))
    torch.testing.assert_close(model(one_batch(first, empty, last)), model(one_batch(first, last)))
    assert model(one_batch(empty)).shape == (0, SMALL.up_dim)


def test_one_voxel_alone() -> None:
    assert network()(one_batch(voxel_scene(1, 1))).isfinite().all()


def test_permuted_voxels_give_permuted_features() -> None:
    model, scene = network(), voxel_scene(4)
    order = np.random.default_rng(0).permutation(len(scene))
    moved = VoxelScene(grid=scene.grid[order], features=scene.features[order])
    torch.testing.assert_close(model(one_batch(moved)), model(one_batch(scene))[order], atol=1e-5, rtol=1e-5)


def test_moving_a_scene_by_whole_patches_changes_nothing() -> None:
    model, scene = network(), voxel_scene(5)
    moved = VoxelScene(grid=scene.grid + 3 * np.array([4, -7, 100]), features=scene.features)
    torch.testing.assert_close(model(one_batch(moved)), model(one_batch(scene)), atol=1e-5, rtol=1e-4)
    part = VoxelScene(grid=scene.grid + 1, features=scene.features)
    assert not torch.allclose(model(one_batch(part)), model(one_batch(scene)), atol=1e-3)


def test_mixed_scenes_share_attention() -> None:
    model, batch = network(), one_batch(voxel_scene(1), voxel_scene(2))
    mixed = replace(batch, offset=batch.offset[-1:])
    assert not torch.allclose(model(mixed), model(batch), atol=1e-3)
    torch.testing.assert_close(model(mixed), model(mixed), rtol=0, atol=0)


def test_wrong_features_are_named() -> None:
    batch = one_batch(voxel_scene(1))
    with pytest.raises(ShapeError, match="4 channels"):
        network()(replace(batch, features=batch.features[:, :4]))


def test_the_fused_cpu_kernel_takes_the_sequences() -> None:
    """Any other kernel would raise here, or build the matrix of all pairs."""
    model, batch = network(), one_batch(voxel_scene(1), voxel_scene(2, 90))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.profiler.profile() as seen, torch.inference_mode():
        model(batch)
    assert any("flash_attention_for_cpu" in one.key for one in seen.key_averages())


@pytest.mark.parametrize("changes", [{"qk_norm": False}, {"layer_scale": 0.1}, {"rope_split": (4, 2, 2)}])
def test_variants_run_and_differ(changes: dict[str, object]) -> None:
    batch = one_batch(voxel_scene(1))
    varied = network(replace(SMALL, **changes))
    assert varied(batch).isfinite().all()
    assert ("blocks.0.ls1.gamma" in varied.state_dict()) == ("layer_scale" in changes)
    assert ("blocks.0.attn.q_norm.weight" in varied.state_dict()) == ("qk_norm" not in changes)
    assert not torch.allclose(varied(batch), network()(batch), atol=1e-3)


def test_layer_scale_of_zero_leaves_the_tokens() -> None:
    block = VoltBlock(replace(SMALL, layer_scale=0.0), 0.0)
    x = torch.randn(5, 32)
    rotation = torch.ones(5, 1, 8, dtype=torch.complex64)
    torch.testing.assert_close(block(x, rotation, (5,)), x, rtol=0, atol=0)


def test_drop_path_keeps_the_mean_and_drops_whole_tokens() -> None:
    layer = DropPath(0.25).train()
    out = layer(torch.ones(4000, 3))
    dropped = (out == 0).all(1)
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(out[~dropped], torch.full_like(out[~dropped], 1 / 0.75))
    torch.testing.assert_close(layer.eval()(torch.ones(4, 3)), torch.ones(4, 3))


def trained_features(seed: int) -> Tensor:
    model = network(replace(SMALL, drop_path=0.5)).train()
    model.seed_drop_path(seed)
    return model(one_batch(voxel_scene(1)))


def test_drop_path_depends_on_its_seed_only() -> None:
    torch.manual_seed(1)
    first = trained_features(3)
    torch.manual_seed(2)
    torch.testing.assert_close(trained_features(3), first, rtol=0, atol=0)
    assert not torch.allclose(trained_features(4), first)


def test_initial_weights_depend_on_their_seed_only() -> None:
    models = [Volt(replace(SMALL, dim=128)) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        model.initialise(seed)
    first, same, other = (one.blocks[0].mlp.fc1.weight for one in models)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert first.std().item() == pytest.approx(0.02, rel=0.05)
    linear = [one for one in models[0].modules() if isinstance(one, nn.Linear) and one.bias is not None]
    assert linear and not any(one.bias.any() for one in linear)


def test_gradients_reach_every_parameter() -> None:
    model = network().train()
    model(one_batch(voxel_scene(1), voxel_scene(2))).square().sum().backward()
    assert not [name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()]
