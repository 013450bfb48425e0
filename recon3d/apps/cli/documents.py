"""The documentation of a dataclass's fields, from its docstring or from the strings below the fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from itertools import pairwise
from typing import Any

_ENTRY = re.compile(r"^(\w+): (.*)$")


def field_documents(kind: type[Any]) -> dict[str, str]:
    """Return one text per documented field, those of the bases included.

    Args:
        kind: a dataclass with a Google-style Args section, or with a string below each field.
    """
    documents: dict[str, str] = {}
    for base in reversed([base for base in kind.__mro__ if dataclasses.is_dataclass(base)]):
        documents |= _strings_below_fields(base) | _args_entries(inspect.getdoc(base) or "")
    return {name: " ".join(text.replace("``", "").split()) for name, text in documents.items()}


def _args_entries(document: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    name = ""
    for line in _args_section(document):
        match = _ENTRY.match(line)
        if match:
            name = match[1]
            entries[name] = match[2]
        elif name:
            entries[name] += f" {line.strip()}"
    return entries


def _args_section(document: str) -> list[str]:
    lines = document.split("Args:\n", 1)[1].splitlines() if "Args:\n" in document else []
    end = next((index for index, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    return textwrap.dedent("\n".join(line for line in lines[:end] if line.strip())).splitlines()


def _strings_below_fields(kind: type[Any]) -> dict[str, str]:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}  # no source at hand: the docstring remains
    statements = body.body if isinstance(body, ast.ClassDef) else []
    found = {}
    for field, below in pairwise(statements):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[field.target.id] = str(below.value.value)
    return found
