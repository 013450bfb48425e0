"""Sparse convolution on voxels of a surface: rulebook, convolution and both together, forward and backward.

    python benchmarks/sparse_conv.py                        # 100,000 voxels, 3x3x3, 1 and 2 threads
    python benchmarks/sparse_conv.py --unet 124000          # and the published SparseUNet on so many voxels
    python benchmarks/sparse_conv.py --peers                # and spconv on the CPU, where it is installed

Every time is a median with its range over the runs, of the CPU and, in brackets, of the wall: on a busy machine the
second says little. Outputs are compared with plain torch in the same run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro
from measure import machine_card

from recon3d.core.kernels import threads
from recon3d.pointcloud.sparse import SparseTensor, SparseUNet, SubMConv3d, convolve, submanifold_rules


@dataclass(frozen=True)
class Benchmark:
    """Measure the sparse engine.

    Args:
        voxels: of the surface.
        channels: in and out of a layer.
        threads: numbers of threads.
        runs: of each measurement.
        unet: voxels of a run of the SparseUNet; 0 = none.
        peers: measure spconv too.
        json: print JSON instead of a table.
    """

    voxels: int = 100_000
    channels: tuple[int, ...] = (32, 96)
    threads: tuple[int, ...] = (1, 2)
    runs: int = 5
    unet: int = 0
    peers: bool = False
    json: bool = False


def surface(n: int, seed: int = 0) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Voxels (batch, i, j, k) of a wavy floor with walls, in random order, and the size of their grid."""
    side = int((n / 2) ** 0.5) + 1
    i, j = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    k = np.round(20 + 6 * np.sin(i / 17) * np.cos(j / 23)).astype(int)
    floor = np.stack([i, j, k], -1).reshape(-1, 3)
    wall = np.stack([i, np.round(side / 2 + 5 * np.sin(j / 11)).astype(int), j + 40], -1).reshape(-1, 3)
    found = np.unique(np.concatenate([floor, wall]), axis=0)
    chosen = np.random.default_rng(seed).permutation(len(found))[:n]
    rows = np.concatenate([np.zeros((len(chosen), 1), int), found[chosen]], 1).astype(np.int32)
    return torch.from_numpy(rows), (side + 96, side + 96, side + 160)


def timed(work: Callable[[], Any], runs: int) -> dict[str, float]:
    """Median, smallest and largest CPU and wall time in milliseconds; the first call is not counted."""
    work()
    found: dict[str, list[float]] = {"cpu": [], "wall": []}
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        found["cpu"].append((time.process_time() - cpu) * 1e3)
        found["wall"].append((time.perf_counter() - wall) * 1e3)
    kinds = {"median": np.median, "min": np.min, "max": np.max}
    return {f"{clock} {kind}": float(of(found[clock])) for clock in found for kind, of in kinds.items()}


def layer_times(options: Benchmark, channels: int, n_threads: int) -> dict[str, Any]:
    """Times of one layer, and how far its output is from plain torch's."""
    indices, shape = surface(options.voxels)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(len(indices), channels, generator=generator)
    layer = SubMConv3d(channels, channels, 3, bias=False)
    x = SparseTensor(indices, features, shape, 1)
    rules = submanifold_rules(x.sites, layer.window)
    weight = layer.matrices().detach()
    leaf, free = features.clone().requires_grad_(), weight.clone().requires_grad_()

    def rulebook() -> Any:
        fresh = SparseTensor(indices, features, shape, 1)
        return submanifold_rules(fresh.sites, layer.window).blocks

    def together() -> Any:
        return layer(SparseTensor(indices, features, shape, 1))

    def both_ways() -> None:
        convolve(leaf, free, rules).sum().backward()

    with threads(n_threads), torch.no_grad():
        found = {
            "rulebook": timed(rulebook, options.runs),
            "convolution": timed(lambda: convolve(features, weight, rules), options.runs),
            "together": timed(together, options.runs),
        }
        plain = convolve(features, weight, rules, "torch")
        error = float((convolve(features, weight, rules) - plain).abs().max() / plain.abs().max())
    with threads(n_threads):
        found["forward and backward"] = timed(both_ways, options.runs)
    pairs = int(rules.blocks.counts.sum())
    work = {"gflop": 2e-9 * pairs * channels**2, "neighbours": pairs / len(indices), "error": error}
    return {"channels": channels, "threads": n_threads, "times": found, **work}


def unet_times(options: Benchmark, n_threads: int) -> dict[str, Any]:
    """Time of the published network with its rulebooks, without gradients."""
    indices, shape = surface(options.unet)
    features = torch.randn(len(indices), 6, generator=torch.Generator().manual_seed(1))
    net = SparseUNet().eval()
    with threads(n_threads), torch.no_grad():
        found = timed(lambda: net(SparseTensor(indices, features, shape, 1)), options.runs)
    return {"channels": "SparseUNet", "threads": n_threads, "times": {"together": found}, "voxels": len(indices)}


def peer_times(options: Benchmark, channels: int) -> dict[str, Any]:
    """The same layer by spconv on the CPU, one thread."""
    import spconv.pytorch as spconv  # type: ignore[import-not-found]

    indices, shape = surface(options.voxels)
    features = torch.randn(len(indices), channels, generator=torch.Generator().manual_seed(1))
    layer = spconv.SubMConv3d(channels, channels, 3, bias=False, indice_key="s")
    first = layer(spconv.SparseConvTensor(features, indices, list(shape), 1))
    with torch.no_grad():
        found = {
            "convolution": timed(lambda: layer(first.replace_feature(features)), options.runs),
            "together": timed(lambda: layer(spconv.SparseConvTensor(features, indices, list(shape), 1)), options.runs),
        }
    return {"channels": f"spconv {channels}", "threads": 1, "times": found}


def results(options: Benchmark) -> Iterator[dict[str, Any]]:
    """Every row of the table as soon as it is measured."""
    for n_threads in options.threads:
        torch.set_num_threads(n_threads)
        for channels in options.channels:
            yield layer_times(options, channels, n_threads)
        if options.unet:
            yield unet_times(options, n_threads)
    torch.set_num_threads(1)
    for channels in options.channels if options.peers else ():
        yield peer_times(options, channels)


def main(options: Benchmark) -> None:
    """Measure and print."""
    if options.json:
        print(json.dumps({"machine": machine_card(), "results": list(results(options))}))
        return
    for one in results(options):
        rest = ", ".join(
            f"{name} {one[name]:.4g}" for name in ("gflop", "neighbours", "error", "voxels") if name in one
        )
        print(f"{one['channels']} channels, {one['threads']} thread(s) {rest}")
        for name, span in one["times"].items():
            cpu, wall = (
                f"{span[f'{clock} median']:8.1f} ({span[f'{clock} min']:.1f} to {span[f'{clock} max']:.1f})"
                for clock in ("cpu", "wall")
            )
            print(f"    {name:22} {cpu} ms  [{wall} ms]", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
