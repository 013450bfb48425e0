"""Volt against its public code with reduced sizes and seeded weights (shared/goldens/volt)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import ROOT, cases, load
from torch import Tensor, nn

from recon3d.formats.safetensors import read_safetensors
from recon3d.pointcloud.sparse import SparseUNet, voxel_tensor
from recon3d.pointcloud.volt.backbone import Volt
from recon3d.pointcloud.volt.batch import VoxelBatch, mixed_offset
from recon3d.pointcloud.volt.checkpoints import load_volt_state, options_of, segmentor_from_state
from recon3d.pointcloud.volt.elastic import elastic_noise_shape, elastically_moved
from recon3d.pointcloud.volt.geometry import centred, clipped_distance, flipped, scaled, turned
from recon3d.pointcloud.volt.grid import fnv_hashes, voxel_fragments, voxel_indices, voxel_order
from recon3d.pointcloud.volt.instance_losses import InstanceTargets, instance_loss, matched_queries
from recon3d.pointcloud.volt.instance_steps import parsed_instances
from recon3d.pointcloud.volt.instances import InstanceOptions, found_instances, matrix_nms
from recon3d.pointcloud.volt.losses import lovasz_softmax
from recon3d.pointcloud.volt.rope import rope_rotated, rope_rotations
from recon3d.pointcloud.volt.samples import Sample, indoor_scene
from recon3d.pointcloud.volt.segmentor import segmentor_loss
from recon3d.pointcloud.volt.spformer import InstanceHead, InstanceHeadOptions
from recon3d.pointcloud.volt.tokens import Tokens, tokenised

pytestmark = pytest.mark.golden
FOLDER = ROOT / "volt"
BACKBONES = "backbone_*/tensors.safetensors"
TRANSFORMS = "transforms*/transforms.npz"


def of_kind(pattern: str) -> pytest.MarkDecorator:
    """One parameter per folder that holds such a file."""
    found = cases("volt", pattern)
    named = [
        one if one.values[0] is None else pytest.param(one.values[0], id=one.values[0].parent.name) for one in found
    ]
    return pytest.mark.parametrize("path", named)


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize(
    "pattern",
    [BACKBONES, TRANSFORMS, *(f"{one}*/config.json" for one in ("rope", "segmentor", "spformer", "sparse_unet"))],
)
def test_the_default_set_holds_every_kind(pattern: str) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} is not there; RECON3D_GOLDENS names another folder")
    assert list(FOLDER.glob(pattern))


def arrays(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors beside a configuration, integers as int64, and the configuration."""
    found = read_safetensors(path.parent / "tensors.safetensors")
    whole = {name: one if one.is_floating_point() else one.long() for name, one in found.items()}
    return whole, json.loads((path.parent / "config.json").read_text())


def state_beside(path: Path) -> dict[str, Tensor]:
    return read_safetensors(path.parent / "state_dict.safetensors")


