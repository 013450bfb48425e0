"""Which pairs of photos to match: all, neighbours in a sequence, and neighbours by appearance (VLAD)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from recon3d.core.errors import ShapeError, UsageError

Descriptors = Sequence[UInt8[np.ndarray, "_ 128"]]

_N_WORDS = 128
_N_ITERATIONS = 12
_MAX_PER_PHOTO = 2048
_MAX_TRAINING = 50_000
_CHUNK = 4096
_BLOCK = 64
_STEPS = 1 << 11


@dataclass(frozen=True)
class PairOptions:
    """Which pairs of photos are matched.

    Args:
        mode: ``exhaustive`` (all pairs), ``sequential`` (neighbours in the order of the names), ``retrieval``
            (neighbours by appearance), ``both`` of the latter, or ``auto``: exhaustive up to ``max_exhaustive`` photos,
            both beyond.
        max_exhaustive: the most photos for which ``auto`` takes all pairs.
        overlap: how many followers in the sequence each photo is matched with.
        quadratic: also match with the followers at distances 1, 2, 4, 8 ... up to ``2**overlap``.
        n_neighbors: how many photos of similar appearance each photo is matched with.
    """

    mode: Literal["auto", "exhaustive", "sequential", "retrieval", "both"] = "auto"
    max_exhaustive: int = 80
    overlap: int = 6
    quadratic: bool = True
    n_neighbors: int = 10

    def __post_init__(self) -> None:
        least = min(self.max_exhaustive, self.overlap, self.n_neighbors)
        if least < 0:
            raise UsageError("options of the pair selection must not be negative", got=least)


def select_pairs(
    keys: Sequence[str], descriptors: Descriptors, options: PairOptions | None = None, seed: int = 0
) -> Int64[np.ndarray, "p 2"]:
    """Return the pairs of photos to match.

    Args:
        keys: names of the photos; their natural order (2 before 10) is the sequence.
        descriptors: SIFT descriptors per photo, ``[k,128]``, read only for retrieval; a lazy sequence keeps memory low.
        options: how to choose.
        seed: of the codebook.

    Returns:
        Pairs ``first < second`` of indices into ``keys``, sorted, without repeats, ``[p,2]``.

    Raises:
        ShapeError: there are not as many descriptors as keys.
    """
    options = options or PairOptions()
    n = len(keys)
    if options.mode == "exhaustive" or (options.mode == "auto" and n <= options.max_exhaustive):
        return exhaustive_pairs(n)
    found = []
    if options.mode != "retrieval":
        found.append(natural_order(keys)[sequential_pairs(n, options.overlap, options.quadratic)])
    if options.mode != "sequential":
        if len(descriptors) != n:
            raise ShapeError("every photo needs its descriptors", got=len(descriptors), expected=n)
        found.append(retrieval_pairs(descriptors, options.n_neighbors, seed))
    return _unique(np.concatenate(found), n)


def exhaustive_pairs(n: int) -> Int64[np.ndarray, "p 2"]:
    """Return all pairs of ``n`` photos."""
    return np.stack(np.triu_indices(n, 1), -1).astype(np.int64)


def sequential_pairs(n: int, overlap: int, quadratic: bool = False) -> Int64[np.ndarray, "p 2"]:
    """Return pairs of photos that follow each other.

    Args:
        n: number of photos.
        overlap: how many followers each photo is matched with.
        quadratic: also those at distances 1, 2, 4, 8 ... up to ``2**overlap``.
    """
    steps = set(range(1, overlap + 1)) | ({1 << k for k in range(overlap + 1)} if quadratic and overlap else set())
    pairs = [np.stack([np.arange(n - step), np.arange(step, n)], -1) for step in sorted(steps) if step < n]
    return _unique(np.concatenate([np.zeros((0, 2), np.int64), *pairs]), n)


def natural_order(keys: Sequence[str]) -> Int64[np.ndarray, " n"]:
    """Return the indices that sort names as people do: ``img2`` before ``img10``."""

    def parts(index: int) -> list[tuple[int, int, str]]:
        pieces = re.split(r"(\d+)", keys[index])
        return [(0, int(piece), piece) if piece.isdecimal() else (1, 0, piece) for piece in pieces]

    return np.array(sorted(range(len(keys)), key=parts), dtype=np.int64)


def retrieval_pairs(descriptors: Descriptors, n_neighbors: int, seed: int = 0) -> Int64[np.ndarray, "p 2"]:
    """Return each photo's nearest neighbours by appearance.

    Args:
        descriptors: root-normalised SIFT descriptors per photo, ``[k,128]``; a photo may have none.
        n_neighbors: how many neighbours each photo asks for.
        seed: of the codebook.

    Returns:
        Pairs ``first < second``, sorted, without repeats, ``[p,2]``.
    """
    n = len(descriptors)
    count = min(n_neighbors, n - 1)
    if count <= 0:
        return np.zeros((0, 2), dtype=np.int64)
    signatures = vlad_signatures(descriptors, seed)
    filled = np.flatnonzero(signatures.any(1))
    signatures, pairs = signatures[filled], [np.zeros((0, 2), np.int64)]
    for start in range(0, len(filled), _BLOCK):
        similarity = signatures[start : start + _BLOCK] @ signatures.T
        own = np.arange(len(similarity))
        similarity[own, start + own] = -np.inf
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(count, len(filled) - 1)]
        pairs.append(np.stack([filled[start + own].repeat(nearest.shape[1]), filled[nearest.ravel()]], -1))
    return _unique(np.concatenate(pairs), n)


def vlad_signatures(descriptors: Descriptors, seed: int = 0) -> Float32[np.ndarray, "n d"]:
    """Return one global descriptor per photo: residuals to the nearest of 128 visual words, summed per word.

    The codebook is the capture's own (k-means). Residuals are square-rooted, normalised per word and as a whole, and
    rounded to whole numbers (unit length = 2^11), so that their dot products stay below 2^24 and are exact in float32:
    the same bits for any thread count.

    Args:
        descriptors: root-normalised SIFT descriptors per photo, ``[k,128]``; of each at most 2,048, evenly picked.
        seed: of the codebook.

    Source: Jegou et al., Aggregating local descriptors (2010); Arandjelovic and Zisserman, All about VLAD (2013).
    """
    words = _codebook(descriptors, seed)
    return np.stack([_vlad(_picked(descriptors[index]), words) for index in range(len(descriptors))])


def _picked(descriptors: UInt8[np.ndarray, "k 128"]) -> Float32[np.ndarray, "l 128"]:
    step = max(1, -(-len(descriptors) // _MAX_PER_PHOTO))
    return descriptors[::step].astype(np.float32)


def _codebook(descriptors: Descriptors, seed: int) -> Float32[np.ndarray, "w 128"]:
    """Return the words of Lloyd's k-means, as whole numbers, from an even sample of all descriptors."""
    generator = np.random.default_rng(seed)
    share = max(1, _MAX_TRAINING // max(len(descriptors), 1))
    sample = []
    for index in range(len(descriptors)):
        rows = _picked(descriptors[index])
        sample.append(rows[np.sort(generator.permutation(len(rows))[:share])])
    training = np.concatenate([np.zeros((0, 128), np.float32), *sample])
    words = training[np.sort(generator.permutation(len(training))[:_N_WORDS])]
    for _ in range(_N_ITERATIONS if len(words) else 0):
        sums, counts = _sums(training, _nearest(training, words), len(words))
        filled = counts > 0
        words = words.copy()
        words[filled] = np.rint(sums[filled] / counts[filled, None]).astype(np.float32)
    return words


def _nearest(rows: Float32[np.ndarray, "k 128"], words: Float32[np.ndarray, "w 128"]) -> Int64[np.ndarray, " k"]:
    """Return the nearest word of each row; products of whole numbers below 2^24 are exact in float32."""
    half_norm = (words.astype(np.float64) ** 2).sum(1) / 2
    starts = range(0, len(rows), _CHUNK)
    chunks = [np.argmax(rows[start : start + _CHUNK] @ words.T - half_norm, axis=1) for start in starts]
    return np.concatenate([np.zeros(0, np.int64), *chunks])


def _sums(
    rows: Float32[np.ndarray, "k 128"], word: Int64[np.ndarray, " k"], n_words: int
) -> tuple[Float64[np.ndarray, "w 128"], Int64[np.ndarray, " w"]]:
    """Return the exact sum and the number of the rows of each word."""
    order = np.argsort(word, kind="stable")
    counts = np.bincount(word, minlength=n_words)
    filled = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts)])[filled]
    sums = np.zeros((n_words, 128))
    if len(filled):
        sums[filled] = np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)
    return sums, counts


def _vlad(rows: Float32[np.ndarray, "k 128"], words: Float32[np.ndarray, "w 128"]) -> Float32[np.ndarray, " d"]:
    if len(words) == 0 or len(rows) == 0:
        return np.zeros(_N_WORDS * 128, np.float32)
    sums, counts = _sums(rows, _nearest(rows, words), len(words))
    residual = np.zeros((_N_WORDS, 128))
    residual[: len(words)] = sums - counts[:, None] * words
    residual = np.sign(residual) * np.sqrt(np.abs(residual))
    residual = residual / np.maximum(np.sqrt((residual**2).sum(1, keepdims=True)), 1e-12)
    whole = residual.ravel() / max(float(np.sqrt((residual**2).sum())), 1e-12)
    return np.asarray(np.rint(_STEPS * whole), dtype=np.float32)


def _unique(pairs: Int64[np.ndarray, "p 2"], n: int) -> Int64[np.ndarray, "q 2"]:
    low, high = pairs.min(1, initial=n), pairs.max(1, initial=0)
    code = np.unique(low * n + high)
    return np.stack([code // max(n, 1), code % max(n, 1)], -1)
