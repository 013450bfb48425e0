"""The run-time type checker of the tests; tests/conftest.py hangs it below jaxtyping's import hook."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any, BinaryIO, TextIO

from beartype import BeartypeConf, FrozenDict, beartype

# typing's stream classes are nominal: io.StringIO and io.BytesIO would fail them.
_STREAMS: dict[Any, Any] = {TextIO: io.TextIOBase, BinaryIO: io.IOBase, IO[str]: io.TextIOBase, IO[bytes]: io.IOBase}
_check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict(_STREAMS)))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with its arguments and result checked; an int may stand for a float, as in mypy."""
    return _check(function)
