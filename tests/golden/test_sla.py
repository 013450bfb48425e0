"""Sparse linear attention, quantisation and Lite3R networks against the public code (shared/goldens/sla)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import ROOT, cases, load, relative_l2
from torch import Tensor

from recon3d.feedforward.layers.rope import Rope, rope_2d
from recon3d.feedforward.lite3r.attention import SparseLinearAttention
from recon3d.feedforward.lite3r.branches import branches
from recon3d.feedforward.lite3r.options import SparseOptions

pytestmark = pytest.mark.golden
KINDS = ("*_topk*.npz", "*_block*.npz", "*_threeway*.npz", "quant*.npz", "misc*.npz", "lite3r_*.npz")
ATTENTION, GRADIENTS = 2e-5, 1e-4  # absolute, relative; the README of the set states both


def of_kind(pattern: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", cases("sla", pattern))


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize("pattern", KINDS)
def test_the_default_set_holds_every_kind(pattern: str) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} is not there; RECON3D_GOLDENS names another folder")
    assert list((ROOT / "sla").glob(pattern))


class AttentionCase:
    """One attention module of the set with its input."""

    def __init__(self, path: Path) -> None:
        config = json.loads((path.parent / "config.json").read_text())
        self.arrays = load(path)
        self.case: dict[str, Any] = config["cases"][path.stem.removeprefix(config["prefix"] + "_")]
        self.x = self.tensor("x").requires_grad_()

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    def options(self) -> SparseOptions:
        given = {
            "keep": self.case["keep"] or self.case["kh"],
            "drop": self.case["kl"],
            "block_size": self.case["block"],
        }
        known = {name: value for name, value in given.items() if value is not None}
        dual = self.case.get("proj_topk", False)
        return SparseOptions(mode=self.case["mode"], padding="literal", project_sparse=dual, **known)

    def module(self) -> SparseLinearAttention:
        case = self.case
        made = SparseLinearAttention(case["dim"], case["num_heads"], qk_norm=case["qk_norm"], options=self.options())
        state = {name[2:]: self.tensor(name) for name in self.arrays if name.startswith("w.")}
        made.load_state_dict(state | {"lam": state["lam"].reshape(())})
        return made

    def rope(self) -> Rope | None:
        return rope_2d(self.tensor("pos")[0], self.case["dim"] // self.case["num_heads"]) if self.case["rope"] else None


@of_kind("sla_*.npz")
def test_branches_of_the_attention(path: Path) -> None:
    golden = AttentionCase(path)
    found = branches(*(golden.tensor(name) for name in "qkv"), golden.options())
    np.testing.assert_allclose(found.linear, golden.arrays["a_linear"], rtol=0, atol=ATTENTION)
    if found.sparse is not None:
        np.testing.assert_allclose(found.sparse, golden.arrays["a_sparse"], rtol=0, atol=ATTENTION)


@of_kind("sla_*.npz")
def test_attention_modules_and_their_gradients(path: Path) -> None:
    golden = AttentionCase(path)
    module = golden.module()
    out = module(golden.x, golden.rope())
    np.testing.assert_allclose(out.detach(), golden.arrays["out"], rtol=0, atol=ATTENTION)
    if "grad_target" in golden.arrays:
        (out * golden.tensor("grad_target")).sum().backward()
        assert relative_l2(golden.x.grad, golden.arrays["grad_x"]) < GRADIENTS
        assert relative_l2(module.proj_lin.weight.grad, golden.arrays["grad_proj_lin"]) < GRADIENTS
