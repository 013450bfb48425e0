"""The report of a reconstruction: one HTML file that opens offline.

`write_report` writes it from `ReportInputs`; captures that were refused get one too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.report.inputs import (
        DenseResults as DenseResults,
        DepthPreview as DepthPreview,
        DepthSummary as DepthSummary,
        HeldOutView as HeldOutView,
        MeshSummary as MeshSummary,
        PairSummary as PairSummary,
        RelightSummary as RelightSummary,
        ReportInputs as ReportInputs,
        SplatSummary as SplatSummary,
        StereoSummary as StereoSummary,
    )
    from recon3d.report.page import render_report as render_report, write_report as write_report
    from recon3d.report.text import plain_verdict as plain_verdict

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "inputs": [
            "DenseResults",
            "DepthPreview",
            "DepthSummary",
            "HeldOutView",
            "MeshSummary",
            "PairSummary",
            "RelightSummary",
            "ReportInputs",
            "SplatSummary",
            "StereoSummary",
        ],
        "page": ["render_report", "write_report"],
        "text": ["plain_verdict"],
    },
)
