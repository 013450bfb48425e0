from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sequence_world import Oracle, circle, photographed

from recon3d.core.errors import ResourceError
from recon3d.feedforward.engine.views import estimate_views
from recon3d.feedforward.models import build_model
from recon3d.feedforward.preparation import Placement
from recon3d.feedforward.sequence import store as store_module
from recon3d.feedforward.sequence.estimator import NetworkEstimator, Picked, as_estimator
from recon3d.feedforward.sequence.loops import is_one_place
from recon3d.feedforward.sequence.overlap import Look, look_alike, sight, whole
from recon3d.feedforward.sequence.samples import sampled
from recon3d.feedforward.sequence.store import EstimateStore

VIEWS = photographed(circle(40)[[0, 1, 3, 20]])
RUN = Oracle(VIEWS)(VIEWS.images)
SHARE = [sight(sampled(RUN, 0, 2000), RUN, row, 0.05) for row in range(4)]


def test_a_photo_sees_itself_and_less_of_others() -> None:
    assert SHARE[0].share == 1.0
    assert np.allclose(SHARE[0].pixels, sampled(RUN, 0, 2000).pixels)
    assert 1.0 > SHARE[1].share > SHARE[2].share > SHARE[3].share == 0.0


def test_points_fall_where_the_other_photo_shows_them() -> None:
    seen = SHARE[1]
    a, b = whole(VIEWS.images[0], RUN, 0), whole(VIEWS.images[1], RUN, 1)
    assert (look_alike(sampled(RUN, 0, 2000), seen, a, b) or 0.0) > 0.9


def test_another_surface_behind_the_points_is_not_the_same() -> None:
    points = sampled(RUN, 0, 2000)
    wall = replace(RUN, depth_z=RUN.depth_z * np.float32(0.8))
    assert sight(points, wall, 1, 0.05).share == 0.0
    blind = replace(RUN, valid=np.zeros_like(RUN.valid))
    assert sight(points, blind, 1, 0.05).share == 0.0
    assert sight(sampled(blind, 0, 2000), RUN, 1, 0.05).share == 0.0


def test_photos_of_other_places_do_not_look_alike() -> None:
    points, seen = sampled(RUN, 0, 2000), SHARE[1]
    own = whole(VIEWS.images[0], RUN, 0)
    assert abs(look_alike(points, seen, own, whole(VIEWS.images[3], RUN, 1)) or 1.0) < 0.5
    flat = np.full_like(VIEWS.images[1], 80)
    assert look_alike(points, seen, own, whole(flat, RUN, 1)) is None
    assert look_alike(points, seen, own, own, least_contrast=200.0) is None
    assert look_alike(points, SHARE[3], own, own) is None  # too few points


def test_two_visits_are_one_place_where_surfaces_and_looks_agree() -> None:
    twice = [*VIEWS.images[:3]] * 2
    run = Oracle(VIEWS, noise=0.01)(twice)
    looks = [whole(photo, run, row) for row, photo in enumerate(twice)]
    assert is_one_place(run, looks, 3, 500, 0.1)
    elsewhere = [*looks[:3], *(whole(VIEWS.images[3], run, row) for row in range(3, 6))]
    assert not is_one_place(run, elsewhere, 3, 500, 0.1), "a network that lays any photos on each other is believed"
    depth = run.depth_z.copy()
    depth[3:] *= np.float32(0.7)
    assert not is_one_place(replace(run, depth_z=depth), looks, 3, 500, 0.1)


def test_a_photo_is_looked_up_through_its_placement() -> None:
    """A gradient of known brightness, shown shifted and half as large."""
    ramp = np.tile(np.arange(100, dtype=np.uint8)[None, :, None], (50, 1, 3))
    look = Look(ramp, Placement(0.5, 0.5, 10.0, 3.0))
    grey = look.grey(np.array([[10.5, 5.0], [40.5, 20.0]]))
    assert np.allclose(grey, [0.5, 60.5], atol=1.0)


def test_files_give_back_what_was_written(tmp_path: Path) -> None:
    store = EstimateStore(tmp_path / "new" / "folder")
    run = replace(
        RUN,
        placements=tuple(Placement(0.5, 0.25, row, 2.0) for row in range(4)),
        sigma_source="a test",
        valid=RUN.depth_z > RUN.depth_z.mean(),
    )
    store.write(12, run, 2)
    found = store.read(12)
    for name in ("cam_from_world", "K", "depth_z", "valid", "confidence"):
        assert np.array_equal(getattr(found, name)[0], getattr(run, name)[2]), name
    np.testing.assert_allclose(found.sigma[0], run.sigma[2], rtol=1e-3)
    assert found.placements == (Placement(0.5, 0.25, 2.0, 2.0),)
    assert found.sigma_source == "a test"
    assert not found.metric
    pose, K = store.camera(12)
    assert np.array_equal(pose, run.cam_from_world[2]) and np.array_equal(K, run.K[2])
    assert np.array_equal(store.samples(12, 100).depth_z, sampled(run, 2, 100).depth_z)


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    store = EstimateStore(tmp_path)
    monkeypatch.setattr(store_module.np, "savez", full)
    with pytest.raises(ResourceError, match="No space left"):
        store.write(0, RUN, 0)


def test_picked_photos_are_read_on_demand() -> None:
    picked = Picked(VIEWS.images, [3, 0])
    assert len(picked) == 2
    assert picked[0] is VIEWS.images[3]
    assert [photo is VIEWS.images[row] for photo, row in zip(picked, (3, 0), strict=True)] == [True, True]


def test_large_photos_are_reduced_and_their_placements_stay_true() -> None:
    network = build_model("recon3d-small", seed=0)
    large = photographed(circle(40)[:2], (180, 240)).images
    found = NetworkEstimator(network, 42)(large)
    want = estimate_views(network, large, size=42)
    assert NetworkEstimator(network, 42).reduction(large[0]) == 2
    assert found.depth_z.shape == want.depth_z.shape
    assert np.allclose(found.placements, want.placements)
    np.testing.assert_allclose(found.depth_z, want.depth_z, rtol=0.2)


def test_what_runs_a_network() -> None:
    network, oracle = build_model("recon3d-small"), Oracle(VIEWS)
    made = as_estimator(network)
    assert isinstance(made, NetworkEstimator) and made.size == 84
    assert as_estimator(oracle) is oracle
