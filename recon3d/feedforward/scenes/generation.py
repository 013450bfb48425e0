"""Scenes from seeds: build the worlds, place the cameras, cast the rays, take the photos."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.feedforward.scenes.cameras import Cameras, draw_cameras, rays
from recon3d.feedforward.scenes.casting import nearest
from recon3d.feedforward.scenes.kinds import STAGES
from recon3d.feedforward.scenes.lighting import Surface, radiance
from recon3d.feedforward.scenes.options import SceneOptions
from recon3d.feedforward.scenes.photograph import Exposure, draw_exposure, photograph
from recon3d.feedforward.scenes.types import TrueViews
from recon3d.feedforward.scenes.world import World

_SPREAD = 0.36  # of the three outer rays of a pixel around its centre


class _Plan(NamedTuple):
    """One scene before it is rendered."""

    world: World
    cameras: Cameras
    exposure: Exposure


class _Rendered(NamedTuple):
    """One batch of views."""

    linear: Float32[Tensor, "v 3 *hw"]
    depth_z: Float32[Tensor, "v *hw"]
    normals: Float32[Tensor, "v *k"]


def generate_views(
    seed: int,
    n_scenes: int,
    options: SceneOptions | None = None,
    *,
    n_views: int | None = None,
    device: torch.device | str = "cpu",
) -> TrueViews:
    """Return photos of random scenes with their truth.

    Scene ``i`` depends on ``(seed, i)``, the options and the number of views only, and on the CPU to the last bit.

    Args:
        seed: of the batch, not negative.
        n_scenes: number of scenes.
        options: ranges; the defaults by default.
        n_views: photos of each scene; drawn from the options' range by default.
        device: where the rays are cast and the result lies.

    Raises:
        UsageError: fewer than one scene or view, or a negative seed.
    """
    options = options or SceneOptions()
    if seed < 0 or n_scenes < 1 or (n_views is not None and n_views < 1):
        raise UsageError("Scenes cannot be generated", got=f"seed {seed}, {n_scenes} scenes, {n_views} views")
    if n_views is None:
        n_views = int(np.random.default_rng(seed).integers(options.views[0], options.views[1] + 1))
    plans = [_plan(np.random.default_rng([seed, number]), options, n_views) for number in range(n_scenes)]
    scenes = [_photos(plan, options, torch.device(device)) for plan in plans]
    return TrueViews(
        images=torch.stack([scene.images[0] for scene in scenes]),
        cam_from_world=torch.cat([scene.cam_from_world for scene in scenes]),
        K=torch.cat([scene.K for scene in scenes]),
        depth_z=torch.cat([scene.depth_z for scene in scenes]),
        normals=torch.cat([scene.normals for scene in scenes]),
    )


def _plan(rng: np.random.Generator, options: SceneOptions, n_views: int) -> _Plan:
    stage = STAGES[str(rng.choice(options.kinds))](rng)
    world = stage.builder.finish()
    return _Plan(world, draw_cameras(stage, world, rng, options, n_views), draw_exposure(rng, options, n_views))


def _photos(plan: _Plan, options: SceneOptions, device: torch.device) -> TrueViews:
    pose, K = (torch.from_numpy(value.astype(np.float32)).to(device) for value in plan.cameras)
    world = plan.world.to(device)
    linear, depth, normals = _render(world, pose, K, options, together=device.type != "cpu")
    images = photograph(linear, plan.exposure)
    return TrueViews(
        images=images[None], cam_from_world=pose[None], K=K[None], depth_z=depth[None], normals=normals[None]
    )


@torch.no_grad()
def _render(
    world: World,
    cam_from_world: Float32[Tensor, "v 4 4"],
    K: Float32[Tensor, "v 3 3"],
    options: SceneOptions,
    *,
    together: bool,
) -> _Rendered:
    """Cast the rays of the views of a scene; the first ray of every pixel goes through its centre.

    Args:
        world: the scene.
        cam_from_world: of the views.
        K: of the views.
        options: size of the photos.
        together: all rays at once, which suits a GPU; a CPU is faster with what fits into its cache.
    """
    n_views, n_rays, pixels = len(K), options.rays_per_pixel, _pixels(options, K.device)
    if together:
        cast = _cast(world.repeated(n_views), cam_from_world, K, pixels.movedim(0, 1).flatten(1))
    else:
        parts = [
            [_cast(world, cam_from_world[view, None], K[view, None], some) for some in pixels]
            for view in range(n_views)
        ]
        rows = [_Rendered(*(torch.cat(values, -1) for values in zip(*part, strict=True))) for part in parts]
        cast = _Rendered(*(torch.cat(values) for values in zip(*rows, strict=True)))
    shape = (n_rays, options.height, options.width)
    return _Rendered(
        cast.linear.reshape(n_views, 3, *shape).mean(2),
        cast.depth_z.reshape(n_views, *shape)[:, 0].contiguous(),
        cast.normals.reshape(n_views, 3, *shape)[:, :, 0].movedim(1, -1).contiguous(),
    )


def _cast(world: World, cam_from_world: Tensor, K: Tensor, pixels: Float32[Tensor, "2 r"]) -> _Rendered:
    """Cast one ray of each pixel; the results are not yet images."""
    origins, directions = rays(cam_from_world, K, pixels)
    hits = nearest(world, origins, directions)
    found = hits.distance.isfinite()
    reach = hits.distance.masked_fill(~found, 0.0)
    surface = Surface(world, origins + directions * reach[:, None], directions, hits.column)
    linear = radiance(world, hits, surface, directions, reach / K[:, 0, 0, None])
    return _Rendered(linear, reach, surface.normals * found[:, None])


def _pixels(options: SceneOptions, device: torch.device) -> Float32[Tensor, "k 2 r"]:
    """Return where the rays of all pixels pass: first through their centres, then around them."""
    y, x = torch.meshgrid(torch.arange(options.height) + 0.5, torch.arange(options.width) + 0.5, indexing="ij")
    angles = torch.arange(3) * (2.0 * np.pi / 3.0) + 0.3
    shifts = torch.cat([torch.zeros(1, 2), _SPREAD * torch.stack([angles.cos(), angles.sin()], 1)])
    return (torch.stack([x, y]).flatten(1) + shifts[: options.rays_per_pixel, :, None]).to(device)
