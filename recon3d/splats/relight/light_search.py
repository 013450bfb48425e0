"""A first guess of the light, from shading and shadows of a surface that is taken to have few colours."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.progress import Stage
from recon3d.splats.relight.light_transport import LightTransport
from recon3d.splats.relight.palette import group_colours
from recon3d.splats.relight.row_adam import RowAdam
from recon3d.splats.relight.surface_model import SurfaceModel, chromaticity

_COLOURS = 16
_VERTICES = 4096
_DULL = 0.3  # share of the photos of a vertex that are darker than what counts: highlights do not
_DARK = 0.02  # added to colours before their logarithm
_GLOSS = 0.01  # specular light of a dielectric, as a share of the mean radiance
_START_ALBEDO = 0.4
_FLAT, _LAST_SHARE = 0.3, 0.02  # of the steps with the full rate, and of the rate at the end
_SMOOTH, _GREY, _WHITE, _USUAL = 3e-4, 0.3, 3.0, 0.1
_REFRESH = 100


def find_light(model: SurfaceModel, n_steps: int, stage: Stage) -> None:
    """Fit the radiance of the environment and the brightness of a few colours to the duller photos of each vertex.

    Args:
        model: changed in place: its light, and its albedo by the colours.
        n_steps: of the optimisation.
        stage: of the progress; one count per step.
    """
    target = _dull_colours(model)
    colour = chromaticity(target)
    group = torch.zeros(len(target), dtype=torch.int64)
    group[model.rows] = group_colours(colour[model.rows], _COLOURS, model.random)
    n = int(group.max()) + 1
    hue = torch.zeros(n, 3).index_add_(0, group[model.rows], colour[model.rows])
    hue = 3 * _START_ALBEDO * hue / hue.sum(1, keepdim=True).clamp_min(1e-6)
    brightness = RowAdam(torch.zeros(n), 0.02)
    weight = model.observations.count.float().sqrt()[:, None]
    for step in range(n_steps):
        rows = model.draw(_VERTICES)
        log_light = model.log_light.value.clone().requires_grad_()
        scale = brightness.value.clone().requires_grad_()
        light = log_light.exp()
        albedo = (hue * scale.exp()[:, None])[group[rows]]
        predicted = albedo * model.irradiance(rows, light) / math.pi + _GLOSS * light.mean()
        error = ((predicted + _DARK).log() - (target[rows] + _DARK).log()).abs()
        loss = (error * weight[rows]).mean() / weight[rows].mean()
        loss = loss + light_prior(log_light, model.transport) + _USUAL * scale.square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        share = _LAST_SHARE ** max(0.0, (step / n_steps - _FLAT) / (1 - _FLAT))
        model.log_light.step(_gradient(log_light), share=share)
        brightness.step(_gradient(scale), share=share)
        if step % _REFRESH == 0 or step == n_steps - 1:
            model.set_materials((hue * brightness.value.exp()[:, None])[group])
            model.refresh()
        stage.advance()


def light_prior(log_light: Float[Tensor, "k 3"], transport: LightTransport) -> Float[Tensor, ""]:
    """Return the cost of a light: of steps between pixels, of colourful light, and of light that is not white in sum.

    Photos do not tell the colour of the light from that of the surface; white in sum is the choice made here.

    Args:
        log_light: logarithm of the radiance.
        transport: whose environment it is.
    """
    picture = log_light.reshape(transport.rows, 2 * transport.rows, 3)
    steps = (picture - picture.roll(1, 1)).abs().mean() + (picture[1:] - picture[:-1]).abs().mean()
    power = log_light.exp() * transport.solid_angles[:, None]
    grey = power.mean(1, keepdim=True)
    colourful = (power - grey).abs().sum() / (3 * grey.sum().detach())
    total = power.sum(0).log()
    cost: Tensor = _SMOOTH * steps + _GREY * colourful + _WHITE * (total - total.mean()).square().mean()
    return cost


def _dull_colours(model: SurfaceModel) -> Float[Tensor, "v 3"]:
    """Return the colour of each vertex in the photo at the lower quantile of its brightness, ``[v,3]``."""
    seen = model.observations
    order = torch.argsort(seen.rgb.mean(1), stable=True)
    order = order[torch.argsort(seen.owner[order], stable=True)]
    place = seen.first[:-1][model.rows] + (_DULL * (seen.count[model.rows] - 1)).long()
    colours = torch.zeros(len(model.transport), 3)
    colours[model.rows] = seen.rgb[order[place]]
    return colours


def _gradient(value: Tensor) -> Tensor:
    return torch.zeros_like(value) if value.grad is None else value.grad
