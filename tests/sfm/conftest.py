"""One synthetic capture on disk, mapped and refined once for all tests of the camera search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sfm_captures import CENTRED, OnDisk, Solved, cameras_at, cloud, ring_poses, write_capture

from recon3d.sfm.intrinsics import assume
from recon3d.sfm.mapping import run_mapper
from recon3d.sfm.refine import refine


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> OnDisk:
    """Seven photos of 200 points with 0.3 px of noise and some barrel distortion."""
    cameras = cameras_at(ring_poses(7), CENTRED, (-0.05, 0.0, 0.0, 0.0))
    return write_capture(tmp_path_factory.mktemp("capture"), cameras, cloud(200))


@pytest.fixture(scope="session")
def new_database(capture: OnDisk, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes databases of the capture, each in a folder of its own: mappers write into them."""
    return lambda: capture.database(tmp_path_factory.mktemp("database") / "database.db")


@pytest.fixture(scope="session")
def solved(capture: OnDisk, new_database: Callable[[], Path]) -> Solved:
    database = new_database()
    mapped = run_mapper("incremental", database, 7, 0, calibrated=False)[0]
    assumed = assume(mapped.cameras, np.zeros(7, np.int64), np.full(7, np.nan))
    return Solved(capture, database, mapped, refine(mapped, assumed, "auto", database, 7, 0))
