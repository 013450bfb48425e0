"""Networks by name, their first weights, and running them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import DA3, VGGT, photos, tiny_da3, tiny_vggt
from torch import nn

from recon3d import feedforward
from recon3d.core.errors import InputError, UsageError
from recon3d.feedforward.da3 import config
from recon3d.feedforward.da3.metric import NestedDepthAnything3
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.inference import fastest_precision, predict, prepare
from recon3d.feedforward.initialization import initialize
from recon3d.feedforward.models import MODEL_NAMES, build_model
from recon3d.feedforward.vggt.model import Vggt
from recon3d.formats.safetensors import safetensors_bytes


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """A small network under a name."""
    monkeypatch.setitem(config.CONFIGS, "da3-tiny", DA3)
    return "da3-tiny"


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_name_builds_without_memory(name: str) -> None:
    model = build_model(name)
    kinds = {"vggt-1b": Vggt, "da3nested-giant-large": NestedDepthAnything3}
    assert type(model) is kinds.get(name, DepthAnything3)
    assert all(one.is_meta for one in model.parameters())
    assert not model.training


def test_the_nested_network_has_the_names_of_its_parts() -> None:
    nested = build_model("da3nested-giant-large").state_dict()
    for prefix, name in (("da3.", "da3-giant"), ("da3_metric.", "da3metric-large")):
        part = {prefix + key for key in build_model(name).state_dict()}
        assert part == {key for key in nested if key.startswith(prefix)}


def test_other_names_are_answered_with_the_list() -> None:
    with pytest.raises(UsageError, match=r"there is no such model; got: da4; expected: vggt-1b, da3-small"):
        build_model("da4")


def test_a_file_and_a_seed_do_not_go_together(tiny: str) -> None:
    with pytest.raises(UsageError, match="either a file or a seed"):
        build_model(tiny, checkpoint=Path("x.safetensors"), seed=1)


def test_weights_follow_the_seed_alone(tiny: str) -> None:
    torch.manual_seed(0)
    first, expected = build_model(tiny, seed=1), torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), expected)  # the global state was left alone
    assert same(first, build_model(tiny, seed=1))
    assert not same(first, build_model(tiny, seed=2))


def test_weights_come_from_a_file(tiny: str, tmp_path: Path) -> None:
    source, path = build_model(tiny, seed=1), tmp_path / "tiny.safetensors"
    path.write_bytes(safetensors_bytes({f"model.{key}": one for key, one in source.state_dict().items()}))
    assert same(build_model(tiny, checkpoint=path), source)
    with pytest.raises(InputError, match=r"does not belong to this Vggt; got: .* missing: aggregator"):
        build_model("vggt-1b", checkpoint=path)


def test_fresh_weights_have_their_sizes() -> None:
    model = Vggt(VGGT)
    initialize(model, 0)
    state = model.state_dict()
    for name, one in state.items():
        assert torch.isfinite(one).all()
        if "norm" in name:
            assert (one == (1.0 if name.endswith("weight") else 0.0)).all()
        elif name.endswith("bias"):
            assert not one.any()
    assert (state["aggregator.frame_blocks.0.ls1.gamma"] == 0.01).all()
    assert (state["aggregator.patch_embed.blocks.0.ls1.gamma"] == 1.0).all()
    qkv = state["aggregator.frame_blocks.0.attn.qkv.weight"]
    assert qkv.abs().max() <= 0.04 and qkv.std() == pytest.approx(0.0191, rel=0.1)
    assert state["aggregator.camera_token"].abs().max() < 1e-5
    assert state["aggregator.patch_embed.pos_embed"].std() == pytest.approx(0.02, rel=0.15)
    convolution = state["depth_head.scratch.refinenet1.resConfUnit1.conv1.weight"]
    assert convolution.std() == pytest.approx((8 * 9) ** -0.5, rel=0.15)


def test_equal_layers_start_differently() -> None:
    model = DepthAnything3(DA3)
    initialize(model, 0)
    blocks = model.backbone.pretrained.blocks
    assert not torch.equal(blocks[0].attn.qkv.weight, blocks[1].attn.qkv.weight)


def test_photos_are_prepared_for_their_network() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    square, wide = (prepare(model, [photo]).images for model in (tiny_vggt(), tiny_da3()))
    assert square.shape == (1, 3, 252, 518) and square.min() >= 0  # round(259 / 14) is even: 18
    assert wide.shape == (1, 3, 252, 504) and wide.min() < 0  # normalised
    small = prepare(tiny_da3(), [photo, photo], size=42)
    assert predict(tiny_da3(), small.images).depth_z.shape == (1, 2, *small.images.shape[-2:])
    assert len(small.placements) == 2


def test_predicting_needs_no_gradients() -> None:
    found = predict(tiny_da3(), photos(2)[0])
    assert found.depth_z.shape == (1, 2, 28, 42)
    assert not found.depth_z.requires_grad and found.depth_z.is_inference()


def test_predicting_passes_options_on() -> None:
    queries = torch.ones(1, 2, 2)
    assert predict(tiny_vggt(), photos(2)[0], query_points=queries).tracks.xy[-1].shape == (1, 2, 2, 2)
    assert predict(tiny_da3(), photos(3)[0], strategy="middle").reference.tolist() == [1]


def test_the_precision_is_that_of_the_backbone() -> None:
    model, images = tiny_da3(), photos(2)[0]
    full, half = (predict(model, images, precision=precision) for precision in ("float32", "bfloat16"))
    assert full.depth_z.dtype == half.depth_z.dtype == torch.float32
    assert not torch.equal(full.depth_z, half.depth_z)
    assert torch.allclose(full.depth_z.log(), half.depth_z.log(), atol=0.3)


def test_the_precision_of_a_device() -> None:
    assert fastest_precision(torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert fastest_precision(torch.device("meta")) == torch.float32


def test_the_room_exports_its_names() -> None:
    assert feedforward.Vggt is Vggt and feedforward.DepthAnything3 is DepthAnything3
    assert feedforward.build_model is build_model and feedforward.predict is predict
