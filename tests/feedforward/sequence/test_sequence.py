from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sequence_world import Oracle, Views, circle, photographed, trajectory_error

from recon3d.core.errors import InputError, ResultError, UsageError
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.sequence import SequenceEstimates, SequenceOptions, estimate_sequence
from recon3d.feedforward.sequence.registration import RegistrationOptions

N = 80
FEW = RegistrationOptions(n_points=300)


@pytest.fixture(scope="module")
def ring() -> Views:
    """Once around the room: the last frame is next to the first."""
    return photographed(circle(N))


def estimated(oracle: Oracle, **options: Any) -> SequenceEstimates:
    fixed: dict[str, Any] = {"chunk": 16, "overlap": 8, "registration": FEW, "loops": False}
    return estimate_sequence(oracle, oracle.views.images, SequenceOptions(**{**fixed, **options}))


def test_exact_runs_in_random_frames_give_the_exact_trajectory(ring: Views) -> None:
    with estimated(Oracle(ring)) as found:
        assert len(found) == N
        assert trajectory_error(ring.cam_from_world, found.cam_from_world) < 1e-4
        assert np.allclose(found.cam_from_world[0], np.eye(4), atol=1e-12)
        unit = found[0].depth_z[0].mean() / ring.depth_z[0].mean()
        for photo in (0, 40, N - 1):
            np.testing.assert_allclose(found[photo].depth_z[0], unit * ring.depth_z[photo], rtol=1e-4)
            np.testing.assert_allclose(found[photo].sigma / found[photo].depth_z, 0.01, rtol=1e-2)
        assert found.linked.all() and not found.metric and not found.loops


def test_noisy_runs_give_a_trajectory_as_good_as_the_noise(ring: Views) -> None:
    with estimated(Oracle(ring, noise=0.03)) as found:
        assert trajectory_error(ring.cam_from_world, found.cam_from_world) < 0.03
        assert found.linked.all()


def test_a_tenth_of_wrong_depths_changes_little(ring: Views) -> None:
    with estimated(Oracle(ring, noise=0.01, outliers=0.1)) as found:
        assert trajectory_error(ring.cam_from_world, found.cam_from_world) < 0.03


def test_loops_take_the_drift_of_scale_away(ring: Views) -> None:
    errors, scales = [], []
    for loops in (False, True):
        with estimated(Oracle(ring, noise=0.01, growth=0.005), loops=loops) as found:
            errors.append(trajectory_error(ring.cam_from_world, found.cam_from_world))
            first, last = (np.median(found[i].depth_z[0] / ring.depth_z[i]) for i in (0, N - 1))
            scales.append(np.log(last / first))
            assert bool(found.loops) == loops
            assert {one.first for one in found.loops} <= {0, 1, 2}
    assert scales[0] > 0.25
    assert abs(scales[1]) < 0.05
    assert errors[0] > 0.15
    assert errors[1] < 0.35 * errors[0]


def test_unordered_photos(ring: Views) -> None:
    order = np.random.default_rng(0).permutation(N)
    mixed = Views([ring.images[i] for i in order], ring.cam_from_world[order], ring.depth_z[order])
    oracle = Oracle(mixed, noise=0.01)
    with estimated(oracle, order="unordered", overlap=6) as found:
        assert found.linked.all()
        assert trajectory_error(mixed.cam_from_world, found.cam_from_world) < 0.03
        assert np.allclose(found.cam_from_world[0], np.eye(4), atol=1e-12)
    assert max(len(call) for call in oracle.calls) <= 16


def test_few_photos_are_one_run(ring: Views) -> None:
    oracle = Oracle(Views(ring.images[:5], ring.cam_from_world[:5], ring.depth_z[:5]))
    with estimated(oracle) as found:
        assert oracle.calls == [[0, 1, 2, 3, 4]]
        assert (found.chunk == 0).all() and (found.scale == 1).all()
    alone = Oracle(Views(ring.images[:1], ring.cam_from_world[:1], ring.depth_z[:1]))
    with estimated(alone) as found:
        assert len(found) == 1


