"""What commands print: results on stdout, as text for people or as one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from recon3d.core.errors import Recon3DError


def print_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def error_json(error: Recon3DError) -> dict[str, Any]:
    """Return an error as JSON-ready fields."""
    optional = {"got": error.got, "expected": error.expected, "fix": error.fix}
    fields = {name: str(value) for name, value in optional.items() if value is not None}
    return {
        "type": type(error).__name__,
        "exit_code": error.exit_code,
        "message": str(error),
        "what": error.what,
        **fields,
    }


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Write label and text in two columns to stdout; long texts stay on one line, to be searched and piped."""
    table = [(label, text) for label, text in rows]
    width = max((len(label) for label, _ in table), default=0)
    for label, text in table:
        sys.stdout.write(f"{label:<{width}}  {text}".rstrip() + "\n")


def print_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
