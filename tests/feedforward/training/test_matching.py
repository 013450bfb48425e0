"""Where patches should look in another photo, and what a network pays that looks elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from facing_views import facing
from training_runs import TINY

from recon3d.feedforward.da3.preprocess import normalise
from recon3d.feedforward.scenes import TrueViews
from recon3d.feedforward.training.matching import Look, matches, matching_loss, targets, watched
from recon3d.feedforward.training.network import new_network
from recon3d.feedforward.training.targets import Targets, targets_of


def wall(shift: float = 0.0, depth: float = 1.0) -> Targets:
    """A wall in front of two cameras; the second one stands ``shift`` image widths of the wall to the right."""
    return targets_of(facing(torch.full((2, 8, 8), depth), [[0, 0, 0], [shift * depth, 0, 0]]))


def test_a_patch_should_look_at_its_own_place_where_the_cameras_agree() -> None:
    found = matches(wall(), 2, 2)
    torch.testing.assert_close(found[0, 0, 1], torch.eye(4))
    torch.testing.assert_close(found[0, 1, 0], torch.eye(4))


def test_no_patch_looks_into_its_own_photo() -> None:
    found = matches(wall(), 2, 2)
    assert not found[0, 0, 0].any() and not found[0, 1, 1].any()


def test_a_camera_one_patch_to_the_right_sees_everything_one_patch_to_the_left() -> None:
    found = matches(wall(0.25), 4, 4)[0, 0, 1].view(4, 4, 4, 4)  # row, column -> row, column
    for row in range(4):
        assert not found[row, 0].any()  # left of the other photo
        for col in range(1, 4):
            assert found[row, col, row, col - 1] == pytest.approx(1.0, abs=1e-5)


def test_between_two_patches_both_get_their_share() -> None:
    found = matches(wall(0.375), 4, 4)[0, 0, 1].view(4, 4, 4, 4)
    assert found[1, 3, 1, 1].item() == pytest.approx(0.5, abs=1e-5)
    assert found[1, 3, 1, 2].item() == pytest.approx(0.5, abs=1e-5)


def test_weights_add_up_to_one_or_to_nothing(views: TrueViews) -> None:
    total = matches(targets_of(views), 2, 3).sum(-1)
    assert ((total - 1).abs().minimum(total.abs()) < 1e-5).all()
    assert (total > 0.5).any()


def test_what_another_surface_hides_is_no_match() -> None:
    depth = torch.full((2, 8, 8), 4.0)
    depth[1, :, :4] = 1.0  # the second camera has something before its left half
    found = matches(targets_of(facing(depth, [[0, 0, 0], [0, 0, 0]])), 2, 2)[0, 0, 1]
    assert not found[0].any() and found[1, 1] == pytest.approx(1.0)


def test_the_sky_matches_nothing() -> None:
    assert not matches(targets_of(facing(torch.zeros(2, 8, 8), [[0, 0, 0], [1, 0, 0]])), 2, 2).any()


def look(q: torch.Tensor, k: torch.Tensor) -> Look:
    """One head; queries and keys ``[2,4,d]`` of two views of four patches, a camera token before those of each."""
    tokens = [torch.cat([torch.zeros_like(one[:, :1]), one], 1).flatten(0, 1) for one in (q, k)]
    return Look(tokens[0][None, None], tokens[1][None, None], (2, 2))


def one_hot(*views: int) -> torch.Tensor:
    """Features of the patches of two views: which patch it is, and a view."""
    which = torch.nn.functional.one_hot(torch.tensor(views), 2)[:, None].expand(-1, 4, -1)
    return torch.cat([torch.eye(4).expand(2, -1, -1), which], -1)


def blind() -> torch.Tensor:
    return torch.zeros(2, 4, 4)


def test_a_patch_that_the_first_view_sees_looks_there_and_others_everywhere() -> None:
    found = torch.zeros(1, 3, 3, 1, 1)
    for i, j in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 1)):
        found[0, i, j] = 1.0
    expected = torch.zeros(6, 6)  # camera, patch, camera, patch, ...
    expected[1, 3] = expected[1, 5] = 0.5
    expected[3, 1] = expected[5, 3] = 1.0
    torch.testing.assert_close(targets(found)[0], expected)


def test_looking_everywhere_costs_the_logarithm_of_all_tokens() -> None:
    assert matching_loss([look(blind(), blind())], wall()).item() == pytest.approx(math.log(10), rel=1e-5)


def test_looking_at_the_right_place_of_the_other_view_costs_nothing() -> None:
    right = look(30 * one_hot(1, 0), one_hot(0, 1))
    assert matching_loss([right, right], wall()).item() == pytest.approx(0.0, abs=1e-3)


def test_looking_at_oneself_is_dear() -> None:
    assert matching_loss([look(30 * one_hot(0, 1), one_hot(0, 1))], wall()).item() > 5.0


def test_nothing_watched_and_nothing_seen_cost_nothing() -> None:
    assert matching_loss([], wall()).item() == 0.0
    nowhere = targets_of(facing(torch.zeros(2, 8, 8), [[0, 0, 0], [1, 0, 0]]))
    assert matching_loss([look(blind(), blind())], nowhere).item() == 0.0


def test_the_last_attention_across_views_is_free(views: TrueViews) -> None:
    model = new_network(TINY, 0, whitened=False)
    start = model.options.alternation_start or 0
    across = [n for n in range(len(model.backbone.pretrained.blocks)) if n >= start and n % 2 == 1]
    with watched(model, tuple(views.images.shape[-2:])) as looks:
        model.tapped(normalise(views.images), strategy="first")
    assert len(looks) == len(across) - 1
    model.tapped(normalise(views.images), strategy="first")
    assert len(looks) == len(across) - 1  # the hooks are gone


def test_a_step_along_the_gradient_of_a_look_lowers_its_cost() -> None:
    q = (0.1 * torch.arange(32.0).view(2, 4, 4).sin()).requires_grad_()
    k = torch.arange(32.0).view(2, 4, 4).cos()
    before = matching_loss([look(q, k)], wall())
    (gradient,) = torch.autograd.grad(before, q)
    assert matching_loss([look(q - 0.5 * gradient, k)], wall()).item() < before.item()
