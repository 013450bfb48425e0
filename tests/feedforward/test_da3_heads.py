from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_networks import DA3, DPT, alive

from recon3d.feedforward.da3.cameras import CameraDecoder, CameraEncoder
from recon3d.feedforward.da3.heads import ChannelNorm, DualDpt, MetricHead
from recon3d.feedforward.layers.dpt import Frame

FRAME = Frame(28, 42)


@pytest.fixture
def taps(generator: torch.Generator) -> list[torch.Tensor]:
    return [torch.randn(2, 6, 32, generator=generator) for _ in range(4)]


def test_rays_have_eight_samples_per_patch(taps: list[torch.Tensor]) -> None:
    head = DualDpt(DPT)
    alive(head)
    depth, confidence, rays, rays_confidence = head(taps, FRAME)
    assert depth.shape == confidence.shape == (2, 28, 42)
    assert rays.shape == (2, 16, 24, 6) and rays_confidence.shape == (2, 16, 24)
    assert (depth > 0).all() and (confidence > 1).all() and (rays_confidence > 1).all()
    assert (rays < 0).any() and (rays > 0).any()


def test_the_two_decoders_share_the_maps_and_nothing_else(taps: list[torch.Tensor]) -> None:
    head = DualDpt(DPT)
    alive(head)
    before = head(taps, FRAME)
    with torch.no_grad():
        for name, one in head.named_parameters():
            if "_aux" in name:
                one.zero_()
    after = head(taps, FRAME)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
    assert torch.equal(after[2], torch.zeros_like(after[2]))
    assert torch.equal(after[3], torch.full_like(after[3], 2.0))  # 1 + exp(0)


def test_the_norm_of_a_map_is_over_its_channels(generator: torch.Generator) -> None:
    x = torch.randn(2, 5, 3, 4, generator=generator)
    y = ChannelNorm(5)(x)
    assert y.shape == x.shape
    assert torch.allclose(y.mean(1), torch.zeros(2, 3, 4), atol=1e-5)
    assert torch.allclose(y.var(1, correction=0), torch.ones(2, 3, 4), atol=1e-3)


def test_the_names_of_the_ray_decoder() -> None:
    names = {name for name in DualDpt(DPT).scratch.state_dict() if name.startswith("output_conv") and "_aux.3" in name}
    stack = {f"output_conv1_aux.3.{i}.{kind}" for i in range(5) for kind in ("weight", "bias")}
    last = {f"output_conv2_aux.3.{i}.{kind}" for i in (0, 2, 5) for kind in ("weight", "bias")}
    assert names == stack | last


def test_the_stack_halves_and_doubles() -> None:
    stack = DualDpt(DPT).scratch["output_conv1_aux"][0]
    assert [(one.in_channels, one.out_channels) for one in stack] == [(8, 4), (4, 8), (8, 4), (4, 8), (8, 4)]


def test_metric_depth_and_sky(taps: list[torch.Tensor]) -> None:
    head = MetricHead(replace(DPT, output_dim=1, token_norm=False, uv=False))
    alive(head)
    depth, sky = head(taps, FRAME)
    assert depth.shape == sky.shape == (2, 28, 42)
    assert (depth > 0).all() and (sky >= 0).all()
    assert "norm.weight" not in head.state_dict()


def test_the_decoder_knows_no_negative_field_of_view(generator: torch.Generator) -> None:
    decoder = CameraDecoder(8)
    alive(decoder, strength=2.0)
    encoding = decoder(torch.randn(2, 50, 8, generator=generator))
    assert encoding.shape == (2, 50, 9)
    assert (encoding[..., 7:] >= 0).all() and (encoding[..., :7] < 0).any()


def poses(n: int) -> torch.Tensor:
    pose = torch.eye(3, 4).repeat(1, n, 1, 1)
    pose[0, :, 2, 3] = torch.arange(float(n))
    return pose


K = torch.tensor([[40.0, 0, 21], [0, 40, 14], [0, 0, 1]])


def test_the_encoder_makes_one_token_per_view() -> None:
    encoder = CameraEncoder(DA3)
    alive(encoder)
    tokens = encoder(poses(3), K.expand(1, 3, 3, 3), FRAME)
    assert tokens.shape == (1, 3, 16)
    assert not torch.allclose(tokens[:, 0], tokens[:, 1], atol=1e-3)


def test_views_of_the_encoder_see_each_other_and_have_no_order() -> None:
    encoder = CameraEncoder(DA3)
    alive(encoder)
    pose, order = poses(3), [2, 0, 1]
    tokens = encoder(pose, K.expand(1, 3, 3, 3), FRAME)
    assert torch.allclose(encoder(pose[:, order], K.expand(1, 3, 3, 3), FRAME), tokens[:, order], atol=1e-5)
    assert not torch.allclose(encoder(pose[:, :2], K.expand(1, 2, 3, 3), FRAME), tokens[:, :2], atol=1e-4)


def test_the_encoder_sees_the_field_of_view_and_not_the_pixels() -> None:
    encoder = CameraEncoder(DA3)
    alive(encoder)
    doubled = K * torch.tensor([2.0, 2.0, 1.0])[:, None]
    small = encoder(poses(2), K.expand(1, 2, 3, 3), FRAME)
    assert torch.allclose(encoder(poses(2), doubled.expand(1, 2, 3, 3), Frame(56, 84)), small, atol=1e-5)
    assert not torch.allclose(encoder(poses(2), doubled.expand(1, 2, 3, 3), FRAME), small, atol=1e-4)
