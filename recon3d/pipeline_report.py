"""What the report shows of the dense stages: pictures of held-out photos, depth maps, splats, mesh and materials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from PIL import Image

from recon3d.core.stages import StageResult
from recon3d.evaluation.novel_views import NovelViewErrors, ViewErrors
from recon3d.pipeline_dense import DenseStages, held_out_pictures
from recon3d.pipeline_photos import read_sized
from recon3d.pipeline_relight import FILES, displayed, surface_of
from recon3d.render.gaussians.files import load_gaussians
from recon3d.render.mesh.files import load_mesh
from recon3d.render.mesh.preview import mesh_previews
from recon3d.render.orbits import orbit
from recon3d.render.shading import Environment, load_environment, srgb_from_linear
from recon3d.render.trajectories import CameraPath, usual_size
from recon3d.render.views import ViewOptions, render_views
from recon3d.report.inputs import (
    DenseResults,
    DepthPreview,
    DepthSummary,
    HeldOutView,
    MeshSummary,
    RelightSummary,
    SplatSummary,
    StereoSummary,
)
from recon3d.scene_dense import ENVIRONMENT, MESH, RELIGHTABLE, SPLATS, SPLATS_COMPRESSED, load_depth
from recon3d.splats.relight.deferred import SplatGBuffer
from recon3d.splats.relight.files import load_relightable
from recon3d.splats.relight.shade import SplatLight
from recon3d.splats.relight.surfels import MAP_ROWS

N_PREVIEWS = 4
N_FRAMES = 36
SIDE_PX = 640
TURN_DEGREES = 120
DEPTH_SOURCES = {"stereo": "multi-view stereo", "splats": "the splats", "network": "the network"}


def dense_results(stages: DenseStages) -> DenseResults:
    """Return what the report shows of the stages that were run."""
    done = stages.done
    path = _path(stages)
    return DenseResults(
        splats=_splats(stages, done["splats"], path) if "splats" in done else None,
        depth=_depth(stages, done["depth"]) if "depth" in done else None,
        mesh=_mesh(done["mesh"], path) if "mesh" in done else None,
        stereo=_stereo(done["depth"]) if "depth" in done and stages.settings.depth == "stereo" else None,
        relight=_relight(stages, done["relight"]) if "relight" in done else None,
    )


def _path(stages: DenseStages) -> CameraPath:
    points: Float64[np.ndarray, "p 3"] = stages.points.xyz
    return orbit(stages.cameras, N_FRAMES, usual_size(stages.cameras, SIDE_PX), points, loop=False)


def _splats(stages: DenseStages, stage: StageResult, path: CameraPath) -> SplatSummary:
    value = stage.value
    gaussians = load_gaussians(stage.folder / SPLATS)
    options = ViewOptions(antialiased=stages.settings.options.splats.antialiased)
    names = (SPLATS, SPLATS_COMPRESSED)
    return SplatSummary(
        n_gaussians=len(gaussians),
        n_iterations=value["metrics"]["n_iterations"],
        seconds=stage.seconds,
        n_photos=len(stages.keys) - len(value["metrics"]["held_out"]),
        image_size=tuple(value["metrics"]["image_size"]),
        sh_degree=gaussians.sh_degree,
        held_out=[_held_out(stage.folder, entry) for entry in value["metrics"]["held_out"]],
        history=value["history"],
        turntable=list(render_views(gaussians, path.cameras, options)),
        is_closed=path.is_closed,
        turntable_text=path.description,
        file_bytes={name: (stage.folder / name).stat().st_size for name in names},
        notes=value["notes"],
    )


def _held_out(folder: Path, entry: dict[str, Any]) -> HeldOutView:
    photo, render = held_out_pictures(folder, entry["key"])
    return HeldOutView(ViewErrors(**entry), _picture(photo), _picture(render))


def _picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _depth(stages: DenseStages, stage: StageResult) -> DepthSummary:
    coverage = stage.value["metrics"]["coverage"]
    chosen = sorted({*np.linspace(0, len(stages.keys) - 1, N_PREVIEWS).round().astype(int).tolist()})
    previews: Sequence[DepthPreview] = [_preview(stages, stage, row) for row in chosen]
    source = DEPTH_SOURCES[stage.value["metrics"]["source"]]
    mean = float(np.mean(list(coverage.values())))
    return DepthSummary(source, len(coverage), mean, stage.seconds, previews)


def _preview(stages: DenseStages, stage: StageResult, row: int) -> DepthPreview:
    depth = load_depth(stage.folder, stages.keys[row])
    one = stages.cameras[np.array([row], np.int64)]
    photo = read_sized(stages.paths[row : row + 1], (None,), one, SIDE_PX, stages.settings.max_pixels)
    return DepthPreview(stages.keys[row], photo.images[0], depth)


def _stereo(stage: StageResult) -> StereoSummary:
    numbers = stage.value["metrics"]
    mean = float(np.mean(list(numbers["coverage"].values())))
    return StereoSummary(
        n_maps=sum(share > 0 for share in numbers["coverage"].values()),
        n_sources=numbers["n_sources"],
        megapixels=numbers["megapixels"],
        coverage=mean,
        n_points=numbers["n_points"],
        seconds=stage.seconds,
    )


def _mesh(stage: StageResult, path: CameraPath) -> MeshSummary:
    numbers = stage.value["metrics"]
    mesh = load_mesh(stage.folder / MESH)
    return MeshSummary(
        n_vertices=numbers["n_vertices"],
        n_faces=numbers["n_faces"],
        area=numbers["area"],
        extent=tuple(numbers["extent"]),
        n_components=numbers["n_components"],
        is_watertight=numbers["is_watertight"],
        seconds=stage.seconds,
        turntable=list(mesh_previews(mesh, path.cameras, supersampling=1)),
        is_closed=path.is_closed,
        file_bytes={MESH: (stage.folder / MESH).stat().st_size},
    )


def _relight(stages: DenseStages, stage: StageResult) -> RelightSummary:
    numbers = stage.value["metrics"]
    held_out = NovelViewErrors.from_json(numbers["held_out"]).views
    row = stages.keys.index(held_out[len(held_out) // 2].key) if held_out else len(stages.keys) // 2
    return RelightSummary(
        n_splats=numbers["n_splats"],
        n_faces=numbers["n_faces"],
        n_photos=numbers["n_photos"],
        image_size=tuple(numbers["image_size"]),
        seen=numbers["seen"],
        seconds=stage.seconds,
        key=stages.keys[row],
        pictures=_relit_pictures(stages, stage, row),
        held_out=held_out,
        file_bytes={name: (stage.folder / name).stat().st_size for name in FILES},
        notes=stage.value["remarks"],
    )


def _relit_pictures(stages: DenseStages, stage: StageResult, row: int) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Return a photo, the surface below its own light and that light turned, and its materials."""
    cameras = stages.cameras[np.array([row], np.int64)]
    photo = read_sized(stages.paths[row : row + 1], (None,), cameras, SIDE_PX, stages.settings.max_pixels)
    splats, light = load_relightable(stage.folder / RELIGHTABLE), load_environment(stage.folder / ENVIRONMENT)
    antialiased = stages.settings.options.splats.antialiased
    gbuffer = surface_of(splats, photo.cameras, 0, antialiased=antialiased)
    lit = {
        "Lit as estimated": displayed(gbuffer, SplatLight.of(light, MAP_ROWS)),
        f"The light turned by {TURN_DEGREES}\N{DEGREE SIGN}": displayed(
            gbuffer, SplatLight.of(light.rotated_z(TURN_DEGREES), MAP_ROWS)
        ),
    }
    pictures = {name: np.rint(picture * 255).astype(np.uint8) for name, picture in (lit | _materials(gbuffer)).items()}
    return {"Photo": photo.images[0], **pictures, "The light": _light_picture(light)}


def _materials(gbuffer: SplatGBuffer) -> dict[str, Float64[np.ndarray, "h w 3"]]:
    """Return albedo, roughness, metallic and normal as pictures, 0 to 1, before black."""
    grey = {"Roughness": gbuffer.roughness, "Metallic": gbuffer.metallic}
    shown = {"Albedo": srgb_from_linear(gbuffer.albedo[0].clamp(0, 1)), "Normal": gbuffer.normal[0] / 2 + 0.5}
    shown |= {name: value[0][..., None].expand(*value[0].shape, 3) for name, value in grey.items()}
    alpha = gbuffer.alpha[0][..., None]
    return {name: (value * alpha).clamp(0, 1).double().numpy() for name, value in shown.items()}


def _light_picture(light: Environment) -> UInt8[np.ndarray, "h w 3"]:
    """Return the light as an equirectangular picture, exposed so that its brightest hundredth is white."""
    radiance = light.radiance.double().numpy()
    white = max(float(np.quantile(radiance, 0.99)), 1e-12)
    picture = srgb_from_linear(torch.from_numpy(radiance / white).clamp(0, 1)).numpy()
    shown: UInt8[np.ndarray, "h w 3"] = np.rint(picture * 255).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    return shown
