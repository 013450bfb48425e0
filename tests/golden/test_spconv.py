"""The sparse engine against spconv 2.3.8 and a dense float64 convolution (shared/goldens/spconv)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import ROOT, cases, load
from torch import Tensor

from recon3d.pointcloud.sparse import Rules, SparseConv3d, SparseInverseConv3d, SparseTensor, SubMConv3d

pytestmark = pytest.mark.golden
KINDS = ("subm*.npz", "down*.npz", "chain*.npz", "tiny*.npz")
BACKENDS = pytest.mark.parametrize("backend", ["numba", "torch"])
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
FORWARD = {torch.float64: 1e-10, torch.float32: 2e-6}
GRADIENT = {torch.float64: 1e-10, torch.float32: 1e-4}


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize("pattern", KINDS)
def test_the_default_set_holds_every_kind(pattern: str) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} is not there; RECON3D_GOLDENS names another folder")
    assert list((ROOT / "spconv").glob(pattern))


def of_kind(pattern: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", cases("spconv", pattern))


def near(got: Tensor, want: np.ndarray, tolerance: float) -> None:
    assert tuple(got.shape) == want.shape
    assert np.abs(got.detach().numpy() - want).max(initial=0) <= tolerance * max(1.0, np.abs(want).max(initial=0))


class Case:
    """One file as a sparse tensor and layers of one type and back end."""

    def __init__(self, path: Path, dtype: torch.dtype, backend: str) -> None:
        self.arrays, self.dtype, self.backend = load(path), dtype, backend
        self.features = self["features"].requires_grad_()
        shape = tuple(self.arrays["spatial_shape"].tolist())
        indices = torch.from_numpy(self.arrays["indices"])
        self.x = SparseTensor(indices, self.features, shape, int(self.arrays["batch_size"]))

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name]).to(self.dtype)

    def layer(self, kind: Any, name: str, *extra: Any, **options: Any) -> Any:
        weight = self[name]
        inner = kind(
            weight.shape[-1],
            len(weight),
            weight.shape[1:4],
            *extra,
            bias="bias" in self.arrays,
            backend=self.backend,
            **options,
        )
        inner.load_state_dict({"weight": weight} | ({"bias": self["bias"]} if "bias" in self.arrays else {}))
        return inner.to(self.dtype)

    def size(self, name: str) -> list[int]:
        values: list[int] = self.arrays[name].tolist() if name in self.arrays else [1, 1, 1]
        return values

    def has_rulebook(self, rules: Rules) -> bool:
        """Whether the pairs, as a set, are those of the file, by rows of input and output."""
        if "rulebook" not in self.arrays:
            return True
        pairs = rules.pairs
        offset = torch.repeat_interleave(torch.tensor(pairs.counts))
        got = torch.stack([offset, pairs.rows_in, pairs.rows_out], 1).numpy()
        return np.array_equal(got[np.lexsort(got.T[::-1])], self.arrays["rulebook"])


@BACKENDS
@PRECISIONS
@of_kind("subm*.npz")
def test_submanifold(path: Path, dtype: torch.dtype, backend: str) -> None:
    case = Case(path, dtype, backend)
    # The padding is there to be ignored, as in the stem of the published networks.
    layer = case.layer(SubMConv3d, "weight", 1, 1, case.size("dilation"), indice_key="s")
    assert list(layer.kernel_size) == case.size("kernel_size")
    out = layer(case.x)
    assert out.indices is case.x.indices
    near(out.features, case.arrays["out_features_f64"], FORWARD[dtype])
    near(out.features, case.arrays["out_features"], 2e-6)
    (out.features * case["grad_out"]).sum().backward()
    near(case.features.grad, case.arrays["grad_features_f64"], GRADIENT[dtype])
    near(layer.weight.grad, case.arrays["grad_weight_f64"], GRADIENT[dtype])
    if "bias" in case.arrays:
        near(layer.bias.grad, case.arrays["grad_bias_f64"], GRADIENT[dtype])
    assert "s" not in out.keys or case.has_rulebook(out.keys["s"])


@BACKENDS
@PRECISIONS
@of_kind("down*.npz")
def test_strided_and_back(path: Path, dtype: torch.dtype, backend: str) -> None:
    case = Case(path, dtype, backend)
    sizes = (case.size("stride"), case.size("padding"))
    down = case.layer(SparseConv3d, "weight_down", *sizes, indice_key="d")
    up = case.layer(SparseInverseConv3d, "weight_inverse", indice_key="d")
    coarse = down(case.x)
    assert np.array_equal(coarse.indices.numpy(), case.arrays["out_indices"])  # both in lexicographic order
    assert list(coarse.spatial_shape) == case.arrays["out_spatial_shape"].tolist()
    assert list(down.kernel_size) == case.size("kernel_size")
    near(coarse.features, case.arrays["out_features_f64"], FORWARD[dtype])
    near(coarse.features, case.arrays["out_features"], 2e-6)  # what spconv computed in float32
    back = up(coarse)
    near(back.features, case.arrays["inverse_features"], 2e-6)
    assert back.sites is case.x.sites
    near(back.features, case.arrays["inverse_features_f64"], FORWARD[dtype])
    dropped = ~np.abs(case.arrays["inverse_features_f64"]).any(1)
    assert not back.features[torch.from_numpy(dropped)].any()
    ((coarse.features * case["grad_out"]).sum() + (back.features * case["grad_inverse"]).sum()).backward()
    near(case.features.grad, case.arrays["grad_features_f64"], GRADIENT[dtype])
    near(down.weight.grad, case.arrays["grad_weight_down_f64"], GRADIENT[dtype])
    near(up.weight.grad, case.arrays["grad_weight_inverse_f64"], GRADIENT[dtype])
    rules = coarse.keys["d"]
    order = np.lexsort(case.arrays["out_indices"].T[::-1])
    assert np.array_equal(order, np.arange(len(order)))
    assert case.has_rulebook(rules)


@BACKENDS
@PRECISIONS
@of_kind("chain*.npz")
def test_a_small_network(path: Path, dtype: torch.dtype, backend: str) -> None:
    case = Case(path, dtype, backend)
    kinds = {"subm_a": "s0", "subm_b": "s1", "proj": None, "subm_c": "s0"}
    net = {name: case.layer(SubMConv3d, f"weight_{name}", indice_key=key) for name, key in kinds.items()}
    net["down"] = case.layer(SparseConv3d, "weight_down", 2, indice_key="d1")
    net["up"] = case.layer(SparseInverseConv3d, "weight_up", indice_key="d1")

    def active(x: SparseTensor) -> SparseTensor:
        return x.with_features(x.features.relu())

    skip = active(net["subm_a"](case.x))
    middle = active(net["subm_b"](active(net["down"](skip))))
    up = net["up"](middle)
    out = net["subm_c"](active(net["proj"](up.with_features(torch.cat([up.features, skip.features], 1)))))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    order = np.lexsort(case.arrays["mid_indices"].T[::-1])
    assert np.array_equal(middle.indices.numpy(), case.arrays["mid_indices"][order])
    near(middle.features, case.arrays["mid_features_f64"][order], tolerance)
    near(out.features, case.arrays["out_features_f64"], tolerance)
    near(out.features, case.arrays["out_features"], 1e-5)
    (out.features * case["grad_out"]).sum().backward()
    near(case.features.grad, case.arrays["grad_features_f64"], GRADIENT[dtype])
    for name, layer in net.items():
        near(layer.weight.grad, case.arrays[f"grad_weight_{name}_f64"], GRADIENT[dtype])


@BACKENDS
@PRECISIONS
@of_kind("tiny*.npz")
def test_by_hand(path: Path, dtype: torch.dtype, backend: str) -> None:
    case = Case(path, dtype, backend)
    near(case.layer(SubMConv3d, "weight")(case.x).features, case.arrays["out_features"], 0)
