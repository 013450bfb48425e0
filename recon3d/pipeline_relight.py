"""The stage that makes a scene relightable: materials on the mesh, the light of the photos, splats that carry both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64

from recon3d.core.progress import Progress
from recon3d.core.stages import StageResult
from recon3d.pipeline_photos import SizedPhotos
from recon3d.pipeline_work import Workspace
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.atlas import bake_vertex_material
from recon3d.render.mesh.files import load_mesh, save_mesh
from recon3d.render.mesh.types import Mesh
from recon3d.render.shading import save_environment, srgb_from_linear
from recon3d.scene_dense import ENVIRONMENT, MESH, RELIGHTABLE, RELIGHTABLE_MESH
from recon3d.splats.evaluate import view_errors
from recon3d.splats.relight.deferred import SplatGBuffer, rasterize_materials, shade_gbuffer
from recon3d.splats.relight.estimate import RelightEstimate, RelightInputs, estimate_materials
from recon3d.splats.relight.files import save_relightable
from recon3d.splats.relight.options import RelightOptions
from recon3d.splats.relight.shade import SplatLight
from recon3d.splats.relight.surfels import MAP_ROWS, surfels_of
from recon3d.splats.relight.types import RelightableGaussians

FILES = (RELIGHTABLE, ENVIRONMENT, RELIGHTABLE_MESH)
NO_FACES = "the mesh has no faces, so nothing could be made relightable"
_COVERED = 0.9  # alpha from which a pixel shows the surface; one surfel alone leaves a hundredth


@dataclass(frozen=True, eq=False)
class RelightTask:
    """What the stage works on.

    Args:
        mesh: the stage that made the mesh.
        keys: of the photos.
        optimised: photos that the estimate may see, ``[n]``; the others measure it.
        inputs: what the photos depend on, JSON-ready.
        read: returns the photos at a working size, and notes where they had to be smaller.
        options: of the estimate.
        antialiased: how splats of this scene are rendered.
    """

    mesh: StageResult
    keys: tuple[str, ...]
    optimised: Bool[np.ndarray, " n"]
    inputs: Mapping[str, Any]
    read: Callable[[int], tuple[SizedPhotos, list[str]]]
    options: RelightOptions
    antialiased: bool


def relight(work: Workspace, task: RelightTask) -> StageResult:
    """Estimate materials and light, and write relightable splats, the light and a mesh with textures.

    Args:
        work: where.
        task: on what.
    """
    inputs = {
        **task.inputs,
        "mesh": task.mesh.key,
        "optimised": task.optimised.tolist(),
        "relight": asdict(task.options),
        "antialiased": task.antialiased,
    }
    return work.stage("relight", inputs, lambda folder: _build(folder, task, work.progress))


def has_faces(mesh: StageResult) -> bool:
    """Return whether there is a surface that could be relit."""
    return bool(mesh.value["metrics"]["n_faces"])


def _build(folder: Path, task: RelightTask, progress: Progress) -> dict[str, Any]:
    photos, smaller = task.read(task.options.max_image_size)
    seen = np.flatnonzero(task.optimised)
    given = RelightInputs(
        tuple(photos.images[row] for row in seen),
        tuple(photos.masks[row] for row in seen),
        photos.cameras[seen],
        load_mesh(task.mesh.folder / MESH),
    )
    estimate = estimate_materials(given, task.options, progress)
    splats = surfels_of(estimate)
    save_relightable(folder / RELIGHTABLE, splats)
    save_environment(estimate.environment, folder / ENVIRONMENT)
    save_mesh(folder / RELIGHTABLE_MESH, _textured(estimate))
    held_out = _held_out(task, photos, splats, SplatLight.of(estimate.environment, MAP_ROWS))
    size = [int(photos.cameras.width.max()), int(photos.cameras.height.max())]
    metrics = {
        "n_splats": len(splats),
        "n_faces": len(estimate.mesh.faces),
        "n_photos": len(seen),
        "image_size": size,
        "seen": float(estimate.seen.mean()),
        "held_out": held_out,
        "estimate": dict(estimate.metrics),
    }
    return {"metrics": metrics, "notes": smaller, "remarks": list(estimate.notes)}


def _textured(estimate: RelightEstimate) -> Mesh:
    return bake_vertex_material(estimate.mesh, estimate.albedo, estimate.roughness, estimate.metallic)


def _held_out(
    task: RelightTask, photos: SizedPhotos, splats: RelightableGaussians, light: SplatLight
) -> list[dict[str, Any]]:
    """Compare the surface below the estimated light with the photos that the estimate did not see, where it is."""
    errors = []
    for row in np.flatnonzero(~task.optimised).tolist():
        gbuffer = surface_of(splats, photos.cameras, row, antialiased=task.antialiased)
        counts = gbuffer.alpha[0].numpy() > _COVERED
        mask = photos.masks[row]
        counts = counts if mask is None else counts & mask
        if not counts.any():
            continue
        picture = displayed(gbuffer, light)
        found = view_errors(task.keys[row], picture, photos.images[row], counts.astype(np.uint8))
        errors += [] if math.isnan(found.psnr) else [found.to_json()]
    return errors


def surface_of(splats: RelightableGaussians, cameras: Cameras, row: int, *, antialiased: bool) -> SplatGBuffer:
    """Return what one camera sees of the surface, without light.

    Args:
        splats: the surface.
        cameras: pinhole cameras.
        row: which of them.
        antialiased: see :func:`recon3d.render.gaussians.rasterize`.
    """
    with torch.no_grad():
        return rasterize_materials(splats, cameras[row : row + 1], antialiased=antialiased)


def displayed(gbuffer: SplatGBuffer, light: SplatLight) -> Float64[np.ndarray, "h w 3"]:
    """Return the picture of a surface below a light, sRGB, 0 to 1, before black, ``[h,w,3]``.

    Args:
        gbuffer: of one camera.
        light: that falls on it.
    """
    with torch.no_grad():
        return srgb_from_linear(shade_gbuffer(gbuffer, light)[0].clamp(0, 1)).double().numpy()
