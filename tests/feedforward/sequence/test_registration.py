from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sequence_world import SIZE, Oracle, circle, photographed

from recon3d.core.errors import UsageError
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.sequence import sim3
from recon3d.feedforward.sequence.registration import RegistrationOptions, register
from recon3d.feedforward.sequence.samples import Samples, sampled

VIEWS = photographed(circle(40)[:4])


def run(**options: object) -> ViewEstimates:
    return Oracle(VIEWS, **options)(VIEWS.images)  # type: ignore[arg-type]


def samples(estimates: ViewEstimates, n_points: int = 500) -> list[Samples]:
    return [sampled(estimates, row, n_points) for row in range(len(estimates))]


def true_similarity(target: ViewEstimates, source: ViewEstimates) -> np.ndarray:
    """Of two runs without noise."""
    scale = float(np.median(target.depth_z / source.depth_z))
    a, b = (np.linalg.inv(one.cam_from_world[0]) for one in (target, source))
    rotation = a[:3, :3] @ b[:3, :3].T
    return sim3.similarity(scale, rotation, a[:3, 3] - scale * rotation @ b[:3, 3])


def test_samples_lie_on_the_surface() -> None:
    estimates = run(seed=1)
    found = samples(estimates)[2]
    seen = sim3.moved_points(estimates.cam_from_world[2], found.points_world)
    assert len(found.depth_z) <= 500
    assert np.allclose(seen[:, 2], found.depth_z, rtol=1e-5)
    pixel = seen @ estimates.K[2].T
    assert np.allclose(pixel[:, :2] / pixel[:, 2:] % 1, 0.5, atol=1e-6)  # pixel centres
    assert found.size == SIZE


def test_samples_move_with_their_frame() -> None:
    estimates, gauge = run(seed=1), sim3.exp(np.array([1, 2, 3, 0.3, 0.2, 0.1, 0.5]))
    found = samples(estimates)[0].moved(gauge)
    seen = sim3.moved_points(found.cam_from_world, found.points_world)
    assert np.allclose(seen[:, 2], found.depth_z)
    assert found.median_depth == pytest.approx(np.exp(0.5) * samples(estimates)[0].median_depth)


@pytest.mark.parametrize("n_shared", [1, 4])
def test_exact_runs_are_laid_over_each_other_exactly(n_shared: int) -> None:
    target, source = run(seed=1), run(seed=2)
    found = register(samples(target)[:n_shared], samples(source)[:n_shared])
    assert np.allclose(found.target_from_source, true_similarity(target, source), atol=1e-5)
    assert found.inliers == 1.0
    assert found.residual < 1e-6


def test_a_third_of_wrong_depths_does_no_harm() -> None:
    target, source = run(seed=1), run(seed=2, outliers=0.3)
    found = register(samples(target), samples(source))
    off = sim3.log(sim3.inverse(true_similarity(run(seed=1), run(seed=2))) @ found.target_from_source)
    assert np.abs(off[3:]).max() < 0.02  # radians, and of the scale
    assert found.inliers == pytest.approx(0.7, abs=0.05)


def test_noise_of_both_sides_does_not_shrink_a_chain() -> None:
    """With the noise of one side in the weights, every link of 5 % noise would lose half a per cent of the scale."""
    logs = []
    for seed in range(20):
        exact = true_similarity(run(seed=seed), run(seed=seed + 100))
        found = register(samples(run(seed=seed, noise=0.05)), samples(run(seed=seed + 100, noise=0.05)))
        logs.append(np.log(sim3.scale_of(found.target_from_source) / sim3.scale_of(exact)))
    assert abs(np.mean(logs)) < 2e-3


def test_certain_points_count_more() -> None:
    target, source = run(seed=1), run(seed=1)
    left = np.arange(SIZE[1]) < SIZE[1] // 2
    source = replace(
        source,
        depth_z=np.where(left, source.depth_z, 1.05 * source.depth_z).astype(np.float32),
        sigma=np.where(left, 0.001 * source.depth_z, 0.5 * source.depth_z).astype(np.float32),
    )
    found = register(samples(target), samples(source), RegistrationOptions(camera_share=1e-6))
    assert np.log(sim3.scale_of(found.target_from_source)) == pytest.approx(0.0, abs=2e-3)


def test_maps_of_other_sizes_are_compared_by_their_cameras() -> None:
    target, source = run(seed=1), run(seed=2)
    small = replace(
        source, **{name: getattr(source, name)[:, ::2, ::2] for name in ("depth_z", "sigma", "confidence", "valid")}
    )
    found = register(samples(target), samples(small))
    assert np.allclose(found.target_from_source, true_similarity(target, source), rtol=0.1, atol=0.2)
    assert found.inliers == 1.0


def test_photos_without_any_depth_still_have_cameras() -> None:
    target, source = run(seed=1), run(seed=2)
    blind = replace(source, valid=np.zeros_like(source.valid))
    found = register(samples(target), samples(blind))
    assert np.allclose(found.target_from_source, true_similarity(target, source), atol=1e-4)


def test_runs_that_contradict_each_other_have_few_inliers() -> None:
    target, source = run(seed=1), run(seed=2)
    twisted = replace(source, depth_z=source.depth_z[:, ::-1, ::-1].copy())
    found = register(samples(target), samples(twisted))
    assert found.inliers < 0.5


def test_bad_arguments() -> None:
    one = samples(run(seed=1))
    with pytest.raises(UsageError, match="same photos"):
        register(one, one[:2])
    with pytest.raises(UsageError, match="same photos"):
        register([], [])
    with pytest.raises(UsageError, match="positive"):
        RegistrationOptions(delta=0.0)
