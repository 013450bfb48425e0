"""The `recon3d` command: one module per sub-command, each a frozen dataclass that tyro fills from the command line.

`main` dispatches by name and loads only the module of the command that was asked for.
"""

from __future__ import annotations

from recon3d.apps.cli.main import main

__all__ = ["main"]
