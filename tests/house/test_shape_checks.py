from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from recon3d.core.budget import parse_size
from recon3d.render.cameras import distort


def test_a_wrong_shape_fails_in_this_run() -> None:
    """The hook of conftest.py is alive: without it, a wrong shape would end in an error of numpy or in nonsense."""
    with pytest.raises(TypeCheckError, match="coefficients"):
        distort(np.zeros((3, 2)), np.zeros((4, 4)))
    with pytest.raises(TypeCheckError, match="normalized"):
        distort(np.zeros((3, 2), np.float32), np.zeros((3, 4)))


def test_a_wrong_type_fails_in_this_run() -> None:
    with pytest.raises(TypeCheckError, match="text"):
        parse_size(4)  # type: ignore[arg-type]
