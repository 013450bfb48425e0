"""The report of a reconstruction: one HTML file that opens offline.

`write_report` writes it from `ReportInputs`; captures that were refused get one too.
"""

from __future__ import annotations

from recon3d.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "inputs": ["PairSummary", "ReportInputs"],
        "page": ["render_report", "write_report"],
        "text": ["plain_verdict"],
    },
)
