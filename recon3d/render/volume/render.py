"""Rays and a field in, pictures out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.rays import Rays
from recon3d.render.volume.box import ray_box
from recon3d.render.volume.compositing import accumulate, composite_depths, opacity, over_background, visible
from recon3d.render.volume.field import Field, FieldValues
from recon3d.render.volume.marching import march
from recon3d.render.volume.occupancy import OccupancyGrid
from recon3d.render.volume.options import VolumeOptions
from recon3d.render.volume.packed import PackedSamples, Packing
from recon3d.render.volume.samplers import even_edges, importance_edges, merge_edges, neus_edges
from recon3d.render.volume.spacing import Spacing


@dataclass(frozen=True, eq=False)
class VolumeRendering:
    """What rays see. Differentiable in what the field answered and in the background, except ``depth_median``.

    Args:
        rgb: colours over the background, ``[r,c]``; None if the field has none.
        opacity: share of light that the field stops, ``[r]``.
        depth_sum: distances times weights, ``[r]``.
        depth_expected: the same over the opacity, 0 where nothing is seen, ``[r]``.
        depth_median: distance with which the opacity reaches one half, 0 where it does not, ``[r]``.
        features: sums of the field's features by name, ``[r,k]``.
        samples: the intervals of all rays in one row.
        weights: of the samples, ``[s]``.
    """

    rgb: Float[Tensor, "r c"] | None
    opacity: Float[Tensor, " r"]
    depth_sum: Float[Tensor, " r"]
    depth_expected: Float[Tensor, " r"]
    depth_median: Float[Tensor, " r"]
    features: Mapping[str, Float[Tensor, "r _k"]]
    samples: PackedSamples
    weights: Float[Tensor, " s"]


def render_rays(
    rays: Rays,
    field: Field,
    options: VolumeOptions = VolumeOptions(),  # noqa: B008 (frozen)
    *,
    box: tuple[Float[Tensor, "3"], Float[Tensor, "3"]] | None = None,
    grid: OccupancyGrid | None = None,
    background: Float[Tensor, "*r c"] | None = None,
    geometry: Field | None = None,
    generator: torch.Generator | None = None,
) -> VolumeRendering:
    """Render a field: anything that answers at points, be it a network, a grid or Gaussians.

    Densities and opacities are looked at in the middle of their intervals, signed distances at the start (NeuS).

    Args:
        rays: in the frame of the field.
        field: is called with positions ``[m,3]`` and directions ``[m,3]``, and answers with :class:`FieldValues`.
        options: see there.
        box: samples stand inside these corners only; without box and grid, between ``options.near`` and ``far``.
        grid: samples stand in its occupied cells, ``options.step`` apart.
        background: shows where rays are not opaque, ``[c]`` or ``[r,c]``; None = black.
        geometry: the field without colours, which finds importance samples, and lets hidden samples in a grid be
            dropped before the field itself is asked; None = no sample is dropped, and the field finds the others.
        generator: moves the samples at random, as training wants it; None = they stand evenly.

    Raises:
        UsageError: both box and grid are given, or neither and ``options.far`` is infinite.
        ShapeError: the field answers with another number of points, or the background has the wrong shape.
    """
    if box is not None and grid is not None:
        raise UsageError("samples stand in a box or in a grid, not in both", fix="leave out the box")
    if background is not None and background.shape[:-1] not in ((), (len(rays),)):
        raise ShapeError("a background is one colour or one per ray", got=list(background.shape))
    with torch.no_grad():  # of one point, to learn what it speaks of
        signed = field(rays.origins[:1], rays.directions[:1]).sdf is not None
    seen = _Scene(field, geometry, signed, options, box, grid, generator)
    parts = []
    for start in range(0, max(len(rays), 1), options.chunk):
        own = slice(start, start + options.chunk)
        behind = background if background is None or background.ndim == 1 else background[own]
        parts.append(seen.render(rays[own], behind))
    return _joined(parts, len(rays))


@dataclass(frozen=True, eq=False)
class _Scene:
    """The arguments of :func:`render_rays` that are the same for every chunk."""

    field: Field
    geometry: Field | None
    signed: bool  # the field answers with signed distances
    options: VolumeOptions
    box: tuple[Tensor, Tensor] | None
    grid: OccupancyGrid | None
    generator: torch.Generator | None

    def render(self, rays: Rays, background: Tensor | None) -> VolumeRendering:
        samples = self._spread(rays) if self.grid is None else self._marched(rays, self.grid)
        values = self._ask(self.field, rays, samples)
        packing = samples.packing
        weights = values.weights(samples, rays.directions[packing.ray_indices], self.options).weights
        stops = opacity(weights, packing)
        rgb = None if values.rgb is None else accumulate(weights, values.rgb, packing)
        if rgb is not None and background is not None:
            rgb = over_background(rgb, stops, background)
        depths = composite_depths(weights, samples.starts if self.signed else samples.middles, packing)
        features = {name: accumulate(weights, value, packing) for name, value in values.features.items()}
        return VolumeRendering(rgb, stops, *depths, features, samples, weights)

    def _ask(self, field: Field, rays: Rays, samples: PackedSamples) -> FieldValues:
        """Ask in the middle of samples, or at their starts for signed distances."""
        index = samples.packing.ray_indices
        origins, directions = rays.origins[index], rays.directions[index]
        at = samples.starts if self.signed else samples.middles
        values = field(origins + at[:, None] * directions, directions)
        if len(values) != len(samples):
            raise ShapeError("a field answers at every point", got=len(values), expected=len(samples))
        if (values.sdf is not None) != self.signed:
            raise UsageError("a field answers alike everywhere", got="a signed distance at some points only")
        return values

    def _marched(self, rays: Rays, grid: OccupancyGrid) -> PackedSamples:
        samples = march(rays, grid, self.options.march(), jitter=self.generator)
        if self.geometry is None:
            return samples
        with torch.no_grad():
            values = self._ask(self.geometry, rays, samples)
            weights = values.weights(samples, rays.directions[samples.packing.ray_indices], self.options)
        thresholds = {"early_stop": self.options.early_stop, "alpha_threshold": self.options.alpha_threshold}
        return samples.selected(visible(weights, **thresholds))

    @torch.no_grad()
    def _spread(self, rays: Rays) -> PackedSamples:
        """Return as many samples on every ray that meets the box."""
        near, far, hit = self._ends(rays)
        seen = hit.nonzero()[:, 0]
        own, spacing = rays[seen], Spacing(near[seen], far[seen], self.options.spacing)
        edges = even_edges(len(own), self.options.n_samples, like=rays.origins, jitter=self.generator)
        if self.options.n_importance and len(own):
            edges = self._refined(own, spacing, edges)
        t = spacing.distances(edges)
        n = t.shape[1] - 1
        packing = Packing(seen.repeat_interleave(n), len(rays))
        return PackedSamples(packing, t[:, :-1].flatten(), t[:, 1:].flatten())

    def _ends(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        if self.box is not None:
            hits = ray_box(rays, *self.box, near=self.options.near, far=self.options.far)
            return hits.near, hits.far, hits.hit
        like = rays.origins[:, 0]
        near, far = torch.full_like(like, self.options.near), torch.full_like(like, self.options.far)
        return near, far, torch.ones_like(like, dtype=torch.bool)

    def _refined(self, rays: Rays, spacing: Spacing, edges: Tensor) -> Tensor:
        """Return edges with more samples where the field holds something."""
        field, steps = self.geometry or self.field, self.options.n_importance
        if self.signed:
            return neus_edges(lambda t: _distances(field, rays, t), spacing, edges, steps, jitter=self.generator)
        for count in steps:
            t = spacing.distances(edges)
            n = t.shape[1] - 1
            packing = Packing.of_counts(torch.full((len(rays),), n, device=t.device))
            samples = PackedSamples(packing, t[:, :-1].flatten(), t[:, 1:].flatten())
            values = self._ask(field, rays, samples)
            weights = values.weights(samples, rays.directions[packing.ray_indices], self.options).weights
            new = importance_edges(edges, weights.reshape(-1, n), count, jitter=self.generator)
            edges = merge_edges(edges, new)
        return edges


def _distances(field: Field, rays: Rays, t: Tensor) -> Tensor:
    directions = rays.directions[:, None].expand(-1, t.shape[1], -1)
    sdf = field(rays.at(t).flatten(0, 1), directions.flatten(0, 1)).sdf
    if sdf is None:
        raise UsageError("a field answers alike everywhere", got="a signed distance at some points only")
    return sdf.reshape(t.shape)


def _joined(parts: list[VolumeRendering], n_rays: int) -> VolumeRendering:
    """Return the rendering of all rays from that of chunks."""
    if len(parts) == 1:
        return parts[0]
    firsts = torch.tensor([0, *(len(part.opacity) for part in parts[:-1])]).cumsum(0).tolist()
    index = [part.samples.packing.ray_indices + first for part, first in zip(parts, firsts, strict=True)]
    samples = PackedSamples(
        Packing(torch.cat(index), n_rays),
        torch.cat([part.samples.starts for part in parts]),
        torch.cat([part.samples.ends for part in parts]),
    )
    rgbs = [part.rgb for part in parts if part.rgb is not None]
    return VolumeRendering(
        rgb=torch.cat(rgbs) if rgbs else None,
        opacity=torch.cat([part.opacity for part in parts]),
        depth_sum=torch.cat([part.depth_sum for part in parts]),
        depth_expected=torch.cat([part.depth_expected for part in parts]),
        depth_median=torch.cat([part.depth_median for part in parts]),
        features={name: torch.cat([part.features[name] for part in parts]) for name in parts[0].features},
        samples=samples,
        weights=torch.cat([part.weights for part in parts]),
    )
