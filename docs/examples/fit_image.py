"""Fit Gaussians to an image on the CPU, in seconds.

    python docs/examples/fit_image.py [IMAGE [OUT [GAUSSIANS [STEPS]]]]

Gaussians start on a grid in front of one camera and move until they look like the image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recon3d.render.gaussians import CameraTensors, Gaussians, rasterize

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo_photos" / "courtyard_08.jpg"
SH_ZERO = 0.28209479177387814  # the spherical harmonic of degree 0: colour = 0.5 + SH_ZERO * coefficient


def camera_for(height: int, width: int) -> CameraTensors:
    """A camera at the origin that looks along z; at distance 1 its image is one unit wide."""
    K = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=torch.float32)
    return CameraTensors(torch.eye(4)[None], K[None], width, height)


def start(target: Tensor, n_gaussians: int) -> dict[str, Tensor]:
    """Round Gaussians on a grid at distance 1, in the colours that the image has there."""
    height, width, _ = target.shape
    spacing = (height * width / n_gaussians) ** 0.5
    rows, columns = torch.meshgrid(
        torch.arange(spacing / 2, height, spacing), torch.arange(spacing / 2, width, spacing), indexing="ij"
    )
    x, y = columns.ravel(), rows.ravel()
    ones = torch.ones_like(x)
    values = {
        "means": torch.stack([(x - width / 2) / width, (y - height / 2) / width, ones], -1),
        "quats": torch.stack([ones, 0 * x, 0 * x, 0 * x], -1),
        "log_scales": torch.log(0.5 * spacing / width * torch.stack([ones, ones, 0.1 * ones], -1)),
        "opacity_logits": 0 * x,
        "sh": (target[y.long(), x.long()][:, None] - 0.5) / SH_ZERO,
    }
    return {name: value.clone().requires_grad_() for name, value in values.items()}


def fit(target: Tensor, n_gaussians: int = 2000, n_steps: int = 200) -> tuple[Gaussians, Tensor, list[float]]:
    """Return the Gaussians, their picture and the PSNR in dB of every step; ``target`` is ``[h,w,3]`` in 0..1."""
    camera, values = camera_for(*target.shape[:2]), start(target, n_gaussians)
    rates = {"means": 5e-4, "quats": 1e-2, "log_scales": 1e-2, "opacity_logits": 3e-2, "sh": 1e-2}
    optimiser = torch.optim.Adam([{"params": [values[name]], "lr": rate} for name, rate in rates.items()])
    history = []
    for _ in range(n_steps):
        picture = rasterize(Gaussians(**values), camera).image[0]
        loss = (picture - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(float(-10 * torch.log10(loss.detach())))
    gaussians = Gaussians(**values).detach()
    return gaussians, rasterize(gaussians, camera).image[0], history


def main(image: str = str(DEMO), out: str = "fit_image.png", n_gaussians: str = "2000", n_steps: str = "200") -> None:
    """Fit an image and write it beside its picture."""
    torch.set_num_threads(1)  # the kernels have threads of their own, and torch has little to do
    with Image.open(image) as file:
        file.thumbnail((240, 240))
        target = torch.from_numpy(np.asarray(file.convert("RGB"), np.float32) / 255)
    gaussians, picture, history = fit(target, int(n_gaussians), int(n_steps))
    both = (torch.cat([target, picture.clamp(0, 1)], 1) * 255).round().byte().numpy()
    Image.fromarray(both).save(out)
    print(f"{len(gaussians)} Gaussians, {history[0]:.1f} dB at the start, {history[-1]:.1f} dB now; see {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
