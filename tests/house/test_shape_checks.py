from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from recon3d.core.budget import parse_size
from recon3d.core.errors import ShapeError
from recon3d.render.cameras import Cameras, distort


def test_a_wrong_shape_fails_in_this_run() -> None:
    """The hook of conftest.py is alive: without it, a wrong shape would end in an error of numpy or in nonsense."""
    with pytest.raises(TypeCheckError, match="coefficients"):
        distort(np.zeros((3, 2)), np.zeros((4, 4)))
    with pytest.raises(TypeCheckError, match="normalized"):
        distort(np.zeros((3, 2), np.float32), np.zeros((3, 4)))


def test_a_wrong_type_fails_in_this_run() -> None:
    with pytest.raises(TypeCheckError, match="text"):
        parse_size(4)


@pytest.mark.usefixtures("without_shape_checks")
def test_users_meet_our_own_error() -> None:
    with pytest.raises(ShapeError, match=r"Cameras.K has the wrong shape; got: \(1, 3, 3\)"):
        Cameras(np.eye(4)[None].repeat(2, 0), np.eye(3)[None], np.ones(2, np.int64), np.ones(2, np.int64))


def test_the_checks_come_back() -> None:
    with pytest.raises(TypeCheckError, match="K"):
        Cameras(np.eye(4)[None].repeat(2, 0), np.eye(3)[None], np.ones(2, np.int64), np.ones(2, np.int64))
