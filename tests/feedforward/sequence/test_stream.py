from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sequence_world import K, Oracle, Views, circle, photographed, trajectory_error

import recon3d
from recon3d.core.errors import DependencyError, InputError, ResourceError, UsageError
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.models import build_model
from recon3d.feedforward.sequence import Stream, StreamEstimate, StreamOptions, chunks
from recon3d.feedforward.sequence.registration import RegistrationOptions

N = 40
FEW = RegistrationOptions(n_points=300)


@pytest.fixture(scope="module")
def way() -> Views:
    return photographed(circle(N, turns=0.4))


def followed(oracle: Oracle, images: Sequence[np.ndarray] | None = None, **options: Any) -> list[StreamEstimate]:
    with Stream(StreamOptions(registration=FEW, **options), network=oracle) as stream:
        return [stream.push(image) for image in (oracle.views.images if images is None else images)]


def poses(found: list[StreamEstimate]) -> np.ndarray:
    return np.stack([one.cam_from_world for one in found])


def test_exact_runs_give_the_exact_way(way: Views) -> None:
    found = followed(Oracle(way))
    assert trajectory_error(way.cam_from_world, poses(found)) < 1e-4
    assert np.allclose(found[0].cam_from_world, np.eye(4), atol=1e-12)
    assert np.allclose(found[-1].world_from_cam @ found[-1].cam_from_world, np.eye(4))
    unit = found[0].depth_z.mean() / way.depth_z[0].mean()
    np.testing.assert_allclose(found[-1].depth_z, unit * way.depth_z[-1], rtol=1e-4)
    np.testing.assert_allclose(found[-1].sigma, 0.01 * found[-1].depth_z, rtol=1e-4)
    assert all(one.tracked and one.segment == 0 and one.inliers > 0.99 for one in found)
    assert [one.number for one in found] == list(range(N))


def test_noisy_runs_give_a_way_as_good_as_the_noise(way: Views) -> None:
    found = followed(Oracle(way, noise=0.03))
    assert trajectory_error(way.cam_from_world, poses(found)) < 0.03
    scale = [np.median(one.depth_z / way.depth_z[i]) for i, one in enumerate(found)]
    assert abs(np.log(scale[-1] / scale[0])) < 0.05


def test_keyframes_come_with_new_surfaces_only(way: Views) -> None:
    found = followed(Oracle(way))
    keys = [one.number for one in found if one.is_keyframe]
    assert keys[0] == 0
    assert 3 <= len(keys) < N / 3
    still = followed(Oracle(way), [way.images[0]] * 5)
    assert [one.is_keyframe for one in still] == [True, False, False, False, False]
    assert np.allclose(still[-1].cam_from_world, np.eye(4), atol=1e-6)


def test_a_run_sees_the_window_and_one_frame(way: Views) -> None:
    oracle = Oracle(way)
    followed(oracle, window=3)
    lengths = [len(call) for call in oracle.calls]
    assert lengths[:2] == [1, 2]
    assert max(lengths) == 4
    assert [call[-1] for call in oracle.calls] == list(range(N))


def test_nothing_grows_with_the_number_of_frames(way: Views) -> None:
    """What a stream holds after 25 frames it holds after 40."""
    stream, held = Stream(StreamOptions(window=3, registration=FEW), network=Oracle(way)), []
    for image in way.images:
        stream.push(image)
        held.append(sum(one.photo.nbytes + one.samples.points_world.nbytes for one in stream._window.keyframes))
    assert held[-1] == held[25] == max(held)


def test_a_cut_starts_a_new_segment(way: Views) -> None:
    class Torn(Oracle):
        """Photos of both sides of the cut contradict each other."""

        def __call__(self, images: Sequence[np.ndarray]) -> ViewEstimates:
            found = super().__call__(images)
            rows = self.calls[-1]
            if rows[0] < 20 <= rows[-1]:
                found.depth_z[:-1] *= self.random.uniform(0.1, 10, found.depth_z[:-1].shape).astype(np.float32)
            return found

    found = followed(Torn(way), way.images[:26], lost_after=3)
    assert all(one.tracked for one in found[:20])
    assert [one.tracked for one in found[20:23]] == [False, False, True]
    assert [one.segment for one in found] == [0] * 22 + [1] * 4
    assert np.allclose(found[22].cam_from_world, np.eye(4), atol=1e-12)
    assert not any(one.is_keyframe for one in found[20:22])
    assert trajectory_error(way.cam_from_world[22:26], poses(found[22:])) < 1e-4


@pytest.mark.parametrize("claims", ["the same place", "far away"])
def test_frames_of_another_place_are_not_tracked(claims: str, way: Views) -> None:
    """The keyframes confirm such a run, only the new frame does not belong to them."""
    other = np.random.default_rng(0).integers(0, 255, (3, *way.images[0].shape), np.uint8)
    both = Views(
        [*way.images[:8], *other],
        np.concatenate([way.cam_from_world[:8], way.cam_from_world[8:11]]),
        np.concatenate([way.depth_z[:8], way.depth_z[8:11]]),
    )
    if claims == "far away":
        both.cam_from_world[8:, :3, 3] += 50.0
    found = followed(Oracle(both), lost_after=4)
    assert [one.tracked for one in found] == [True] * 8 + [False] * 3
    assert not any(one.is_keyframe for one in found[8:])


