from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recon3d.core.errors import UsageError
from recon3d.feedforward.scenes.options import SceneOptions
from recon3d.feedforward.scenes.photograph import draw_exposure, photograph, srgb

PLAIN = SceneOptions(
    exposure_stops=0.0, white_balance=0.0, blur_px=(0.0, 0.0), motion_blur=0.0, noise=(0.0, 0.0), vignetting=0.0
)


def test_a_grey_scene_is_exposed_to_one_level_whatever_its_light() -> None:
    exposure = draw_exposure(np.random.default_rng(0), PLAIN, 1)
    for light in (0.01, 30.0):
        photo = photograph(torch.full((1, 3, 9, 9), light), exposure)
        torch.testing.assert_close(photo, srgb(torch.full((1, 3, 9, 9), 0.2)), atol=1e-4, rtol=0)


def test_photos_stay_in_range_and_highlights_keep_their_order() -> None:
    linear = torch.linspace(0.0, 4.0, 64).reshape(1, 1, 8, 8).expand(1, 3, 8, 8).contiguous()
    photo = photograph(linear, draw_exposure(np.random.default_rng(0), PLAIN, 1))[0, 0].flatten()
    assert photo.min() >= 0 and photo.max() <= 1
    assert (photo.diff() > -1e-6).all()


@pytest.mark.parametrize("change", [{"blur_px": (0.8, 0.8)}, {"motion_blur": 1.0}])
def test_blur_keeps_the_light_and_spreads_it(change: dict[str, object]) -> None:
    exposure = draw_exposure(np.random.default_rng(0), replace(PLAIN, **change), 2)  # type: ignore[arg-type]
    np.testing.assert_allclose(exposure.kernels.sum((1, 2)), 1.0)
    assert exposure.kernels.max() < 0.9


def test_vignetting_darkens_the_corners_only() -> None:
    options = replace(PLAIN, vignetting=0.4)
    exposure = replace(draw_exposure(np.random.default_rng(0), options, 1), vignetting=0.4)
    photo = photograph(torch.ones(1, 3, 33, 33), exposure)[0, 0]
    assert photo[0, 0] < photo[16, 16] - 0.05


def test_noise_comes_from_its_seed() -> None:
    exposure = draw_exposure(np.random.default_rng(0), replace(PLAIN, noise=(0.05, 0.05)), 1)
    linear = torch.ones(1, 3, 32, 32)
    photo = photograph(linear, exposure)
    assert torch.equal(photo, photograph(linear, exposure))
    assert 0.04 < photo.std() < 0.06
    assert not torch.equal(photo, photograph(linear, replace(exposure, noise_seed=exposure.noise_seed + 1)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"height": 4}, "too small"),
        ({"views": (3, 2)}, "views"),
        ({"kinds": ()}, "kind"),
        ({"rays_per_pixel": 3}, "Rays"),
    ],
)
def test_wrong_options_are_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        replace(PLAIN, **change)  # type: ignore[arg-type]
