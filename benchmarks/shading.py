"""Shading: nanoseconds per evaluation and sample of every material, and seconds to prepare an environment.

    python benchmarks/shading.py
    python benchmarks/shading.py --probe venice_sunset_1k.hdr --json

Median and spread of the runs after one that warms up; one thread by default. Beside the times stands how exact the
result is: prefiltered light against the sum over all pixels, and the noise of Monte-Carlo shading.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from measure import machine_card
from torch import Tensor

from recon3d.render.shading import (
    Bsdf,
    Environment,
    EnvironmentSampler,
    Lambert,
    MetallicRoughness,
    PrefilteredEnvironment,
    Principled,
    RoughConductor,
    RoughDielectric,
    brdf_lut,
    load_environment,
    shade_monte_carlo,
    shade_split_sum,
)

HERE = Path(__file__).resolve().parent
DATASETS = Path(os.environ.get("RECON3D_DATASETS", HERE.parents[1] / "shared" / "datasets"))


@dataclass(frozen=True)
class Benchmark:
    """Measure shading.

    Args:
        probe: an environment; without one, noise of 512 x 1024 pixels with a lamp.
        rows: directions per call.
        runs: timed runs, after one that warms up.
        threads: of torch.
        device: cpu or cuda.
        json: print JSON instead of text.
    """

    probe: Path | None = None
    rows: int = 1 << 16
    runs: int = 5
    threads: int = 1
    device: str = "cpu"
    json: bool = False


def timed(work: Callable[[], object], runs: int, device: str) -> list[float]:
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])


def materials(n: int, device: str) -> dict[str, Bsdf]:
    def spread(low: float, high: float, seed: int) -> Tensor:
        return (low + (high - low) * torch.rand(n, generator=torch.Generator().manual_seed(seed))).to(device)

    base = torch.stack([spread(0.1, 0.9, seed) for seed in range(3)], -1)
    rough, metallic = spread(0.1, 1.0, 3), spread(0.0, 1.0, 4)
    return {
        "Lambert": Lambert(base),
        "RoughConductor": RoughConductor(base, base + 2, rough**2, rough**2),
        "RoughDielectric": RoughDielectric(1.5, rough**2, rough**2),
        "MetallicRoughness": MetallicRoughness(base, rough, metallic),
        "MetallicRoughness, coat": MetallicRoughness(
            base, rough, metallic, clearcoat=metallic, clearcoat_roughness=0.1
        ),
        "Principled, coat": Principled(base, rough, metallic, clearcoat=metallic),
    }


def made(device: str) -> Environment:
    light = torch.rand(512, 1024, 3, generator=torch.Generator().manual_seed(0))
    light[100:104, 300:304] = 3000.0
    return Environment(light.to(device))


def per_row(settings: Benchmark) -> dict[str, list[float]]:
    """Nanoseconds per row."""
    n, device = settings.rows, settings.device
    source = torch.Generator().manual_seed(0)
    wi, wo = (
        torch.nn.functional.normalize(torch.rand(n, 3, generator=source) - torch.tensor([0.5, 0.5, 0]), dim=-1)
        for _ in range(2)
    )
    wi, wo, u = wi.to(device), wo.to(device), torch.rand(n, 3, generator=source).to(device)
    found = {}
    for name, material in materials(n, device).items():
        for what, work in {
            "eval": lambda m=material: m.eval(wi, wo),
            "pdf": lambda m=material: m.pdf(wi, wo),
            "sample": lambda m=material: m.sample(wi, u),
        }.items():
            found[f"{name}: {what}"] = [s / n * 1e9 for s in timed(work, settings.runs, device)]
    return found


def whole(settings: Benchmark, env: Environment) -> dict[str, list[float]]:
    """Seconds per call."""
    n, device = 4096, settings.device
    pre, sampler = PrefilteredEnvironment(env), EnvironmentSampler(env)
    normals = torch.nn.functional.normalize(torch.randn(n, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    normals = normals.to(device)
    base, one = torch.full((n, 3), 0.5, device=device), torch.full((n,), 0.5, device=device)
    material = MetallicRoughness(base, one, one)
    small = Environment(env.radiance[:: env.height // 32, :: env.width // 64].contiguous(), env.rotation)
    brdf_lut.cache_clear()
    work: dict[str, Callable[[], object]] = {
        "prefilter, 11 levels to 256 rows": lambda: PrefilteredEnvironment(env),
        "prefilter a 32 x 64 light, 64 rows": lambda: PrefilteredEnvironment(small, max_rows=64),
        "importance tables": lambda: EnvironmentSampler(env),
        "split-sum table of 128 x 128": lambda: (brdf_lut.cache_clear(), brdf_lut()),
        "split sum of 4096 points": lambda: shade_split_sum(normals, normals, base, one, one, pre),
        "Monte Carlo of 4096 points, 64 pairs": lambda: shade_monte_carlo(normals, normals, material, sampler, 64),
    }
    return {name: timed(call, settings.runs, device) for name, call in work.items()}


def quality(settings: Benchmark, env: Environment) -> dict[str, float]:
    """Relative errors: prefiltered light against the sum over all pixels, and noise against many samples."""
    normals = torch.nn.functional.normalize(torch.randn(64, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    normals = normals.to(settings.device)
    pre, found = PrefilteredEnvironment(env), {}
    own, pixels = (normals @ env.rotation).double(), env.directions().reshape(-1, 3).double()
    cosine = own @ pixels.mT
    for roughness in (0.2, 0.35, 0.5, 1.0):
        half2 = (1 + cosine) / 2
        weight = cosine.clamp_min(0) / (half2 * (roughness**4 - 1) + 1) ** 2 * env.solid_angles().double().reshape(-1)
        want = weight @ env.radiance.double().reshape(-1, 3) / weight.sum(1, keepdim=True)
        off = (pre.specular(normals, roughness).double() - want).norm() / want.norm()
        found[f"prefiltered, roughness {roughness}"] = float(off)
    material = MetallicRoughness(torch.full((64, 3), 0.5, device=settings.device), 0.4, 0.5)
    sampler = EnvironmentSampler(env)
    many = shade_monte_carlo(normals, normals, material, sampler, 8192)
    for n in (16, 64, 256):
        few = shade_monte_carlo(normals, normals, material, sampler, n, generator=torch.Generator(settings.device))
        found[f"Monte Carlo, {n} pairs"] = float((few - many).norm() / many.norm())
    return found


def main(settings: Benchmark) -> None:
    torch.set_num_threads(settings.threads)
    env = (
        made(settings.device) if settings.probe is None else load_environment(find(settings.probe)).to(settings.device)
    )
    with torch.no_grad():
        rows, calls, off = per_row(settings), whole(settings, env), quality(settings, env)
    if settings.json:
        out = {"machine": machine_card(["torch", "numpy"]), "ns_per_row": rows, "seconds": calls, "relative_error": off}
        sys.stdout.write(json.dumps(out, indent=1) + "\n")
        return
    lines = [
        machine_card(["torch", "numpy"]),
        f"{settings.threads} thread(s), {settings.rows} rows, {settings.device}; median (least - most)",
    ]
    for table, unit in ((rows, "ns"), (calls, "s")):
        lines += [f"{n:40} {statistics.median(v):10.4g} {unit} ({v[0]:.4g} - {v[-1]:.4g})" for n, v in table.items()]
    lines += [f"{name:40} {100 * value:10.3g} % off" for name, value in off.items()]
    sys.stdout.write("\n".join(lines) + "\n")


def find(path: Path) -> Path:
    """A probe by its path, or by its name among those of the data sets."""
    return path if path.exists() else DATASETS / "relight" / "hdri" / path.name


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
