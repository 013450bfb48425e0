"""SparseUNet, plain and with a norm per data set, against the networks of PonderV2 (shared/goldens/ponder)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import ROOT, cases, load
from torch import Tensor

from recon3d.pointcloud.sparse import PromptedSparseUNet, SparseTensor, SparseUNet, voxel_tensor

pytestmark = pytest.mark.golden
PLAIN, STEPS, PROMPTED = "spunet_v1m1*reduced.npz", "spunet_v1m1*_intermediates.npz", "spunet_v1m3*.npz"
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
EVAL = {torch.float64: 1e-9, torch.float32: 2e-4}
TRAIN = {torch.float64: 1e-8, torch.float32: 1e-3}
GRADIENT = {torch.float64: 1e-7, torch.float32: 5e-3}


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize("pattern", [PLAIN, STEPS, PROMPTED])
def test_the_default_set_holds_every_kind(pattern: str) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} is not there; RECON3D_GOLDENS names another folder")
    assert list((ROOT / "ponder").glob(pattern))


def of_kind(pattern: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", cases("ponder", pattern))


def near(got: Tensor, want: np.ndarray, tolerance: float) -> None:
    assert tuple(got.shape) == want.shape
    assert np.abs(got.detach().numpy() - want).max(initial=0) <= tolerance * max(1.0, np.abs(want).max(initial=0))


def state_of(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name[3:]: torch.from_numpy(one) for name, one in arrays.items() if name.startswith("sd/")}


def voxels(arrays: dict[str, np.ndarray], dtype: torch.dtype) -> SparseTensor:
    grid, offset = torch.from_numpy(arrays["grid_coord"]), torch.from_numpy(arrays["offset"])
    return voxel_tensor(grid, torch.from_numpy(arrays["feat"]).to(dtype).requires_grad_(), offset)


def check_sizes(net: SparseUNet | PromptedSparseUNet, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(str(arrays["config"]))
    own = net.options
    assert (own.in_channels, own.num_classes, own.base_channels) == tuple(
        config[name] for name in ("in_channels", "num_classes", "base_channels")
    )
    assert [list(own.channels), list(own.layers)] == [config["channels"], config["layers"]]
    return config


@PRECISIONS
@of_kind(PLAIN)
def test_the_plain_network(path: Path, dtype: torch.dtype) -> None:
    arrays = load(path)
    net = SparseUNet.from_state(state_of(arrays)).to(dtype)
    check_sizes(net, arrays)
    x = voxels(arrays, dtype)
    near(net.eval()(x), arrays["out_eval"], EVAL[dtype])
    out = net.train()(x)
    near(out, arrays["out_train"], TRAIN[dtype])
    (out * torch.from_numpy(arrays["grad_out"]).to(dtype)).sum().backward()
    near(x.features.grad, arrays["grad_feat"], GRADIENT[dtype])
    for name in [name for name in arrays if name.startswith("grad/")]:
        near(net.get_parameter(name[5:]).grad, arrays[name], GRADIENT[dtype])
    for name in ("running_mean", "running_var"):
        near(net.get_buffer(f"conv_input.1.{name}"), arrays[f"after_train_{name}_conv_input"], TRAIN[dtype])


@of_kind(STEPS)
def test_every_step_of_the_plain_network(path: Path) -> None:
    steps, arrays = load(path), load(path.with_name(path.name.replace("_intermediates", "")))
    net = SparseUNet.from_state(state_of(arrays)).double().eval()
    names = []
    for name, x in net.steps(voxels(arrays, torch.float64)):
        order = np.lexsort(x.indices.numpy().T[::-1])
        assert np.array_equal(x.indices.numpy()[order], steps[f"inter/{name}/indices"])
        assert list(x.spatial_shape) == steps[f"inter/{name}/spatial_shape"].tolist()
        near(x.features[torch.from_numpy(order)], steps[f"inter/{name}/features"], EVAL[torch.float64])
        names.append(name)
    assert {f"inter/{name}/features" for name in names} == {name for name in steps if name.endswith("features")}


@PRECISIONS
@of_kind(PROMPTED)
def test_the_network_with_prompts_and_its_folding(path: Path, dtype: torch.dtype) -> None:
    arrays = load(path)
    conditions = tuple(json.loads(str(arrays["config"]))["conditions"])
    net = PromptedSparseUNet.from_state(state_of(arrays), conditions).to(dtype).eval()
    assert check_sizes(net, arrays)["context_channels"] == net.context_channels
    x, context = voxels(arrays, dtype), torch.from_numpy(arrays["context"]).to(dtype)
    for condition in conditions:
        near(net(x, condition, context), arrays[f"out_eval_{condition}"], EVAL[dtype])
        near(net.folded(condition, context)(x), arrays[f"out_eval_{condition}"], EVAL[dtype])
    net.train()
    for name in [name for name in arrays if name.startswith("out_train_")]:
        near(net(x, name.removeprefix("out_train_"), context), arrays[name], TRAIN[dtype])


@pytest.mark.parametrize("path", cases("ponder", "state_dict_keys.json"))
def test_the_published_sizes(path: Path) -> None:
    published = json.loads(path.read_text())
    kinds = {"SpUNet-v1m1(": SparseUNet, "SpUNet-v1m3(": PromptedSparseUNet}
    found = 0
    for kind, network in kinds.items():
        for shapes in [shapes for name, shapes in published.items() if name.startswith(kind)]:
            with torch.device("meta"):
                state = network().state_dict()
            assert {name: list(one.shape) for name, one in state.items()} == shapes
            found += 1
    assert found or not published
