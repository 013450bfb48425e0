from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from true_network import FOCAL, HEIGHT, WIDTH, TrueNetwork, intrinsics, photos, poses, wall

from recon3d.core.errors import InputError, ResultError, UsageError
from recon3d.feedforward.engine import SigmaTable, ViewEstimates, estimate_views
from recon3d.feedforward.engine.views import working_size
from recon3d.feedforward.models import build_model


def estimated(n: int = 3, **options: Any) -> ViewEstimates:
    return estimate_views(TrueNetwork(**options), photos(n), size=WIDTH)


def test_cameras_and_depth_are_those_of_the_network() -> None:
    found = estimated()
    assert found.cam_from_world == pytest.approx(poses(3), abs=1e-6)
    assert found.K[1] == pytest.approx(intrinsics(1)[0])
    assert found.depth_z[2] == pytest.approx(wall(poses(3)[2], intrinsics(1)[0]), rel=1e-5)
    assert not found.metric and len(found) == 3


def test_sigma_is_the_noise_that_photos_show_each_other() -> None:
    found = estimated(noise=(0.04, 0.008))
    relative = found.sigma / found.depth_z
    assert np.median(relative[..., : WIDTH // 2 - 4]) == pytest.approx(0.04, rel=0.35)
    assert np.median(relative[..., WIDTH // 2 + 4 :]) == pytest.approx(0.008, rel=0.6)
    assert "agreement" in found.sigma_source


def test_one_photo_has_a_guessed_sigma_and_says_so() -> None:
    found = estimated(1)
    assert np.median(found.sigma / found.depth_z) == pytest.approx(0.2) and "guess" in found.sigma_source


def test_a_table_that_was_learned_takes_precedence() -> None:
    table = SigmaTable((1.0,), (0.05,), "truth")
    found = estimate_views(TrueNetwork(), photos(2), size=WIDTH, table=table)
    assert np.median(found.sigma / found.depth_z) == pytest.approx(0.05) and found.sigma_source == "truth"


def test_padding_and_the_least_confident_pixels_are_no_surface() -> None:
    found = estimated(2, noise=(0.0, 0.001))
    assert 0.85 <= found.valid.mean() <= 1.0
    assert (found.maps.depth_z > 0).mean() == pytest.approx(found.valid.mean())


def test_pixels_at_a_jump_are_no_surface() -> None:
    class Step(TrueNetwork):
        def forward(self, images: Any, *_: object, **__: object) -> Any:
            answer = super().forward(images)
            assert answer.depth_z is not None
            answer.depth_z[..., 30:] *= 3
            return answer

    valid = estimate_views(Step(), photos(1), size=WIDTH).valid
    assert not valid[..., 29:31].any() and valid[..., :28].all() and valid[..., 32:].all()


def test_photos_of_several_sizes_are_placed() -> None:
    given = [*photos(1), *photos(1, 2 * HEIGHT, 2 * WIDTH)]
    found = estimate_views(TrueNetwork(), given, size=WIDTH)
    assert [place.scale_x for place in found.placements] == [1.0, 0.5]
    assert found.placements[1].to_photo(found.K[1])[0, 0] == pytest.approx(2 * FOCAL)


@pytest.mark.parametrize("field", ["cam_from_world", "K"])
def test_cameras_that_are_not_finite_are_refused(field: str) -> None:
    with pytest.raises(ResultError, match="not finite"):
        estimated(nan=field)


def test_a_depth_that_is_not_finite_is_none() -> None:
    found = estimated(nan="depth_z")
    assert found.depth_z[0, 0, 0] == 0 and found.sigma[0, 0, 0] == 0 and not found.valid[0, 0, 0]


def test_no_photo_is_refused() -> None:
    with pytest.raises(InputError, match="no photo"):
        estimate_views(TrueNetwork(), [], size=WIDTH)


def test_networks_of_single_photos_have_no_cameras() -> None:
    from tiny_networks import METRIC

    from recon3d.feedforward.da3.model import DepthAnything3

    with pytest.raises(UsageError, match="no cameras"):
        estimate_views(DepthAnything3(METRIC).eval(), photos(1), size=28)


def test_random_weights_give_a_well_formed_answer() -> None:
    from tiny_networks import DA3

    from recon3d.feedforward.da3.model import DepthAnything3
    from recon3d.feedforward.initialization import initialize

    network = DepthAnything3(DA3).eval()
    initialize(network, 0)
    found = estimate_views(network, photos(2))
    assert found.depth_z.shape == found.sigma.shape == found.valid.shape
    assert np.isfinite(found.sigma).all() and (found.sigma[found.valid] > 0).all()


def test_vggt_is_asked_in_its_own_way_and_its_padding_is_no_surface() -> None:
    from tiny_networks import tiny_vggt

    found = estimate_views(tiny_vggt(), [*photos(1, 28, 56), *photos(1, 56, 56)], size=56)
    assert found.depth_z.shape == (2, 56, 56) and not found.valid[0, :12].any() and not found.valid[0, -12:].any()
    assert (found.depth_z[0, :14] == 0).all() and found.K.shape == (2, 3, 3)


@pytest.mark.parametrize("metric", [True, False])
def test_only_a_network_of_metres_has_metres(metric: bool) -> None:
    import torch

    from recon3d.feedforward.da3.metric import NestedPrediction

    class Metric(TrueNetwork):
        def forward(self, images: Any, *_: object, **__: object) -> Any:
            answer = super().forward(images)
            assert answer.depth_z is not None
            sky = torch.zeros_like(answer.depth_z)
            sky[..., :10, :] = 1.0
            fields = {**vars(answer), "sky": sky}
            return NestedPrediction(**fields, scale=torch.tensor(2.0), is_metric=metric)

    found = estimate_views(Metric(), photos(2), size=WIDTH)
    assert found.metric == metric and not found.valid[:, :10].any() and found.valid[:, 12:].any()


def test_large_networks_get_smaller_images_on_a_processor() -> None:
    assert working_size(build_model("da3-small")) == 518 // 14 * 14  # device meta: no processor
