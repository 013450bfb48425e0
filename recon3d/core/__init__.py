"""What every room stands on: errors, atomic files, worker processes, stages, progress, budgets, seeds and back ends.

It imports nothing of ours.
"""

from __future__ import annotations

from recon3d.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "backends": ["Backend", "candidates", "choose", "primitives"],
        "budget": ["Budget", "available_memory_bytes", "cpu_count", "make_budget", "parse_duration", "parse_size"],
        "errors": [
            "DependencyError",
            "FormatError",
            "InputError",
            "Recon3DError",
            "ResourceError",
            "ResultError",
            "ShapeError",
            "UsageError",
        ],
        "progress": ["Progress", "Stage", "make_progress"],
        "seeds": ["derive", "generator"],
        "workers": ["TaskFailure", "WorkerOptions", "run_tasks"],
    },
)
