"""Materials and light of a scene from its photos and its mesh.

The light is one environment, far away, in all photos; the geometry is taken as it is. In short: find out once which
directions every vertex of the mesh sees (:mod:`light_transport`), guess the light from shading and shadows
(:mod:`light_search`), try kinds of materials (:mod:`material_search`), and optimise all together, with rays for
reflections and for light from other surfaces (:mod:`joint_fit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from recon3d.core.errors import InputError, ShapeError
from recon3d.core.progress import Progress
from recon3d.core.seeds import derive
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.types import Mesh
from recon3d.render.shading import Environment
from recon3d.splats.relight.joint_fit import JointFit
from recon3d.splats.relight.light_search import find_light
from recon3d.splats.relight.light_transport import LightTransport
from recon3d.splats.relight.material_search import choose_materials
from recon3d.splats.relight.observations import observe
from recon3d.splats.relight.options import RelightOptions
from recon3d.splats.relight.simplify import area_of, simplified, smoothed_normals, spread
from recon3d.splats.relight.surface_model import SurfaceModel
from recon3d.splats.threads import one_torch_thread

_SEARCHES_AT_START = 2
_LAST = 20  # steps that the reported error is the mean of
_FEW_SEEN = 0.3
SCALE_NOTE = (
    "the scale of the albedo is a choice: nine tenths of the well-lit surface have at most 0.75; "
    "the light is white in sum"
)


@dataclass(frozen=True, eq=False)
class RelightInputs:
    """What the estimate sees.

    Args:
        images: photos, sRGB, ``[h,w,3]`` each.
        masks: where they count, ``[h,w]`` each; None = everywhere.
        cameras: theirs, pinhole.
        mesh: the surface, in the world of the cameras.

    Raises:
        ShapeError: photos, masks and cameras differ in number or size.
        InputError: there is no photo, the mesh has no faces or no area, or a vertex is not finite.
    """

    images: tuple[UInt8[np.ndarray, "_ _ 3"], ...]
    masks: tuple[Bool[np.ndarray, "_ _"] | None, ...]
    cameras: Cameras
    mesh: Mesh

    def __post_init__(self) -> None:
        numbers = (len(self.images), len(self.masks), len(self.cameras))
        if len(set(numbers)) != 1:
            raise ShapeError("every photo has a camera and a mask or None", got=numbers, expected="three equal numbers")
        if not self.images:
            raise InputError("there is no photo", fix="give at least one photo with its camera")
        for row in range(len(self.images)):
            self._check_size(row)
        if not len(self.mesh.faces):
            raise InputError("a mesh without faces cannot be made relightable", fix="reconstruct a mesh first")
        if not np.isfinite(self.mesh.vertices).all():
            raise InputError("a vertex of the mesh is not finite", fix="remove the faces of such vertices")
        if not area_of(self.mesh) > 0:
            raise InputError("a mesh without area cannot be made relightable", fix="reconstruct a mesh first")

    def _check_size(self, row: int) -> None:
        wanted = (int(self.cameras.height[row]), int(self.cameras.width[row]))
        for name, picture in (("photo", self.images[row]), ("mask", self.masks[row])):
            if picture is not None and picture.shape[:2] != wanted:
                raise ShapeError(f"{name} {row} has another size than its camera", got=picture.shape, expected=wanted)


@dataclass(frozen=True, eq=False)
class RelightEstimate:
    """Materials of a surface and the light of its photos.

    Args:
        mesh: vertices, faces and normals in the world; simplified where the input has too many vertices, and with
            smoother normals where it is rough.
        albedo: linear RGB of the vertices, 0 to 1, ``[v,3]``.
        roughness: perceptual, 0 to 1, ``[v]``.
        metallic: 0 to 1, ``[v]``.
        environment: the light, in the world, in the unit in which photos are linear with 1 as white.
        seen: vertices that photos show; the materials of the others are those of the surface around, ``[v]``.
        metrics: numbers, JSON-ready.
        notes: what the user should know, in plain words.
    """

    mesh: Mesh
    albedo: Float32[np.ndarray, "v 3"]
    roughness: Float32[np.ndarray, " v"]
    metallic: Float32[np.ndarray, " v"]
    environment: Environment
    seen: Bool[np.ndarray, " v"]
    metrics: Mapping[str, Any]
    notes: tuple[str, ...]


def estimate_materials(
    inputs: RelightInputs, options: RelightOptions | None = None, progress: Progress | None = None
) -> RelightEstimate:
    """Estimate materials and light.

    Photos tell only the product of light and albedo; :data:`SCALE_NOTE` says which scale is chosen.

    Args:
        inputs: photos, cameras and mesh.
        options: how; None = the defaults.
        progress: where to show progress.

    Raises:
        InputError: no photo shows the mesh.

    Source: Munkberg et al., "Extracting Triangular 3D Models, Materials, and Lighting From Images", 2022, for the
    problem; the method is this project's own.
    """
    with one_torch_thread():
        return _estimated(inputs, options or RelightOptions(), progress or Progress())


def _estimated(inputs: RelightInputs, options: RelightOptions, progress: Progress) -> RelightEstimate:
    mesh = smoothed_normals(simplified(inputs.mesh, options.max_surfels))
    with progress.stage("tracing light"):
        transport = LightTransport(mesh, seed=options.seed, visibility=options.visibility)
        seen = observe(transport, inputs.cameras, inputs.images, inputs.masks)
    if not len(seen.rgb):
        raise InputError("no photo shows the mesh", got=f"{len(inputs.images)} photos", fix="check cameras and masks")
    model = SurfaceModel(transport, seen, len(inputs.images), derive(options.seed, "relight"))
    with progress.stage("finding the light", options.light_steps) as stage:
        find_light(model, options.light_steps, stage)
    errors: list[float] = []
    with progress.stage("finding materials", options.steps) as stage:
        for _ in range(_SEARCHES_AT_START):
            choose_materials(model)
        for steps in (options.steps // 2, options.steps - options.steps // 2):
            fit = JointFit(model, steps)
            for _ in range(steps):
                errors.append(fit.step())
                stage.advance()
            if len(errors) < options.steps:
                choose_materials(model)
    return _result(model, errors)


def _result(model: SurfaceModel, errors: list[float]) -> RelightEstimate:
    mesh = model.transport.mesh
    seen = (model.observations.count > 0).numpy()
    table = torch.cat([model.albedo, model.roughness[:, None], model.metallic[:, None]], 1).numpy()
    table = spread(table.astype(np.float32), seen, mesh.faces).clip(0, 1)
    share = float(seen.mean())
    metrics = {
        "n_vertices": len(mesh.vertices),
        "seen_share": round(share, 4),
        "n_observations": len(model.observations.rgb),
        "mean_error": round(float(np.mean(errors[-_LAST:])), 5),
        "metal_share": round(float((table[seen, 4] > 0.5).mean()), 4),
        "median_roughness": round(float(np.median(table[seen, 3])), 3),
    }
    notes = [SCALE_NOTE]
    if share < _FEW_SEEN:
        notes.append(f"photos show only {100 * share:.0f} % of the mesh; the materials of the rest are guesses")
    environment = model.transport.environment(model.light)
    columns = (np.ascontiguousarray(table[:, :3]), table[:, 3].copy(), table[:, 4].copy())
    return RelightEstimate(mesh, *columns, environment, seen, metrics, tuple(notes))
