from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import data, integers

from recon3d.core.errors import ResourceError
from recon3d.feedforward.memory import inference_bytes
from recon3d.feedforward.models import build_model
from recon3d.feedforward.sequence.chunks import Chunk, chunk_size, unordered_chunks, video_chunks


def check(chunks: list[Chunk], n: int, size: int, overlap: int) -> None:
    """Every photo is new once, and what a chunk shares has a place already."""
    assert sorted(np.concatenate([one.new for one in chunks]).tolist()) == list(range(n))
    placed: set[int] = set()
    for number, one in enumerate(chunks):
        assert len(one.photos) <= size
        assert len(set(one.photos.tolist())) == len(one.photos)
        assert set(one.photos[: one.n_shared].tolist()) <= placed
        assert one.n_shared == (min(overlap, len(placed)) if number else 0)
        assert len(one.new) > 0
        placed |= set(one.new.tolist())


@given(integers(1, 60), data())
def test_chunks_of_a_video(n: int, draw: data) -> None:  # type: ignore[valid-type]
    size = draw.draw(integers(2, 20))  # type: ignore[attr-defined]
    overlap = draw.draw(integers(1, size - 1))  # type: ignore[attr-defined]
    chunks = video_chunks(n, size, overlap)
    check(chunks, n, size, overlap)
    assert all((np.diff(one.photos) == 1).all() for one in chunks)
    assert all(one.photos[0] == before.photos[-1] + 1 - overlap for before, one in pairwise(chunks))


def test_the_published_sizes() -> None:
    chunks = video_chunks(300, 120, 60)
    assert [(one.photos[0], one.photos[-1]) for one in chunks] == [(0, 119), (60, 179), (120, 239), (180, 299)]


def on_a_ring(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Signatures of photos on a ring in random order: the closer, the more similar."""
    angle = np.random.default_rng(seed).permutation(n) * 2 * np.pi / n
    features = np.concatenate([[np.cos(k * angle), np.sin(k * angle)] for k in range(1, 9)]).T
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), angle


@pytest.mark.parametrize(("n", "size", "overlap"), [(1, 4, 2), (4, 4, 2), (5, 4, 2), (40, 12, 4), (41, 12, 6)])
def test_unordered_chunks(n: int, size: int, overlap: int) -> None:
    signatures, _ = on_a_ring(n)
    check(unordered_chunks(signatures, size, overlap), n, size, overlap)


def test_unordered_chunks_hold_similar_photos() -> None:
    signatures, angle = on_a_ring(60)
    for number, one in enumerate(unordered_chunks(signatures, 12, 4)):
        spread = np.abs(np.exp(1j * angle[one.photos]).mean())
        assert spread > 0.7, f"chunk {number} goes around the ring"


def test_two_scenes_are_not_mixed_before_they_must_be() -> None:
    signatures, _ = on_a_ring(20)
    two = np.zeros((40, 32), np.float32)
    two[:20, :16], two[20:, 16:] = signatures, signatures
    chunks = unordered_chunks(two, 8, 3)
    sides = [{int(photo >= 20) for photo in one.new} for one in chunks]
    assert sum(len(side) == 2 for side in sides) <= 1


def test_chunk_size_is_what_fits() -> None:
    network = build_model("recon3d-small")
    for n in (2, 17, 120):
        budget = inference_bytes(network, n, 84, 84)
        assert chunk_size(network, 84, 84, budget) == n
    assert chunk_size(network, 84, 84, 10**12) == 120
    with pytest.raises(ResourceError, match="do not fit"):
        chunk_size(network, 84, 84, 1000)


def test_chunk_size_without_a_budget_takes_what_is_free() -> None:
    assert 2 <= chunk_size(build_model("recon3d-small"), 84, 84) <= 120
