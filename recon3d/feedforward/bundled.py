"""Weights that are part of the installed package."""

from __future__ import annotations

from pathlib import Path

from recon3d.core.errors import DependencyError, UsageError
from recon3d.feedforward.small import NAME

BUNDLED = (NAME, f"{NAME}-lite3r")
_FOLDER = Path(__file__).parent / "data"


def bundled_weights(name: str) -> Path:
    """Return the file with the weights of a network that needs no download.

    Args:
        name: ``recon3d-small``, or ``recon3d-small-lite3r`` for what its Lite3R version has in addition.

    Raises:
        UsageError: no weights of that name come with the package.
        DependencyError: they should, but this installation lacks them.
    """
    if name not in BUNDLED:
        raise UsageError("no such weights come with the package", got=name, expected=", ".join(BUNDLED))
    path = _FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise DependencyError(f"the weights of {name} are missing from this installation", fix="install recon3d again")
    return path