def relative(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape
    return float((got.detach() - want).abs().max() / want.abs().max())


def batch_of(golden: dict[str, Tensor], features: Tensor, offset: Tensor, conditions: tuple[str, ...]) -> VoxelBatch:
    return VoxelBatch(
        grid=golden["grid_coord"], features=features, offset=offset, unmixed_offset=offset, conditions=conditions
    )


def scene_ends(golden: dict[str, Tensor]) -> Tensor:
    return torch.bincount(golden["batch"]).cumsum(0)


def backbone(path: Path) -> Volt:
    state = state_beside(path)
    return load_volt_state(Volt(options_of(state)), state).eval()


def tokens_of(golden: dict[str, Tensor], patch_size: int) -> Tokens:
    return tokenised(golden["grid_coord"], golden["batch"], len(golden["cu_seqlens"]) - 1, patch_size)


@of_kind(BACKBONES)
def test_sizes_are_read_from_the_tensors(path: Path) -> None:
    (_, config), found = arrays(path), options_of(state_beside(path))
    want = config["config"]
    assert (found.in_channels, found.dim, found.depth) == (want["in_channels"], want["embed_dim"], want["depth"])
    assert (found.heads, found.mlp_ratio, found.qk_norm) == (want["num_heads"], want["mlp_ratio"], want["qk_norm"])
    assert (found.patch_size, found.up_dim) == (want["kernel_size"], want["up_mlp_dim"])
    assert found.layer_scale == want["init_values"]


@of_kind(BACKBONES)
def test_tokens_are_exact(path: Path) -> None:
    golden, config = arrays(path)
    found = tokens_of(golden, config["config"]["kernel_size"])
    assert torch.equal(found.index, golden["tok.coarse_indices"])
    assert torch.equal(found.inverse, golden["tok.inverse"])
    assert torch.equal(found.slot, golden["tok.offset_id"])
    assert torch.equal(found.cu_seqlens(), golden["cu_seqlens"])


@of_kind(BACKBONES)
def test_every_step_of_the_backbone(path: Path) -> None:
    golden, _ = arrays(path)
    model, seen = backbone(path), dict[str, Tensor]()
    steps = {"tok.features": model.tokenizer, **{f"block{i}": one for i, one in enumerate(model.blocks)}}
    for name, module in steps.items():
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    ends = scene_ends(golden)
    with torch.inference_mode():
        seen["out"] = model(batch_of(golden, golden["feat"], ends, ("Default",) * len(ends)))
    for name, got in seen.items():
        if name in golden:
            assert relative(got, golden[name]) < 5e-5, name
    rotation = rope_rotations(golden["tok.coarse_indices"][:, 1:], model.options.split, model.options.rope_theta)
    assert relative(rotation.real, golden["rope.cos"]) < 1e-5
    assert relative(rotation.imag, golden["rope.sin"]) < 1e-5


@of_kind(BACKBONES)
def test_half_precision_attention_is_near(path: Path) -> None:
    golden, _ = arrays(path)
    ends = scene_ends(golden)
    with torch.inference_mode():
        got = backbone(path)(batch_of(golden, golden["feat"], ends, ("Default",) * len(ends)))
    assert relative(got, golden["out_half_attention"]) < 3e-3


@of_kind(BACKBONES)
def test_gradients_of_the_backbone(path: Path) -> None:
    golden, _ = arrays(path)
    if "grad.w" not in golden:
        pytest.skip("this case has no gradients")
    model, ends, features = backbone(path), scene_ends(golden), golden["feat"].clone().requires_grad_()
    (model(batch_of(golden, features, ends, ("Default",) * len(ends))) * golden["grad.w"]).sum().backward()
    assert features.grad is not None
    assert relative(features.grad, golden["grad.feat"]) < 1e-4
    for name, one in model.named_parameters():
        if f"grad.param.{name}" in golden:
            assert relative(one.grad, golden[f"grad.param.{name}"]) < 1e-4, name


@of_kind("rope*/config.json")
def test_rope(path: Path) -> None:
    golden, config = arrays(path)
    for name, (theta, split) in config["cases"].items():
        rotation = rope_rotations(golden[f"{name}.pos"], tuple(split), float(theta))
        assert relative(rotation.real, golden[f"{name}.cos"]) < 1e-5
        assert relative(rotation.imag, golden[f"{name}.sin"]) < 1e-5
        for part in ("q", "k"):
            assert relative(rope_rotated(golden[f"{name}.{part}"], rotation), golden[f"{name}.{part}_rot"]) < 1e-5


@of_kind("segmentor*/config.json")
def test_heads_and_their_loss(path: Path) -> None:
    golden, config = arrays(path)
    model = segmentor_from_state(state_beside(path))
    assert model.options.classes == dict(sorted(zip(config["conditions"], config["num_classes"], strict=True)))
    scenes = tuple(config["scene_condition"])
    batch = batch_of(golden, golden["feat"], golden["offset_unmixed"], scenes)
    with torch.inference_mode():
        for name in config["conditions"]:
            assert relative(model.eval()(batch, name), golden[f"eval_logits.{name}"]) < 5e-5
    mixed = VoxelBatch(
        grid=batch.grid,
        features=batch.features,
        offset=golden["offset_mixed"],
        unmixed_offset=golden["offset_unmixed"],
        conditions=scenes,
        segment=golden["segment"],
    )
    loss = segmentor_loss(model.train(), mixed, golden["teacher_labels"])
    assert loss.item() == pytest.approx(golden["loss_train_mixed"].item(), rel=1e-4)


@of_kind("segmentor*/config.json")
def test_cross_entropy_and_lovasz_of_the_first_scene(path: Path) -> None:
    golden, config = arrays(path)
    end = int(golden["offset_unmixed"][0])
    logits, labels = golden[f"eval_logits.{config['scene_condition'][0]}"][:end], golden["segment"][:end]
    entropy = nn.functional.cross_entropy(logits, labels, ignore_index=-1, label_smoothing=0.1)
    known = labels >= 0
    assert entropy.item() == pytest.approx(golden["loss.ce_scene0"].item(), rel=1e-4)
    got = lovasz_softmax(logits[known].softmax(1), labels[known])
    assert got.item() == pytest.approx(golden["loss.lovasz_scene0"].item(), rel=1e-4)


def instance_head(path: Path, config: dict[str, Any]) -> InstanceHead:
    options = InstanceHeadOptions(
        classes=config["num_class"],
        in_channels=config["in_channel"],
        dim=config["d_model"],
        queries=config["num_query"],
        layers=config["num_layer"],
        heads=config["nhead"],
        hidden=config["hidden_dim"],
    )
    return load_volt_state(InstanceHead(options), state_beside(path)).eval()


def numbered(golden: dict[str, Tensor], prefix: str) -> list[Tensor]:
    return [golden[f"{prefix}.{i}"] for i in range(sum(name.startswith(f"{prefix}.") for name in golden))]


@of_kind("spformer*/config.json")
def test_queries_matching_and_instance_losses(path: Path) -> None:
    golden, config = arrays(path)
    scenes = instance_head(path, config)(numbered(golden, "sp_feat"))
    masks = [one.bool() for one in numbered(golden, "gt.masks")]
    targets = [InstanceTargets(*pair) for pair in zip(numbered(golden, "gt.labels"), masks, strict=True)]
    for number, (layers, target) in enumerate(zip(scenes, targets, strict=True)):
        for layer, queries in enumerate(layers):
            prefix = f"aux{layer}." if layer < len(layers) - 1 else ""
            assert (queries.labels - golden[f"{prefix}labels.{number}"]).abs().max() < 1e-4
            assert (queries.masks - golden[f"{prefix}masks.{number}"]).abs().max() < 1e-4
        query, instance = matched_queries(layers[-1], target)
        assert torch.equal(query, golden[f"match.query.{number}"])
        assert torch.equal(instance, golden[f"match.gt.{number}"])
    loss = instance_loss(scenes, targets)
    for got, name in (
        (loss.total, "loss"),
        (loss.label, "loss_cls"),
        (loss.mask, "loss_mask"),
        (loss.dice, "loss_dice"),
    ):
        assert got.item() == pytest.approx(golden[f"loss.{name}"].item(), rel=1e-4)


@of_kind("spformer*/config.json")
def test_matrix_nms(path: Path) -> None:
    golden, _ = arrays(path)
    for kernel in ("linear", "gaussian"):
        scores, order = matrix_nms(golden["nms.masks"], golden["nms.labels"], golden["nms.scores_in"], kernel=kernel)
        want = golden[f"nms.{kernel}.scores"]
        assert relative(scores, want) < 1e-5
        assert torch.equal(order[: len(golden[f"nms.{kernel}.keep"])], golden[f"nms.{kernel}.keep"])


@of_kind("spformer*/config.json")
def test_instances_on_points(path: Path) -> None:
    golden, config = arrays(path)
    predict = config["predict"]
    queries = instance_head(path, config)(numbered(golden, "sp_feat"))[0][-1]
    options = InstanceOptions(
        top=predict["topk"],
        mask_threshold=predict["sp_score_thr"],
        min_score=predict["score_thr"],
        min_points=predict["npoint_thr"],
        kernel=predict["nms_kernel"],
    )
    found = found_instances(queries, golden["predict.superpoint"], options)
    assert relative(found.scores, golden["predict.scores"]) < 1e-4
    assert torch.equal(found.labels + int(predict["class_map"].removeprefix("label+")), golden["predict.classes"])
    assert torch.equal(found.masks, golden["predict.masks"].bool())


def sample_of(golden: dict[str, np.ndarray]) -> Sample:
    return Sample(
        xyz=golden["coord"].astype(np.float64),
        color=golden["color"],
        normal=golden["normal"],
        segment=golden["segment"].astype(np.int64),
        instance=golden["instance"].astype(np.int64),
    )


@of_kind(TRANSFORMS)
def test_fragments_and_hashes(path: Path) -> None:
    """The voxels and their order are exact everywhere; the point of a voxel is, where numpy sorts as it did there."""
    golden = load(path)
    size = json.loads((path.parent / "config.json").read_text())["grid_size"]
    grid = voxel_indices(golden["coord"].astype(np.float64), size)
    assert np.array_equal(fnv_hashes(grid), golden["grid.hash_fnv64"])
    public, stable = voxel_order(grid, sort="quicksort"), voxel_order(grid)
    fragments = voxel_fragments(public)
    assert len(fragments) == golden["grid.num_fragments"]
    assert np.array_equal(public.inverse, golden["grid.inverse"])
    for number, (rows, ours) in enumerate(zip(fragments, voxel_fragments(stable), strict=True)):
        if f"grid.fragment{number}.index" in golden:
            assert np.array_equal(grid[ours], golden[f"grid.fragment{number}.grid_coord"])
            assert np.array_equal(rows, golden[f"grid.fragment{number}.index"])
    visits = np.bincount(np.concatenate(fragments), minlength=len(grid))
    assert np.array_equal(visits, golden["grid.cover_count"])


def angle_about(axis: int, before: np.ndarray, after: np.ndarray) -> float:
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    turn = (after[:, first] + 1j * after[:, second]) * (before[:, first] - 1j * before[:, second])
    return float(np.angle(turn.sum()))


@of_kind(TRANSFORMS)
def test_motions(path: Path) -> None:
    golden, config = load(path), json.loads((path.parent / "config.json").read_text())
    sample = sample_of(golden)
    middle = (sample.xyz.min(0) + sample.xyz.max(0)) / 2
    factor = float(np.linalg.norm(golden["scale.coord"]) / np.linalg.norm(sample.xyz))
    angles = [angle_about(axis, golden["normal"], golden[f"rotate_{'xy'[axis]}.normal"]) for axis in (0, 1)]
    clip = golden["clip_distance.coord"][:, 2]
    moved = {
        "center_shift_z": centred(sample),
        "center_shift_noz": centred(sample, floor=False),
        "rotate_z": turned(sample, "z", config["rotate_z_angle_pi"] * np.pi),
        "rotate_x": turned(sample, "x", angles[0], middle),
        "rotate_y": turned(sample, "y", angles[1], middle),
        "scale": scaled(sample, factor),
        "flip_xy": flipped(sample, 0, 1),
        "clip_distance": clipped_distance(sample, 2.0, 0.2, 1.0),
    }
    assert clip.min() >= 0.2 and clip.max() <= 1.0
    for name, got in moved.items():
        np.testing.assert_allclose(got.xyz, golden[f"{name}.coord"], atol=1e-6, err_msg=name)
        assert got.normal is not None
        np.testing.assert_allclose(got.normal, golden[f"{name}.normal"], atol=1e-6, err_msg=name)


@of_kind(TRANSFORMS)
def test_elastic_distortion(path: Path) -> None:
    golden = load(path)
    xyz, noise = golden["coord"].astype(np.float64), golden["elastic.noise"]
    assert elastic_noise_shape(xyz, 0.2) == noise.shape
    np.testing.assert_allclose(elastically_moved(xyz, noise, 0.2, 0.4), golden["elastic.coord"], atol=1e-6)


@of_kind(TRANSFORMS)
def test_instances_and_colours(path: Path) -> None:
    golden = load(path)
    sample = sample_of(golden)
    assert sample.segment is not None and sample.instance is not None
    found = parsed_instances(sample.xyz, sample.segment, sample.instance)
    assert np.array_equal(found.instance, golden["instance_parser.instance"])
    np.testing.assert_allclose(found.centroid, golden["instance_parser.centroid"], atol=1e-6)
    np.testing.assert_allclose(found.box, golden["instance_parser.bbox"], atol=1e-6)
    features = indoor_scene(sample.changed(grid=voxel_indices(sample.xyz, 0.05))).features
    np.testing.assert_allclose(features[:, :3], golden["norm_color.color"], atol=1e-6)


@of_kind(TRANSFORMS)
def test_scenes_mixed_in_pairs(path: Path) -> None:
    golden = load(path)
    ends = torch.from_numpy(golden["mix.sizes"]).cumsum(0)
    assert np.array_equal(ends, golden["mix.unmixed_offset"])
    assert np.array_equal(mixed_offset(ends), golden["mix.offset"])


@of_kind("sparse_unet*/config.json")
def test_the_sparse_unet_of_the_teacher(path: Path) -> None:
    golden, config = arrays(path)
    net = SparseUNet.from_state(state_beside(path)).eval()
    own = net.options
    assert (own.in_channels, own.num_classes, own.base_channels) == tuple(
        config[name] for name in ("in_channels", "num_classes", "base_channels")
    )
    assert [list(own.channels), list(own.layers)] == [config["channels"], config["layers"]]
    logits = net(voxel_tensor(golden["grid_coord"], golden["feat"], golden["offset"]))
    assert float((logits.detach() - golden["logits"]).abs().max()) <= 1e-5
