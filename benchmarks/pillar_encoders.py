"""FlatFormer's encoder beside rivals of equal width and depth on the same clouds in the same run, and its detector.

    python benchmarks/pillar_encoders.py                    # encoders, one thread
    python benchmarks/pillar_encoders.py --latency          # and the stages of the whole detector, one and two threads

Real scans come from RECON3D_DATASETS (default ../shared/datasets) where they are, others are generated streets. Runs
of the rivals alternate, so that load from elsewhere hits all alike; CPU time stands beside wall time for the same
reason. Times hold everything from the pillars' cells on: sorting, rulebooks, windows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from measure import machine_card
from pillar_rivals import SST_WINDOW, PaddedWindowEncoder, SparsePillarEncoder, SparseVoxelEncoder, convolution_flops
from torch import Tensor, nn

from recon3d.core.kernels import threads
from recon3d.formats.kitti import read_kitti_points
from recon3d.pointcloud.flatformer import (
    EncoderOptions,
    FlatFormerEncoder,
    PillarDetector,
    PillarGrid,
    detector_options,
    prepare_points,
)
from recon3d.pointcloud.flatformer.bev import scatter_bev
from recon3d.pointcloud.flatformer.pillars import cell_indices, pillarize
from recon3d.pointcloud.flatformer.points import crop_points
from recon3d.pointcloud.flatformer.windows import layer_orders
from recon3d.pointcloud.worlds import StreetOptions, generate_street

DATASETS = Path(os.environ.get("RECON3D_DATASETS", Path(__file__).resolve().parents[2] / "shared" / "datasets"))
SCANS = {
    "KITTI 000008, front": ("kitti/velodyne_reduced/000008.bin", 4),
    "nuScenes": ("nuscenes/n015-2018-07-24-11-22-45+0800__LIDAR_TOP__1532402927647951.pcd.bin", 5),
    "SemanticKITTI": ("semantickitti/velodyne/000000.bin", 4),
}
GRID = PillarGrid(lower=(-74.88, -74.88, -4.0), upper=(74.88, 74.88, 2.0))  # the released map, lower by a car's roof
VOXEL = (0.1, 0.1, 0.15)
Work = Callable[[], Any]


@dataclass(frozen=True)
class Benchmark:
    """Measure encoders of pillars.

    Args:
        runs: of each measurement.
        threads: of the encoders.
        streets: generated clouds.
        latency: measure the stages of the detector too.
        encoders: measure the encoders.
    """

    runs: int = 5
    threads: int = 1
    streets: int = 1
    latency: bool = False
    encoders: bool = True


@dataclass(frozen=True)
class Span:
    """Times of some runs in milliseconds, with the CPU's beside the wall's."""

    wall: list[float]
    cpu: list[float]

    def __str__(self) -> str:
        wall, cpu = sorted(self.wall), sorted(self.cpu)
        return " ".join(f"{np.median(one):8.1f} ({one[0]:.1f} to {one[-1]:.1f})" for one in (cpu, wall))


def alternating(works: dict[str, Work], runs: int) -> dict[str, Span]:
    """Times of each, in turn; the first round is not counted."""
    found = {name: Span([], []) for name in works}
    with torch.inference_mode():
        for number in range(runs + 1):
            for name, work in works.items():
                wall, cpu = time.perf_counter(), time.process_time()
                work()
                if number:
                    found[name].cpu.append((time.process_time() - cpu) * 1e3)
                    found[name].wall.append((time.perf_counter() - wall) * 1e3)
    return found


def clouds(streets: int) -> Iterator[tuple[str, Tensor]]:
    """Name and points (x, y, z, intensity) of each cloud."""
    for name, (path, columns) in SCANS.items():
        if (file := DATASETS / "pointclouds" / path).is_file():
            yield name, torch.from_numpy(read_kitti_points(file, columns)[:, :4].copy())
    for seed in range(streets):
        cloud = generate_street(seed, StreetOptions(beams="64")).cloud
        rows = np.concatenate([cloud.xyz, cloud.attributes["intensity"][:, None]], 1)
        yield f"street {seed}, 64 beams", torch.from_numpy(rows.astype(np.float32))


def parameters(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def attention_flops(places: int, size: float, pillars: int, projected: int, c: int) -> float:
    """Of one layer: projections, attention, feed-forward part (spec of FlatFormer, section 3.4)."""
    return 8.0 * projected * c**2 + 4.0 * places * size * c + 8.0 * pillars * c**2


def flatformer_flops(encoder: FlatFormerEncoder, coords: Tensor) -> float:
    n, options = len(coords), encoder.options
    runs = [run for order in layer_orders(coords, 1, options).values() for run in order.runs]
    return options.blocks * sum(attention_flops(k * size, size, n, n, options.channels) for k, size in runs)


def padded_flops(encoder: PaddedWindowEncoder, coords: Tensor, *, lean: bool) -> float:
    n, total, c = len(coords), 0.0, encoder.options.channels
    for order in encoder.orders(coords, 1).values():
        attention = sum(4.0 * one.numel() * one.shape[1] * c for one in order.slots)
        total += attention + 8.0 * (n if lean else order.padded) * c**2 + 8.0 * n * c**2
    return total * len(encoder.layers) / 2


def voxels(points: Tensor) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
    """Voxels (sample, z, y, x), their mean points, and the size of their grid, for the 3D rival."""
    grid = PillarGrid(lower=(-74.9, -74.9, -4.0), upper=(74.9, 74.9, 2.0), size=VOXEL)
    kept = crop_points(points, grid)
    cells, row = cell_indices(kept[:, :3], grid).flip(1).unique(dim=0, return_inverse=True)
    count = torch.bincount(row)[:, None]
    mean = torch.zeros(len(cells), kept.shape[1]).index_add_(0, row, kept) / count
    nx, ny, nz = grid.shape
    return torch.cat([torch.zeros_like(cells[:, :1]), cells], 1), mean, (nz + 1, ny, nx)


def compare(name: str, points: Tensor, options: Benchmark) -> None:
    """Print one line for each encoder on a cloud."""
    pillars = pillarize([crop_points(points, GRID)], GRID)
    coords, size = pillars.coords, EncoderOptions(cells=GRID.shape[:2])
    x = torch.randn(len(coords), size.channels, generator=torch.Generator().manual_seed(0))
    windows = EncoderOptions(cells=GRID.shape[:2], window=SST_WINDOW)
    fine, mean, shape = voxels(points)
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {
        "FlatFormer": FlatFormerEncoder(size),
        "sparse pillars, 8 blocks": SparsePillarEncoder(size.channels, 4 * size.blocks, size.cells),
        "CenterPoint's 3D voxels": SparseVoxelEncoder(4, shape),
        "padded windows (SST)": PaddedWindowEncoder(windows),
        "padded, lean projections": PaddedWindowEncoder(windows, lean=True),
    }
    inputs = {one: (fine, mean) if "3D" in one else (coords, x) for one in networks}
    flops = {one: convolution_flops(networks[one], *inputs[one]) for one in networks if "3D" in one or "sparse" in one}
    flops["FlatFormer"] = flatformer_flops(networks["FlatFormer"], coords)  # type: ignore[arg-type]
    for one, lean in (("padded windows (SST)", False), ("padded, lean projections", True)):
        flops[one] = padded_flops(networks[one], coords, lean=lean)  # type: ignore[arg-type]
    works = {one: _bound(network.eval(), *inputs[one]) for one, network in networks.items()}
    with threads(options.threads):
        spans = alternating(works, options.runs)
    print(
        f"{name}: {len(pillars.points)} points, {len(coords)} pillars, {len(fine)} voxels; {options.threads} thread(s)"
    )
    ours = np.median(spans["FlatFormer"].cpu)
    for one, span in spans.items():
        card = f"{parameters(networks[one]) / 1e6:5.2f} M {flops[one] / 1e9:6.1f} GFLOP"
        print(f"    {one:26} {card} {span}   {np.median(span.cpu) / ours:5.2f} x", flush=True)


def _bound(network: nn.Module, coords: Tensor, features: Tensor) -> Work:
    return lambda: network(coords, features, 1)


def stage_times(config: str, points: Tensor, runs: int) -> dict[str, Span]:
    """Times of the stages of a whole untrained detector on one cloud."""
    options = detector_options(config)
    torch.manual_seed(0)
    network = PillarDetector(options).eval()
    zeros = torch.zeros(len(points), max(0, options.columns - points.shape[1]))
    kept: dict[str, Any] = {}

    def vfe() -> None:
        kept["pillars"] = pillarize([prepare_points(torch.cat([points, zeros], 1), options)], options.grid)
        kept["features"] = network.voxel_encoder(kept["pillars"])

    def encoder() -> None:
        kept["encoded"] = network.middle_encoder(kept["pillars"].coords, kept["features"], 1)

    def bev() -> None:
        canvas = scatter_bev(kept["pillars"].coords, kept["encoded"], 1, options.grid.bev)
        kept["bev"] = network.neck(network.backbone(canvas))

    def head() -> None:
        kept["maps"] = network.bbox_head(kept["bev"])

    def decode() -> None:
        network.decode(kept["maps"])

    works = {"points, VFE": vfe, "encoder": encoder, "2D network": bev, "head": head, "decode": decode}
    return alternating(works, runs)


def latency(options: Benchmark) -> None:
    """Print the stages on a KITTI frame (its own grid) and on a full sweep (the released one), 1 and 2 threads."""
    found = dict(clouds(1))
    frame = next(iter(found.values()))
    sweep = found.get("SemanticKITTI", list(found.values())[-1])
    lifted = sweep + torch.tensor([0, 0, 1.73, 0])  # the released grid has its zero on the ground
    for config, points in (("flatformer-kitti", frame), ("flatformer-waymo-1f", lifted)):
        for n in (1, 2):
            torch.set_num_threads(n)
            with threads(n):
                spans = stage_times(config, points, options.runs)
            print(f"{config}, {len(points)} points, {n} thread(s)")
            for name, span in spans.items():
                print(f"    {name:26} {span}", flush=True)
            print(f"    {'all':26} {sum(np.median(one.cpu) for one in spans.values()):8.1f}", end=" ")
            print(f"{sum(np.median(one.wall) for one in spans.values()):8.1f}", flush=True)


def main(options: Benchmark) -> None:
    """Measure and print."""
    print(machine_card(["torch", "numba"]))
    print("milliseconds: CPU median (smallest to largest), wall median (smallest to largest)")
    torch.set_num_threads(options.threads)
    if options.encoders:
        for name, points in clouds(options.streets):
            compare(name, points, options)
    if options.latency:
        latency(options)


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