def test_blank_walls_are_followed_by_their_shape(way: Views) -> None:
    blank = [np.full_like(image, 100) for image in way.images[:4]]
    for number, image in enumerate(blank):
        image[0, 0] = number  # one pixel, by which the oracle knows them
    found = followed(Oracle(Views(blank, way.cam_from_world[:4], way.depth_z[:4])))
    assert all(one.tracked for one in found)


def test_one_bad_run_changes_nothing_afterwards(way: Views) -> None:
    class Hiccup(Oracle):
        def __call__(self, images: Sequence[np.ndarray]) -> ViewEstimates:
            found = super().__call__(images)
            if len(self.calls) == 11:
                found.depth_z[:] *= self.random.uniform(0.1, 10, found.depth_z.shape).astype(np.float32)
            return found

    found = followed(Hiccup(way))
    assert [one.number for one in found if not one.tracked] == [10]
    rest = [i for i in range(N) if i != 10]
    assert trajectory_error(way.cam_from_world[rest], poses(found)[rest]) < 1e-4


def test_times_and_notes(way: Views) -> None:
    with Stream(network=Oracle(way)) as stream:
        assert stream.push(way.images[0], time=12.5).time == 12.5
        found = stream.push(way.images[1])
    assert found.time is None
    assert not found.metric
    assert found.scale_note.startswith("relative")
    metric = followed(Oracle(way, metric=True), way.images[:2])[1]
    assert metric.metric and metric.scale_note.startswith("metres")


def test_intrinsics_of_the_pushed_image() -> None:
    """A network that looks at images of half the size: K belongs to its depth, K_image to what was pushed."""
    small = photographed(circle(20)[:2])
    large = [image.repeat(2, 0).repeat(2, 1) for image in small.images]
    oracle = Oracle(Views(large, small.cam_from_world, small.depth_z))
    found = followed(oracle)[1]
    assert np.allclose(found.K, K)
    assert np.allclose(found.K_image, np.diag([2, 2, 1]) @ K)


def test_frames_from_several_threads_come_one_after_the_other(way: Views) -> None:
    class Alone(Oracle):
        busy = False

        def __call__(self, images: Sequence[np.ndarray]) -> ViewEstimates:
            assert not self.busy
            self.busy = True
            found = super().__call__(images)
            self.busy = False
            return found

    with Stream(StreamOptions(registration=FEW), network=Alone(way)) as stream, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(stream.push, way.images[:24]))
    assert sorted(one.number for one in found) == list(range(24))
    assert all(one.tracked for one in found)


def test_a_real_network_takes_frames() -> None:
    """Without training it knows nothing; shapes, finite numbers and placements are what is looked at."""
    photos = photographed(circle(200)[:3], (180, 240)).images
    with Stream(StreamOptions(size=56), network=build_model("recon3d-small", seed=0)) as stream:
        found = [stream.push(photo) for photo in photos]
    assert found[2].depth_z.shape == found[2].sigma.shape == (42, 56)
    assert all(np.isfinite(one.cam_from_world).all() and np.isfinite(one.depth_z).all() for one in found)
    stretch = found[2].K_image[[0, 1], [0, 1]] / found[2].K[[0, 1], [0, 1]]
    assert stretch == pytest.approx([240 / 56, 180 / 42])


def test_too_little_memory_is_said_before_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "available_memory_bytes", lambda: 1_000_000)
    stream = Stream(StreamOptions(size=56), network=build_model("recon3d-small", seed=0))
    with stream, pytest.raises(ResourceError, match="6 photos of 56x56 do not fit"):
        stream.push(np.zeros((100, 100, 3), np.uint8))


def test_it_is_one_of_the_names_of_the_front_page() -> None:
    assert recon3d.Stream is Stream


def test_a_closed_stream(way: Views) -> None:
    stream = Stream(network=Oracle(way))
    stream.push(way.images[0])
    stream.close()
    stream.close()
    with pytest.raises(UsageError, match="closed"):
        stream.push(way.images[1])


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_frames(way: Views) -> None:
    with Stream(network=Oracle(way)) as stream:
        with pytest.raises(InputError, match="no image"):
            stream.push(way.images[0].astype(np.float32))
        stream.push(way.images[0])
        with pytest.raises(InputError, match="one size"):
            stream.push(way.images[0][:-2])
        assert stream.push(way.images[1]).number == 1


def test_bad_options(tmp_path: Path) -> None:
    for wrong in ({"window": 0}, {"lost_after": 0}, {"keyframe_overlap": 1.5}, {"min_overlap": 0.9}):
        with pytest.raises(UsageError, match="options of a stream"):
            StreamOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no such file"):
        Stream(StreamOptions(checkpoint=tmp_path / "absent.safetensors"))
    with pytest.raises(DependencyError, match="no weights"):
        Stream(StreamOptions(model="da3-giant"))
