"""Weights of a network before its training, from a seed alone."""

from __future__ import annotations

import torch
from torch import nn

from recon3d.core.seeds import derive
from recon3d.feedforward.layers.block import LayerScale

_LINEAR, _TABLE, _TOKEN = 0.02, 0.02, 1e-6
_TABLES = ("pos_embed", "virual_tracks", "query_ref_token")


def initialize(model: nn.Module, seed: int) -> None:
    """Fill every parameter of a network in place.

    Linear layers get a normal distribution of 0.02, clipped at two of it; convolutions one over the root of the numbers
    that they add up; norms start as identities, LayerScales at their constant, tokens near zero.

    Args:
        model: a network of this room, on any device but meta.
        seed: the same seed gives the same weights on the same kind of device, whatever was drawn before.
    """
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            device = parameter.device
            generator = torch.Generator(device).manual_seed(derive(seed, "initialize", prefix, name))
            with torch.no_grad():
                _fill(module, name, parameter, generator)


def _fill(module: nn.Module, name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
    if isinstance(module, LayerScale):
        parameter.fill_(module.initial)
    elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
        parameter.fill_(1.0 if name == "weight" else 0.0)
    elif name.endswith("bias"):
        parameter.zero_()
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
    elif name.endswith("weight"):
        parameter.normal_(0.0, _LINEAR, generator=generator).clamp_(-2 * _LINEAR, 2 * _LINEAR)
    else:
        parameter.normal_(0.0, _TABLE if name in _TABLES else _TOKEN, generator=generator)
