"""Unknown materials of a surface below an unknown light, and the colours that they predict."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.render.shading import shading_frames
from recon3d.render.shading.bsdf.metallic_roughness import DIELECTRIC_F0
from recon3d.render.shading.bsdf.microfacet import Ggx
from recon3d.render.shading.frames import to_local, to_world
from recon3d.splats.relight.light_transport import LightTransport
from recon3d.splats.relight.observations import Observations
from recon3d.splats.relight.row_adam import RowAdam

ALBEDO, ROUGHNESS = (0.02, 0.98), (0.05, 0.99)  # what can be found
_PATCH_EDGES, _PATCH_CHROMA = 6.0, 0.06  # size of a patch in edges of the mesh, and in chromaticity
_START_ALBEDO, _START_ROUGHNESS, _START_METALLIC = 0.4, 0.5, 0.08
_BOUNCES = 2  # per refresh; they add up over the refreshes
_HORIZON = 1e-4


class SurfaceModel:
    """Albedo per vertex, roughness and metallic per patch of one colour, radiance per pixel of the environment.

    Colours are ``(1 - m) albedo (E + E_surfaces) / pi`` and a GGX lobe, by a few rays, that meets the environment or
    the light that other surfaces reflect; the latter, as if by diffuse reflection, is renewed by :meth:`refresh`.

    Args:
        transport: how light reaches the surface.
        seen: what photos show of it.
        n_photos: how many there are.
        seed: of the rays.
    """

    def __init__(self, transport: LightTransport, seen: Observations, n_photos: int, seed: int) -> None:
        self.transport, self.observations = transport, seen
        self.rows = torch.nonzero(seen.count > 0)[:, 0]
        self.random = torch.Generator().manual_seed(seed)
        self.mean_rgb = seen.mean(seen.rgb.clamp_max(1))
        self.edges, self.first_edge = _neighbours(transport)
        self.patch, self.pairs, self.likeness = self._patches()
        v, p = len(transport), int(self.patch.max()) + 1
        level = math.log(self._start_light())
        self.log_light = RowAdam(torch.full((len(transport.directions), 3), level), 0.1)
        self.albedo_logits = RowAdam(torch.full((v, 3), _logit(_START_ALBEDO, ALBEDO)), 0.05)
        self.roughness_logits = RowAdam(torch.full((p,), _logit(_START_ROUGHNESS, ROUGHNESS)), 0.03)
        self.metallic_logits = RowAdam(torch.full((p,), _logit(_START_METALLIC, (0.0, 1.0))), 0.03)
        self.log_gains = RowAdam(torch.zeros(n_photos), 0.003)
        self.indirect, self.outgoing = torch.zeros(v, 3), torch.zeros(v, 3)

    @property
    def light(self) -> Float[Tensor, "k 3"]:
        """Radiance of the pixels of the environment."""
        return self.log_light.value.exp()

    @property
    def albedo(self) -> Float[Tensor, "v 3"]:
        """Of the vertices."""
        return squash(self.albedo_logits.value, ALBEDO)

    @property
    def roughness(self) -> Float[Tensor, " v"]:
        """Of the vertices, perceptual."""
        return squash(self.roughness_logits.value, ROUGHNESS)[self.patch]

    @property
    def metallic(self) -> Float[Tensor, " v"]:
        """Of the vertices."""
        return torch.sigmoid(self.metallic_logits.value)[self.patch]

    def set_materials(
        self,
        albedo: Float[Tensor, "v 3"],
        roughness: Float[Tensor, " p"] | None = None,
        metallic: Float[Tensor, " p"] | None = None,
    ) -> None:
        """Go on from other materials: albedo per vertex, roughness and metallic per patch."""
        self.albedo_logits.restart(unsquash(albedo, ALBEDO))
        if roughness is not None:
            self.roughness_logits.restart(unsquash(roughness, ROUGHNESS))
        if metallic is not None:
            self.metallic_logits.restart(unsquash(metallic, (0.0, 1.0)))

    @torch.no_grad()
    def refresh(self) -> None:
        """Renew the light that surfaces send to each other."""
        albedo, m = self.albedo, self.metallic[:, None]
        reflected = (1 - m) * (albedo + DIELECTRIC_F0) + m * albedo
        direct = self.transport.irradiance_everywhere(self.light)
        for _ in range(_BOUNCES):
            outgoing = reflected * (direct + self.indirect) / math.pi
            self.indirect = self.transport.irradiance_from_surfaces(outgoing)
        self.outgoing = reflected * (direct + self.indirect) / math.pi

    def irradiance(self, vertices: Int64[Tensor, " n"], light: Float[Tensor, "k 3"]) -> Float[Tensor, "n 3"]:
        """Return all the irradiance of vertices (without ``1 / pi``); differentiable in the light."""
        return self.transport.irradiance(vertices.numpy(), light) + self.indirect[vertices]

    def specular(
        self,
        vertices: Int64[Tensor, " n"],
        view: Float[Tensor, "n 3"],
        roughness: Float[Tensor, " n"],
        light: Float[Tensor, "k 3"],
        n_rays: int,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """Return a and b of specular light ``F0 a + b``, by rays in directions of the visible normals.

        Differentiable in roughness and light; what a ray meets is not differentiated.

        Args:
            vertices: where, ``[n]``.
            view: unit vectors towards the cameras, ``[n,3]``.
            roughness: perceptual, ``[n]``.
            light: radiance of the environment.
            n_rays: per row.
        """
        n, frames = len(vertices), shading_frames(self.transport.normals[vertices])
        wi = to_local(frames, view).expand(n_rays, n, 3)
        alpha = (roughness**2).expand(n_rays, n)
        ggx = Ggx(alpha, alpha, "correlated")
        m = ggx.visible_normal(wi, self._places(n_rays, n))
        cosine = (wi * m).sum(-1)
        wo = 2 * cosine[..., None] * m - wi
        above = wo[..., 2:] > _HORIZON
        wo = torch.where(above, wo, wo.new_tensor([0.0, 0.0, 1.0]))
        weight = above[..., 0] * ggx.g2(wi, wo, m) / ggx.g1(wi, m).clamp_min(1e-9)
        incoming = self._incoming(vertices, to_world(frames, wo), light) * weight[..., None]
        fresnel = ((1 - cosine.clamp(0, 1)) ** 5)[..., None]
        return (incoming * (1 - fresnel)).mean(0), (incoming * fresnel).mean(0)

    def _places(self, n_rays: int, n: int) -> Float[Tensor, "r n 2"]:
        """Return well-spread points of the unit square, shifted at random for every row (the R2 sequence).

        The error of a colour, noise included, decides on materials: independent points would favour narrow lobes.

        Source: Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences", 2018.
        """
        steps = torch.arange(n_rays)[:, None, None] * torch.tensor([0.7548776662466927, 0.5698402909980532])
        shifts = torch.rand(n, 2, generator=self.random)
        return ((shifts + steps) % 1.0).clamp_max(1 - 2.0**-24)

    def _incoming(
        self, vertices: Int64[Tensor, " n"], ways: Float[Tensor, "r n 3"], light: Float[Tensor, "k 3"]
    ) -> Float[Tensor, "r n 3"]:
        where = np.tile(vertices.numpy(), len(ways))
        met = torch.from_numpy(self.transport.look(where, ways.detach().reshape(-1, 3).numpy())).long()
        met = met.reshape(ways.shape[:2])
        sky = self.transport.environment(light).lookup(ways)
        return torch.where((met < 0)[..., None], sky, self.outgoing[met.clamp_min(0)])

    def draw(self, n: int) -> Int64[Tensor, " m"]:
        """Return at most n random vertices that photos show."""
        drawn: Tensor = torch.unique(self.rows[torch.randint(len(self.rows), (n,), generator=self.random)])
        return drawn

    def _start_light(self) -> float:
        """Return the radiance from everywhere that gives the photos their brightness."""
        open_share = self.transport.irradiance_everywhere(torch.ones(len(self.transport.directions), 3)) / math.pi
        usual = float(self.mean_rgb[self.rows].mean()) / max(float(open_share[self.rows].mean()), 1e-3)
        return max(usual / _START_ALBEDO, 1e-4)

    def _patches(self) -> tuple[Int64[Tensor, " v"], Int64[Tensor, "2 e"], Float[Tensor, " e"]]:
        """Return the patch of every vertex, pairs of patches that touch, and how alike these are, 0 to 1."""
        colour = chromaticity(self.mean_rgb)
        cell = torch.floor(self.transport.points / (_PATCH_EDGES * self.transport.edge))
        key = torch.cat([cell, torch.round(colour[:, :2] / _PATCH_CHROMA)], 1).long()
        _, patch = torch.unique(key, dim=0, return_inverse=True)
        n = int(patch.max()) + 1
        touching = patch[self.edges]
        pairs = torch.unique(touching[:, touching[0] < touching[1]], dim=1)
        mean = torch.zeros(n, 3).index_add_(0, patch, colour) / torch.bincount(patch)[:, None]
        apart = (mean[pairs[0]] - mean[pairs[1]]).abs().sum(1)
        return patch, pairs, torch.exp(-apart / _PATCH_CHROMA)


def chromaticity(rgb: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Return colours without their brightness, which sum to 1, ``[n,3]``."""
    return rgb / rgb.sum(1, keepdim=True).clamp_min(1e-3)


def squash(logits: Tensor, between: tuple[float, float]) -> Tensor:
    """Return values between two bounds."""
    low, high = between
    return low + (high - low) * torch.sigmoid(logits)


def unsquash(values: Tensor, between: tuple[float, float]) -> Tensor:
    """Return the logits of values; those outside the bounds are moved inside."""
    low, high = between
    return torch.logit(((values - low) / (high - low)).clamp(0.01, 0.99))


def _logit(value: float, between: tuple[float, float]) -> float:
    return float(unsquash(torch.tensor(value), between))


def _neighbours(transport: LightTransport) -> tuple[Int64[Tensor, "2 e"], Int64[Tensor, " w"]]:
    """Return the edges of the mesh in both directions, by their first vertex, and where those of a vertex begin."""
    faces = torch.from_numpy(transport.mesh.faces).long()
    around = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = torch.unique(torch.cat([around, around.flip(1)]), dim=0).mT.contiguous()
    count = torch.bincount(edges[0], minlength=len(transport))
    return edges, torch.nn.functional.pad(count.cumsum(0), (1, 0))
