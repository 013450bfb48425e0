"""The constructor values of the published networks, as specs and papers state them."""

from __future__ import annotations

import pytest

from recon3d.feedforward.da3.config import CONFIGS
from recon3d.feedforward.vggt.config import VggtOptions

TABLE = {  # width, depth, heads, start, taps, features, stage channels
    "da3-small": (384, 12, 6, 4, (5, 7, 9, 11), 64, (48, 96, 192, 384)),
    "da3-base": (768, 12, 12, 4, (5, 7, 9, 11), 128, (96, 192, 384, 768)),
    "da3-large": (1024, 24, 16, 8, (11, 15, 19, 23), 256, (256, 512, 1024, 1024)),
    "da3-giant": (1536, 40, 24, 13, (19, 27, 33, 39), 256, (256, 512, 1024, 1024)),
    "da3metric-large": (1024, 24, 16, None, (4, 11, 17, 23), 256, (256, 512, 1024, 1024)),
    "da3mono-large": (1024, 24, 16, None, (4, 11, 17, 23), 256, (256, 512, 1024, 1024)),
}


@pytest.mark.parametrize("name", TABLE)
def test_sizes_of_da3(name: str) -> None:
    one, vit = CONFIGS[name], CONFIGS[name].vit
    found = (vit.dim, vit.depth, vit.n_heads, one.alternation_start, one.taps, one.features, one.stage_channels)
    assert found == TABLE[name]
    assert vit.qk_norm_start == one.alternation_start


def test_flags_of_da3() -> None:
    for name, one in CONFIGS.items():
        assert (one.vit.block.norm_eps, one.vit.final_norm_eps, one.vit.block.layer_scale) == (1e-6, 1e-5, 1.0)
        assert not one.vit.antialias and one.vit.grid_offset == 0.1
        assert one.vit.n_registers == 0 and not one.vit.has_mask_token
        assert one.vit.block.ffn == ("swiglu" if name == "da3-giant" else "gelu")
        assert (one.gaussians is not None) == (name == "da3-giant")
        assert one.any_view == name.startswith("da3-")


def test_heads_of_da3() -> None:
    large, metric = CONFIGS["da3-large"], CONFIGS["da3metric-large"]
    dense = large.dpt(output_dim=2, token_norm=True, uv=True)
    assert (dense.dim_in, dense.features, dense.rectified_skip) == (2048, 256, False)
    assert metric.dpt(output_dim=1, token_norm=False, uv=False).dim_in == 1024


def test_sizes_and_flags_of_vggt() -> None:
    one = VggtOptions()
    assert (one.vit.dim, one.vit.depth, one.vit.n_heads, one.vit.n_registers) == (1024, 24, 16, 4)
    assert (one.depth, one.n_heads, one.group, one.taps) == (24, 16, 1, (4, 11, 17, 23))
    assert (one.camera_depth, one.camera_heads, one.iterations) == (4, 16, 4)
    assert one.vit.antialias and one.vit.grid_offset == 0.0
    assert one.vit.block.norm_eps == one.vit.final_norm_eps == 1e-6
    own = one.block(qk_norm=True)
    assert (own.norm_eps, own.layer_scale, own.qk_norm, own.ffn) == (1e-5, 0.01, True, "gelu")
    dense = one.dpt(features=256, output_dim=2)
    assert dense.rectified_skip and dense.uv and dense.token_norm and dense.dim_in == 2048


def test_sizes_of_the_tracker() -> None:
    track = VggtOptions().track
    assert (track.features, track.stride, track.levels, track.radius) == (128, 2, 7, 4)
    assert (track.hidden, track.depth, track.n_heads, track.n_virtual, track.max_scale) == (384, 6, 8, 64, 518.0)
