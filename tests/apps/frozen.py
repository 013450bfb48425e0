"""Frozen texts: help screens and error lines. RECON3D_UPDATE_SNAPSHOTS=1 writes them again."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).with_name("snapshots")


def assert_frozen(name: str, text: str) -> None:
    """Compare a text with its frozen twin."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("RECON3D_UPDATE_SNAPSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"no snapshot {path.name}; RECON3D_UPDATE_SNAPSHOTS=1 writes it"
    assert text == path.read_text(), f"{path.name} has changed; RECON3D_UPDATE_SNAPSHOTS=1 accepts that"
