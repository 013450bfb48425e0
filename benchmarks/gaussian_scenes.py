"""Random scenes of anisotropic Gaussians for benchmarks, and counts of what blending them takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from torch import Tensor

from recon3d.core.kernels import kernel
from recon3d.render.gaussians.cpu_scene import TiledScene


@dataclass(frozen=True)
class SceneOptions:
    """A box of Gaussians that fills the view of one camera.

    Args:
        n: how many Gaussians.
        width: image width in pixels.
        height: image height in pixels.
        sigma_px: median standard deviation along an axis, in pixels.
        spread: standard deviation of the natural logarithms of the scales, per axis: how anisotropic they are.
        beta: both parameters of the Beta distribution of opacities.
        seed: of the random numbers.
    """

    n: int
    width: int
    height: int
    sigma_px: float
    spread: float = 0.4
    beta: tuple[float, float] = (1.2, 1.2)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class RandomScene:
    """Parameters of the public functions, float32: see :mod:`recon3d.render.gaussians`."""

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    opacities: Tensor
    colours: Tensor
    cam_from_world: Tensor
    K: Tensor
    width: int
    height: int


def random_scene(options: SceneOptions) -> RandomScene:
    """Return Gaussians whose centres are uniform in the image and in depth from 2 to 10; the camera is the world."""
    rng = np.random.default_rng(options.seed)
    focal = float(max(options.width, options.height))
    depth = rng.uniform(2, 10, options.n)
    pixels = rng.uniform(0, [options.width, options.height], (options.n, 2))
    xy = (pixels - [options.width / 2, options.height / 2]) / focal * depth[:, None]
    sigma = options.sigma_px * np.exp(rng.normal(0, options.spread, (options.n, 3)))
    values = {
        "means": np.column_stack([xy, depth]),
        "quats": rng.normal(size=(options.n, 4)),
        "log_scales": np.log(sigma * depth[:, None] / focal),
        "opacities": rng.beta(*options.beta, options.n),
        "colours": rng.uniform(size=(options.n, 3)),
        "cam_from_world": np.eye(4),
        "K": np.array([[focal, 0, options.width / 2], [0, focal, options.height / 2], [0, 0, 1]]),
    }
    tensors = {name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()}
    return RandomScene(**tensors, width=options.width, height=options.height)


@dataclass(frozen=True)
class PairCounts:
    """Pairs of a scene: tiles with Gaussians, pixels in the boxes of Gaussians, and pixels where a Gaussian blends."""

    tile_pairs: int
    in_boxes: int
    blended: int


def count_pairs(scene: TiledScene) -> PairCounts:
    """Count the pairs of a scene with plain loops."""
    lists, grid = scene.lists, scene.grid
    arrays = (lists.starts, lists.members, scene.records, scene.rules, grid.nx, scene.width, scene.height)
    in_boxes, blended = _count(*arrays)
    return PairCounts(len(lists.members), int(in_boxes), int(blended))


@kernel
@no_type_check
def _count(starts, members, records, rules, nx, width, height):
    in_boxes, blended = 0, 0
    for tile in range(len(starts) - 1):
        left, top = tile % nx * 16, tile // nx * 16
        for y in range(top, min(top + 16, height)):
            for x in range(left, min(left + 16, width)):
                light = 1.0
                for i in range(starts[tile], starts[tile + 1]):
                    record = records[members[i]]
                    dx, dy = x + 0.5 - record[0], y + 0.5 - record[1]
                    if abs(dx) > record[6] or abs(dy) > record[7]:
                        continue
                    in_boxes += 1
                    power = record[5] - (record[2] * dx + record[3] * dy) ** 2 - (record[4] * dy) ** 2
                    if power < rules[0]:
                        continue
                    after = light * (1.0 - 2.0 ** min(power, rules[1]))
                    if after <= rules[2]:
                        break
                    light = after
                    blended += 1
    return in_boxes, blended
