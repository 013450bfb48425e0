from __future__ import annotations

import pytest
import torch

from recon3d.core.errors import UsageError
from recon3d.feedforward.scenes import SceneOptions, TrueViews, generate_views

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
    counts = {generate_views(seed, 1, SMALL).images.shape[1] for seed in range(12)}
    assert counts == {2, 3, 4}


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="0 scenes"):
        generate_views(1, 0, SMALL)
    with pytest.raises(UsageError, match="seed -1"):
        generate_views(-1, 1, SMALL)
