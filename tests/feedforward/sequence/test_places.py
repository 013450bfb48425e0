from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sequence_world import circle, photographed

from recon3d.feedforward.sequence import places
from recon3d.feedforward.sequence.loops import Candidate, loop_candidates
from recon3d.feedforward.sequence.places import layout_signature, place_signatures
from recon3d.feedforward.sequence.pose_graph import Link
from recon3d.sfm.features import sift

N = 24


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return photographed(circle(2 * N)[:N]).images


def chain(n: int) -> list[Link]:
    return [Link(i, i + 1, np.eye(4), 0.01, np.zeros(3)) for i in range(n - 1)]


def ring(n: int) -> np.ndarray:
    """Signatures around a ring of 24 places: the closer, the more similar."""
    angle = 2 * np.pi * np.arange(n) / N
    features = np.concatenate([[np.cos(k * angle), np.sin(k * angle)] for k in range(1, 9)]).T
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def test_neighbours_look_more_alike_than_others(photos: list[np.ndarray]) -> None:
    found = place_signatures(photos, "layout")
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    similar = found @ found.T
    near = np.array([similar[i, i + 1] for i in range(len(found) - 1)])
    assert np.median(near) > similar[:12, 12:].max()


def test_large_photos_are_compared_by_their_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """And these are found once, although the codebook needs them before the signatures do."""
    sifted = []

    def counted(*arguments: Any, **options: Any) -> Any:
        sifted.append(arguments[0].shape)
        return sift(*arguments, **options)

    monkeypatch.setattr(places, "sift", counted)
    wall = np.random.default_rng(0).integers(0, 255, (35, 250, 3), np.uint8).repeat(6, 0).repeat(6, 1)
    found = place_signatures([wall[:, x : x + 280] for x in (0, 60, 1000, 1060)], "auto")
    assert found.shape == (4, 1024)
    similar = found @ found.T
    assert min(similar[0, 1], similar[2, 3]) > similar[:2, 2:].max() + 0.2
    assert len(sifted) == 4


def test_large_photos_without_features_are_compared_by_their_layout() -> None:
    flat = np.full((210, 280, 3), 90, np.uint8)
    assert np.array_equal(place_signatures([flat], "auto")[0], layout_signature(flat))


def test_brightness_and_size_do_not_matter_much(photos: list[np.ndarray]) -> None:
    own = layout_signature(photos[0])
    darker = (photos[0] * 0.6).astype(np.uint8)
    larger = photos[0].repeat(3, 0).repeat(3, 1)
    others = [float(own @ layout_signature(photo)) for photo in photos[4:]]
    assert own @ layout_signature(darker) > max(others)
    assert own @ layout_signature(larger) > max(others)


def test_a_photo_of_one_colour_has_a_signature() -> None:
    flat = np.full((40, 60, 3), 90, np.uint8)
    assert np.isfinite(layout_signature(flat)).all()
    assert np.isfinite(place_signatures([flat] * 2, "vlad")).all()


def test_no_photo_has_no_signature() -> None:
    assert len(place_signatures([])) == 0


def test_candidates_are_far_along_the_links_and_look_alike() -> None:
    """Around the ring once and a bit more: only the second visit of the start is a candidate."""
    n = N + 4
    found = loop_candidates(ring(n), np.arange(n) + 100, np.arange(n) // 4, chain(7))
    assert Candidate(100, 100 + N) in found or Candidate(101, 101 + N) in found
    near = [min((one.second - one.first) % N, (one.first - one.second) % N) for one in found]
    assert max(near) <= 1
    assert len([one for one in found if one.second >= 100 + N]) <= 2


def test_chunks_that_are_linked_closely_need_no_loop() -> None:
    n, links = N + 4, [*chain(7), *(Link(0, i, np.eye(4), 0.01, np.zeros(3)) for i in (5, 6))]
    assert not loop_candidates(ring(n), np.arange(n), np.arange(n) // 4, links)


def test_chunks_without_any_link_may_be_one_place() -> None:
    found = loop_candidates(ring(n := N + 4), np.arange(n), np.arange(n) // 4, [])
    assert any(one.second >= N and one.first < 4 for one in found)


def test_one_photo_has_no_candidate() -> None:
    assert loop_candidates(np.ones((1, 3), np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64), []) == []
