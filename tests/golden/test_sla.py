"""Sparse linear attention, quantisation and Lite3R networks against the public code (shared/goldens/sla)."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from golden_cases import ROOT, cases, load, relative_l2
from golden_networks import golden_network
from torch import Tensor

from recon3d.feedforward.da3.config import CONFIGS
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.layers.rope import Rope, rope_2d
from recon3d.feedforward.lite3r.attention import SparseLinearAttention
from recon3d.feedforward.lite3r.branches import branches
from recon3d.feedforward.lite3r.conversion import convert, fake_quantise_linears, sparse_attentions
from recon3d.feedforward.lite3r.distillation import (
    AttentionRecorder,
    distillation_loss,
    distillation_weight,
    learning_rate_factor,
)
from recon3d.feedforward.lite3r.linears import FakeQuantLinear, QuantOptions, smoothing
from recon3d.feedforward.lite3r.options import SparseOptions
from recon3d.feedforward.lite3r.protocol import depth_scores, geometry_scores, pose_scores
from recon3d.feedforward.lite3r.quantisation import E4M3, E5M2, IntegerFormat, fake_quantise
from recon3d.feedforward.vggt.config import VggtOptions
from recon3d.feedforward.vggt.model import Vggt
from recon3d.formats.safetensors import read_safetensors

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


FLOATS = {"e4m3": E4M3, "e5m2": E5M2}
floats = pytest.mark.parametrize("kind", FLOATS)


def assert_quantised(got: Tensor, want: np.ndarray) -> None:
    """Equal, but for the one value in a thousand that may lie at a rounding boundary (README of the set)."""
    assert got.shape == want.shape
    assert np.mean(got.detach().numpy() != want) <= 1e-3


@of_kind("quant*.npz")
@floats
def test_eight_bit_floats(path: Path, kind: str) -> None:
    golden, form = load(path), FLOATS[kind]
    for name in ("x", "W"):
        assert_quantised(fake_quantise(torch.from_numpy(golden[name]), form), golden[f"{name}_{kind}"])
    np.testing.assert_array_equal(form.table(), golden[f"table_{kind}"])
    want, sweep = golden[f"cast_{kind}"], torch.from_numpy(golden["cast_in"])
    # the set does not say that the sweep is stretched for the wider format: by a power of ten
    reached = [form.encoded(sweep * 10.0**power, torch.ones(1)).float().numpy() for power in range(4)]
    assert min(np.mean(one != want) for one in reached) <= 1e-3


@of_kind("quant*.npz")
@floats
@pytest.mark.parametrize("activations", [True, False])
def test_layers_in_eight_bit_floats(path: Path, kind: Any, activations: bool) -> None:
    golden = load(path)
    layer, x = linear_of(golden), torch.from_numpy(golden["x"]).requires_grad_()
    y = FakeQuantLinear(layer, QuantOptions(kind, activations=activations))(x)
    np.testing.assert_allclose(y.detach(), golden[f"y_{kind}" if activations else f"y_wonly_{kind}"], rtol=1e-5)
    if activations:
        (y * torch.from_numpy(golden["t"])).sum().backward()
        for name, value in (("gx", x), ("gW", layer.weight)):
            assert relative_l2(value.grad, golden[f"{name}_{kind}"]) < 1e-5


def linear_of(golden: dict[str, np.ndarray]) -> torch.nn.Linear:
    layer = torch.nn.Linear(*golden["W"].shape[::-1])
    layer.load_state_dict({"weight": torch.from_numpy(golden["W"]), "bias": torch.from_numpy(golden["b"])})
    return layer


@of_kind("quant*.npz")
def test_integers(path: Path) -> None:
    golden = load(path)
    x, weight, group = torch.from_numpy(golden["x"]), torch.from_numpy(golden["W"]), golden["group"].item()
    for bits in (4, 8):
        assert_quantised(IntegerFormat(bits).quantised(x), golden[f"x_int{bits}"])
    assert_quantised(IntegerFormat(4, group).quantised(weight), golden["W_int4_group"])
    smooth = smoothing(x, weight)
    np.testing.assert_allclose(smooth, golden["smooth"], rtol=1e-6)
    layer = FakeQuantLinear(linear_of(golden), QuantOptions("w4a8", group=group), smooth)
    np.testing.assert_allclose(layer(x).detach(), golden["y_w4a8_smooth"], rtol=1e-4, atol=1e-5)


@of_kind("misc*.npz")
def test_distillation_and_its_schedule(path: Path) -> None:
    golden = load(path)
    pairs = sum(name[0] == "t" and name[1:].isdigit() for name in golden)
    student, teacher = ([torch.from_numpy(golden[f"{one}{i}"]) for i in range(pairs)] for one in "st")
    np.testing.assert_allclose(distillation_loss(student, teacher), golden["kd"].item(), rtol=1e-6)
    n_steps, n_warm_up = 113, 30  # of the run that the README of the set describes
    weights = [distillation_weight(int(step), n_steps) for step in golden["kd_steps"]]
    np.testing.assert_allclose(weights, golden["kd_gamma"], rtol=1e-12)
    factors = [learning_rate_factor(step, n_steps, n_warm_up=n_warm_up) for step in range(len(golden["lr_factor"]))]
    np.testing.assert_allclose(factors, golden["lr_factor"], rtol=1e-12)


@of_kind("misc*.npz")
def test_scores(path: Path) -> None:
    golden = load(path)
    depth = depth_scores(golden["m_pred"], golden["m_gt"], golden["m_mask"])
    wanted = [golden[f"m_{name}"].item() for name in ("abs_rel", "rmse", "delta1", "delta2", "delta3")]
    np.testing.assert_allclose([depth.abs_rel, depth.rmse, *depth.delta], wanted, rtol=1e-6)
    poses = pose_scores(golden["p_pred"], golden["p_gt"])
    np.testing.assert_allclose(poses, [golden["p_rot_err_deg"].item(), golden["p_trans_err"].item()], rtol=1e-5)
    geometry = geometry_scores(golden["c_a"], golden["c_b"])
    np.testing.assert_allclose(geometry, [golden["c_chamfer"].item(), golden["c_f"].item()], rtol=1e-6)


class Lite3rCase(NamedTuple):
    """A dense network of a neighbouring set, its photos, and the student's own parameters."""

    golden: dict[str, np.ndarray]
    teacher: torch.nn.Module
    images: Tensor
    extra: dict[str, Tensor]
    keep: float

    @classmethod
    def of(cls, path: Path) -> Lite3rCase:
        kind = path.stem.removeprefix("lite3r_").rpartition("_")[0]
        case = json.loads((path.parent / "config.json").read_text())["end_to_end"][kind]
        photos = load(ROOT / kind / f"{case['images']}.npz")
        images = torch.from_numpy(photos["images_normalised" if kind == "da3" else "images"])
        extra = read_safetensors(path.with_name(f"{path.stem}_extra.safetensors"))
        return cls(load(path), golden_network(kind), images, extra, case["keep"])

    def student(self) -> torch.nn.Module:
        model = convert(copy.deepcopy(self.teacher), SparseOptions(mode="topk", keep=self.keep))
        prefix = "model." if any(name.startswith("model.") for name in self.extra) else ""
        missing, unexpected = model.load_state_dict(
            {
                name.removeprefix(prefix): value.reshape(()) if name.endswith("lam") else value
                for name, value in self.extra.items()
            },
            strict=False,
        )
        assert not unexpected
        assert not [name for name in missing if "proj_lin" in name or "lam" in name]
        return model

    def wanted(self, prefix: str) -> dict[str, np.ndarray]:
        found = {name.partition("_")[2]: one for name, one in self.golden.items() if name.startswith(f"{prefix}_")}
        assert found
        return found

    def answers(self, model: torch.nn.Module) -> dict[str, Tensor]:
        with torch.inference_mode():
            found = model(self.images)
        return {
            "depth": found.depth_z,
            "depth_conf": found.confidence,
            "extrinsics": found.cam_from_world,
            "intrinsics": found.K,
            "pose_enc": found.pose_encodings[-1] if hasattr(found, "pose_encodings") else None,
        }


