"""How light reaches the vertices of a mesh: which directions are free, and which vertices light each other."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, Int64, UInt8
from torch import Tensor

from recon3d.core.seeds import generator
from recon3d.render.mesh.normals import normals_of
from recon3d.render.mesh.types import Mesh
from recon3d.render.raytrace import Bvh, Hits
from recon3d.render.shading import Environment, shading_frames
from recon3d.splats.relight.transfer import cosine_directions

_RAYS_AT_ONCE = 1 << 20
_OFFSET = 0.5  # of the median edge: how far in front of the surface rays start
_BELOW = 0.0  # cosine from which on directions are asked about


class LightTransport:
    """Rays against a mesh, traced once, so that light from anywhere costs a product of matrices.

    The environment is a map of ``rows x 2 rows`` pixels; per vertex, one bit per pixel tells whether it is seen, at a
    random place of the pixel. Surfaces that are seen instead are found by rays of cosine-weighted density.

    Args:
        mesh: the surface, with unit normals at its vertices.
        rows: of the map of the environment; a multiple of two.
        n_bounces: rays per vertex for light from other surfaces.
        seed: of the random places.
        visibility: False = as if surfaces neither shaded nor lit each other.
    """

    def __init__(self, mesh: Mesh, rows: int = 32, n_bounces: int = 64, seed: int = 0, visibility: bool = True) -> None:
        self.mesh, self.rows, self.visibility = mesh, rows, visibility
        self.points = torch.from_numpy(mesh.vertices)
        self.normals = torch.from_numpy(normals_of(mesh))
        self.bvh = Bvh(mesh.vertices, mesh.faces)
        corners = mesh.vertices[mesh.faces]
        edge = float(np.median(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)))
        self.edge = edge
        self.start: Float32[np.ndarray, "v 3"] = (self.points + _OFFSET * edge * self.normals).numpy()
        empty = self.environment(torch.zeros(2 * rows * rows, 3))
        self.directions, self.solid_angles = empty.directions().reshape(-1, 3), empty.solid_angles().reshape(-1)
        random = generator(seed, "light transport")
        self.free = self._free_directions(random)
        self.lit_by = self._lit_by(n_bounces, random)

    def __len__(self) -> int:
        return len(self.points)

    def environment(self, light: Float[Tensor, "k 3"]) -> Environment:
        """Return the light of the pixels as an environment."""
        return Environment(light.reshape(self.rows, 2 * self.rows, 3))

    def irradiance(self, vertices: Int64[np.ndarray, " n"], light: Float[Tensor, "k 3"]) -> Float[Tensor, "n 3"]:
        """Return the irradiance (without ``1 / pi``) straight from the environment; differentiable in the light.

        Args:
            vertices: where.
            light: radiance of the pixels of the environment, ``[k,3]``.
        """
        seen = torch.from_numpy(np.unpackbits(self.free[vertices], axis=1))
        cosine = (self.normals[vertices] @ self.directions.mT).clamp_min(0)
        return (cosine * seen * self.solid_angles) @ light

    @torch.no_grad()
    def irradiance_everywhere(self, light: Float[Tensor, "k 3"]) -> Float[Tensor, "v 3"]:
        """Return :meth:`irradiance` of all vertices."""
        step = max(1, _RAYS_AT_ONCE // len(light))
        parts = [self.irradiance(np.arange(i, min(i + step, len(self))), light) for i in range(0, len(self), step)]
        return torch.cat(parts)

    @torch.no_grad()
    def irradiance_from_surfaces(self, outgoing: Float[Tensor, "v 3"]) -> Float[Tensor, "v 3"]:
        """Return the irradiance (without ``1 / pi``) from other surfaces that send the same light everywhere.

        Args:
            outgoing: radiance of the vertices, ``[v,3]``.
        """
        padded = torch.cat([outgoing, outgoing.new_zeros(1, 3)])  # -1, nothing there, is the last row
        total = torch.zeros_like(outgoing)
        for ray in range(self.lit_by.shape[1]):
            total += padded[torch.from_numpy(self.lit_by[:, ray]).long()]
        irradiance: Tensor = total * (math.pi / self.lit_by.shape[1])
        return irradiance

    def look(
        self, vertices: Int64[np.ndarray, " n"], directions: Float32[np.ndarray, "n 3"]
    ) -> Int32[np.ndarray, " n"]:
        """Return which vertex is nearest to what rays from vertices hit first, -1 = nothing.

        Args:
            vertices: where rays start.
            directions: where they go.
        """
        if not self.visibility:
            return np.full(len(vertices), -1, np.int32)
        return self._nearest(self.bvh.closest_hit(self.start[vertices], directions))

    def _nearest(self, hits: Hits) -> Int32[np.ndarray, " n"]:
        weights = np.stack([1 - hits.uv.sum(1), hits.uv[:, 0], hits.uv[:, 1]], 1)
        vertex = self.mesh.faces[np.maximum(hits.face, 0), weights.argmax(1)]
        return np.where(hits.face >= 0, vertex, -1).astype(np.int32)

    def _free_directions(self, random: np.random.Generator) -> UInt8[np.ndarray, "v b"]:
        """Return which pixels of the environment each vertex sees, one bit each."""
        n_pixels = len(self.directions)
        bits = np.zeros((len(self), n_pixels // 8), np.uint8)
        step = max(1, _RAYS_AT_ONCE // n_pixels)
        for first in range(0, len(self), step):
            rows = slice(first, min(first + step, len(self)))
            ways = self._places(random)
            above = self.normals[rows].numpy() @ ways.T > _BELOW
            if self.visibility:
                who, pixel = np.nonzero(above)
                blocked = self.bvh.any_hit(self.start[rows][who], ways[pixel])
                above[who[blocked], pixel[blocked]] = False
            bits[rows] = np.packbits(above, axis=1)
        return bits

    def _places(self, random: np.random.Generator) -> Float32[np.ndarray, "k 3"]:
        """Return a direction to a random place, uniform in solid angle, of every pixel."""
        row, column = np.divmod(np.arange(len(self.directions)), 2 * self.rows)
        down, right = random.random((2, len(row)))
        top, bottom = np.cos(np.pi * row / self.rows), np.cos(np.pi * (row + 1) / self.rows)
        z, phi = top + (bottom - top) * down, np.pi - (column + right) * (np.pi / self.rows)
        flat = np.sqrt(np.maximum(1 - z * z, 0))
        return np.stack([flat * np.cos(phi), flat * np.sin(phi), z], 1).astype(np.float32)

    def _lit_by(self, n_rays: int, random: np.random.Generator) -> Int32[np.ndarray, "v r"]:
        """Return the vertices that cosine-weighted rays from each vertex find, -1 = the environment."""
        pattern = torch.from_numpy(cosine_directions(n_rays)).float()
        found = np.empty((len(self), n_rays), np.int32)
        step = max(1, _RAYS_AT_ONCE // n_rays)
        for first in range(0, len(self), step):
            rows = np.arange(first, min(first + step, len(self)))
            turn = torch.from_numpy(random.random(len(rows)) * 2 * math.pi).float()
            c, s = turn.cos()[:, None], turn.sin()[:, None]
            x, y, z = pattern.unbind(1)
            local = torch.stack([c * x - s * y, s * x + c * y, z.expand(len(rows), -1)], -1)
            ways = torch.einsum("vij,vrj->vri", shading_frames(self.normals[rows]), local)
            found[rows] = self.look(np.repeat(rows, n_rays), ways.reshape(-1, 3).numpy()).reshape(len(rows), n_rays)
        return found
