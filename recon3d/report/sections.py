"""The other parts of the page: key figures, warnings, charts, matching, lenses, times, settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recon3d.report.charts import bin_values, bin_whole, histogram_svg, match_circle, match_matrix, time_bars
from recon3d.report.inputs import DenseResults, ReportInputs
from recon3d.report.splats import decibels, held_out_errors
from recon3d.report.stats import LensStats, lens_stats, observation_errors, photo_stats, triangulation_angles
from recon3d.report.text import count, escape, length, scale_statement, seconds, signed, significant
from recon3d.scene import Scene

_MAX_CIRCLE = 80


def key_figures(inputs: ReportInputs) -> str:
    """Return the row of large numbers below the verdict."""
    scene = inputs.scene
    total = sum(value for value in inputs.timings.values() if math.isfinite(value))
    figures = _scene_figures(inputs, scene) if scene is not None else _refused_figures(inputs)
    if inputs.timings:
        figures.append((seconds(total), "wall time"))
    items = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for value, label in figures)
    return f'<dl class="figures">{items}</dl>'


def _scene_figures(inputs: ReportInputs, scene: Scene) -> list[tuple[str, str]]:
    errors = observation_errors(scene)
    figures = [
        (f"{len(scene.registered)}<small> of {len(inputs.views)}</small>", "photos placed"),
        (count(len(scene.points)), "points"),
    ]
    if len(errors):
        figures.append((f"{errors.mean():.2f}<small> px</small>", "mean reprojection error"))
    sigma = [row.sigma_position for row in photo_stats(scene) if math.isfinite(row.sigma_position)]
    if sigma:
        value, _, unit = length(float(np.median(sigma)), scene.scale).partition(" ")
        figures.append((f"{value}<small> {unit}</small>", "typical camera position \N{GREEK SMALL LETTER SIGMA}"))
    figures += _dense_figures(inputs.dense)
    figures.append(("metric" if scene.scale.kind == "metric" else "relative", "scale"))
    return figures


def _dense_figures(dense: DenseResults) -> list[tuple[str, str]]:
    figures = []
    if dense.splats is not None:
        psnr = held_out_errors(dense.splats).mean("psnr")
        if psnr is not None:
            figures.append((f"{decibels(psnr, 1)}<small> dB</small>", "held-out PSNR"))
    return figures


def _refused_figures(inputs: ReportInputs) -> list[tuple[str, str]]:
    usable = sum(view.status != "skipped" for view in inputs.views)
    figures = [(str(len(inputs.views)), "photos given"), (str(usable), "usable")]
    angles = _pair_angles(inputs)
    if len(angles):
        figures.append(
            (f"{significant(float(np.median(angles)), 2)}\N{DEGREE SIGN}", "typical angle between matched rays")
        )
    return figures


def _pair_angles(inputs: ReportInputs) -> np.ndarray:
    angles = np.array([pair.median_triangulation_deg for pair in inputs.pairs if pair.n_inliers > 0], dtype=np.float64)
    return angles[np.isfinite(angles)]


def warning_list(warnings: Sequence[str]) -> str:
    """Return the warnings as a list, or nothing."""
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    head = "One remark" if len(warnings) == 1 else f"{len(warnings)} remarks"
    return (
        f'<section class="warnings" aria-labelledby="warnings"><h2 id="warnings">{head}</h2><ul>{items}</ul></section>'
    )


def quality_charts(inputs: ReportInputs) -> str:
    """Return the histograms with a sentence each."""
    scene = inputs.scene
    if scene is None:
        return _figure("Angle between matched rays", *_parallax_chart(inputs)) if len(_pair_angles(inputs)) else ""
    if not len(scene.points):
        return ""
    errors, tracks, angles = observation_errors(scene), scene.points.track_length, triangulation_angles(scene)
    figures = []
    if len(errors):
        chart = histogram_svg(bin_values("reprojection errors", "pixels", errors))
        note = f"Half of all {len(errors):,} observations lie within {np.median(errors):.2f} px of the predicted pixel."
        figures.append(_figure("Reprojection error", chart, note))
    chart = histogram_svg(bin_whole("track lengths", "photos that see a point", tracks.astype(np.int64)))
    note = f"A point is seen in {tracks.mean():.1f} photos on average; {np.mean(tracks == 2):.0%} are seen in two only."
    figures.append(_figure("Track length", chart, note))
    chart = histogram_svg(bin_values("triangulation angles", "degrees", angles))
    note = f"Wide angles fix depth: the median is {significant(float(np.median(angles)), 2)}\N{DEGREE SIGN}."
    figures.append(_figure("Triangulation angle", chart, note))
    return "".join(figures)


def _parallax_chart(inputs: ReportInputs) -> tuple[str, str]:
    angles = _pair_angles(inputs)
    chart = histogram_svg(bin_values("angles of matched pairs", "degrees, median of each pair of photos", angles, 20))
    note = "Depth needs parallax: photos taken from different places. Angles below about 1.5\N{DEGREE SIGN} fix none."
    return chart, note


def _figure(title: str, chart: str, note: str) -> str:
    return f"<figure><h3>{title}</h3>{chart}<figcaption>{note}</figcaption></figure>"


def matching(inputs: ReportInputs) -> str:
    """Return the matching matrix and, for captures that are not too large, the graph."""
    chosen = [(view.key, number) for number, view in enumerate(inputs.views, start=1) if view.status != "skipped"]
    if not inputs.pairs or not chosen:
        return ""
    keys, numbers = [key for key, _ in chosen], [number for _, number in chosen]
    placed = {view.key for view in inputs.views if view.status == "registered"}
    verified = [pair for pair in inputs.pairs if pair.n_inliers > 0]
    note = (
        f"{len(verified):,} of {count(len(inputs.pairs), 'tried pair')} hold matches that agree with one geometry. "
        "Rows, columns and nodes carry the numbers of the photos above."
    )
    graph = match_circle(keys, numbers, inputs.pairs, placed) if len(keys) <= _MAX_CIRCLE else ""
    legend = "".join(
        f'<span><svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect class="h{level}" width="10" '
        f'height="10"/></svg>{label}</span>'
        for level, label in enumerate(("none", "1+", "30+", "100+", "300+", "1,000+"))
    )
    return f'<p class="lead">{note}</p><div class="graphs">{match_matrix(keys, numbers, inputs.pairs)}{graph}</div>' + (
        f'<p class="legend"><b>Agreeing matches</b>{legend}</p>'
    )


def lenses(scene: Scene) -> str:
    """Return one card per camera group."""
    return "".join(_lens(lens) for lens in lens_stats(scene))


def _lens(lens: LensStats) -> str:
    shift = tuple(c - s / 2 for c, s in zip(lens.principal_px, lens.size, strict=True))
    fx, fy = lens.focal_px
    same = abs(fx - fy) < 5e-4 * fx
    focal = f"{fx:.1f} px" if same else f"{fx:.1f}, {fy:.1f} px"
    rows = {
        "photos": f"{lens.n_photos} of {lens.size[0]}\N{MULTIPLICATION SIGN}{lens.size[1]} px",
        "focal length": f"{focal} = {lens.focal_35mm:.1f} mm (35 mm film)",
        "field of view": f"{lens.horizontal_fov_deg:.1f}\N{DEGREE SIGN} wide",
        "principal point": f"{lens.principal_px[0]:.1f}, {lens.principal_px[1]:.1f} px ({_offset(shift)})",
    }
    used = [(name, value) for name, value in zip(("k1", "k2", "p1", "p2"), lens.distortion, strict=False) if value]
    rows["distortion"] = ", ".join(f"{name} {signed(value, 4)}" for name, value in used) or "none"
    body = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in rows.items())
    title = f"Lens {lens.camera_group}" if lens.camera_group >= 0 else "Lens"
    return f'<article class="lens"><h3>{title}</h3><dl class="pairs">{body}</dl></article>'


def _offset(shift: tuple[float, ...]) -> str:
    return (
        "the centre" if max(map(abs, shift)) < 0.05 else f"{signed(shift[0], 1)}, {signed(shift[1], 1)} from the centre"
    )


def scale_text(scene: Scene) -> str:
    """Return the scale statement."""
    return f'<p class="lead">{escape(scale_statement(scene.scale))}</p>'


def times(timings: Mapping[str, float]) -> str:
    """Return the table of stages with bars."""
    if not timings:
        return ""
    return f'<table class="times"><tbody>{time_bars(timings)}</tbody></table>'


def details(title: str, values: Mapping[str, Any]) -> str:
    """Return a folded table of nested values; nothing when there are none."""
    rows = flatten(values)
    if not rows:
        return ""
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in rows)
    return (
        f"<details><summary>{escape(title)} <span>{count(len(rows), 'entry', 'entries')}</span></summary>"
        f'<div class="scroll"><table class="values"><tbody>{body}</tbody></table></div></details>'
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested mappings as dotted names with their values as text."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{path}.")
        else:
            rows.append((path, _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(entry) for entry in value) or "none"
    return str(value)
