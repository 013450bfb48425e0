"""Pair selection: counts by formula, places recognised by appearance, the same pairs whatever the threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import ShapeError, UsageError
from recon3d.sfm import retrieval
from recon3d.sfm.retrieval import (
    PairOptions,
    exhaustive_pairs,
    natural_order,
    retrieval_pairs,
    select_pairs,
    sequential_pairs,
    vlad_signatures,
)


def places(n_places: int = 5, per_place: int = 4, k: int = 150, seed: int = 0) -> list[np.ndarray]:
    """Photos of several places: those of one place share most of their features, up to noise."""
    generator = np.random.default_rng(seed)
    photos = []
    for _ in range(n_places):
        landmarks = generator.gamma(0.5, 30, (k, 128))
        for _ in range(per_place):
            rows = landmarks[generator.permutation(k)[: k * 2 // 3]] + generator.normal(0, 4, (k * 2 // 3, 128))
            clutter = generator.gamma(0.5, 30, (k // 3, 128))
            rows = np.maximum(np.concatenate([rows, clutter]), 0)
            rows = np.sqrt(rows / rows.sum(1, keepdims=True))
            photos.append(np.minimum(np.rint(512 * rows), 255).astype(np.uint8))
    return photos


def as_set(pairs: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pair) for pair in pairs.tolist()}


@given(st.integers(0, 30))
def test_exhaustive_is_every_pair_once(n: int) -> None:
    pairs = exhaustive_pairs(n)
    assert len(pairs) == len(as_set(pairs)) == n * (n - 1) // 2
    assert (pairs[:, 0] < pairs[:, 1]).all()


@given(st.integers(0, 40), st.integers(0, 8), st.booleans())
def test_sequential_distances_are_as_stated(n: int, overlap: int, quadratic: bool) -> None:
    pairs = sequential_pairs(n, overlap, quadratic)
    steps = set(range(1, overlap + 1)) | ({2**k for k in range(overlap + 1)} if quadratic and overlap else set())
    assert as_set(pairs) == {(i, i + step) for step in steps for i in range(n - step)}
    assert len(pairs) == len(as_set(pairs)) and pairs.tolist() == sorted(pairs.tolist())


def test_natural_order_counts_as_people_do() -> None:
    keys = ["img10.jpg", "img2.jpg", "IMG1.jpg", "a/2.jpg", "a/10.jpg", "img02.jpg", "2.jpg"]
    assert [keys[i] for i in natural_order(keys)] == [
        "2.jpg", "IMG1.jpg", "a/2.jpg", "a/10.jpg", "img02.jpg", "img2.jpg", "img10.jpg",
    ]  # fmt: skip


def test_photos_of_one_place_find_each_other() -> None:
    pairs = retrieval_pairs(places(), n_neighbors=3)
    same = [first // 4 == second // 4 for first, second in pairs.tolist()]
    wanted = {(4 * p + i, 4 * p + j) for p in range(5) for i in range(4) for j in range(i + 1, 4)}
    assert wanted <= as_set(pairs) and np.mean(same) > 0.9


def test_order_of_the_photos_does_not_decide_the_neighbours() -> None:
    photos = places(4, 3)
    shuffle = np.random.default_rng(2).permutation(12)
    moved = retrieval_pairs([photos[i] for i in shuffle], 2)
    for first, second in moved.tolist():
        assert shuffle[first] // 3 == shuffle[second] // 3


def test_pairs_are_sorted_unique_and_ascending() -> None:
    pairs = retrieval_pairs(places(3, 4), 6)
    assert pairs.dtype == np.int64 and pairs.tolist() == sorted(pairs.tolist())
    assert len(as_set(pairs)) == len(pairs) and (pairs[:, 0] < pairs[:, 1]).all()


def test_signatures_have_unit_length_in_whole_numbers() -> None:
    signatures = vlad_signatures(places(2, 3))
    np.testing.assert_array_equal(signatures, np.rint(signatures))
    np.testing.assert_allclose(np.linalg.norm(signatures, axis=1), 2048, rtol=0.02)


def test_sums_of_a_word_are_exact() -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 256, (500, 128)).astype(np.float32)
    word = generator.integers(0, 9, 500)
    word[word == 4] = 5
    sums, counts = retrieval._sums(rows, word, 10)
    for index in range(10):
        np.testing.assert_array_equal(sums[index], rows[word == index].astype(np.int64).sum(0))
        assert counts[index] == (word == index).sum()


def test_nearest_word_is_the_nearest_by_brute_force() -> None:
    generator = np.random.default_rng(1)
    rows = generator.integers(0, 200, (300, 128)).astype(np.float32)
    words = generator.integers(0, 200, (7, 128)).astype(np.float32)
    distance = ((rows[:, None].astype(float) - words) ** 2).sum(-1)
    np.testing.assert_array_equal(retrieval._nearest(rows, words), distance.argmin(1))


@pytest.mark.parametrize("photos", [[], places(1, 1), [np.zeros((0, 128), np.uint8)] * 3])
def test_nothing_to_pair(photos: list[np.ndarray]) -> None:
    assert retrieval_pairs(photos, 5).shape == (0, 2)


def test_photos_without_features_are_left_alone() -> None:
    photos = places(2, 2)
    photos.insert(1, np.zeros((0, 128), np.uint8))
    pairs = retrieval_pairs(photos, 4)
    assert 1 not in pairs and len(pairs) == 6


def test_few_descriptors_and_many_neighbours_are_fine() -> None:
    photos = [np.full((1, 128), 10 * i + 1, np.uint8) for i in range(3)]
    assert len(retrieval_pairs(photos, 50)) <= 3


class Lazy(Sequence[np.ndarray]):
    """Hands out photos one at a time and counts how often."""

    def __init__(self, photos: list[np.ndarray]) -> None:
        self.photos, self.reads = photos, 0

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: Any) -> Any:
        self.reads += 1
        return self.photos[index]


def test_small_captures_take_all_pairs_and_read_nothing() -> None:
    lazy = Lazy(places(2, 2))
    assert len(select_pairs(["a", "b", "c", "d"], lazy)) == 6
    assert lazy.reads <= 2  # the type checks of the tests look at one item before and after


def test_large_captures_take_sequence_and_appearance_together() -> None:
    photos = places(10, 10, k=30)
    keys = [f"frame{i}.jpg" for i in range(100)]
    options = PairOptions(overlap=2, quadratic=False, n_neighbors=4)
    order = natural_order(keys)
    pairs = as_set(select_pairs(keys, photos, options))
    sequence = {tuple(sorted((int(order[i]), int(order[i + s])))) for s in (1, 2) for i in range(100 - s)}
    assert pairs == sequence | as_set(retrieval_pairs(photos, 4))
    assert as_set(select_pairs(keys, photos, PairOptions("sequential", overlap=2, quadratic=False))) == sequence
    assert len(select_pairs(keys, photos, PairOptions("exhaustive"))) == 4950
    assert pairs == as_set(select_pairs(keys, photos, PairOptions("both", 80, 2, False, 4)))


def test_wrong_arguments_are_errors() -> None:
    with pytest.raises(UsageError, match="negative"):
        PairOptions(overlap=-1)
    with pytest.raises(ShapeError, match="every photo"):
        select_pairs(["a", "b"], places(1, 1), PairOptions("retrieval"))


def test_same_bits_for_any_thread_count() -> None:
    code = (
        "import numpy as np, hashlib;from recon3d.sfm.retrieval import vlad_signatures;"
        "d=[np.random.default_rng(i).integers(0,120,(900,128),dtype=np.uint8) for i in range(6)];"
        "print(hashlib.sha256(vlad_signatures(d).tobytes()).hexdigest())"
    )
    answers = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        answers.add(done.stdout)
    assert len(answers) == 1


def test_seed_changes_the_codebook_and_repeats_it() -> None:
    photos = places(2, 3)
    one, same, other = (vlad_signatures(photos, seed) for seed in (0, 0, 1))
    assert one.tobytes() == same.tobytes() and one.tobytes() != other.tobytes()
