"""Depth Anything 3 against its public code with reduced sizes and seeded weights (shared/goldens/da3)."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import ROOT, cases, load
from torch import Tensor

from recon3d.feedforward.checkpoints import check_names
from recon3d.feedforward.da3.config import CONFIGS, Da3Options, GaussianOptions, vit_options
from recon3d.feedforward.da3.model import Da3Prediction, DepthAnything3
from recon3d.feedforward.safetensors import read_safetensors

pytestmark = pytest.mark.golden
FOLDER = ROOT / "da3"
CASES = "da3_*_s*_*x*.npz"
KINDS = (
    CASES,
    "da3metric_*.npz",
    "ray_pose_*.npz",
    "pose_encoding_*.npz",
    "preprocess_*.npz",
    "misc_*.npz",
    "da3*_keys.json",
)
STRATEGY = {"middle": "middle", "balanced": "saddle_balanced", None: "saddle_balanced"}


def of_kind(pattern: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", cases("da3", pattern))


@cache
def config() -> dict[str, Any]:
    return json.loads((FOLDER / "config.json").read_text())


def any_view() -> Da3Options:
    """The constructor values of the golden set."""
    c, head, encoder = config(), config()["dual_dpt"], config()["camera_encoder"]
    return Da3Options(
        vit=vit_options(c["embed_dim"], c["depth"], c["num_heads"], c["qk_norm_start"], native_size=c["native_size"]),
        alternation_start=c["alternation_start"],
        taps=tuple(c["taps"]),
        features=head["features"],
        stage_channels=tuple(head["stage_channels"]),
        encoder_heads=encoder["num_heads"],
        encoder_depth=encoder["trunk_depth"],
        gaussians=gaussian_options(),
    )


def gaussian_options() -> GaussianOptions:
    head = config()["gaussian_head"]
    return GaussianOptions(head["output_dim"], head["sh_degree"], head["scale_min"], head["scale_max"])


def weights(prefix: str) -> dict[str, Tensor]:
    state = read_safetensors(FOLDER / f"{prefix}_weights.safetensors")
    return {name.removeprefix("model."): one for name, one in state.items()}


@cache
def network() -> DepthAnything3:
    model = DepthAnything3(any_view()).eval()
    model.load_state_dict(weights(config()["prefix"]))
    return model


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.copy())


def assert_near(got: Tensor | None, want: np.ndarray, absolute: float = 2e-5, relative: float = 1e-5) -> None:
    """Within the acceptance that the README of the set recommends."""
    assert got is not None
    assert tuple(got.shape) == want.shape
    np.testing.assert_allclose(np.asarray(got.detach(), np.float64), want, rtol=relative, atol=absolute)


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize("pattern", KINDS)
def test_the_default_set_holds_every_kind(pattern: str) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} is not there; RECON3D_GOLDENS names another folder")
    assert list(FOLDER.glob(pattern))


def predicted(path: Path) -> tuple[dict[str, np.ndarray], Da3Prediction]:
    golden, strategy = load(path), STRATEGY[config()["cases"][path.stem]["reference"]]
    known = {}
    if "extrinsics_in" in golden:
        known = {"cam_from_world": tensor(golden["extrinsics_in"])[..., :3, :], "K": tensor(golden["intrinsics_in"])}
    export = [int(name.removeprefix("aux_feat_layer_")) for name in golden if name.startswith("aux_feat_layer_")]
    with torch.inference_mode():
        found = network()(
            tensor(golden["images_normalised"]),
            **known,
            strategy=strategy,
            gaussians="gs_means" in golden,
            export=export,
        )
    return golden, found


@of_kind(CASES)
def test_backbone(path: Path) -> None:
    golden, found = predicted(path)
    for number, (patches, camera) in enumerate(zip(found.taps.patches, found.taps.camera, strict=True)):
        assert_near(patches, golden[f"feat_{number}"])
        assert_near(camera, golden[f"camtok_{number}"])
    for block, tokens in found.taps.exported.items():
        want = golden[f"aux_feat_layer_{block}"]
        assert_near(tokens.reshape(want.shape), want)
    if "ref_index" in golden:
        assert found.taps.reference.tolist() == golden["ref_index"].tolist()
    else:
        assert found.taps.reference is None


@of_kind(CASES)
def test_depth_rays_and_cameras(path: Path) -> None:
    golden, found = predicted(path)
    assert_near(found.depth_z, golden["depth"])
    assert_near(found.confidence, golden["depth_conf"])
    assert_near(found.rays, golden["ray"])
    assert_near(found.rays_confidence, golden["ray_conf"])
    assert_near(found.pose_encoding, golden["pose_enc"])
    assert_near(found.cam_from_world, golden["extrinsics"])
    assert_near(found.K, golden["intrinsics"], 1e-4)


def assert_relative(got: Tensor, want: np.ndarray, tolerance: float) -> None:
    """Relative to the largest value."""
    assert tuple(got.shape) == want.shape
    assert np.abs(got.numpy() - want).max() <= tolerance * max(1.0, np.abs(want).max())


@of_kind(CASES)
def test_gaussians(path: Path) -> None:
    golden, found = predicted(path)
    if "gs_means" not in golden:
        assert found.gaussians is None
        return
    got = found.gaussians
    assert_relative(got.means, golden["gs_means"], 1e-4)
    assert_relative(got.scales, golden["gs_scales"], 1e-4)
    assert_relative(got.opacities, golden["gs_opacities"], 1e-4)
    same = torch.sign((got.quats * tensor(golden["gs_rotations"])).sum(-1, keepdim=True))
    assert_relative(got.quats * same, golden["gs_rotations"], 1e-4)
    assert_relative(got.sh, golden["gs_harmonics"], 1e-4)
    patches = [one.flatten(0, 1) for one in found.taps.patches]
    with torch.inference_mode():
        raw, opacity = network().gs_head(patches, tensor(golden["images_normalised"]).flatten(0, 1))
    assert_near(raw, golden["raw_gs"][0])
    assert_near(opacity, golden["raw_gs_conf"][0])


@pytest.mark.parametrize("path", [*cases("da3", "da3_*_keys.json"), *cases("da3", "da3metric_*_keys.json")])
def test_names_and_shapes_of_published_checkpoints(path: Path) -> None:
    name = path.stem.removesuffix("_keys").replace("_", "-")
    with torch.device("meta"):
        model = DepthAnything3(CONFIGS[name])
        listed = {key: torch.empty(shape) for key, (shape, _) in json.loads(path.read_text()).items()}
    check_names(model, {key.removeprefix("model."): one for key, one in listed.items()}, path)
