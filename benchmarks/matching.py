"""Exact descriptor matching: ours beside pycolmap's brute-force matcher, one thread each, and whether they agree.

python benchmarks/matching.py
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycolmap
from measure import machine_card

from recon3d.photos import read_upright
from recon3d.sfm.features import sift
from recon3d.sfm.matching import match_descriptors

PHOTOS = Path(__file__).resolve().parents[1] / "data" / "demo_photos"
N_FEATURES, N_RUNS = 4000, 5


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, str]:
    """Return the result of some work, and the median and the range of its wall time."""
    seconds = []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, f"{statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"


def main() -> None:
    """Print one line per matcher."""
    pycolmap.logging.minloglevel = 2
    first, second = (sift(read_upright(path, 10**8), 3200, N_FEATURES, False) for path in sorted(PHOTOS.iterdir())[:2])
    options = pycolmap.FeatureMatchingOptions(num_threads=1, use_gpu=False)
    options.sift.cpu_brute_force_matcher = True
    matcher = pycolmap.FeatureMatcher.create(options, pycolmap.Device.cpu)
    given: list[object] = []
    for xy, data in (first, second):
        keypoints = np.concatenate([xy, np.ones((len(xy), 1)), np.zeros((len(xy), 1))], axis=1)
        descriptors = pycolmap.FeatureDescriptors(type=pycolmap.FeatureExtractorType.SIFT, data=data)
        given += [pycolmap.keypoints_from_matrix(keypoints.astype(np.float32)), descriptors]
    ours, our_time = timed(lambda: match_descriptors(first[1], second[1]))
    theirs, their_time = timed(lambda: matcher.match(*given))
    common = len({*map(tuple, ours.tolist())} & {*map(tuple, theirs.tolist())})
    sys.stdout.write(machine_card(["recon3d", "numpy", "pycolmap"]) + "\n")
    sys.stdout.write(f"{len(first[0])} and {len(second[0])} features, {N_RUNS} runs\n")
    sys.stdout.write(f"recon3d   {our_time}, {len(ours)} matches\npycolmap  {their_time}, {len(theirs)} matches\n")
    sys.stdout.write(f"{common} matches in common\n")


if __name__ == "__main__":
    main()
