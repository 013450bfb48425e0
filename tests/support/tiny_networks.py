"""Networks of the feed-forward room that are built and run in milliseconds."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from recon3d.feedforward.da3.config import Da3Options, GaussianOptions, vit_options
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.layers.dpt import DptOptions
from recon3d.feedforward.layers.vit import VitOptions
from recon3d.feedforward.vggt.config import TrackOptions, VggtOptions
from recon3d.feedforward.vggt.model import Vggt

STAGES = (8, 8, 8, 8)
DPT = DptOptions(dim_in=32, features=8, stage_channels=STAGES)
VIT = VitOptions(dim=16, depth=2, n_heads=2, native_size=42, n_registers=2, antialias=True)
TRACK = TrackOptions(features=8, levels=2, radius=1, hidden=16, depth=1, n_heads=2, n_virtual=3)
VGGT = VggtOptions(
    vit=VIT,
    depth=4,
    n_heads=2,
    taps=(0, 1, 2, 3),
    features=8,
    stage_channels=STAGES,
    camera_depth=1,
    camera_heads=2,
    iterations=2,
    track=TRACK,
)
DA3 = Da3Options(
    vit=vit_options(16, 6, 2, 2, native_size=42),
    alternation_start=2,
    taps=(2, 3, 4, 5),
    features=8,
    stage_channels=STAGES,
    encoder_heads=2,
    encoder_depth=1,
    gaussians=GaussianOptions(),
)
METRIC = replace(
    DA3, vit=vit_options(16, 4, 2, None, native_size=42), alternation_start=None, taps=(0, 1, 2, 3), gaussians=None
)


def alive(model: nn.Module, seed: int = 0, strength: float = 0.3) -> nn.Module:
    """Give every parameter a random value, so that no branch is silent."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, one in model.named_parameters():
            noise = torch.randn(one.shape, generator=generator)
            scale = one[0].numel() ** -0.5 if one.ndim > 1 else strength
            one.copy_(noise * scale + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return model.eval()


def tiny_vggt(options: VggtOptions = VGGT, **settings: int) -> Vggt:
    model = Vggt(options, **settings)
    alive(model)
    return model


def tiny_da3(options: Da3Options = DA3, **settings: int) -> DepthAnything3:
    model = DepthAnything3(options, **settings)
    alive(model)
    return model


def photos(views: int, height: int = 28, width: int = 42, *, scenes: int = 1, seed: int = 1) -> Tensor:
    """Random images 0..1."""
    return torch.rand(scenes, views, 3, height, width, generator=torch.Generator().manual_seed(seed))
