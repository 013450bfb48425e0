"""Colours of rays: sun and lamp with hard shadows, light of the sky, and the sky itself."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.feedforward.scenes import height_field
from recon3d.feedforward.scenes.casting import Hits, blocked
from recon3d.feedforward.scenes.noise import fractal
from recon3d.feedforward.scenes.textures import albedo
from recon3d.feedforward.scenes.world import FRAME, KINDS, MATERIAL, SHAPE, SIZE, World


class Surface:
    """Surface points where rays ended, with the numbers of the shapes that they hit.

    Args:
        world: one world per view.
        points: in the world; anything where nothing was hit.
        directions: of the rays.
        column: of the shapes.
    """

    def __init__(self, world: World, points: Tensor, directions: Tensor, column: Tensor) -> None:
        n_views, n_rays = column.shape
        self.world, self.points = world, points
        rows = world.table.gather(2, column[:, None].expand(-1, world.table.shape[1], -1))
        frame = rows[:, FRAME].reshape(n_views, 3, 4, n_rays)
        self.size, self.material = rows[:, SIZE], rows[:, MATERIAL]
        self.linear = frame[:, :, :3]
        self.local = (self.linear * points[:, None]).sum(2) + frame[:, :, 3]
        outward = self._local_normals(column, rows[:, SHAPE][:, 0])
        normals = unit((self.linear * outward[:, :, None]).sum(1))
        if world.heights is not None:
            on_field = (column == world.table.shape[2] - 1)[:, None]
            normals = torch.where(on_field, height_field.normals(world.heights, world.extent, points), normals)
        self.normals = torch.where((normals * directions).sum(1, keepdim=True) > 0, -normals, normals)

    def _local_normals(self, column: Tensor, extra: Tensor) -> Float[Tensor, "v 3 r"]:
        """Return gradients of the shapes' implicit functions in their own frames."""
        local, bounds = self.local, torch.tensor(self.world.counts, device=column.device).cumsum(0)
        kind = torch.bucketize(column, bounds, right=True)
        size = local.abs()
        cube = local.sign() * (size >= size.amax(1, keepdim=True))
        x, y, z = local.unbind(1)
        radius = 1.0 - extra - extra * z
        end = torch.stack([torch.zeros_like(z), torch.zeros_like(z), z.sign()], 1)
        side = torch.stack([x, y, extra * radius], 1)
        is_end = 1.0 - z.abs() < (x * x + y * y).sqrt().sub(radius).abs()
        turned = torch.where(is_end[:, None], end, side)
        flat = torch.stack([torch.zeros_like(z), torch.zeros_like(z), torch.ones_like(z)], 1)
        for name, value in (("ball", local), ("frustum", turned), ("disc", flat)):
            cube = torch.where((kind == KINDS.index(name))[:, None], value, cube)
        return cube

    def albedo(self, footprint: Float[Tensor, "v r"]) -> Float[Tensor, "v 3 r"]:
        """Return the colours of the surface.

        Args:
            footprint: size of a pixel on the surface, in metres.
        """
        own = self.size * (self.linear * self.normals[:, None]).sum(2)
        return albedo(self.material, self.local * self.size, own, footprint)


def unit(vectors: Float[Tensor, "v 3 r"]) -> Float[Tensor, "v 3 r"]:
    """Return vectors of length 1.

    Args:
        vectors: not zero.
    """
    x, y, z = vectors.unbind(1)
    return vectors * (x * x + y * y + z * z).clamp_(min=1e-30).rsqrt_()[:, None]


def radiance(
    world: World, hits: Hits, surface: Surface, directions: Float[Tensor, "v 3 r"], footprint: Float[Tensor, "v r"]
) -> Float[Tensor, "v 3 r"]:
    """Return linear colours of rays.

    Args:
        world: one world per view.
        hits: of the rays.
        surface: at the hits.
        directions: of the rays; depth is measured in their lengths.
        footprint: size of a pixel on the surface, in metres.
    """
    start = surface.points + surface.normals * (2e-3 * footprint.clamp(min=0.05))[:, None]
    towards = unit(directions)
    mirrored = towards - 2.0 * (towards * surface.normals).sum(1, keepdim=True) * surface.normals
    diffuse, shine = _ambient(world, surface.normals), torch.zeros_like(surface.points)
    for step, colour in _lights(world, surface.points):
        towards_light = unit(step)
        light = colour * (surface.normals * towards_light).sum(1, keepdim=True).clamp(min=0)
        limit = 1.0 if step.shape[2] > 1 else 1e30
        light = light.masked_fill(blocked(world, start, step, limit)[:, None], 0.0)
        half = (mirrored * towards_light).sum(1).clamp(min=0)
        diffuse = diffuse + light
        shine = shine + light * (surface.material[:, 12] * half ** surface.material[:, 13])[:, None]
    base = surface.albedo(footprint)
    glow = surface.material[:, 18, None] * surface.material[:, 2:5]
    return torch.where(hits.distance.isfinite()[:, None], base * diffuse + shine + glow, sky(world, towards))


def sky(world: World, directions: Float[Tensor, "v 3 r"]) -> Float[Tensor, "v 3 r"]:
    """Return linear colours of the sky.

    Args:
        world: one world per view.
        directions: unit.
    """
    zenith, horizon, below, clouds = (world.sky[:, start : start + 3, None] for start in (0, 3, 6, 9))
    amount, scale, shift = (world.sky[:, index, None] for index in (12, 13, 14))
    up = directions[:, 2]
    colour = torch.lerp(horizon, zenith, up.clamp(0.0, 1.0).sqrt()[:, None])
    plane = directions / (up.abs() + 0.15)[:, None] * scale[:, None] + shift[:, None]
    cover = ((fractal(plane)[:, 0] + amount) * 0.7).clamp(0.0, 1.0) * (up * 4.0).clamp(0.0, 1.0)
    colour = torch.lerp(colour, clouds.expand_as(colour), cover[:, None])
    return torch.lerp(colour, below.expand_as(colour), (up * -12.0).clamp(0.0, 1.0)[:, None])


def _ambient(world: World, normals: Tensor) -> Tensor:
    above, below = world.ambient[:, :3, None], world.ambient[:, 3:, None]
    return torch.lerp(below.expand_as(normals), above.expand_as(normals), (0.5 + 0.5 * normals[:, 2:]))


def _lights(world: World, points: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the way to each light, and its colour where it arrives."""
    found = []
    if bool((world.sun[:, 3:] > 0).any()):
        found.append((world.sun[:, :3, None], world.sun[:, 3:, None].expand_as(points)))
    if bool((world.lamp[:, 3:] > 0).any()):
        step = world.lamp[:, :3, None] - points
        found.append((step, world.lamp[:, 3:, None] / step.square().sum(1, keepdim=True).clamp(min=0.05)))
    return found
