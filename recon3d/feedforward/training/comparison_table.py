"""A comparison as a table for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from recon3d.feedforward.training.comparison import Compared

_COLUMNS = ("who", "weights", "AbsRel", "delta1", "AUC@30", "rotation", "direction", "field of view")


def comparison_table(rows: Iterable[Compared]) -> Table:
    """Return one line per answer.

    Args:
        rows: of :func:`recon3d.feedforward.training.comparison.compare`.
    """
    table = Table(*_COLUMNS)
    for row in rows:
        one = row.scores
        numbers = f"{one.abs_rel:.3f}", f"{one.delta1:.3f}", f"{one.auc30:.1f} %"
        angles = (f"{angle:.1f} deg" for angle in (one.rotation_deg, one.direction_deg, one.fov_deg))
        table.add_row(row.who, row.weights, *numbers, *angles)
    return table
