"""Splats for the tests of the viewer: plain ones, relightable ones, and the bytes of a page as an image."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import torch
from chromium import Page

from recon3d.formats.ply import read_ply, write_ply
from recon3d.render.gaussians import CameraTensors, Gaussians
from recon3d.render.gaussians.files import save_gaussians


def ball(n: int, seed: int = 0, degree: int = 3) -> Gaussians:
    """Flat and long Gaussians of all opacities in the unit ball."""
    source = torch.Generator().manual_seed(seed)
    means = torch.nn.functional.normalize(torch.randn(n, 3, generator=source), dim=-1)
    means = means * torch.rand(n, 1, generator=source) ** (1 / 3)
    quats = torch.randn(n, 4, generator=source)
    log_scales = torch.randn(n, 3, generator=source) * 0.7 - 4.0
    logits = torch.randn(n, generator=source) * 2
    return Gaussians(means, quats, log_scales, logits, 0.35 * torch.randn(n, (degree + 1) ** 2, 3, generator=source))


def side_camera(size: int = 256) -> CameraTensors:
    """A camera beside :func:`ball` that is neither level nor centred."""
    eye, target = torch.tensor([1.9, -1.1, 0.8]), torch.tensor([0.05, 0.0, 0.1])
    forward = torch.nn.functional.normalize(target - eye, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.1, 0.2, 1.0])), dim=0)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ eye
    K = torch.tensor([[1.1 * size, 0, 0.52 * size], [0, 1.05 * size, 0.47 * size], [0, 0, 1]])
    return CameraTensors(pose[None], K[None], size, size)


def save_relightable(
    path: Path,
    gaussians: Gaussians,
    normals: np.ndarray,
    albedo: np.ndarray,
    roughness: np.ndarray,
    metallic: np.ndarray,
    transfer: np.ndarray | None = None,
) -> None:
    """Write a PLY with the extra properties of a relightable scene."""
    save_gaussians(path, gaussians)
    columns = dict(read_ply(path).vertices)
    columns |= {name: column.astype(np.float32) for name, column in zip(("nx", "ny", "nz"), normals.T, strict=True)}
    columns |= {f"albedo_{k}": albedo[:, k].astype(np.float32) for k in range(3)}
    columns |= {"roughness": roughness.astype(np.float32), "metallic": metallic.astype(np.float32)}
    if transfer is not None:
        columns |= {f"tr_{k}": transfer[:, k].astype(np.float32) for k in range(9)}
    write_ply(path, columns)


def set_camera(page: Page, camera: CameraTensors) -> None:
    words = ", ".join(json.dumps(value) for value in (camera.K[0].tolist(), camera.cam_from_world[0].tolist()))
    page.run(f"__viewer.setCamera({words}, {camera.width}, {camera.height})")


def read_image(page: Page, options: dict[str, object], camera: CameraTensors) -> np.ndarray:
    """Render in the page and return linear RGBA over black, ``[h,w,4]``."""
    set_camera(page, camera)
    page.run(f"void __viewer.render({json.dumps(options)})")
    raw = base64.b64decode(page.run("__viewer.readPixels()"))
    return np.frombuffer(raw, np.float32).reshape(camera.height, camera.width, 4)
