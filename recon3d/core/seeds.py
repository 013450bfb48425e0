"""Random state: child seeds by name, so that adding one consumer never shifts the numbers of another."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from recon3d.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


def derive(seed: int, *names: str) -> int:
    """Return the child seed of ``seed`` that belongs to the path ``names``.

    The value depends on nothing else: not on the platform, the Python version or ``PYTHONHASHSEED``.

    Args:
        seed: the user's seed, zero or positive.
        names: who asks, from the outer to the inner stage, for example ``("mapping", "global")``.

    Returns:
        A seed in [0, 2**31), the range that native libraries accept as a signed 32-bit integer.

    Raises:
        UsageError: the seed is negative.
    """
    return int.from_bytes(_digest(seed, names)[:4], "big") & 0x7FFFFFFF


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return numpy's PCG64 generator for the path ``names`` below ``seed``, seeded with 128 bits.

    Args:
        seed: the user's seed, zero or positive.
        names: who asks, from the outer to the inner stage.

    Raises:
        UsageError: the seed is negative.
    """
    import numpy as np

    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(seed, names)[:16], "big")))


def _digest(seed: int, names: tuple[str, ...]) -> bytes:
    if seed < 0:
        raise UsageError("a seed cannot be negative", got=seed, expected="0 or a positive integer")
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    parts = [str(seed), *(f"{len(name)}:{name}" for name in names)]
    return hashlib.sha256("/".join(parts).encode("utf-8")).digest()
