"""`recon3d doctor`: what this machine offers, which back ends are taken and why, and what is missing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from recon3d import __version__
from recon3d.apps.cli.command import Command
from recon3d.apps.cli.output import print_json, print_lines, print_rows
from recon3d.core.backends import Backend, candidates, primitives
from recon3d.core.budget import available_memory_bytes, cpu_count

_PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "numba",
    "scikit-image",
    "trimesh",
    "pycolmap",
    "pillow",
    "pillow-heif",
    "av",
    "fastapi",
    "uvicorn",
    "rich",
    "tyro",
)
_NEEDED = ("images", "features", "matching", "mapping", "gaussians", "device")


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Say which versions, devices and back ends are in use, why, and what is missing with its install line."""

    def run(self) -> int:
        """Print the findings and return 0, or 5 where something needed is missing."""
        found = {name: candidates(name) for name in primitives()}
        missing = [name for name in _NEEDED if name in found and not any(one.available for one in found[name])]
        if self.json:
            print_json(_as_json(found, missing))
        else:
            _print_text(found, missing)
        return 5 if missing else 0


def _machine() -> dict[str, Any]:
    return {
        "recon3d": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cpu_count(),
        "memory_available_bytes": available_memory_bytes(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _as_json(found: dict[str, tuple[Backend, ...]], missing: list[str]) -> dict[str, Any]:
    backends = {
        name: {
            "chosen": next((one.name for one in options if one.available), None),
            "candidates": [vars(one) for one in options],
        }
        for name, options in found.items()
    }
    return {**_machine(), "versions": _versions(), "backends": backends, "missing": missing}


def _print_text(found: dict[str, tuple[Backend, ...]], missing: list[str]) -> None:
    machine = _machine()
    machine["memory"] = f"{machine.pop('memory_available_bytes') / 1e9:.1f} GB available"
    print_rows([(name, str(value)) for name, value in machine.items()])
    print_lines(["", "versions: " + ", ".join(f"{name} {number or '-'}" for name, number in _versions().items())])
    print_lines(["", "back ends"])
    print_rows(_backend_rows(found))
    print_lines(["", f"MISSING: {', '.join(missing)}" if missing else "nothing that reconstruct needs is missing"])


def _backend_rows(found: dict[str, tuple[Backend, ...]]) -> Iterator[tuple[str, str]]:
    for name, options in found.items():
        chosen = next((one for one in options if one.available), None)
        yield f"  {name}", f"{chosen.name}: {chosen.reason}" if chosen else "none"
        for one in options:
            if not one.available:
                yield "", f"not {one.name}: {one.reason}" + (f"; {one.install}" if one.install else "")
