"""Real photos with measured depth: the truth with noise and drift, in random frames, in the place of a network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sequence_world import Oracle, Views, trajectory_error

from recon3d.evaluation.alignment import scene_scale
from recon3d.feedforward.sequence import SequenceOptions, Stream, StreamOptions, estimate_sequence
from recon3d.feedforward.sequence.registration import RegistrationOptions

pytestmark = pytest.mark.dataset
STEP = 8  # pixels of the depth maps
FEW = RegistrationOptions(n_points=500)


@pytest.fixture(scope="module", params=range(2))
def oracle_of(request: pytest.FixtureRequest, datasets: Path) -> tuple[Oracle, np.ndarray]:
    """A set of photos in the order of their names whose truth holds poses and depth."""
    found = [path for path in sorted(datasets.glob("photos/*/gt/cameras.json")) if has_depth(path)]
    if not found:
        pytest.skip("no set of photos has depth")
    if request.param >= len(found):
        pytest.skip("there is no further set with depth")
    return photographed_truth(found[request.param])


def has_depth(path: Path) -> bool:
    images = json.loads(path.read_text())["images"]
    return len(images) >= 30 and all(one.get("depth", "").endswith(".png") for one in images)


def photographed_truth(path: Path) -> tuple[Oracle, np.ndarray]:
    truth = sorted(json.loads(path.read_text())["images"], key=lambda one: one["name"])
    images = [np.asarray(Image.open(path.parents[1] / "images" / one["name"]).convert("RGB")) for one in truth]
    poses = np.tile(np.eye(4), (len(truth), 1, 1))
    poses[:, :3] = [one["w2c"] for one in truth]
    start = STEP // 2
    depth = [np.asarray(Image.open(path.parent / one["depth"]), np.float32)[start::STEP, start::STEP] for one in truth]
    K = np.array(truth[0]["K"]) * [[1 / STEP], [1 / STEP], [1]]
    return Oracle(Views(images, poses, np.stack(depth) / 1000), noise=0.03, K=K), poses


def test_loops_are_found_and_take_the_drift_away(oracle_of: tuple[Oracle, np.ndarray]) -> None:
    oracle, poses = oracle_of
    oracle.growth = 0.01
    errors = []
    for loops in (False, True):
        options = SequenceOptions(chunk=10, overlap=4, signatures="layout", loops=loops, registration=FEW)
        with estimate_sequence(oracle, oracle.views.images, options) as found:
            errors.append(trajectory_error(poses, found.cam_from_world) / scene_scale(poses))
            assert found.linked.all()
            assert bool(found.loops) == loops
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.05


def test_a_stream_follows(oracle_of: tuple[Oracle, np.ndarray]) -> None:
    oracle, poses = oracle_of
    oracle.growth = 0.0
    with Stream(StreamOptions(registration=FEW), network=oracle) as stream:
        found = [stream.push(image) for image in oracle.views.images]
    assert all(one.tracked for one in found)
    way = np.stack([one.cam_from_world for one in found])
    assert trajectory_error(poses, way) / scene_scale(poses) < 0.05
