"""Which photos are kept out of the optimisation, to measure it."""

from __future__ import annotations

from collections.abc import Sequence

from recon3d.core.errors import UsageError

MIN_PHOTOS = 5
MANY_PHOTOS = 16


def held_out(keys: Sequence[str], rule: str = "auto") -> tuple[str, ...]:
    """Return the keys of the photos that are kept out, in sorted order.

    Args:
        keys: all photos.
        rule: ``auto`` takes every 8th of 16 or more photos, every 4th of fewer, and none of fewer than five;
            ``none`` none; a number n every n-th. They are counted in sorted order, from the first on.

    Raises:
        UsageError: the rule is unknown, or leaves fewer than two photos to learn from.
    """
    n = len(keys)
    if rule == "none" or (rule == "auto" and n < MIN_PHOTOS):
        return ()
    if rule == "auto":
        step = 8 if n >= MANY_PHOTOS else 4
    elif rule.isdecimal() and int(rule) >= 2:
        step = int(rule)
    else:
        raise UsageError("the rule for held-out photos is unknown", got=rule, expected="auto, none or a number >= 2")
    chosen = tuple(sorted(keys)[::step])
    if n - len(chosen) < 2:
        fix = "use --holdout none or add photos"
        raise UsageError("too few photos are left to learn from", got=f"{n - len(chosen)} of {n}", fix=fix)
    return chosen
