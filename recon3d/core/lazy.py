"""Exports that load on first use, so that a room's front page costs nothing until one of its names is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_exports(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package whose names live in its modules (PEP 562).

    A type checker cannot follow this: the package imports the same names once more below ``TYPE_CHECKING``.

    Args:
        package: the package's ``__name__``.
        names: public names by module, the module relative to the package.
    """
    home = {name: f"{package}.{module}" for module, members in names.items() for name in members}

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    public = sorted(home)
    return load, public.copy, public
