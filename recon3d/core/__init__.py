"""What every room stands on: errors, atomic files, worker processes, stages, progress, budgets, seeds and back ends.

It imports nothing of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.core.backends import (
        Backend as Backend,
        candidates as candidates,
        choose as choose,
        primitives as primitives,
    )
    from recon3d.core.budget import (
        Budget as Budget,
        available_memory_bytes as available_memory_bytes,
        cpu_count as cpu_count,
        make_budget as make_budget,
        parse_duration as parse_duration,
        parse_size as parse_size,
    )
    from recon3d.core.errors import (
        DependencyError as DependencyError,
        FormatError as FormatError,
        InputError as InputError,
        Recon3DError as Recon3DError,
        ResourceError as ResourceError,
        ResultError as ResultError,
        ShapeError as ShapeError,
        UsageError as UsageError,
    )
    from recon3d.core.progress import Progress as Progress, Stage as Stage, make_progress as make_progress
    from recon3d.core.seeds import derive as derive, generator as generator
    from recon3d.core.workers import TaskFailure as TaskFailure, WorkerOptions as WorkerOptions, run_tasks as run_tasks

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
