"""The error tree: every failure a user can meet is one of these, and each maps to one exit code."""

from __future__ import annotations


class Recon3DError(Exception):
    """Root of all errors raised on purpose by recon3d.

    The text states what failed, what was got, what was expected and how to fix it.

    Args:
        what: what failed, as a short sentence without a final stop.
        got: the offending value, shown with ``str``.
        expected: what would have been accepted.
        fix: what the user can do.
    """

    exit_code = 1

    def __init__(self, what: str, *, got: object = None, expected: object = None, fix: str | None = None) -> None:
        parts = [what.rstrip(".")]
        if got is not None:
            parts.append(f"got: {got}")
        if expected is not None:
            parts.append(f"expected: {expected}")
        if fix is not None:
            parts.append(f"to fix: {fix}")
        super().__init__("; ".join(parts) + ".")
        self.what, self.got, self.expected, self.fix = what, got, expected, fix

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.got, self.expected, self.fix)


def _rebuild(kind: type[Recon3DError], what: str, got: object, expected: object, fix: str | None) -> Recon3DError:
    return kind(what, got=got, expected=expected, fix=fix)


class UsageError(Recon3DError):
    """Wrong options or arguments (exit code 2)."""

    exit_code = 2


class ShapeError(UsageError):
    """An array argument has the wrong shape or dtype (exit code 2)."""


class InputError(Recon3DError):
    """Input that cannot be read or used (exit code 3)."""

    exit_code = 3


class FormatError(InputError):
    """A file whose bytes are not what its format demands (exit code 3); the only error a reader raises."""


class ResultError(Recon3DError):
    """Refused: no model that can be trusted (exit code 4)."""

    exit_code = 4


class DependencyError(Recon3DError):
    """A missing dependency, system library or weight file (exit code 5)."""

    exit_code = 5


class ResourceError(Recon3DError):
    """Out of memory, time or disk (exit code 6)."""

    exit_code = 6
