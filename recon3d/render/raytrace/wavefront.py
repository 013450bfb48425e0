"""Batches of paths, segment by segment: rays of all paths together, then all their materials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64, UInt64

from recon3d.render.raytrace.bvh import Bvh, Hits
from recon3d.render.raytrace.light_table import LightTable, light_table, lights_from
from recon3d.render.raytrace.metallic import as_metallic, shade_metallic
from recon3d.render.raytrace.options import PathOptions
from recon3d.render.raytrace.random_numbers import uniforms
from recon3d.render.raytrace.scene import RenderScene
from recon3d.render.raytrace.shade import N_NUMBERS, Shaded, shade
from recon3d.render.raytrace.surfaces import Surface, Triangles, leave, merge, surface_at
from recon3d.render.shading.bsdf import Bsdf
from recon3d.render.shading.light_sampling import EnvironmentSampler

# Torch computes the last elements of an array, those that do not fill its vectors, in another way than the others, so
# batches are filled up to whole vectors: then no number depends on its place in a batch.
_WHOLE = 64
_PER_VERTEX = 8  # dimensions of random numbers that a vertex owns
_FIRST = 8  # dimensions that the camera owns


class Rays(NamedTuple):
    """Rays that belong to paths."""

    origins: Float32[np.ndarray, "n 3"]
    directions: Float32[np.ndarray, "n 3"]


@dataclass(frozen=True, eq=False)
class Tracer:
    """A scene that is ready for rays.

    Args:
        scene: what is rendered.
        triangles: all of it.
        bvh: the same, for rays.
        sampler: of the environment; None = darkness.
        table: the same light, for kernels.
    """

    scene: RenderScene
    triangles: Triangles
    bvh: Bvh
    sampler: EnvironmentSampler | None
    table: LightTable | None

    @classmethod
    def of(cls, scene: RenderScene) -> Tracer:
        """Prepare a scene."""
        triangles = merge(scene.objects, [False] * len(scene.objects))
        faces = np.arange(3 * len(triangles.corners), dtype=np.int32).reshape(-1, 3)
        sampler = None if scene.environment is None else EnvironmentSampler(scene.environment.to(torch.float32))
        table = None if sampler is None else light_table(sampler)
        tracer = cls(scene, triangles, Bvh(triangles.corners.reshape(-1, 3), faces), sampler, table)
        for owner, one in enumerate(scene.objects):
            triangles.turns[owner] = one.two_sided and not tracer._example(owner).transmits
        return tracer

    def _example(self, owner: int) -> Bsdf:
        """Return the material at the middle of an object's first face."""
        face, weights = self.triangles.first[owner : owner + 1], np.full((1, 2), 1 / 3, np.float32)
        surface = surface_at(self.triangles, face, weights, np.array([[0, 0, 1]], np.float32))
        return self.material(owner, surface, face, weights)

    def material(
        self, owner: int, surface: Surface, face: Int32[np.ndarray, " n"], weights: Float32[np.ndarray, "n 2"]
    ) -> Bsdf:
        """Return the BSDF of one object at points of its surface.

        Args:
            owner: index of the object.
            surface: the points, ``[n]``.
            face: their faces, ``[n]``.
            weights: of the second and third corner, ``[n,2]``.
        """
        one = self.scene.objects[owner]
        given = [torch.from_numpy(surface.uv), torch.from_numpy(surface.position)]
        if one.attributes is not None:
            corners = one.attributes[one.mesh.faces[face - self.triangles.first[owner]]].astype(np.float32)
            first = 1 - weights.sum(axis=1, keepdims=True)
            mixed = corners[:, 0] * first + corners[:, 1] * weights[:, :1] + corners[:, 2] * weights[:, 1:]
            given.append(torch.from_numpy(np.ascontiguousarray(mixed)))
        return one.material(*given)

    def light_from(
        self, directions: Float32[np.ndarray, "n 3"]
    ) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, " n"]]:
        """Return the radiance that rays find which hit nothing, and the density of light samples there."""
        light, density = np.zeros_like(directions), np.zeros(len(directions), np.float32)
        if self.table is not None:
            lights_from(tuple(self.table), directions, light, density)
        return light, density

    def trace(
        self, rays: Rays, hits: Hits, keys: UInt64[np.ndarray, " n"], options: PathOptions
    ) -> Float32[np.ndarray, "n 3"]:
        """Return the radiance that comes back along rays which hit something, ``[n,3]``.

        Args:
            rays: the first segments, ``[n]``.
            hits: where they end, ``[n]``.
            keys: of their random numbers, ``[n]``.
            options: of the tracer.
        """
        radiance = np.zeros((len(keys), 3), np.float32)
        paths, carried = np.arange(len(keys)), np.ones((len(keys), 3), np.float32)
        directions = rays.directions
        for vertex in range(1, options.max_depth if len(keys) else 1):
            surface = surface_at(self.triangles, hits.face, hits.uv, directions)
            dimension, own_keys = _FIRST + _PER_VERTEX * (vertex - 1), keys[paths]
            shaded = self._shade(surface, hits, own_keys, dimension)
            self._add_light(radiance, paths, carried, surface, shaded)
            draw = _draws(own_keys, dimension + N_NUMBERS, 1)[:, 0]
            keep = self._survivors(carried, shaded, vertex, draw, options)
            if not len(keep):
                break
            paths, carried = paths[keep], carried[keep]
            directions, density = shaded.way[keep], shaded.density[keep]
            origins = np.empty_like(directions)
            leave(surface.position[keep], surface.flat[keep], surface.reach[keep], directions, origins)
            hits = self.bvh.closest_hit(origins, directions)
            self._add_environment(radiance, paths, carried, directions, density, hits)
            hit = np.flatnonzero(hits.face >= 0)
            paths, carried, directions = paths[hit], carried[hit], directions[hit]
            hits = Hits._make(field[hit] for field in hits)
            if not len(hit):
                break
        return radiance

    def _shade(self, surface: Surface, hits: Hits, keys: UInt64[np.ndarray, " n"], dimension: int) -> Shaded:
        """Shade all vertices, object by object."""
        if len(self.scene.objects) == 1:
            return self._shade_object(0, surface, hits, keys, dimension)
        n = len(hits.face)
        out = Shaded._make([*(np.zeros((n, 3), np.float32) for _ in range(4)), np.zeros(n, np.float32)])
        for owner in range(len(self.scene.objects)):
            own = np.flatnonzero(surface.owner == owner)
            if len(own):
                part = Hits._make(field[own] for field in hits)
                shaded = self._shade_object(owner, surface.take(own), part, keys[own], dimension)
                for field, values in zip(out, shaded, strict=True):
                    field[own] = values
        return out

    def _shade_object(
        self, owner: int, surface: Surface, hits: Hits, keys: UInt64[np.ndarray, " n"], dimension: int
    ) -> Shaded:
        """Shade vertices on one object, in whole vectors of torch."""
        n, rows = len(keys), whole(np.arange(len(keys)))
        if len(rows) != n:
            surface, hits, keys = surface.take(rows), Hits._make(field[rows] for field in hits), keys[rows]
        bsdf = self.material(owner, surface, hits.face, hits.uv)
        known = as_metallic(bsdf, len(rows))
        if known is not None:
            shaded = shade_metallic(surface, known, self.table, keys, dimension)
        else:
            shaded = shade(surface, bsdf, self.sampler, _draws(keys, dimension, N_NUMBERS))
        return Shaded._make(field[:n] for field in shaded)

    def _add_light(
        self,
        radiance: Float32[np.ndarray, "n 3"],
        paths: Int64[np.ndarray, " m"],
        carried: Float32[np.ndarray, "m 3"],
        surface: Surface,
        shaded: Shaded,
    ) -> None:
        """Add the light that was drawn from the environment, where nothing shades it."""
        lit = np.flatnonzero(_largest(shaded.light) > 0)
        if not len(lit):
            return
        ways, origins = shaded.light_way[lit], np.empty((len(lit), 3), np.float32)
        leave(surface.position[lit], surface.flat[lit], surface.reach[lit], ways, origins)
        free = lit[~self.bvh.any_hit(origins, ways)]
        radiance[paths[free]] += carried[free] * shaded.light[free]

    def _add_environment(
        self,
        radiance: Float32[np.ndarray, "n 3"],
        paths: Int64[np.ndarray, " m"],
        carried: Float32[np.ndarray, "m 3"],
        directions: Float32[np.ndarray, "m 3"],
        density: Float32[np.ndarray, " m"],
        hits: Hits,
    ) -> None:
        """Add the environment where segments drawn from BSDFs leave the scene."""
        free = np.flatnonzero(hits.face < 0)
        light, other = self.light_from(directions[free])
        ratio = other / np.maximum(density[free], np.float32(1e-30))
        radiance[paths[free]] += carried[free] * light / (1 + ratio * ratio)[:, None]

    @staticmethod
    def _survivors(
        carried: Float32[np.ndarray, "n 3"],
        shaded: Shaded,
        vertex: int,
        draw: Float32[np.ndarray, " n"],
        options: PathOptions,
    ) -> Int64[np.ndarray, " m"]:
        """Multiply what paths carry by the weights of their next segments, and return those that go on."""
        carried *= shaded.weight
        most = _largest(carried)
        if options.russian_roulette_depth is None or vertex < options.russian_roulette_depth:
            return np.flatnonzero(most > 0)
        chance = np.minimum(most, np.float32(0.95))
        keep = np.flatnonzero((most > 0) & (draw < chance))
        carried[keep] /= chance[keep, None]
        return keep


def _largest(colours: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, " n"]:
    """Return the largest channels; numpy is slow along a short axis."""
    largest: Float32[np.ndarray, " n"] = np.maximum(np.maximum(colours[:, 0], colours[:, 1]), colours[:, 2])
    return largest


def _draws(keys: UInt64[np.ndarray, " n"], dimension: int, count: int) -> Float32[np.ndarray, "n d"]:
    """Return random numbers of consecutive dimensions."""
    numbers = np.empty((len(keys), count), np.float32)
    uniforms(keys, dimension, numbers)
    return numbers


def whole(rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """Return row numbers, repeating the last one until their count is a multiple of 64."""
    missing = -len(rows) % _WHOLE
    return np.concatenate([rows, np.repeat(rows[-1:], missing)])
