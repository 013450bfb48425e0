"""Seconds and memory of the operations on a large cloud, each in a process of its own.

    python benchmarks/large_cloud.py --points 10000000

The cloud is made: ground with unevenness, walls and scattered points, a tenth of them repeated. Memory is the greatest
resident size while the operation runs beyond that just before it (Linux: VmHWM, which is set back to VmRSS). Loading
therefore counts the cloud itself (28 bytes per point); the other operations count what they need beyond it.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
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


def resident_bytes(field: str) -> int:
    """Return VmRSS (now) or VmHWM (the most so far); ru_maxrss would count the parent before exec, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def started() -> tuple[float, int]:
    """Return the time and the resident size, from which the greatest one is counted anew."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return time.perf_counter(), resident_bytes("VmRSS")


def measure(name: str, path: Path, results: multiprocessing.Queue) -> None:
    small = made_cloud(1000)  # kernels are compiled and modules imported before it counts
    save(path.with_name(f"small{path.suffix}"), small)
    load(path.with_name(f"small{path.suffix}"))
    begin, before = started()
    cloud = load(path)
    if name in OPERATIONS:
        OPERATIONS[name](small)
        begin, before = started()
        OPERATIONS[name](cloud)
    seconds = time.perf_counter() - begin
    results.put((seconds, resident_bytes("VmHWM") - before))


def write(path: Path, n_points: int) -> None:
    save(path, made_cloud(n_points))


def in_own_process(
    context: multiprocessing.context.SpawnContext, function: Callable[..., None], *values: object
) -> None:
    process = context.Process(target=function, args=values)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{function.__name__} failed with {process.exitcode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000_000)
    n_points = parser.parse_args().points
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        files = {f"load {suffix}": Path(folder) / f"cloud.{suffix}" for suffix in ("npy", "pcd")}
        for path in files.values():
            in_own_process(context, write, path, n_points)
        for name in (*files, *OPERATIONS):
            results = context.Queue()
            in_own_process(context, measure, name, files.get(name, files["load npy"]), results)
            seconds, n_bytes = results.get()
            per_point = n_bytes / n_points
            print(f"{name:24} {seconds:8.2f} s {n_bytes / 2**20:8.0f} MiB {per_point:6.0f} bytes/point", flush=True)


if __name__ == "__main__":
    main()
