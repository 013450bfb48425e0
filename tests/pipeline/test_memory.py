"""Memory that grows with the number of photos: kept by smaller photos, and refused where that is not enough."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from recon3d.core.budget import Budget
from recon3d.core.errors import ResourceError
from recon3d.core.stages import StageStore
from recon3d.dense.fusion_options import FusionOptions
from recon3d.pipeline_memory import (
    MIN_SPLAT_SIZE,
    SPLAT_SHARE,
    check_stereo_memory,
    coarser_voxels,
    splat_photo_size,
)
from recon3d.plan_dense import STEREO_BYTES_PER_PIXEL, DensePlan, Preset, make_dense_plan, with_preset
from recon3d.render.cameras import Cameras
from recon3d.splats.schedule import BYTES_PER_PHOTO_PIXEL

GB = 10**9


def cameras(n: int, width: int = 4000, height: int = 3000) -> Cameras:
    K = np.array([[3000.0, 0, width / 2], [0, 3000.0, height / 2], [0, 0, 1]])
    return Cameras(np.tile(np.eye(4), (n, 1, 1)), np.tile(K, (n, 1, 1)), np.full(n, width), np.full(n, height))


def plan(n: int, memory: int, name: Preset) -> DensePlan:
    wanted = with_preset(name, None, None, FusionOptions())
    with tempfile.TemporaryDirectory() as folder:
        store = StageStore(Path(folder))
        return make_dense_plan([(4000, 3000)] * n, wanted, Budget(memory, None, 2), store, None, 0.0)


@pytest.mark.parametrize("name", ["draft", "standard", "high"])
@pytest.mark.parametrize("memory", [GB, 2 * GB, 4 * GB, 16 * GB])
@pytest.mark.parametrize("n", [10, 300, 3000])
def test_what_is_not_refused_fits(n: int, memory: int, name: Preset) -> None:
    """Any number of photos of 12 megapixels, without decoding one: stereo and splats stay within the plan."""
    try:
        made, given = plan(n, memory, name), cameras(n)
        size = made.options.stereo.max_image_size
        check_stereo_memory(given, size, made.max_memory_bytes)
        smaller, _ = splat_photo_size(given, made.options.splats.max_image_size, made.max_memory_bytes)
    except ResourceError as error:
        assert n * GB > 200 * memory, error  # less than 5 MB for a photo
        assert str(n) in str(error) and "--max-memory" in str(error)
        return
    assert STEREO_BYTES_PER_PIXEL * n * size * size * 3 / 4 <= 1.03 * made.max_memory_bytes < memory
    assert BYTES_PER_PHOTO_PIXEL * n * smaller * smaller * 3 / 4 <= 1.03 * SPLAT_SHARE * made.max_memory_bytes


def test_photos_that_fit_keep_their_size() -> None:
    assert splat_photo_size(cameras(20), 1024, 2 * GB) == (1024, [])
    assert splat_photo_size(cameras(20, 640, 480), 4000, 2 * GB) == (4000, [])


def test_smaller_photos_are_said() -> None:
    size, notes = splat_photo_size(cameras(1000), 1600, 4 * GB)
    assert MIN_SPLAT_SIZE < size < 1600
    assert notes == [f"splats were optimised from photos of {size} px to stay within 3.7 GiB of memory"]


def test_coarser_voxels_than_asked_for_are_said() -> None:
    assert coarser_voxels(0.3, 0.3) == []
    assert coarser_voxels(0.1, 0.3) == [
        "the mesh was made with voxels of 0.3 instead of 0.1 to keep its memory and faces"
    ]


def test_too_many_photos_for_the_memory_are_refused_with_what_would_do() -> None:
    with pytest.raises(ResourceError, match=r"depth maps of 3000 photos; got: 1.00 GiB.*at least 6.33 GiB"):
        check_stereo_memory(cameras(3000), 240, GB // 2)
    with pytest.raises(ResourceError, match=r"splats of 3000 photos; got: 1.00 GiB.*at least 1.61 GiB.*fewer photos"):
        splat_photo_size(cameras(3000), 1024, GB // 2)
