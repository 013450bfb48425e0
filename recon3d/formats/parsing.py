"""Strict parsing of numbers, text lines and JSON from untrusted files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import FormatError

_MAX_TOKEN = 64
_MAX_DIGITS = 400


def parse_float(token: str, where: str) -> float:
    """Return a number in C notation; ``nan`` and ``inf`` are numbers here.

    Raises:
        FormatError: it is not one.
    """
    try:
        if len(token) <= _MAX_TOKEN and "_" not in token:
            return float(token)
    except ValueError:
        pass
    raise FormatError(f"{where}: not a number", got=repr(token[:_MAX_TOKEN]))


def parse_floats(tokens: Sequence[str], where: str) -> list[float]:
    """Return finite numbers.

    Raises:
        FormatError: a token is not a finite number.
    """
    values = [parse_float(token, where) for token in tokens]
    if not all(map(math.isfinite, values)):
        raise FormatError(f"{where}: not a finite number", got=" ".join(tokens)[:_MAX_TOKEN])
    return values


def parse_int(token: str, where: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """Return a decimal integer within ``least..most``.

    Raises:
        FormatError: it is not one.
    """
    digits = token[1:] if token.startswith("-") else token
    if digits.isascii() and digits.isdigit() and len(digits) <= 20 and least <= int(token) <= most:
        return int(token)
    raise FormatError(f"{where}: not an integer in {least}..{most}", got=repr(token[:_MAX_TOKEN]))


def text_lines(data: bytes) -> list[str]:
    r"""Return the lines of a UTF-8 text (other bytes as surrogates), split at ``\n`` only, without ``\r``."""
    return [line.rstrip("\r") for line in data.decode("utf-8", "surrogateescape").split("\n")]


def parse_json(data: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        FormatError: the bytes are not a JSON object (NaN and infinity are not JSON).
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_int=_short_int, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is not valid JSON", got=str(error)[:200]) from error
    if not isinstance(value, dict):
        raise FormatError(f"{name}: the top level is wrong", got=type(value).__name__, expected="a JSON object")
    return value


def _short_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:  # long integers take quadratic time before Python 3.11
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def json_field(owner: Any, key: str, kind: type | tuple[type, ...], where: str, default: Any = ...) -> Any:
    """Return ``owner[key]``, checked for its JSON type; ``default`` where it is absent and a default is given.

    Raises:
        FormatError: ``owner`` is no object, the key is absent or its value has another type.
    """
    if not isinstance(owner, dict):
        raise FormatError(f"{where}: not a JSON object", got=type(owner).__name__)
    if key not in owner and default is not ...:
        return default
    value = owner.get(key)
    wrong_bool = isinstance(value, bool) and kind is not bool
    if not isinstance(value, kind) or wrong_bool:
        names = kind.__name__ if isinstance(kind, type) else " or ".join(each.__name__ for each in kind)
        raise FormatError(f"{where}: {key!r} is wrong", got=repr(value)[:_MAX_TOKEN], expected=names)
    return value


def json_int(owner: Any, key: str, where: str, least: int = 0, most: int = 2**31 - 1) -> int:
    """Return an integer field within ``least..most``.

    Raises:
        FormatError: it is absent, no integer or out of range.
    """
    value = json_number(owner, key, where)
    if value != int(value) or not least <= value <= most:
        raise FormatError(f"{where}: {key!r} is wrong", got=value, expected=f"an integer in {least}..{most}")
    return int(value)


def json_number(owner: Any, key: str, where: str) -> float:
    """Return a finite number field.

    Raises:
        FormatError: it is absent or no finite number.
    """
    return _number(json_field(owner, key, (int, float), where), f"{where}: {key!r}")


def json_array(value: Any, shape: tuple[int, ...], where: str) -> Float64[np.ndarray, "..."]:
    """Return nested JSON lists as a finite float64 array of exactly ``shape``.

    Raises:
        FormatError: another nesting, or an entry that is no finite number.
    """
    flat: list[float] = []
    _flatten(value, shape, where, flat)
    return np.array(flat, np.float64).reshape(shape)


def _flatten(value: Any, shape: tuple[int, ...], where: str, flat: list[float]) -> None:
    if not shape:
        flat.append(_number(value, where))
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        got = f"{len(value)} entries" if isinstance(value, list) else type(value).__name__
        raise FormatError(f"{where}: wrong shape", got=got, expected=f"a list of {shape[0]}")
    for entry in value:
        _flatten(entry, shape[1:], where, flat)


def _number(value: Any, where: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise FormatError(f"{where}: not a finite number", got=repr(value)[:_MAX_TOKEN])
