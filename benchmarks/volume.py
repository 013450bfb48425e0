"""Speed of volume rendering on one core: compositing in a rectangle and in one row, and marching in an occupancy grid.

    python benchmarks/volume.py [--rays 4096] [--samples 128] [--runs 7] [--json]

Every figure is the median of several runs with the smallest and the largest; cases are measured in turn. The rectangle
and the row hold the same samples, so their ratio is what the row costs when nothing is skipped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from measure import machine_card
from torch import Tensor

from recon3d.core.kernels import threads
from recon3d.render.rays import Rays
from recon3d.render.volume import (
    FieldValues,
    MarchOptions,
    OccupancyGrid,
    Packing,
    VolumeOptions,
    accumulate,
    march,
    marching,
    opacity,
    render_rays,
    trilinear,
    weights_from_density,
)

Case = Callable[[], Any]


def compositing(n_rays: int, n_samples: int, *, packed: bool) -> tuple[Case, Case]:
    """Weights, three colours and opacity of random densities: forward, and forward with backward."""
    generator = torch.Generator().manual_seed(0)
    density = (torch.rand(n_rays, n_samples, generator=generator) * 4).requires_grad_()
    deltas = torch.full((n_rays, n_samples), 1.0 / n_samples)
    colours = torch.rand(n_rays, n_samples, 3, generator=generator).requires_grad_()
    packing = Packing.of_counts(torch.full((n_rays,), n_samples)) if packed else None

    def flat(value: Tensor) -> Tensor:
        return value.flatten(0, 1) if packed else value

    def forward() -> Tensor:
        weights = weights_from_density(flat(density), flat(deltas), packing).weights
        return accumulate(weights, flat(colours), packing).sum() + opacity(weights, packing).sum()

    return forward, lambda: forward().backward()


def looking_inwards(n_rays: int) -> Rays:
    generator = torch.Generator().manual_seed(1)
    origins = 3 * torch.nn.functional.normalize(torch.randn(n_rays, 3, generator=generator), dim=-1)
    aims = torch.rand(n_rays, 3, generator=generator) - 0.5
    return Rays(origins, torch.nn.functional.normalize(aims - origins, dim=-1))


def shell(resolution: int) -> OccupancyGrid:
    """Cells that a sphere of radius 0.7 passes through, a few percent of all."""
    grid = OccupancyGrid.full(torch.full((3,), -1.0), torch.full((3,), 1.0), resolution)
    cells = grid.cells_to_update(warm_up=True)
    return grid.updated(cells, lambda points: ((points.norm(dim=-1) - 0.7).abs() < 2.0 / resolution).float())


def grid_rendering(n_rays: int, n_samples: int) -> tuple[Case, Case]:
    """A trilinear grid of 64 nodes a side, rendered whole."""
    nodes = torch.randn(1, 4, 64, 64, 64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    rays, box = looking_inwards(n_rays), (torch.full((3,), -1.0), torch.full((3,), 1.0))

    def field(positions: Tensor, _: Tensor) -> FieldValues:
        values = trilinear(nodes, positions[None])[0]
        return FieldValues(rgb=values[:, 1:], density=values[:, 0].abs())

    def forward() -> Tensor:
        rgb = render_rays(rays, field, VolumeOptions(n_samples=n_samples), box=box).rgb
        return torch.zeros(()) if rgb is None else rgb.sum()

    return forward, lambda: forward().backward()


def milliseconds(cases: dict[str, Case], runs: int) -> dict[str, list[float]]:
    """Times of each case, in turn, after one run that compiles."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for run in range(runs + 1):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            if run:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def row(name: str, times: list[float], **more: Any) -> dict[str, Any]:
    spread = {"ms": statistics.median(times), "least": min(times), "most": max(times)}
    return {"case": name, **{key: round(value, 2) for key, value in spread.items()}, **more}


def measure_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    size = options.rays, options.samples
    dense, dense_both = compositing(*size, packed=False)
    packed, packed_both = compositing(*size, packed=True)
    grid, grid_both = grid_rendering(*size)
    rays, cells, step = looking_inwards(options.rays), shell(128), MarchOptions(2.0 / 1024)
    full = OccupancyGrid.full(cells.lower, cells.upper, 128)
    job = marching._Job.of(rays, cells, torch.zeros(options.rays).double(), step)
    cases: dict[str, Case] = {
        "dense, forward": dense,
        "packed, forward": packed,
        "dense, forward and backward": dense_both,
        "packed, forward and backward": packed_both,
        "whole rendering of a grid, forward": grid,
        "whole rendering of a grid, forward and backward": grid_both,
        "marching, shell": lambda: march(rays, cells, step),
        "marching, all occupied": lambda: march(rays, full, step),
        "marching, shell, in torch": lambda: marching.march_torch(job),
    }
    times = milliseconds(cases, options.runs)
    rows = [row(name, values) for name, values in times.items()]
    found = {"marching, shell": march(rays, cells, step), "marching, all occupied": march(rays, full, step)}
    found["marching, shell, in torch"] = found["marching, shell"]
    steps = len(found["marching, all occupied"])
    for one in rows:
        if one["case"] in found:
            n = len(found[one["case"]])
            one |= {
                "samples": n,
                "Msamples/s": round(n / one["ms"] / 1e3, 1),
                "Msteps/s": round(steps / one["ms"] / 1e3),
            }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rays", type=int, default=4096)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threads(1):
        rows = measure_all(options)
    if options.json:
        json.dump({"machine": machine_card(["torch", "numba"]), "rows": rows}, sys.stdout)
        return
    names = ("case", "ms", "least", "most", "samples", "Msamples/s", "Msteps/s")
    sys.stdout.write(" | ".join(names) + "\n")
    for one in rows:
        sys.stdout.write(" | ".join(str(one.get(name, "-")) for name in names) + "\n")


if __name__ == "__main__":
    main()
