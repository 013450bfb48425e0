"""What the report shows of the dense stages: pictures of held-out photos, depth maps, splats and the mesh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from recon3d.core.stages import StageResult
from recon3d.evaluation.novel_views import ViewErrors
from recon3d.pipeline_dense import DenseStages, held_out_pictures
from recon3d.pipeline_photos import read_sized
from recon3d.render.gaussians.files import load_gaussians
from recon3d.render.mesh.files import load_mesh
from recon3d.render.mesh.preview import mesh_previews
from recon3d.render.orbits import orbit
from recon3d.render.trajectories import CameraPath, usual_size
from recon3d.render.views import ViewOptions, render_views
from recon3d.report.inputs import (
    DenseResults,
    DepthPreview,
    DepthSummary,
    HeldOutView,
    MeshSummary,
    SplatSummary,
    StereoSummary,
)
from recon3d.scene_dense import MESH, SPLATS, SPLATS_COMPRESSED, load_depth

N_PREVIEWS = 4
N_FRAMES = 36
SIDE_PX = 640


def dense_results(stages: DenseStages) -> DenseResults:
    """Return what the report shows of the stages that were run."""
    done = stages.done
    path = _path(stages)
    return DenseResults(
        splats=_splats(stages, done["splats"], path) if "splats" in done else None,
        depth=_depth(stages, done["depth"]) if "depth" in done else None,
        mesh=_mesh(done["mesh"], path) if "mesh" in done else None,
        stereo=_stereo(done["depth"]) if "depth" in done and stages.settings.depth == "stereo" else None,
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
    source = "multi-view stereo" if stage.value["metrics"]["source"] == "stereo" else "the splats"
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
