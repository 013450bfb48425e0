"""A scene in a few lines: for people after a run, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recon3d.scene import Scene

BELOW_CHECKS = 7
_DEPTH_SOURCES = {"stereo": "multi-view stereo", "splats": "the splats", "network": "the network"}


def summary_json(scene: Scene) -> dict[str, Any]:
    """Return what a program wants to know about a finished run, JSON-ready."""
    return {
        "out": str(scene.root),
        "n_photos": len(scene.views),
        "n_registered": len(scene.registered),
        "n_points": len(scene.points),
        "scale": {"kind": scene.scale.kind, "source": scene.scale.source, "interval_95": scene.scale.interval_95},
        "views": [{"key": v.key, "status": v.status, "reason": v.reason, "model": v.model} for v in scene.views],
        "failed_checks": list(scene.provenance.get("failed_checks", ())),
        "warnings": list(scene.provenance.get("warnings", ())),
        "metrics": dict(scene.metrics),
    }


def summary_lines(scene: Scene) -> Iterator[str]:
    """Yield what a person wants to know about a finished run."""
    points = scene.points
    error = f", {points.mean_error_px:.2f} px mean reprojection error" if len(points) else ""
    yield f"placed {len(scene.registered)} of {len(scene.views)} photos, {len(points)} points{error}"
    for view in scene.views:
        if view.status != "registered":
            yield f"  not placed: {view.key}: {view.reason or view.status}"
    yield from (f"{name}: {text}" for name, text in dense_rows(scene.metrics))
    yield f"scale: {scale_text(scene)}"
    for name in ("failed_checks", "warnings"):
        for text in scene.provenance.get(name, ()):
            yield f"{name.replace('_', ' ').removesuffix('s')}: {text}"
    if scene.root is not None:
        report = scene.root / "report.html"
        yield f"report: {report}" if report.exists() else f"output: {scene.root}"


def dense_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what was made beyond cameras and points: the name of each part, and what it is like."""
    if "depth" in metrics:
        coverage = list(metrics["depth"]["coverage"].values())
        share = 100 * sum(coverage) / max(len(coverage), 1)
        source = _DEPTH_SOURCES[metrics["depth"]["source"]]
        points = f"{metrics['depth']['n_points']:,} dense points"
        yield "depth", f"{len(coverage)} maps by {source}, {share:.0f} % of the pixels, {points}"
    if "splats" in metrics:
        held_out = [entry for entry in metrics["splats"]["held_out"] if entry["psnr"] is not None]
        mean = {name: sum(entry[name] for entry in held_out) / max(len(held_out), 1) for name in ("psnr", "ssim")}
        photos = f"{len(held_out)} held-out photos: " if held_out else ""
        quality = f", {photos}{mean['psnr']:.1f} dB, SSIM {mean['ssim']:.3f}" if held_out else ", nothing held out"
        yield "splats", f"{metrics['splats']['n_gaussians']:,} Gaussians{quality}"
    if "mesh" in metrics:
        closed = "closed" if metrics["mesh"]["is_watertight"] else "open"
        yield "mesh", f"{metrics['mesh']['n_faces']:,} triangles, {closed}"
    if "relight" in metrics:
        yield "relightable", _relight_text(metrics["relight"])


def _relight_text(relight: Mapping[str, Any]) -> str:
    text = f"{relight['n_splats']:,} splats with materials, {100 * relight['seen']:.0f} % of the surface seen"
    known = [entry["psnr"] for entry in relight["held_out"] if entry["psnr"] is not None]
    return text + (f", {len(known)} held-out photos: {sum(known) / len(known):.1f} dB" if known else "")


def scale_text(scene: Scene) -> str:
    """Return what one unit of the scene means, in words."""
    scale = scene.scale
    if scale.kind == "relative":
        return "relative: sizes are known up to one factor, no metres" + (f" ({scale.source})" if scale.source else "")
    if scale.interval_95 is None:
        return f"metric ({scale.source})"
    low, high = (100 * (factor - 1) for factor in scale.interval_95)
    return f"metric ({scale.source}), true to {low:+.1f} .. {high:+.1f} % with 95 % confidence"
