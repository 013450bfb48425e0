from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peak_memory import PeakBytes
from tiny_networks import DA3, METRIC, VGGT, photos

from recon3d.core.errors import ResourceError
from recon3d.feedforward.da3.config import vit_options
from recon3d.feedforward.da3.metric import NestedDepthAnything3
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.memory import check_memory, inference_bytes
from recon3d.feedforward.models import Network, build_model
from recon3d.feedforward.vggt.model import Vggt

WIDE = (64, 64, 64, 64)


def any_view() -> DepthAnything3:
    options = replace(
        DA3, vit=vit_options(192, 6, 3, 2, native_size=42), features=64, stage_channels=WIDE, gaussians=None
    )
    return DepthAnything3(options).eval()


def vggt() -> Vggt:
    vit = replace(VGGT.vit, dim=128)
    return Vggt(replace(VGGT, vit=vit, features=64, stage_channels=WIDE, heads=("camera", "depth", "point"))).eval()


@pytest.mark.parametrize("build", [any_view, vggt])
@pytest.mark.parametrize("views", [1, 3])
def test_the_estimate_is_within_a_fifth_of_what_is_measured(build: type[Network], views: int) -> None:
    model, images = build(), photos(views, 84, 112)
    with torch.inference_mode(), PeakBytes() as measured:
        model(images)
    weights = sum(one.numel() * one.itemsize for one in model.parameters())
    assert inference_bytes(model, views, 84, 112) - weights == pytest.approx(measured.peak, rel=0.2)


def test_the_counter_sees_what_lives_at_the_same_time() -> None:
    outside = torch.zeros(1000)
    with PeakBytes() as measured:
        a = outside + 1
        b = a.view(10, 100) + 1  # a view takes nothing
        del a
        c = b * 2
        del b, c
        torch.zeros(500)
    assert measured.peak == 8000 and measured.live == 0


def test_networks_without_memory_can_be_asked() -> None:
    small, large = (inference_bytes(build_model(name), 2, 252, 336) for name in ("da3-small", "da3-large"))
    assert 34.3e6 * 4 < small < large
    assert inference_bytes(build_model("vggt-1b"), 1, 14, 14) == pytest.approx(1_256_537_516 * 4, rel=0.01)


def test_more_photos_need_more_and_chunks_limit_the_heads() -> None:
    model = build_model("da3-small")
    needs = [inference_bytes(model, n, 252, 336) for n in (1, 8, 9, 100)]
    assert needs == sorted(needs)
    steps = needs[1] - needs[0], 7 * (needs[2] - needs[1])
    assert steps[1] < 0.3 * steps[0]


def test_a_network_in_half_precision_needs_half() -> None:
    full, half = build_model("da3-small"), build_model("da3-small").bfloat16()
    assert inference_bytes(half, 2, 252, 336) == pytest.approx(inference_bytes(full, 2, 252, 336) / 2)


def test_the_nested_network_runs_its_parts_one_after_another() -> None:
    parts = DepthAnything3(DA3), DepthAnything3(METRIC)
    together = inference_bytes(NestedDepthAnything3(*parts), 2, 28, 42)
    alone = [inference_bytes(part, 2, 28, 42) for part in parts]
    assert max(alone) < together < sum(alone)


def test_too_little_memory_says_what_would_fit() -> None:
    model = build_model("da3-small")
    check_memory(model, 4, 252, 336, 2**30)
    enough_for_five = inference_bytes(model, 5, 252, 336)
    with pytest.raises(ResourceError, match=r"40 photos of 252x336 do not fit .* take at most 5 photos"):
        check_memory(model, 40, 252, 336, enough_for_five)
    with pytest.raises(ResourceError, match="take a smaller model"):
        check_memory(model, 1, 252, 336, 2**20)
