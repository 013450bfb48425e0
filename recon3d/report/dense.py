"""The parts of the page on depth maps, multi-view stereo and the mesh."""

from __future__ import annotations

import math

import numpy as np

from recon3d.render.colormap import colourise, value_range
from recon3d.report.inputs import DepthPreview, DepthSummary, MeshSummary, StereoSummary
from recon3d.report.pictures import picture, ramp
from recon3d.report.splats import definition_list, file_rows, turntable
from recon3d.report.text import count, escape, length_range, seconds, significant
from recon3d.scene import Scale

_SIDE = 560
_MAX_PREVIEWS = 4
_SIGMA = "\N{GREEK SMALL LETTER SIGMA}"


def depth_section(depth: DepthSummary | None, stereo: StereoSummary | None, scale: Scale) -> str:
    """Return previews of depth maps with their sigma, and what multi-view stereo did."""
    parts = []
    if depth is not None:
        parts.append(f'<p class="lead">{escape(_depth_text(depth))}</p>')
        parts += [_preview(preview, scale) for preview in list(depth.previews)[:_MAX_PREVIEWS]]
    if stereo is not None:
        parts.append(f"<h3>Multi-view stereo</h3>{definition_list(_stereo_rows(stereo))}")
    return "".join(parts)


def _depth_text(depth: DepthSummary) -> str:
    text = f"{count(depth.n_maps, 'depth map')} from {depth.source}; {depth.coverage:.0%} of the pixels have a depth"
    return f"{text}, made in {seconds(depth.seconds)}." if math.isfinite(depth.seconds) else f"{text}."


def _stereo_rows(stereo: StereoSummary) -> dict[str, str]:
    rows = {
        "depth maps": f"{stereo.n_maps}, each from {count(stereo.n_sources, 'other photo')}",
        "pixels": f"{significant(stereo.megapixels, 3)} megapixels, {stereo.coverage:.0%} of them passed the checks",
        "time": seconds(stereo.seconds),
    }
    if stereo.megapixels > 0 and math.isfinite(stereo.seconds):
        rows["time"] += f", {significant(stereo.seconds / stereo.megapixels, 2)} s per megapixel"
    if stereo.n_points:
        rows["points"] = f"{stereo.n_points:,} added to the scene"
    return rows


def _preview(preview: DepthPreview, scale: Scale) -> str:
    key, depth = preview.key, preview.depth
    z = np.where(depth.depth_z > 0, depth.depth_z, np.nan).astype(np.float64)
    sigma = np.where((depth.depth_z > 0) & (depth.sigma > 0), depth.sigma, np.nan).astype(np.float64)
    near, far = value_range(z)
    cells = [
        _cell(picture(preview.photo, f"Photo {key}", _SIDE), "Photo"),
        _cell(
            picture(colourise(z, far, near), f"Depth of {key}", _SIDE),
            "Depth" + ramp("viridis", *length_range(near, far, scale), reverse=True),
        ),
    ]
    if np.isfinite(sigma).any():
        top = value_range(sigma, 5.0)[1]
        cells.append(
            _cell(
                picture(colourise(sigma, 0.0, top, "magma"), f"Standard deviation of the depth of {key}", _SIDE),
                f"{_SIGMA} of the depth" + ramp("magma", *length_range(0.0, top, scale)),
            )
        )
    return (
        f'<figure class="depth"><div class="triple">{"".join(cells)}</div>'
        f"<figcaption>{escape(key)}, {depth.coverage:.0%} covered; grey has no value</figcaption></figure>"
    )


def _cell(image: str, caption: str) -> str:
    return f'<div>{image}<p class="under">{caption}</p></div>'


def mesh_section(mesh: MeshSummary, scale: Scale) -> str:
    """Return pictures of the mesh and its numbers."""
    facts = definition_list(_mesh_rows(mesh, scale))
    shown = turntable(mesh.turntable, mesh.is_closed, "The mesh", "")
    if not shown and mesh.pictures:
        images = [picture(pixels, "The mesh, rendered", 2 * _SIDE) for pixels in mesh.pictures]
        shown = f'<div class="pictures">{"".join(images)}</div>'
    return f'<div class="beside">{shown}<div>{facts}</div></div>' if shown else facts


def _mesh_rows(mesh: MeshSummary, scale: Scale) -> dict[str, str]:
    rows = {
        "triangles": f"{mesh.n_faces:,}",
        "vertices": f"{mesh.n_vertices:,}",
        "surface": area(mesh.area, scale),
        "extent": extent(mesh.extent, scale),
        "parts": f"{mesh.n_components:,}",
        "closed": "yes, without an open edge" if mesh.is_watertight else "no, it has open edges",
    }
    if math.isfinite(mesh.seconds):
        rows["made in"] = seconds(mesh.seconds)
    return rows | file_rows(mesh.file_bytes)


def area(value: float, scale: Scale) -> str:
    """Return an area in the scene's unit."""
    if scale.kind != "metric":
        return f"{significant(value, 3)} square units"
    for limit, factor, unit in ((1e-4, 1e6, "mm"), (1e-1, 1e4, "cm")):
        if abs(value) < limit:
            return f"{significant(value * factor, 3)} {unit}\N{SUPERSCRIPT TWO}"
    return f"{significant(value, 3)} m\N{SUPERSCRIPT TWO}"


def extent(sides: tuple[float, float, float], scale: Scale) -> str:
    """Return a size along three axes in one unit."""
    factor, unit = 1.0, "units"
    if scale.kind == "metric":
        longest = max(map(abs, sides))
        factor, unit = next(
            ((f, u) for limit, f, u in ((0.1, 1000.0, "mm"), (1.0, 100.0, "cm")) if longest < limit), (1.0, "m")
        )
    return " \N{MULTIPLICATION SIGN} ".join(significant(side * factor, 3) for side in sides) + f" {unit}"
