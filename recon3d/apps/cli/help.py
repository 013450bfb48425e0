"""The help of a command as one screen: two columns, one entry per option, grouped by stage.

tyro's own screen boxes every group and repeats its prefix: with the options of a whole pipeline that fills three
screens.
"""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from recon3d.apps.cli.documents import field_documents
from recon3d.core.errors import UsageError

_MIN_WIDTH, _MAX_WIDTH = 60, 120
_COLUMN = 31
_SCREEN_LINES = 48
_SHARED = "every command"
_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


@dataclasses.dataclass(frozen=True)
class _Row:
    group: str
    invocation: str
    text: str
    shown: str = ""
    is_positional: bool = False


def help_screen(command: type[Any], program: str, topic: str = "") -> str:
    """Return the help of a command.

    Args:
        command: its dataclass; nested dataclasses are groups of options.
        program: its name on the command line.
        topic: name of a group to show in detail, or ``all``; empty = one screen, where the groups of a large command
            only name their options.

    Raises:
        UsageError: there is no such group.
    """
    width = min(max(shutil.get_terminal_size().columns, _MIN_WIDTH), _MAX_WIDTH)
    positional = " ".join(_positional(name, hint) for name, hint, field in _fields(command) if _required(field))
    summary = (inspect.getdoc(command) or "").split("\n\n")[0].replace("``", "")
    lines = [f"usage: {program} {positional} [OPTIONS]".replace("  ", " "), "", *textwrap.wrap(summary, width), ""]
    rows = sorted(_rows(command, ""), key=lambda row: (row.group == _SHARED, not row.is_positional))
    rows.append(_Row(_SHARED, "-h, --help [GROUP]", "show this help, or all options of a group, or of all"))
    groups = list(dict.fromkeys(row.group for row in rows))
    if topic not in ("", "all"):
        groups = _named(topic, groups)
    full = [line for group in groups for line in _group(group, rows, width)]
    if topic == "" and len(lines) + len(full) > _SCREEN_LINES:
        full = [line for group in groups for line in _group(group, rows, width, brief=group not in ("", _SHARED))]
    return "\n".join([*lines, *full, ""])


def _named(topic: str, groups: list[str]) -> list[str]:
    names = {group.partition(":")[0]: group for group in groups if ":" in group}
    if topic not in names:
        raise UsageError("the help knows no such group of options", got=topic, expected=", ".join([*names, "all"]))
    return [names[topic]]


def _group(group: str, rows: list[_Row], width: int, brief: bool = False) -> Iterator[str]:
    """Yield the lines of a group; a brief one only names its options."""
    mine = [row for row in rows if row.group == group]
    if not brief:
        yield from [group] if group else []
        yield from (line for row in mine for line in _format(row, width))
        return
    name = group.partition(":")[0]
    yield f"{group}; --help {name} explains"
    words = [row.invocation.split()[0].removeprefix(f"--{name}.") for row in mine]
    yield from textwrap.wrap(
        " ".join(words), width, initial_indent=f"  --{name}. ", subsequent_indent="    ", break_on_hyphens=False
    )


def _format(row: _Row, width: int) -> list[str]:
    text = textwrap.wrap(_fitting(row, width - _COLUMN), width - _COLUMN, break_long_words=False) or [""]
    head = f"  {row.invocation}"
    if len(head) + 2 > _COLUMN:
        return [head, *(" " * _COLUMN + line for line in text)]
    return [f"{head:<{_COLUMN}}{text[0]}", *(" " * _COLUMN + line for line in text[1:])]


def _fitting(row: _Row, width: int) -> str:
    """Return the first sentence, or only its first clause where the sentence needs a second line; the docs hold all."""
    sentence = row.text.split(". ")[0].rstrip(".")
    return (sentence if len(sentence + row.shown) <= width else sentence.split("; ")[0]) + row.shown


def _fields(kind: type[Any]) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        yield field.name, hints[field.name], field


def _rows(kind: Any, prefix: str, group: str = "") -> Iterator[_Row]:
    documents, inherited = field_documents(kind), _inherited(kind)
    nested = []
    for name, hint, field in _fields(kind):
        bare = _strip(hint)
        if dataclasses.is_dataclass(bare):
            nested.append((_nested_prefix(prefix, name, hint), bare, documents.get(name, "")))
        elif _required(field):
            yield _Row(group, _positional(name, hint), documents.get(name, ""), is_positional=True)
        else:
            flag, where = _flag(prefix, name, hint), _SHARED if name in inherited else group
            yield _option(flag, bare, _default(field), documents.get(name, ""), where)
    for inner, bare, document in nested:
        yield from _rows(bare, inner, f"{inner.rstrip('.')}: {document.rstrip('.')}" if inner else group)


def _flag(prefix: str, name: str, hint: Any) -> str:
    """Return the name of an option without its dashes: its first alias, or another name that was given to it."""
    extras = getattr(hint, "__metadata__", ())
    aliases = (alias for extra in extras for alias in getattr(extra, "aliases", None) or ())
    names = (prefix + extra.name for extra in extras if getattr(extra, "name", None))
    return next(aliases, next(names, prefix + name.replace("_", "-"))).removeprefix("--")


def _inherited(kind: Any) -> set[str]:
    bases = [base for base in kind.__mro__[1:] if dataclasses.is_dataclass(base)]
    return {field.name for base in bases for field in dataclasses.fields(base)}


def _option(flag: str, bare: Any, default: Any, document: str, group: str) -> _Row:
    if bare is bool:
        before, dot, last = flag.rpartition(".")
        if default:
            return _Row(group, f"--{before}{dot}no-{last}", f"switch off: {document}")
        return _Row(group, f"--{flag}", document)
    shown = f" [{_shown(default)}]" if default not in (None, "", ()) else ""
    invocation = f"--{flag} {_metavar(bare)}"
    if get_origin(bare) is Literal and len(invocation) + 4 > _COLUMN:
        invocation, shown = f"--{flag} WORD", f" ({_metavar(bare)}){shown}"
    return _Row(group, invocation, document, shown)


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _nested_prefix(prefix: str, name: str, hint: Any) -> str:
    # tyro.conf.arg(name="") drops the prefix of a nested group.
    flat = any(getattr(extra, "name", None) == "" for extra in getattr(hint, "__metadata__", ()))
    return prefix if flat else f"{prefix}{name.replace('_', '-')}."


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _positional(name: str, hint: Any) -> str:
    return name.upper().replace("_", "-") + (" ..." if get_origin(_strip(hint)) is tuple else "")


def _metavar(bare: Any) -> str:
    if get_origin(bare) is Literal:
        return "|".join(map(str, get_args(bare)))
    if get_origin(bare) is tuple:
        inner = get_args(bare)
        words = [_METAVARS.get(part, "TEXT") for part in inner if part is not Ellipsis]
        return words[0] + " ..." if Ellipsis in inner else " ".join(words)
    return _METAVARS.get(bare, "TEXT")


def _strip(hint: Any) -> Any:
    """Remove ``Annotated`` and the ``None`` of an optional."""
    if get_origin(hint) is Annotated:
        return _strip(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        return _strip(inner[0]) if len(inner) == 1 else inner[0]
    return hint
