"""Gaussian splatting on the CPU: projection, tiles, blending and their gradients, on random anisotropic scenes.

python benchmarks/gaussians.py [names of scenes]

Times are wall times of whole calls, median and range; on a machine that does other work as well, look at the least.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from gaussian_scenes import RandomScene, SceneOptions, count_pairs, random_scene
from measure import machine_card

from recon3d.core.budget import cpu_count
from recon3d.core.kernels import threads
from recon3d.render.gaussians import cpu, reference, reference_raster
from recon3d.render.gaussians.cpu_forward import blend
from recon3d.render.gaussians.cpu_scene import Splats, TiledScene, tile_scene
from recon3d.render.gaussians.options import ProjectionOptions, RasterOptions

N_RUNS = 9
SCENES = {
    "1k": SceneOptions(1_000, 512, 512, 5.4),
    "10k": SceneOptions(10_000, 512, 512, 2.6),
    "100k": SceneOptions(100_000, 512, 512, 1.33),
    "300k": SceneOptions(300_000, 512, 512, 0.95),
    "1m": SceneOptions(1_000_000, 512, 512, 0.6),
    "spec50k": SceneOptions(50_000, 768, 512, 4.2),
    "spec200k": SceneOptions(200_000, 768, 512, 2.05),
    "spec1m": SceneOptions(1_000_000, 768, 512, 0.9),
}
OPTIONS, RASTER = ProjectionOptions(), RasterOptions()


def project(home: Any, scene: RandomScene) -> Any:
    """Project a scene with one of the back ends."""
    shape = (scene.means, scene.quats, scene.log_scales, scene.cam_from_world, scene.K, scene.width, scene.height)
    return home.project(*shape, opacities=scene.opacities.detach(), options=OPTIONS)


def render(home: Any, raster: Any, scene: RandomScene) -> Any:
    """Render a scene with one of the back ends."""
    arguments = (project(home, scene), scene.opacities, scene.colours, scene.width, scene.height)
    return raster.rasterize_projected(*arguments, options=RASTER)


def differentiable(scene: RandomScene) -> list[torch.Tensor]:
    """Make a scene's Gaussians require gradients, and return them."""
    leaves = [scene.means, scene.quats, scene.log_scales, scene.opacities, scene.colours]
    return [leaf.requires_grad_() for leaf in leaves]


def tiled(scene: RandomScene) -> TiledScene:
    """Return the tile lists of a scene."""
    with torch.no_grad():
        seen = project(cpu, scene)
    values = (seen.means2d, seen.conics, seen.depths, seen.radii, scene.opacities.detach(), scene.colours.detach())
    return tile_scene(Splats(*(value.numpy() for value in values)), scene.width, scene.height, RASTER)


def timed(work: Callable[[], object], n_runs: int = N_RUNS) -> tuple[float, str]:
    """Return the least wall time in milliseconds, and a text with median and range."""
    work()
    times = []
    for _ in range(n_runs):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return min(times), f"{statistics.median(times):7.1f} ({min(times):6.1f} to {max(times):6.1f})"


def report(name: str) -> None:
    """Print what one scene takes, on one thread and on all cores."""
    options = SCENES[name]
    scene = random_scene(options)
    lists = tiled(scene)
    counts = count_pairs(lists)
    write(f"\n{name}: {options.n} Gaussians, {scene.width}x{scene.height}, {len(lists.visible)} visible")
    write(f"  {counts.tile_pairs} pairs with tiles, {counts.in_boxes} with pixels in boxes, {counts.blended} blended")
    leaves, cotangent = differentiable(scene), torch.rand(scene.height, scene.width, 3)
    background = torch.zeros(3).numpy()
    steps: dict[str, Callable[[], object]] = {
        "projection": torch.no_grad()(lambda: project(cpu, scene)),
        "tile lists": lambda: tiled(scene),
        "blending": lambda: blend(lists, background),
        "forward": torch.no_grad()(lambda: render(cpu, cpu, scene)),
        "forward and backward": lambda: torch.autograd.grad((render(cpu, cpu, scene)[0] * cotangent).sum(), leaves),
    }
    for step, work in steps.items():
        texts = []
        for n_threads in sorted({1, cpu_count()}):
            with threads(n_threads):
                texts.append(f"{n_threads} thread{'s' * (n_threads > 1)} {timed(work)[1]} ms")
        write(f"  {step:21s} {'   '.join(texts)}")


def accuracy() -> None:
    """Print how far picture and gradients of 2,000 Gaussians are from the oracle, and what plain torch takes."""
    scene = random_scene(SceneOptions(2_000, 256, 192, 5.0))
    cotangent = torch.rand(scene.height, scene.width, 3)
    doubled = RandomScene(
        *(value.double() for value in vars(scene).values() if isinstance(value, torch.Tensor)), 256, 192
    )
    results = []
    for home, raster, given in ((reference, reference_raster, doubled), (cpu, cpu, scene)):
        leaves = differentiable(given)
        image = render(home, raster, given)[0]
        results.append([image, *torch.autograd.grad((image * cotangent.to(image.dtype)).sum(), leaves)])
    image, *grads = ((got.double() - wanted).abs() for wanted, got in zip(*results, strict=True))
    norms = [float(grad.norm() / wanted.norm()) for grad, wanted in zip(grads, results[0][1:], strict=True)]
    write(f"\n2k against the oracle in float64: image max {image.max():.1e} mean {image.mean():.1e};")
    write(
        "  gradients of means, quats, log_scales, opacities, colours, relative: " + " ".join(f"{n:.0e}" for n in norms)
    )
    for text, home, raster in (("plain torch", reference, reference_raster), ("numba", cpu, cpu)):
        with threads(1):
            both = lambda: torch.autograd.grad((render(home, raster, scene)[0] * cotangent).sum(), leaves)  # noqa: B023, E731
            write(f"  {text:12s} forward and backward {timed(both, 3)[1]} ms, float32, one thread")


def compilation() -> None:
    """Print how long the first forward and backward takes in a fresh process with an empty cache of kernels."""
    with tempfile.TemporaryDirectory() as cache:
        code = "import gaussians as g; s = g.random_scene(g.SceneOptions(100, 64, 64, 2.0)); l = g.differentiable(s); "
        code += "g.torch.autograd.grad(g.render(g.cpu, g.cpu, s)[0].sum(), l)"
        for text in ("first", "second"):
            start = time.perf_counter()
            folder = os.path.dirname(os.path.abspath(__file__))
            subprocess.run(
                [sys.executable, "-c", code], check=True, cwd=folder, env=os.environ | {"NUMBA_CACHE_DIR": cache}
            )
            write(
                f"{text} process, with imports and one small forward and backward: {time.perf_counter() - start:.1f} s"
            )


def write(text: str) -> None:
    """Print one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print the tables of the scenes that are named, or of all."""
    torch.set_num_threads(1)
    write(machine_card(["recon3d", "numba", "numpy", "torch"]))
    compilation()
    accuracy()
    for name in sys.argv[1:] or SCENES:
        report(name)


if __name__ == "__main__":
    main()
