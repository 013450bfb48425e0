"""The numba back end and the torch oracle train a small exact scene to the same PSNR.

    python benchmarks/splat_backends.py

Photos of random blobs are rendered by the oracle; both back ends then optimise the same start with the same seed. The
two differ in the rounding of float32 only, which optimisation amplifies: the mean PSNR must agree, not the bits.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import tyro
from measure import machine_card

from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians, rasterize
from recon3d.splats.evaluate import render_view
from recon3d.splats.options import SplatOptions
from recon3d.splats.train import optimise_splats
from recon3d.splats.types import SplatInputs


@dataclass(frozen=True)
class Comparison:
    """Train with both back ends.

    Args:
        iterations: of the optimisation.
        size: side of the photos in pixels.
        blobs: Gaussians of the true scene.
        seeds: how many optimisations of each back end.
        tolerance_db: largest difference of the mean PSNR that is accepted.
    """

    iterations: int = 150
    size: int = 48
    blobs: int = 60
    seeds: int = 32
    tolerance_db: float = 0.1


def scene(options: Comparison) -> SplatInputs:
    """Nine photos of blobs in the unit ball, from an arc."""
    n, size = 9, options.size
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(options.blobs, 3, generator=generator) * 0.45
    quats = torch.randn(options.blobs, 4, generator=generator)
    log_scales = torch.log(0.08 + 0.12 * torch.rand(options.blobs, 3, generator=generator))
    sh = 1.4 * torch.randn(options.blobs, 1, 3, generator=generator)
    truth = Gaussians(means, quats, log_scales, torch.full((options.blobs,), 2.0), sh)
    poses = np.tile(np.eye(4), (n, 1, 1))
    for i, angle in enumerate(np.linspace(-0.5, 0.5, n)):
        c, s = np.cos(angle), np.sin(angle)
        poses[i, :3, :3], poses[i, 2, 3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]], 4.0
    K = np.tile(np.array([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1.0]]), (n, 1, 1))
    sizes = np.full(n, size, np.int64)
    cameras = Cameras(poses, K, sizes, sizes.copy())
    with torch.no_grad():
        images = rasterize(truth, cameras, antialiased=True, backend="torch").image.clamp(0, 1).numpy()
    photos = tuple(np.rint(image * 255).astype(np.uint8) for image in images)
    rgb = np.clip((sh[:, 0].numpy() * 0.282 + 0.5) * 255, 0, 255).astype(np.uint8)
    return SplatInputs(tuple(f"{i}.png" for i in range(n)), photos, cameras, means.double().numpy(), rgb)


def train(inputs: SplatInputs, options: Comparison, backend: Literal["numba", "torch"]) -> tuple[list[float], float]:
    """The mean PSNR of the photos for each seed, and the CPU seconds per run."""
    start, found = time.process_time(), []
    for seed in range(options.seeds):
        settings = SplatOptions(
            iterations=options.iterations,
            max_gaussians=300,
            sh_degree=1,
            device="cpu",
            seed=seed,
            holdout="none",
            exposure=False,
        )
        result = optimise_splats(inputs, settings, backend=backend)
        seen = [render_view(result.gaussians, inputs.cameras, i, antialiased=True) for i in range(len(inputs.keys))]
        squares = [np.mean((one - photo / 255) ** 2) for one, photo in zip(seen, inputs.images, strict=True)]
        found.append(float(np.mean(-10 * np.log10(squares))))
    return found, (time.process_time() - start) / options.seeds


def main() -> None:
    options = tyro.cli(Comparison)
    inputs = scene(options)
    print(machine_card(("recon3d", "torch", "numba")))
    print("| back end | PSNR per seed | mean PSNR | CPU s per run |\n|---|---|---|---|")
    found = []
    for backend in ("numba", "torch"):
        psnr, seconds = train(inputs, options, backend)
        found.append(psnr)
        print(f"| {backend} | {', '.join(f'{one:.2f}' for one in psnr)} | {np.mean(psnr):.2f} | {seconds:.1f} |")
    differences = np.subtract(*found)
    mean, error = float(differences.mean()), float(differences.std() / np.sqrt(max(1, len(differences) - 1)))
    print(f"\nnumba - torch: {mean:+.3f} dB, standard error {error:.3f} (at most {options.tolerance_db:g})")
    sys.exit(0 if abs(mean) <= options.tolerance_db else 1)


if __name__ == "__main__":
    main()
