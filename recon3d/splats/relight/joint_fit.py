"""Joint optimisation of materials and light by the photos."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.render.shading import srgb_from_linear
from recon3d.render.shading.bsdf.metallic_roughness import DIELECTRIC_F0
from recon3d.splats.relight.light_search import light_prior
from recon3d.splats.relight.palette import Partners, group_colours
from recon3d.splats.relight.surface_model import ALBEDO, ROUGHNESS, SurfaceModel, chromaticity, squash

_GROUPS = 32
_VERTICES, _N_RAYS = 2048, 8
_REFRESH = 40
_SMOOTH, _PATCHES, _SAME = 0.5, 0.05, 0.5  # weights: like neighbours, like patches, like colours anywhere
_NEAR_CHROMA, _FAR_CHROMA, _FAR_LOG = 0.03, 0.08, 0.4  # how alike
_METAL = 0.002
_GAINS = 0.1
_MOST_DARKNESS = 6.0
_LIGHT_RATE = 0.05


@dataclass(frozen=True, eq=False)
class _Guess:
    """The parameters of one step, with gradients."""

    log_light: Float[Tensor, "k 3"]
    albedo_logits: Float[Tensor, "n 3"]
    roughness_logits: Float[Tensor, " p"]
    metallic_logits: Float[Tensor, " p"]
    log_gains: Float[Tensor, " photos"]


class JointFit:
    """Steps of the optimisation: random vertices in all photos that show them.

    Absolute differences after the sRGB curve are minimised. What photos leave open is decided by priors: neighbours of
    one chromaticity have one albedo, and so have vertices far apart, unless photos insist; patches that touch and look
    alike are equally rough; the light is smooth, white in sum, and not
    colourful.

    Args:
        model: what is optimised, in place.
        n_steps: how many there will be.
    """

    def __init__(self, model: SurfaceModel, n_steps: int) -> None:
        self.model, self.n_steps, self.done = model, n_steps, 0
        model.log_light.rate = _LIGHT_RATE
        self.chroma = chromaticity(model.mean_rgb)
        self.albedo_chroma = chromaticity(model.albedo)
        group = group_colours(self.albedo_chroma[model.rows], _GROUPS, model.random)
        self.partners = Partners(model.rows, group, len(model.transport))

    def step(self) -> float:
        """Take one step; returns the mean absolute error of its colours."""
        model = self.model
        if self.done % _REFRESH == 0:
            model.refresh()
        rows = model.draw(_VERTICES)
        guess = _Guess(
            *(
                value.clone().requires_grad_()
                for value in (
                    model.log_light.value,
                    model.albedo_logits.value[rows],
                    model.roughness_logits.value,
                    model.metallic_logits.value,
                    model.log_gains.value,
                )
            )
        )
        error, irradiance = self._error(rows, guess)
        loss = error + self._prior(rows, guess, irradiance.detach())
        loss.backward()  # type: ignore[no-untyped-call]
        share = 0.05 ** (self.done / self.n_steps)
        for name, value in vars(guess).items():
            getattr(model, name).step(value.grad, rows if name == "albedo_logits" else None, share)
        self.done += 1
        return float(error.detach())

    def _error(self, rows: Int64[Tensor, " n"], guess: _Guess) -> tuple[Float[Tensor, ""], Float[Tensor, "n 3"]]:
        model, seen = self.model, self.model.observations
        which, observed = seen.of(rows)
        patch, light = model.patch[rows], guess.log_light.exp()
        albedo = squash(guess.albedo_logits, ALBEDO)
        roughness = squash(guess.roughness_logits, ROUGHNESS)[patch]
        metallic = torch.sigmoid(guess.metallic_logits)[patch][:, None]
        irradiance, view = model.irradiance(rows, light), seen.view[observed]
        a, b = model.specular(rows[which], view, roughness[which], light, _N_RAYS)
        f0 = DIELECTRIC_F0 * (1 - metallic) + albedo * metallic
        colour = (albedo * (1 - metallic) * irradiance / math.pi)[which] + f0[which] * a + b
        colour = colour * guess.log_gains[seen.photo[observed]].exp()[:, None]
        missed = (srgb_from_linear(colour) - srgb_from_linear(seen.rgb[observed])).abs().mean(1)
        cosine = (model.transport.normals[rows[which]] * view).sum(1).clamp(0, 1)
        return (missed * cosine).sum() / cosine.sum().clamp_min(1e-6), irradiance

    def _prior(self, rows: Int64[Tensor, " n"], guess: _Guess, irradiance: Float[Tensor, "n 3"]) -> Float[Tensor, ""]:
        model = self.model
        albedo = squash(guess.albedo_logits, ALBEDO)
        brightness = irradiance.mean(1)
        darkness = 1 / (brightness / brightness.mean().clamp_min(1e-9) + 1 / _MOST_DARKNESS)
        near = self._neighbours(rows)
        alike = torch.exp(-(self.chroma[rows] - self.chroma[near]).abs().sum(1) / _NEAR_CHROMA)
        smooth = (alike * darkness * (albedo - model.albedo[near]).abs().mean(1)).mean()
        far = self.partners.draw(rows, model.random)
        apart = (albedo.log() - model.albedo[far].log()).abs().mean(1)
        alike = torch.exp(-(self.albedo_chroma[rows] - self.albedo_chroma[far]).abs().sum(1) / _FAR_CHROMA)
        same = (alike * torch.exp(-apart.detach() / _FAR_LOG) * darkness * apart).mean()
        roughness, metallic = squash(guess.roughness_logits, ROUGHNESS), torch.sigmoid(guess.metallic_logits)
        first, second = model.pairs
        patches = sum((model.likeness * (value[first] - value[second]).abs()).mean() for value in (roughness, metallic))
        gains = guess.log_gains.square().mean() + guess.log_gains.mean().square()
        total: Tensor = _SMOOTH * smooth + _SAME * same + _PATCHES * patches + _METAL * metallic.mean() + _GAINS * gains
        return total + light_prior(guess.log_light, model.transport)

    def _neighbours(self, rows: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """Return a random neighbour of every vertex, itself where there is none."""
        model = self.model
        first = model.first_edge[rows]
        count = model.first_edge[rows + 1] - first
        place = first + (torch.rand(len(rows), dtype=torch.float64, generator=model.random) * count).long()
        return torch.where(count > 0, model.edges[1][place.clamp_max(model.edges.shape[1] - 1)], rows)
