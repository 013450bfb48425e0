from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_networks import VGGT, alive

from recon3d.feedforward.vggt.camera_head import CameraHead


def head(iterations: int = 3) -> CameraHead:
    model = CameraHead(replace(VGGT, iterations=iterations))
    alive(model)
    return model


@pytest.fixture
def tokens(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(2, 3, 5, 32, generator=generator)


def test_one_encoding_per_refinement(tokens: torch.Tensor) -> None:
    stages = head()(tokens)
    assert [tuple(stage.shape) for stage in stages] == [(2, 3, 9)] * 3
    assert not torch.allclose(stages[0], stages[1], atol=1e-3)


def test_fewer_refinements_are_the_first_of_more(tokens: torch.Tensor) -> None:
    for few, many in zip(head(2)(tokens), head(3)(tokens), strict=False):
        assert torch.equal(few, many)


def test_fields_of_view_are_not_negative(tokens: torch.Tensor) -> None:
    stages = torch.stack(head(4)(tokens))
    assert (stages[..., 7:] >= 0).all()
    assert (stages[..., :7] < 0).any()


def test_only_the_camera_token_is_read(tokens: torch.Tensor) -> None:
    other = torch.cat([tokens[:, :, :1], torch.zeros_like(tokens[:, :, 1:])], 2)
    assert torch.equal(head()(tokens)[-1], head()(other)[-1])


def test_frames_see_each_other_and_have_no_order(tokens: torch.Tensor) -> None:
    model, order = head(), [2, 0, 1]
    assert torch.allclose(model(tokens[:, order])[-1], model(tokens)[-1][:, order], atol=1e-5)
    assert not torch.allclose(model(tokens[:, :2])[-1], model(tokens)[-1][:, :2], atol=1e-4)


def test_a_refinement_adds_to_the_one_before(tokens: torch.Tensor) -> None:
    """A branch that says zero leaves the raw encoding where it is."""
    model = head()
    with torch.no_grad():
        model.pose_branch.fc2.weight.zero_()
        model.pose_branch.fc2.bias.copy_(torch.arange(9.0))
    stages = model(tokens)
    for number, stage in enumerate(stages, 1):
        assert torch.allclose(stage, (number * torch.arange(9.0)).expand(2, 3, 9))


def test_refinements_are_detached_from_those_before(tokens: torch.Tensor) -> None:
    """The empty encoding is the input of the first refinement alone."""
    model = head()
    for number, stage in enumerate(model(tokens)):
        model.zero_grad()
        stage.square().sum().backward(retain_graph=True)
        grad = model.empty_pose_tokens.grad
        assert (grad is not None and bool(grad.any())) == (number == 0)
