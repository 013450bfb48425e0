"""Seconds and memory of the operations on a large cloud, each in a process of its own.

    python benchmarks/large_cloud.py --points 10000000

The cloud is made: ground with unevenness, walls and scattered points, a tenth of them repeated. Memory is the greatest
resident size beyond that of the process when the cloud is there (of the whole process for loading).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recon3d.pointcloud.clouds import (
    PointCloud,
    estimate_normals,
    find_ground,
    load,
    save,
    statistical_inliers,
    voxel_downsample,
)


def made_cloud(n_points: int) -> PointCloud:
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-100, 100, (n_points, 3))
    kind = rng.integers(0, 10, n_points)
    xyz[kind < 6, 2] = rng.normal(0, 0.03, int((kind < 6).sum()))
    xyz[kind == 6, 0] = np.rint(xyz[kind == 6, 0] / 20) * 20
    xyz[:, 2] = np.clip(xyz[:, 2], -1, 15)
    xyz[n_points - n_points // 10 :] = xyz[: n_points // 10]
    return PointCloud(xyz=xyz, attributes={"intensity": rng.random(n_points, np.float32)})


OPERATIONS: dict[str, Callable[[PointCloud], object]] = {
    "voxel_downsample 0.2 m": lambda cloud: voxel_downsample(cloud, 0.2),
    "find_ground": find_ground,
    "statistical_inliers": statistical_inliers,
    "estimate_normals": estimate_normals,
}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(name: str, path: Path, results: multiprocessing.Queue) -> None:
    before = peak_bytes()
    begin = time.perf_counter()
    cloud = load(path)
    if name in OPERATIONS:
        before, begin = peak_bytes(), time.perf_counter()
        OPERATIONS[name](cloud)
    results.put((time.perf_counter() - begin, peak_bytes() - before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000_000)
    n_points = parser.parse_args().points
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        files = {f"load {suffix}": Path(folder) / f"cloud.{suffix}" for suffix in ("npy", "pcd")}
        for path in files.values():
            save(path, made_cloud(n_points))
        for name in (*files, *OPERATIONS):
            results = context.Queue()
            process = context.Process(target=measure, args=(name, files.get(name, files["load npy"]), results))
            process.start()
            seconds, n_bytes = results.get()
            process.join()
            print(f"{name:24} {seconds:8.2f} s {n_bytes / 2**20:8.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
