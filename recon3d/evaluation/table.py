"""The numbers of an evaluation as a table for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.table import Table

from recon3d.evaluation.cameras import AbsoluteErrors, CameraErrors
from recon3d.evaluation.depth import DepthErrors
from recon3d.evaluation.novel_views import NovelViewErrors
from recon3d.evaluation.scene import SurfaceErrors


def camera_table(errors: CameraErrors) -> Table:
    """Return the errors as a two-column table, one number per row, units spelled out."""
    title = errors.name + (f" / {errors.subset}" if errors.subset else "")
    table = _two_columns("set", title)
    for label, value in _rows(errors):
        table.add_row(label, value)
    return table


def _rows(errors: CameraErrors) -> Iterator[tuple[str, str]]:
    if errors.expected_refusal:
        yield "expected", "a refusal: these photos hold no model that can be trusted"
    yield "photos placed", f"{errors.n_registered} of {errors.n_photos}"
    if errors.unregistered:
        yield "not placed", ", ".join(errors.unregistered)
    if errors.outliers_registered:
        yield "WRONGLY placed", ", ".join(errors.outliers_registered) + " (of another scene)"
    if errors.unknown:
        yield "without truth", f"{len(errors.unknown)} placed photos"
    for label, areas in (("AUC", errors.auc), ("AUC, 1-degree bins", errors.auc_binned)):
        yield f"{label} @ {'/'.join(map(str, areas))} deg", " / ".join(_number(area, 1) for area in areas.values())
    yield "RRA@5, RTA@5", f"{_number(errors.rra_5, 1)} %, {_number(errors.rta_5, 1)} %"
    if errors.absolute is not None:
        yield from _absolute_rows(errors.absolute, errors.unit)
    if errors.intrinsics is not None:
        yield "focal length", f"{round(errors.intrinsics.focal_percent, 2) + 0.0:+.2f} % (median)"
        px = errors.intrinsics
        yield "principal point", f"{px.principal_point_px:.2f} px median, {px.principal_point_max_px:.2f} px max"


def _absolute_rows(absolute: AbsoluteErrors, unit: str) -> Iterator[tuple[str, str]]:
    center, rotation = absolute.center_percent, absolute.rotation_deg
    if center is not None:
        text = f"mean {center.mean:.3f}, median {center.median:.3f}, RMSE {center.rmse:.3f}, max {center.max:.3f}"
        yield "centre error, % of S", text
        yield "ATE (RMSE)", _length(absolute.ate, unit)
    yield "rotation error, deg", f"mean {rotation.mean:.3f}, median {rotation.median:.3f}, max {rotation.max:.3f}"
    if absolute.rotation_from == "orientations":
        yield "alignment", "rotation from the orientations: the true centres lie on a line"


def _length(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{1000 * value:.2f} mm" if unit in ("metre", "meter", "m") else f"{value:.4g} units of the reference"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def depth_table(errors: DepthErrors, unit: str) -> Table:
    """Return depth errors as a two-column table."""
    table = _two_columns("depth maps", f"{errors.n_images} compared, scale by {errors.scale_mode} ({errors.scale:.4g})")
    table.add_row("AbsRel, SqRel", f"{_number(errors.abs_rel, 4)}, {_number(errors.sq_rel, 4)}")
    table.add_row("RMSE, RMSElog", f"{_length(errors.rmse, unit)}, {_number(errors.rmse_log, 4)}")
    shares = (errors.delta_1_05, errors.delta_1, errors.delta_2, errors.delta_3)
    table.add_row("delta 1.05 / 1.25 / ^2 / ^3", " / ".join(_percent(share) for share in shares))
    table.add_row("coverage", _percent(errors.coverage))
    return table


def surface_table(errors: SurfaceErrors, unit: str) -> Table:
    """Return point errors as a table of one row per point set and distance."""
    table = Table(box=None, pad_edge=False, title_justify="left", title=f"against {errors.reference}")
    names = ("compared", "tau", "points", "accuracy", "completeness", "Chamfer", "precision", "recall", "F")
    sparse = ("compared", "tau", "points", "completeness", "recall")
    for name in sparse if errors.recall_only else names:
        table.add_column(name, justify="left" if name == "compared" else "right", no_wrap=True)
    for what, results in errors.results.items():
        for one in results:
            complete, recall = _length(one.completeness_mean, unit), _percent(one.recall)
            head = [what, _length(one.tau, unit), str(one.n_points)]
            accuracy, chamfer = _length(one.accuracy_mean, unit), _length(one.chamfer, unit)
            rest = [accuracy, complete, chamfer, _percent(one.precision), recall, _percent(one.f_score)]
            table.add_row(*head, *([complete, recall] if errors.recall_only else rest))
    return table


def view_table(errors: NovelViewErrors) -> Table:
    """Return the errors of held-out photos, plain and after the affine colour fit of each."""
    table = Table(box=None, pad_edge=False, title_justify="left", title="held-out photos")
    table.add_column("photo", no_wrap=True)
    for name in ("PSNR", "SSIM", "PSNR, colours fitted", "SSIM, colours fitted"):
        table.add_column(name, justify="right")
    names = ("psnr", "ssim", "psnr_fit", "ssim_fit")
    for view in errors.views:
        table.add_row(view.key, *_qualities([getattr(view, name) for name in names]))
    table.add_row("mean", *_qualities([errors.mean(name) for name in names]))
    return table


def _qualities(values: Sequence[float | None]) -> list[str]:
    return ["-" if value is None else _number(value, 2 + at % 2) for at, value in enumerate(values)]


def _two_columns(label: str, text: str) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(label, text)
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "-"
