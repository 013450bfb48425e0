"""Loading weights: strict on names, sizes read from tensors, and the layout of older files."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from volt_scenes import SMALL, network, one_batch, shake, voxel_scene

from recon3d.core.errors import FormatError, InputError
from recon3d.pointcloud.volt import (
    SegmentorOptions,
    Volt,
    VoltOptions,
    VoltSegmentor,
    load_volt_state,
    official_state,
    options_of,
    segmentor_from_state,
)

BIG = replace(SMALL, dim=128, heads=2)


def old_state(model: Volt) -> dict[str, Tensor]:
    """The same weights as sparse convolutions: (out, x, y, z, in), other names, no bias after the unembedding."""
    k, up = model.options.patch_size, model.options.up_dim
    out = {}
    for name, one in model.state_dict().items():
        if name == "tokenizer.proj.weight":
            out["tokenizer.weight"] = one.view(len(one), k, k, k, -1)
        elif name == "tokenizer.proj.bias":
            out["tokenizer.bias"] = one
        elif name == "decoder.unembed.proj.weight":
            out["decoder.up.5.weight"] = one.view(k, k, k, up, up).permute(3, 0, 1, 2, 4)
        elif name.startswith("decoder.p"):
            out[name.replace("decoder.pre", "decoder.up").replace("decoder.post.0", "decoder.up.6")] = one
        elif name != "decoder.unembed.bias":
            out[name] = one
    return {name: one.clone() for name, one in out.items()}


@pytest.mark.parametrize(
    "options",
    [
        BIG,
        replace(BIG, qk_norm=False),
        replace(BIG, layer_scale=1.0, depth=3),
        replace(BIG, patch_size=5, in_channels=4),
    ],
)
def test_sizes_come_from_the_tensors(options: VoltOptions) -> None:
    assert options_of(Volt(options).state_dict()) == options


def test_heads_can_be_told_where_no_norm_tells_them() -> None:
    state = Volt(replace(SMALL, qk_norm=False, dim=128, heads=4)).state_dict()
    assert options_of(state).heads == 2
    assert options_of(state, heads=4).heads == 4


def test_something_else_is_no_volt() -> None:
    with pytest.raises(FormatError, match=r"no tokenizer\.proj\.weight"):
        options_of({"conv.weight": torch.zeros(3, 3)})
    with pytest.raises(FormatError, match="seg_heads"):
        segmentor_from_state(network().state_dict())


def test_a_state_loads_into_an_equal_network() -> None:
    model, batch = network(), one_batch(voxel_scene(1))
    other = load_volt_state(Volt(SMALL), model.state_dict()).eval()
    torch.testing.assert_close(other(batch), model(batch), rtol=0, atol=0)


def test_names_that_do_not_fit_are_listed() -> None:
    state = network().state_dict()
    with pytest.raises(InputError, match=r"2 missing: blocks.0.attn.q_norm.bias, blocks.0.attn.q_norm.weight"):
        load_volt_state(Volt(SMALL), {name: one for name, one in state.items() if "0.attn.q_norm" not in name})
    with pytest.raises(InputError, match=r"8 unknown: .*k_norm.* and 2 more"):
        load_volt_state(Volt(replace(SMALL, qk_norm=False)), state)
    with pytest.raises(InputError, match=r"of another shape: decoder\.post\.0\.bias"):
        load_volt_state(Volt(SMALL), {**state, "decoder.post.0.bias": torch.zeros(3)})
    with pytest.raises(FormatError, match="NaN"):
        load_volt_state(Volt(SMALL), {**state, "decoder.post.0.bias": torch.full((8,), torch.nan)})


def segmentor() -> VoltSegmentor:
    classes = {"ScanNet": 5, "ScanNet++": 3}
    model = VoltSegmentor(SegmentorOptions(backbone=BIG, classes=classes, distillation=True))
    shake(model, 3)
    return model.eval()


def test_a_segmentor_is_built_from_its_state() -> None:
    model, batch = segmentor(), one_batch(voxel_scene(1))
    for prefix in ("", "module."):
        found = segmentor_from_state({prefix + name: one for name, one in model.state_dict().items()}).eval()
        assert found.options == model.options
        torch.testing.assert_close(found(batch, "ScanNet++"), model(batch, "ScanNet++"), rtol=0, atol=0)


def test_a_loaded_network_does_not_share_memory_with_the_state() -> None:
    state = segmentor().state_dict()
    before = {name: one.clone() for name, one in state.items()}
    model = segmentor_from_state(state).train()
    model(one_batch(voxel_scene(1)), "ScanNet")
    assert all(torch.equal(one, before[name]) for name, one in state.items())
    assert not torch.equal(model.backbone.decoder.post[0].running_mean, before["backbone.decoder.post.0.running_mean"])


def test_older_names_and_layouts_give_the_same_network() -> None:
    model = network()
    model.decoder.unembed.bias.data.zero_()
    old = old_state(model)
    new = official_state(old)
    assert new.keys() == model.state_dict().keys()
    assert all(torch.equal(one, new[name]) for name, one in model.state_dict().items())
    nested = official_state({f"module.backbone.{name}": one for name, one in old.items()})
    assert nested.keys() == {f"backbone.{name}" for name in new}


def test_older_weights_are_dense_convolutions_in_x_y_z() -> None:
    """The patch embedding and the unembedding of an old file, against dense convolutions of its own tensors."""
    old, batch = old_state(network()), one_batch(voxel_scene(6))
    model = load_volt_state(Volt(SMALL), old).eval()
    dense = torch.zeros(1, 6, 12, 12, 12)
    x, y, z = batch.grid.T
    dense[0, :, x, y, z] = batch.features.T
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name, layer in (("in", model.tokenizer), ("out", model.decoder.unembed)):
        layer.register_forward_hook(lambda _, given, out, name=name: seen.update({name: (given, out)}))
    model(batch)
    (_, tokens), embedded = seen["in"]
    i, j, k = tokens.index[:, 1:].T
    kernel = old["tokenizer.weight"].permute(0, 4, 1, 2, 3)
    want = nn.functional.conv3d(dense, kernel, old["tokenizer.bias"], stride=3)[0, :, i, j, k].T
    torch.testing.assert_close(embedded, want, atol=1e-5, rtol=1e-5)
    (narrow, _), unembedded = seen["out"]
    coarse = torch.zeros(1, 8, 4, 4, 4)
    coarse[0, :, i, j, k] = narrow.T
    kernel = old["decoder.up.5.weight"].permute(4, 0, 1, 2, 3)
    want = nn.functional.conv_transpose3d(coarse, kernel, stride=3)[0, :, x, y, z].T
    torch.testing.assert_close(unembedded, want, atol=1e-5, rtol=1e-5)


def test_an_unknown_old_decoder_is_refused() -> None:
    with pytest.raises(FormatError, match="unknown decoder"):
        official_state({"decoder.up.5.weight": torch.zeros(3, 3)})
