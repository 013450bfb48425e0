"""EXR files that other programs wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon3d.core.errors import FormatError
from recon3d.formats.exr import read_exr, write_exr

pytestmark = pytest.mark.dataset


@pytest.fixture(scope="module")
def readable(datasets: Path) -> dict[Path, dict[str, np.ndarray]]:
    files = sorted(datasets.glob("relight/hdri/*.exr"))
    if not files:
        pytest.skip(f"no relight/hdri/*.exr below {datasets}")
    found = {}
    for path in files:
        try:
            found[path] = read_exr(path)
        except FormatError as error:
            assert "this compression is not read" in str(error), path  # by name, and for no other reason
    if not found:
        pytest.skip("all of them use compressions that are not read")
    return found


def test_probes_are_radiance(readable: dict[Path, dict[str, np.ndarray]]) -> None:
    for path, channels in readable.items():
        assert set("RGB") <= set(channels), path
        for image in channels.values():
            assert image.ndim == 2 and np.isfinite(image).all() and image.max() > 0


def test_pixels_are_those_of_the_reference_library(readable: dict[Path, dict[str, np.ndarray]], goldens: Path) -> None:
    n_compared = 0
    for path, channels in readable.items():
        golden = goldens / "ibl" / f"{path.stem}_exr.npz"
        if golden.is_file():
            expected = np.load(golden)
            rgb = np.stack([channels[name] for name in "RGB"], -1)
            assert np.array_equal(expected["shape"], rgb.shape[:2])
            assert np.array_equal(rgb[tuple(expected["sample_yx"].T)], expected["sample_rgb"])
            assert np.array_equal(rgb[0], expected["row0"])
            n_compared += 1
    if not n_compared:
        pytest.skip("no golden file of a probe that is read")


def test_copies_hold_the_same(readable: dict[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    for channels in readable.values():
        write_exr(tmp_path / "copy.exr", channels)
        copy = read_exr(tmp_path / "copy.exr")
        assert list(copy) == list(channels)
        assert all(copy[name].tobytes() == channels[name].tobytes() for name in copy)
