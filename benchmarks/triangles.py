"""Triangles on the CPU: rasterisation, interpolation, textures, antialiasing and their gradients at 512 x 512.

python benchmarks/triangles.py [numbers of triangles]

Processor times of whole calls on one thread, median and range: on a machine that does other work as well, wall times
would be those of the others. Beside them the plain torch oracle, PyTorch3D and embree (through trimesh: one ray per
pixel, closest hit, its tree built before) where they are installed. Quality of the same run: pixels whose face differs
from ours.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from measure import machine_card
from torch import Tensor

from recon3d.core.kernels import threads
from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.mesh import (
    Texture,
    antialias,
    interpolate,
    interpolate_corners,
    opposite_vertices,
    rasterize_mesh,
    uv_footprint,
)

SIZE, N_RUNS = 512, 9
COUNTS = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True, eq=False)
class Surface:
    """A bumpy ball that fills about two thirds of the picture."""

    vertices: Tensor
    faces: Tensor
    uvs: Tensor
    cameras: CameraTensors


def surface(n_triangles: int) -> Surface:
    rings = round(math.sqrt(n_triangles / 4))
    around = 2 * rings
    theta, phi = torch.meshgrid(
        torch.linspace(0, math.pi, rings + 1), torch.arange(around) * (2 * math.pi / around), indexing="ij"
    )
    ball = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1).reshape(-1, 3)
    vertices = ball * (1 + 0.1 * torch.sin(5 * ball[:, :1]))
    i, j = torch.meshgrid(torch.arange(rings), torch.arange(around), indexing="ij")
    a, b = i * around + j, i * around + (j + 1) % around
    faces = torch.stack([torch.stack([a, a + around, b], -1), torch.stack([b, a + around, b + around], -1)]).reshape(
        -1, 3
    )
    uvs = (ball[:, :2] / 2 + 0.5)[faces]
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[1.0, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    pose[2, 3] = 2.3
    K = torch.tensor([[500.0, 0, SIZE / 2], [0, 500, SIZE / 2], [0, 0, 1]])
    return Surface(vertices.contiguous(), faces.int().contiguous(), uvs, CameraTensors(pose[None], K[None], SIZE, SIZE))


def timed(work: Callable[[], object], n_runs: int = N_RUNS) -> tuple[float, str]:
    """Return the least processor time in milliseconds, and a text with median and range."""
    work()
    times = []
    for _ in range(n_runs):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) * 1e3)
    return min(times), f"{statistics.median(times):8.1f} ({min(times):7.1f} to {max(times):7.1f}) ms"


def report(n_triangles: int) -> None:
    """Print what one mesh takes."""
    scene = surface(n_triangles)
    seen = rasterize_mesh(scene.vertices, scene.faces, scene.cameras)
    covered = float(seen.mask.float().mean())
    write(f"\n{len(scene.faces)} triangles, {SIZE} x {SIZE}, {covered:.0%} of the pixels covered, one thread")
    for name, work in steps(scene).items():
        least, text = timed(work)
        rate = f"   {len(scene.faces) / least / 1e3:6.1f} Mtriangles/s" if name == "rasterise" else ""
        write(f"  {name:34s} {text}{rate}")
    oracle(scene)
    embree(scene)


def steps(scene: Surface) -> dict[str, Callable[[], object]]:
    vertices, faces, cameras = scene.vertices.clone().requires_grad_(), scene.faces, scene.cameras
    colours = torch.rand(len(vertices), 3, requires_grad=True)
    texels = torch.rand(1024, 1024, 3, requires_grad=True)
    texture = Texture.of(texels.detach())
    edges = opposite_vertices(faces, len(vertices))
    seen = rasterize_mesh(scene.vertices, faces, cameras)
    image = interpolate(colours.detach(), faces, seen)
    uv, footprint = interpolate_corners(scene.uvs, seen), uv_footprint(scene.uvs, seen, scene.vertices, faces, cameras)

    def picture() -> Tensor:
        found = rasterize_mesh(vertices, faces, cameras)
        return antialias(interpolate(colours, faces, found), found, vertices, faces, cameras, opposite=edges)

    return {
        "rasterise": lambda: rasterize_mesh(scene.vertices, faces, cameras),
        "interpolate 3 channels": lambda: interpolate(colours.detach(), faces, seen),
        "UV footprints": lambda: uv_footprint(scene.uvs, seen, scene.vertices, faces, cameras),
        "sample 1024 x 1024 x 3, trilinear": lambda: texture.sample(uv, footprint),
        "  with mips built, and backward": lambda: torch.autograd.grad(
            Texture.of(texels).sample(uv, footprint).sum(), texels
        ),
        "antialias": lambda: antialias(image, seen, scene.vertices, faces, cameras, opposite=edges),
        "edges of the mesh, once": lambda: opposite_vertices(faces, len(vertices)),
        "picture (colours, antialiased)": torch.no_grad()(picture),
        "picture and backward": lambda: torch.autograd.grad(picture().square().sum(), [vertices, colours]),
    }


def oracle(scene: Surface) -> None:
    """Print what plain torch takes, and how many pixels differ."""
    ours = rasterize_mesh(scene.vertices, scene.faces, scene.cameras)
    for backend in ("torch", *(("pytorch3d",) if find_spec("pytorch3d") else ())):
        draw = lambda: rasterize_mesh(scene.vertices, scene.faces, scene.cameras, backend=backend)  # noqa: B023, E731
        differ = int((draw().face != ours.face).sum())
        write(f"  {'rasterise, ' + backend:34s} {timed(draw, 3)[1]}   {differ} pixels differ")
    if not find_spec("pytorch3d"):
        write("  PyTorch3D is not installed")


def embree(scene: Surface) -> None:
    """Print what one ray per pixel takes with embree, and how many pixels differ."""
    if not (find_spec("embreex") or find_spec("pyembree")):
        write("  embree is not installed (pip install embreex)")
        return
    import trimesh

    pose, K = scene.cameras.cam_from_world[0].double().numpy(), scene.cameras.K[0].double().numpy()
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    rays = (
        np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1).reshape(-1, 3) @ pose[:3, :3]
    )
    origins = np.broadcast_to(-pose[:3, :3].T @ pose[:3, 3], rays.shape)
    mesh = trimesh.Trimesh(scene.vertices.numpy(), scene.faces.numpy(), process=False)
    cast = lambda: mesh.ray.intersects_first(origins, rays)  # noqa: E731
    ours = rasterize_mesh(scene.vertices, scene.faces, scene.cameras).face.numpy().reshape(-1)
    differ = int((cast() != ours).sum())
    write(f"  {'embree, closest hit':34s} {timed(cast, 5)[1]}   {differ} pixels differ")


def write(text: str) -> None:
    """Print one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print the tables of the numbers of triangles that are given, or of all."""
    torch.set_num_threads(1)
    write(machine_card(["recon3d", "numba", "numpy", "torch"]))
    with threads(1):
        for count in [int(each) for each in sys.argv[1:]] or COUNTS:
            report(count)


if __name__ == "__main__":
    main()
