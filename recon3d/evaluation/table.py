"""The numbers of an evaluation as a table for people."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.table import Table

from recon3d.evaluation.cameras import AbsoluteErrors, CameraErrors


def camera_table(errors: CameraErrors) -> Table:
    """Return the errors as a two-column table, one number per row, units spelled out."""
    title = errors.name + (f" / {errors.subset}" if errors.subset else "")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("set", title)
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
    return f"{1000 * value:.2f} mm" if unit in ("metre", "meter", "m") else f"{value:.4g} units of the reference"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
