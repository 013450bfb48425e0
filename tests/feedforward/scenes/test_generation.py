from __future__ import annotations

import numpy as np
import pytest
import torch

from recon3d.core.errors import UsageError
from recon3d.feedforward.scenes import SceneOptions, TrueViews, generate_views
from recon3d.feedforward.scenes.cameras import draw_cameras
from recon3d.feedforward.scenes.generation import _plan, _render
from recon3d.feedforward.scenes.kinds import STAGES
from recon3d.feedforward.scenes.options import SceneKind

SMALL = SceneOptions(height=24, width=32)
FIELDS = ("images", "cam_from_world", "K", "depth_z", "normals")


def same(a: TrueViews, b: TrueViews) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


def test_shapes_and_ranges() -> None:
    views = generate_views(1, 2, SMALL, n_views=3)
    assert views.images.shape == (2, 3, 3, 24, 32)
    assert views.images.min() >= 0 and views.images.max() <= 1
    assert views.cam_from_world.shape == (2, 3, 4, 4) and views.K.shape == (2, 3, 3, 3)
    lengths, found = views.normals.norm(dim=-1), views.depth_z > 0
    torch.testing.assert_close(lengths, found.float(), atol=1e-5, rtol=0)
    assert all(value.dtype == torch.float32 for value in vars(views).values())


def test_same_seed_same_bits_and_another_seed_another_world() -> None:
    first = generate_views(5, 2, SMALL, n_views=2)
    assert same(first, generate_views(5, 2, SMALL, n_views=2))
    assert not torch.equal(first.depth_z, generate_views(6, 2, SMALL, n_views=2).depth_z)
    assert not torch.equal(first.depth_z[0], first.depth_z[1])


def test_a_scene_does_not_depend_on_the_size_of_its_batch() -> None:
    alone, among = generate_views(5, 1, SMALL, n_views=2), generate_views(5, 3, SMALL, n_views=2)
    assert all(torch.equal(getattr(alone, name)[0], getattr(among, name)[0]) for name in FIELDS)


def test_the_number_of_views_stays_in_its_range() -> None:
    options = SceneOptions(height=8, width=8, kinds=("table",))
    counts = {generate_views(seed, 1, options).images.shape[1] for seed in range(12)}
    assert counts == {2, 3, 4}


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="0 scenes"):
        generate_views(1, 0, SMALL)
    with pytest.raises(UsageError, match="seed -1"):
        generate_views(-1, 1, SMALL)


@pytest.mark.parametrize("kind", ["room", "table", "facade", "terrain"])
def test_all_rays_at_once_give_the_same_as_one_view_at_a_time(kind: SceneKind) -> None:
    plan = _plan(np.random.default_rng(4), SceneOptions(height=24, width=32, kinds=(kind,)), 2)
    pose, K = (torch.from_numpy(value.astype(np.float32)) for value in plan.cameras)
    apart, together = (_render(plan.world, pose, K, SMALL, together=how) for how in (False, True))
    close = (apart.depth_z - together.depth_z).abs() <= 1e-4 * apart.depth_z
    assert close.float().mean() > 0.998
    assert (apart.linear - together.linear).abs().median() < 1e-4


def test_cameras_are_clear_of_everything() -> None:
    for number in range(6):
        rng = np.random.default_rng(number)
        kind = str(rng.choice(SMALL.kinds))
        stage = STAGES[kind](rng)
        poses = draw_cameras(stage, stage.builder.finish(), rng, SMALL, 3).cam_from_world
        eyes = -np.einsum("vji,vj->vi", poses[:, :3, :3], poses[:, :3, 3])
        assert stage.builder.clearance(eyes).min() > 0