def test_a_run_that_contradicts_its_neighbours_is_said_to(ring: Views) -> None:
    class Broken(Oracle):
        def __call__(self, images: Sequence[np.ndarray]) -> ViewEstimates:
            found = super().__call__(images)
            if len(self.calls) >= 4:
                found.depth_z[:] = found.depth_z[:, ::-1, ::-1].copy() * self.random.uniform(
                    0.2, 5, found.depth_z.shape
                ).astype(np.float32)
            return found

    with estimated(Broken(ring)) as found:
        assert found.linked[: 16 + 2 * 8].all()
        assert not found.linked[16 + 2 * 8 :].any()


def test_metric_runs_share_their_metres(ring: Views) -> None:
    with estimated(Oracle(ring, metric=True, noise=0.01)) as found:
        assert found.metric
        lengths = [np.linalg.norm(np.diff(np.linalg.inv(a)[:, :3, 3], axis=0), axis=1).sum() for a in
                   (ring.cam_from_world, found.cam_from_world)]  # fmt: skip
        assert lengths[1] == pytest.approx(lengths[0], rel=0.1)


def test_photos_are_read_when_they_are_needed(ring: Views) -> None:
    """Never are more of them held than one chunk takes."""

    class Lazy(Sequence[np.ndarray]):
        def __init__(self) -> None:
            self.reads: list[int] = []

        def __len__(self) -> int:
            return N

        def __getitem__(self, index: Any) -> Any:
            self.reads.append(index)
            return ring.images[index]

    lazy = Lazy()
    with estimate_sequence(Oracle(ring), lazy, SequenceOptions(chunk=16, overlap=8, loops=False)) as found:
        assert len(found) == N
    last = {photo: at for at, photo in enumerate(lazy.reads)}
    assert last[0] < last[N - 1]
    assert len(lazy.reads) < 3 * N  # and a few that the checks of the test run take


def test_files_stay_where_a_folder_was_named(ring: Views, tmp_path: Path) -> None:
    oracle = Oracle(ring)
    with estimate_sequence(oracle, ring.images[:4], folder=tmp_path / "depth") as found:
        pass
    assert len(list((tmp_path / "depth").iterdir())) == 4
    assert found[3].depth_z.shape == (1, *ring.depth_z.shape[1:])


def test_temporary_files_go(ring: Views) -> None:
    found = estimate_sequence(Oracle(ring), ring.images[:4])
    folder = found.store.folder
    assert folder.is_dir()
    found.close()
    assert not folder.exists()


def test_several_views_together(ring: Views) -> None:
    with estimated(Oracle(ring)) as found:
        both = found.views([3, N - 6])
        assert both.depth_z.shape == (2, *ring.depth_z.shape[1:])
        assert np.array_equal(both.cam_from_world, found.cam_from_world[[3, N - 6]])
        assert np.array_equal(both.depth_z[1], found[-6].depth_z[0])
        assert sum(1 for _ in found) == N
        with pytest.raises(UsageError, match="no photo"):
            found.views([])
        with pytest.raises(IndexError):
            found[N]


def test_maps_of_several_sizes_are_padded(ring: Views) -> None:
    """A network crops photos of mixed sizes to the smallest of a chunk: maps of other chunks may be larger."""

    class Cropping(Oracle):
        def __call__(self, images: Sequence[np.ndarray]) -> ViewEstimates:
            found = super().__call__(images)
            maps = {name: getattr(found, name)[:, :-4, :-6] for name in ("depth_z", "sigma", "confidence", "valid")}
            return replace(found, **maps) if len(self.calls) == 2 else found

    with estimated(Cropping(ring)) as found:
        both = found.views([0, 20])
        assert both.depth_z.shape == (2, *ring.depth_z.shape[1:])
        assert both.valid[0].all() and both.valid[1, :-4, :-6].all()
        assert not both.valid[1, -4:].any() and not both.depth_z[1, :, -6:].any()
        assert trajectory_error(ring.cam_from_world, found.cam_from_world) < 0.05
        assert found.linked.all()


def test_bad_input(ring: Views) -> None:
    with pytest.raises(InputError, match="no photo"):
        estimate_sequence(Oracle(ring), [])
    with pytest.raises(ResultError, match="lost photos"):
        estimate_sequence(lambda photos: Oracle(ring)(list(photos)[:1]), ring.images[:3])
    for wrong in ({"chunk": 1}, {"overlap": 0}, {"chunk": 4, "overlap": 4}, {"loop_views": 1}):
        with pytest.raises(UsageError):
            SequenceOptions(**wrong)  # type: ignore[arg-type]
