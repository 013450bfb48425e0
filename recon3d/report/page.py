"""Writing the page: one HTML file that opens offline and loads nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from string import Template

from recon3d.core.files import write_text
from recon3d.report import sections
from recon3d.report.dense import depth_section, mesh_section
from recon3d.report.inputs import ReportInputs
from recon3d.report.payload import MAX_POINTS, payload, to_script_json
from recon3d.report.photos import photo_section, photo_table
from recon3d.report.relight import relight_section
from recon3d.report.splats import held_out_section, splat_section
from recon3d.report.text import count, escape, plain_verdict
from recon3d.scene import Scene


def write_report(report: ReportInputs, path: Path) -> None:
    """Write a report atomically as one HTML file without any outside reference.

    Args:
        report: what to show.
        path: the file to write.

    Raises:
        ResourceError: the disk is full or read-only.
    """
    write_text(path, render_report(report))


def render_report(report: ReportInputs) -> str:
    """Return the text of the page."""
    style = _asset("report.css") + _asset("dense.css")
    scripts = "\n".join(_asset(name) for name in ("view3d.js", "dense.js", "report.js"))
    script = f"(() => {{\n'use strict';\n{scripts}\n}})();\n"
    return Template(_asset("report.html")).substitute(
        csp=_policy(style, script),
        style=style,
        script=script,
        data=to_script_json(payload(report)),
        title=escape(report.title),
        body=_body(report),
    )


def _asset(name: str) -> str:
    return resources.files("recon3d.report").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Allow this very style sheet and script, embedded images, and nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _body(report: ReportInputs) -> str:
    scene = report.scene
    parts = [_header(report), sections.warning_list(report.warnings)]
    if scene is not None:
        parts.append(Template(_asset("view3d.html")).substitute(note=_view_note(report)))
        parts += _dense(report, scene)
    parts.append(_section("photos", "Photos", photo_section(report)))
    parts.append(_section("quality", "Quality" if scene else "Parallax", _charts(report)))
    parts.append(_section("matching", "Which photos match", sections.matching(report)))
    if scene is not None:
        parts.append(_section("lens", "Lens and scale", sections.scale_text(scene) + _grid(sections.lenses(scene))))
    parts.append(_section("time", "Time", sections.times(report.timings)))
    parts.append(_section("record", "Record", _record(report)))
    return "\n".join(part for part in parts if part)


def _dense(report: ReportInputs, scene: Scene) -> list[str]:
    """Return the sections on what was made beyond cameras and points."""
    made, parts = report.dense, []
    if made.splats is not None:
        parts.append(_section("splats", "Splats", splat_section(made.splats)))
        parts.append(_section("held-out", "Held-out photos", held_out_section(made.splats)))
    if made.mesh is not None:
        parts.append(_section("mesh", "Mesh", mesh_section(made.mesh, scene.scale)))
    if made.relight is not None:
        parts.append(_section("relight", "Materials and light", relight_section(made.relight)))
    parts.append(_section("depth", "Depth", depth_section(made.depth, made.stereo, scene.scale)))
    return parts


def _header(report: ReportInputs) -> str:
    if report.scene is None:
        state, word = "refused", "Refused"
    elif report.warnings or any(view.status != "registered" for view in report.views):
        state, word = "remarks", "Reconstructed, with remarks"
    else:
        state, word = "done", "Reconstructed"
    verdict = report.verdict or plain_verdict(report.views, report.scene)
    return (
        f'<header><p class="brand">recon3d <span>report</span></p><h1>{escape(report.title)}</h1>'
        f'<p class="state {state}"><span class="dot" aria-hidden="true"></span>{word}</p>'
        f'<p class="verdict">{escape(verdict)}</p>{sections.key_figures(report)}</header>'
    )


def _view_note(report: ReportInputs) -> str:
    scene = report.scene
    n_points = len(scene.points) if scene is not None else 0
    shown = min(n_points, MAX_POINTS)
    note = f"{count(n_points, 'point')} and {count(len(scene.registered) if scene else 0, 'camera')}"
    return note if shown == n_points else f"{note}; {shown:,} points are drawn"


def _charts(report: ReportInputs) -> str:
    charts = sections.quality_charts(report)
    table = photo_table(report, report.scene) if report.scene is not None else ""
    return (f'<div class="charts">{charts}</div>' if charts else "") + table


def _grid(articles: str) -> str:
    return f'<div class="lenses">{articles}</div>'


def _record(report: ReportInputs) -> str:
    provenance = dict(report.scene.provenance) if report.scene is not None else {}
    parts = [
        sections.details("Checks", report.scene.metrics if report.scene is not None else {}),
        sections.details("Settings", report.settings),
        sections.details("Provenance", {**provenance, **report.provenance}),
    ]
    return "".join(parts)


def _section(name: str, title: str, content: str) -> str:
    if not content:
        return ""
    return f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{content}</section>'
