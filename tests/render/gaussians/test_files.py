"""Gaussians in files by their ending, and what their pictures lose on the way."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians, rasterize
from recon3d.render.gaussians.files import load_gaussians, save_gaussians
from recon3d.render.gaussians.types import FIELDS


def random_gaussians(n: int, k: int, seed: int = 0) -> Gaussians:
    """Gaussians in the unit ball, mostly small, some of them transparent, with colours of a photo."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    sh = torch.cat([normal(n, 1, 3).clamp(-3, 3), 0.1 * normal(n, k - 1, 3)], 1)
    return Gaussians(0.4 * normal(n, 3), normal(n, 4), 0.5 * normal(n, 3) - 2.5, 2 * normal(n), sh)


def camera(size: int = 48) -> Cameras:
    pose = np.eye(4)
    pose[2, 3] = 3
    K = np.array([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1]])
    sizes = np.array([size])
    return Cameras(pose[None], K[None], sizes, sizes)


def picture(gaussians: Gaussians) -> torch.Tensor:
    return rasterize(gaussians, camera(), backend="torch").image


def there_and_back(gaussians: Gaussians, path: Path) -> Gaussians:
    save_gaussians(path, gaussians)
    return load_gaussians(path)


@settings(max_examples=20)
@given(st.integers(0, 20), st.sampled_from([1, 4, 9, 16]), st.sampled_from(["srgb", "linear"]), st.integers(0, 2**32))
def test_ply_keeps_every_bit(
    tmp_path_factory: pytest.TempPathFactory, n: int, k: int, colour_space: str, seed: int
) -> None:
    gaussians = replace(random_gaussians(n, k, seed), colour_space=colour_space)
    back = there_and_back(gaussians, tmp_path_factory.mktemp("splats") / "a.PLY")
    assert back.colour_space == colour_space
    for name in FIELDS:
        assert torch.equal(getattr(back, name), getattr(gaussians, name)), name
        assert getattr(back, name).is_contiguous()


def test_the_picture_after_ply_is_the_same(tmp_path: Path) -> None:
    gaussians = random_gaussians(300, 16)
    assert torch.equal(picture(there_and_back(gaussians, tmp_path / "a.ply")), picture(gaussians))


@pytest.mark.parametrize(("k", "mean", "most"), [(1, 0.6, 6), (4, 0.7, 6), (16, 1.0, 8)])
def test_the_picture_after_spz_is_off_by_its_quantisation(tmp_path: Path, k: int, mean: float, most: float) -> None:
    """Scales are kept to 3 %, colours to 1/255, coefficients of degree 1 to 1/128, of the higher degrees to 1/64."""
    gaussians = random_gaussians(300, k)
    difference = 255 * (picture(there_and_back(gaussians, tmp_path / "a.spz")) - picture(gaussians)).abs()
    assert 0 < difference.mean() < mean
    assert difference.max() < most


def test_spz_twice_is_spz_once(tmp_path: Path) -> None:
    once = there_and_back(random_gaussians(300, 16), tmp_path / "a.spz")
    difference = (picture(there_and_back(once, tmp_path / "b.spz")) - picture(once)).abs()
    assert difference.max() <= 1 / 255


def test_viewers_hear_of_antialiasing_from_spz(tmp_path: Path) -> None:
    for antialiased in (False, True):
        save_gaussians(tmp_path / "a.spz", random_gaussians(3, 1), antialiased=antialiased)
        assert gzip.decompress((tmp_path / "a.spz").read_bytes())[14] == antialiased
        save_gaussians(tmp_path / "a.ply", random_gaussians(3, 1), antialiased=antialiased)
        assert len(load_gaussians(tmp_path / "a.ply")) == 3


def test_gradients_and_devices_are_left_behind(tmp_path: Path) -> None:
    gaussians = random_gaussians(5, 4)
    gaussians.means.requires_grad_()
    back = there_and_back(gaussians, tmp_path / "a.ply")
    assert not back.means.requires_grad and back.means.device.type == "cpu"
    back.means.add_(1)  # owns its memory


def test_what_is_refused(tmp_path: Path) -> None:
    gaussians = random_gaussians(3, 1)
    for name in ("a.splat", "splats"):
        with pytest.raises(UsageError, match=r"expected: \.ply or \.spz"):
            save_gaussians(tmp_path / name, gaussians)
        with pytest.raises(UsageError, match="names no kind of splat file"):
            load_gaussians(tmp_path / name)
    with pytest.raises(UsageError, match="sRGB colours only"):
        save_gaussians(tmp_path / "a.spz", replace(gaussians, colour_space="linear"))
    gaussians.means[0] = torch.nan
    for name in ("a.ply", "a.spz"):
        with pytest.raises(FormatError, match="means holds numbers that are not finite"):
            save_gaussians(tmp_path / name, gaussians)
        with pytest.raises(InputError, match="cannot read"):
            load_gaussians(tmp_path / name)
    assert not list(tmp_path.iterdir())