@of_kind("lite3r_*.npz")
def test_lite3r_networks(path: Path) -> None:
    case = Lite3rCase.of(path)
    for prefix, model, tolerance in (("dense", case.teacher, 2e-5), ("sla", case.student(), 5e-5)):
        found = case.answers(model)
        for name, want in case.wanted(prefix).items():
            np.testing.assert_allclose(found[name].reshape(want.shape), want, rtol=1e-5, atol=tolerance)


@of_kind("lite3r_*.npz")
def test_lite3r_networks_in_eight_bits(path: Path) -> None:
    """A sanity check only, as the README of the set says: rounding flips make whole networks chaotic."""
    case = Lite3rCase.of(path)
    found = case.answers(fake_quantise_linears(case.student()))
    for name, want in case.wanted("fp8").items():
        off = np.sqrt(np.mean((found[name].reshape(want.shape).numpy() - want) ** 2)) / want.std()
        assert off < 0.3, name


@of_kind("lite3r_*.npz")
def test_distillation_of_networks(path: Path) -> None:
    case = Lite3rCase.of(path)
    outputs = []
    for model in (case.teacher, case.student()):
        with AttentionRecorder(model) as recorder:
            case.answers(model)
        outputs.append(recorder.outputs)
    assert [list(one.shape) for one in outputs[0]] == case.golden["attn_output_shapes"].tolist()
    single = [float(distillation_loss([one], [other])) for one, other in zip(*outputs, strict=True)]
    np.testing.assert_allclose(single, case.golden["kd_per_module"], rtol=1e-3)
    np.testing.assert_allclose(distillation_loss(*outputs), case.golden["kd_mean"].item(), rtol=1e-3)


@pytest.mark.parametrize("path", [*cases("vggt", "lite3r_*_keys.json"), *cases("da3", "lite3r_*_keys.json")])
def test_names_and_shapes_of_full_networks(path: Path) -> None:
    want = {name: tuple(shape) for name, (shape, _) in json.loads(path.read_text()).items()}
    with torch.device("meta"):
        if "vggt" in path.stem:
            model = Vggt(VggtOptions(heads=("camera", "depth")))
        else:
            model = DepthAnything3(CONFIGS[path.stem.removeprefix("lite3r_").removesuffix("_keys").replace("_", "-")])
        found = {name: tuple(one.shape) for name, one in convert(model).state_dict().items()}
    prefix = "model." if all(name.startswith("model.") for name in want) else ""
    assert found == {name.removeprefix(prefix): shape for name, shape in want.items()}
    assert sum(1 for _ in sparse_attentions(model)) == sum(name.endswith(".proj_lin.weight") for name in want)
