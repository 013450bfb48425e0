"""Rays per second of one core: our hierarchy and, where it is installed, embree, on the same rays.

    python benchmarks/rays.py [--spot FOLDER/spot.obj] [--json]

Every figure is the median of several runs, interleaved between the two; the ratio is ours over embree's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import machine_card

from recon3d.core.kernels import threads
from recon3d.render.raytrace import Bvh

try:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
except ImportError:
    TriangleMesh = EmbreeScene = None

RUNS = 5


class Case(NamedTuple):
    name: str
    vertices: np.ndarray
    faces: np.ndarray


def grid_faces(rows: int, columns: int) -> np.ndarray:
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    quads = np.stack([corner, corner + columns, corner + columns + 1, corner + 1], axis=1)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def bumpy_sphere(rows: int) -> Case:
    """A sphere with bumps of several sizes: one closed surface of small triangles."""
    theta = np.linspace(0, np.pi, rows)[:, None]
    phi = np.linspace(0, 2 * np.pi, 2 * rows)[None]
    radius = 1 + 0.1 * np.sin(7 * theta) * np.sin(5 * phi) + 0.03 * np.sin(31 * theta) * np.cos(29 * phi)
    way = np.stack(np.broadcast_arrays(np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)), -1)
    faces = grid_faces(rows, 2 * rows)
    return Case(f"bumpy sphere, {len(faces):,} triangles", (way * radius[..., None]).reshape(-1, 3), faces)


def loose_triangles(count: int) -> Case:
    """Triangles of all directions and many sizes in a ball: no surface, many boxes overlap."""
    rng = np.random.default_rng(3)
    middle = rng.normal(size=(count, 1, 3)) * 0.4
    vertices = middle + rng.normal(size=(count, 3, 3)) * rng.lognormal(-4.0, 0.7, (count, 1, 1))
    return Case(
        f"loose, {count:,} triangles", vertices.reshape(-1, 3), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    )


def wavefront_obj(path: Path) -> Case:
    lines = [line.split() for line in path.read_text().splitlines()]
    vertices = np.array([line[1:4] for line in lines if line[:1] == ["v"]], dtype=np.float64)
    rows = [[int(word.split("/")[0]) - 1 for word in line[1:]] for line in lines if line[:1] == ["f"]]
    faces = [(row[0], row[k], row[k + 1]) for row in rows for k in range(1, len(row) - 1)]
    return Case(f"{path.stem}, {len(faces):,} triangles", vertices, np.array(faces, dtype=np.int32))


def primary_rays(case: Case, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The rays of a camera that sees the whole mesh, pixel after pixel."""
    low, high = case.vertices.min(axis=0), case.vertices.max(axis=0)
    middle, radius = (low + high) / 2, np.linalg.norm(high - low) / 2
    across = (np.arange(size) + 0.5) / size - 0.5
    x, y = np.meshgrid(across, across)
    directions = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    origins = np.broadcast_to(middle - [0, 0, 2.2 * radius], directions.shape)
    return np.ascontiguousarray(origins, np.float32), directions.astype(np.float32)


def bounced_rays(case: Case, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rays from random points of the surface in random directions: no two neighbours have anything in common."""
    rng = np.random.default_rng(5)
    corners = case.vertices[case.faces[rng.integers(0, len(case.faces), count)]]
    weights = rng.dirichlet([1, 1, 1], count)
    directions = rng.normal(size=(count, 3))
    origins = (corners * weights[..., None]).sum(axis=1) + 1e-4 * directions
    return origins.astype(np.float32), directions.astype(np.float32)


def seconds(run: Callable[[], object]) -> float:
    """Time of the processor, since all runs have one thread and other programs may want the core as well."""
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(runs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(RUNS):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return times


def measure_case(case: Case, n_rays: int) -> list[dict[str, object]]:
    rows = []
    start = time.process_time()
    ours = Bvh(case.vertices, case.faces)
    build = time.process_time() - start
    theirs = None
    if EmbreeScene is not None:
        theirs = EmbreeScene()
        TriangleMesh(theirs, case.vertices.astype(np.float32)[case.faces])
    size = int(n_rays**0.5)
    for kind, (origins, directions) in {
        "primary": primary_rays(case, size),
        "incoherent": bounced_rays(case, size * size),
    }.items():
        for query, call, word in (("closest", ours.closest_hit, "INTERSECT"), ("any", ours.any_hit, "OCCLUDED")):
            runs: dict[str, Callable[[], object]] = {"ours": partial(call, origins, directions)}
            if theirs is not None:
                runs["embree"] = partial(theirs.run, origins, directions, query=word)
            times = compare(runs)
            row: dict[str, object] = {"mesh": case.name, "rays": kind, "query": query, "build_s": round(build, 3)}
            for name, values in times.items():
                row[name] = round(len(origins) / float(np.median(values)) / 1e6, 3)
                row[f"{name}_spread"] = round((max(values) - min(values)) / float(np.median(values)), 2)
            if theirs is not None:
                row["ratio"] = round(float(row["ours"]) / float(row["embree"]), 2)
                row["same"] = agreement(ours, theirs, origins, directions)
            rows.append(row)
    return rows


def agreement(ours: Bvh, theirs: object, origins: np.ndarray, directions: np.ndarray) -> float:
    """The share of rays whose first face is the same."""
    return round(float((ours.closest_hit(origins, directions).face == theirs.run(origins, directions)).mean()), 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--spot", type=Path, help="an OBJ file to measure as well")
    parser.add_argument("--rays", type=int, default=250_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = [bumpy_sphere(60), bumpy_sphere(500), loose_triangles(100_000)]
    if options.spot:
        cases.append(wavefront_obj(options.spot))
    Bvh(*cases[0][1:]).any_hit(np.zeros((1, 3)), np.ones((1, 3)))  # compiles
    with threads(1):
        rows = [row for case in cases for row in measure_case(case, options.rays)]
    if options.json:
        json.dump({"machine": machine_card(["embreex"]), "rows": rows}, sys.stdout)
        return
    sys.stdout.write("mesh | rays | query | ours Mrays/s | embree Mrays/s | ratio | same face | build s\n")
    for row in rows:
        cells = [row.get(name, "-") for name in ("mesh", "rays", "query", "ours", "embree", "ratio", "same", "build_s")]
        sys.stdout.write(" | ".join(str(cell) for cell in cells) + "\n")


if __name__ == "__main__":
    main()
