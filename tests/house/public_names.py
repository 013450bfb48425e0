"""Print the public names of recon3d and its rooms, one per line: ``make public-names`` freezes them."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module

import recon3d


def rooms() -> list[str]:
    """recon3d and every package below it, but for the programs: nobody imports from those."""
    packages = (one.name for one in pkgutil.walk_packages(recon3d.__path__, "recon3d.") if one.ispkg)
    return ["recon3d", *(name for name in packages if not name.startswith("recon3d.apps"))]


def public_names() -> list[str]:
    """Dotted public names, sorted."""
    return sorted(f"{room}.{name}" for room in rooms() for name in getattr(import_module(room), "__all__", ()))


if __name__ == "__main__":
    sys.stdout.write("\n".join(public_names()) + "\n")
