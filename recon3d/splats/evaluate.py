"""How well held-out photos are predicted: as they are, and after an affine fit of their colours."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from recon3d.evaluation.novel_views import ViewErrors, evaluate_view
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians, RasterOptions, rasterize
from recon3d.render.gaussians.options import GaussianBackend
from recon3d.render.ssim import RADIUS, ssim_map
from recon3d.splats.exposure import fit_affine


def render_view(
    gaussians: Gaussians,
    cameras: Cameras,
    view: int,
    *,
    antialiased: bool,
    background: str = "black",
    near: float = 0.01,
    backend: GaussianBackend = "auto",
) -> Float64[np.ndarray, "h w 3"]:
    """Return what one camera sees, between 0 and 1, at the size of its photo, ``[h,w,3]``."""
    behind = torch.full((3,), 1.0 if background == "white" else 0.0).to(gaussians.means)
    with torch.no_grad():
        seen = rasterize(
            gaussians,
            cameras[view : view + 1],
            background=behind,
            antialiased=antialiased,
            options=RasterOptions(near=near),
            backend=backend,
        )
    return seen.image[0].clamp(0, 1).cpu().numpy().astype(np.float64)


def view_errors(
    key: str,
    rendered: Float64[np.ndarray, "h w 3"],
    photo: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"] | None = None,
) -> ViewErrors:
    """Compare a rendered view with its photo over the pixels that count.

    Args:
        key: of the photo.
        rendered: between 0 and 1, ``[h,w,3]``.
        photo: sRGB, ``[h,w,3]``.
        mask: non-zero where a pixel counts, ``[h,w]``; None = everywhere.
    """
    wanted = photo.astype(np.float64) / 255
    if mask is None:
        return evaluate_view(key, rendered, wanted)
    counts = mask != 0
    fitted = rendered @ (colour := fit_affine(rendered[counts], wanted[counts]))[:, :3].T + colour[:, 3]
    plain, fit = (_masked(image, wanted, counts) for image in (rendered, np.clip(fitted, 0, 1)))
    return ViewErrors(key, *plain, *fit)


def _masked(
    image: Float64[np.ndarray, "h w 3"], wanted: Float64[np.ndarray, "h w 3"], counts: np.ndarray
) -> tuple[float, float]:
    """Return PSNR and SSIM over the pixels that count; the others show the photo in both images."""
    if not counts[RADIUS:-RADIUS, RADIUS:-RADIUS].any():
        return float("nan"), float("nan")
    image = np.where(counts[..., None], image, wanted)
    mse = float(((image - wanted)[counts] ** 2).mean())
    similarity = ssim_map(torch.from_numpy(image), torch.from_numpy(wanted)).numpy()
    inside = similarity[counts[RADIUS:-RADIUS, RADIUS:-RADIUS]]
    return float("inf") if mse == 0 else -10 * float(np.log10(mse)), float(inside.mean())
