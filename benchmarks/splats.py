"""Held-out quality of splats after 1, 2 and 5 planned minutes of optimisation, for photo sets.

    python benchmarks/splats.py                                    # all sets below RECON3D_DATASETS/photos
    python benchmarks/splats.py --sets fountain_p11 --minutes 1 --repeats 3

Cameras and points come from ``recon3d reconstruct --only cameras``; they are kept below ``--work``. The minutes are
those of the reference machine (see recon3d/splats/schedule.py); wall and CPU seconds of this machine stand beside them.
With ``--stereo`` the optimisation starts from dense points of the photos that are not held out.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from measure import machine_card
from PIL import Image

from recon3d.core.errors import Recon3DError
from recon3d.core.progress import Progress
from recon3d.dense.points_fusion import PointOptions, fuse_points
from recon3d.dense.stereo import estimate_depth, stereo_cameras
from recon3d.dense.stereo_options import StereoOptions
from recon3d.pipeline import reconstruct
from recon3d.scene import Scene
from recon3d.scene_io import output_name
from recon3d.splats.evaluate import render_view
from recon3d.splats.holdout import held_out
from recon3d.splats.options import SplatOptions
from recon3d.splats.targets import resize
from recon3d.splats.train import optimise_splats
from recon3d.splats.types import SplatInputs, SplatResult

HERE = Path(__file__).resolve().parent
DATASETS = Path(os.environ.get("RECON3D_DATASETS", HERE.parents[1] / "shared" / "datasets"))


@dataclass(frozen=True)
class Benchmark:
    """Measure splats on held-out photos.

    Args:
        sets: names of sets; without any, all that hold true cameras.
        minutes: planned minutes of optimisation.
        repeats: runs of each, with different seeds; the table shows the mean and the spread.
        stereo: start from dense points.
        options: of the optimisation; the planned time is replaced.
        pictures: write held-out photos beside their predictions into this folder.
        work: where scenes are kept.
        json: print JSON instead of a table.
        data: folder with the sets.
    """

    sets: tuple[str, ...] = ()
    minutes: tuple[float, ...] = (1.0, 2.0, 5.0)
    repeats: int = 1
    stereo: bool = False
    options: SplatOptions = field(default_factory=SplatOptions)
    pictures: Path | None = None
    work: Path = Path(tempfile.gettempdir()) / "recon3d_benchmark_splats"
    json: bool = False
    data: Path = DATASETS / "photos"


def load_inputs(scene: Scene, stereo: bool) -> SplatInputs:
    """The undistorted photos, cameras and points of a scene."""
    folder = scene.root or Path()
    keys = tuple(view.key for view in scene.registered)
    images = tuple(np.asarray(Image.open(folder / "images" / output_name(key)).convert("RGB")) for key in keys)
    inputs = SplatInputs(keys, images, scene.pinhole_cameras.pinhole(), scene.points.xyz, scene.points.rgb)
    return dense_inputs(inputs, scene) if stereo else inputs


def dense_inputs(inputs: SplatInputs, scene: Scene) -> SplatInputs:
    """The same with dense points from the photos that are not held out."""
    out = held_out(inputs.keys)
    rows = np.array([i for i, key in enumerate(inputs.keys) if key not in out])
    new = np.full(len(inputs.keys), -1, np.int32)
    new[rows] = np.arange(len(rows))
    points = scene.points
    seen = new[points.obs_view] >= 0
    points = replace(
        points, obs_point=points.obs_point[seen], obs_view=new[points.obs_view[seen]], obs_xy=points.obs_xy[seen]
    )
    options, cameras = StereoOptions(max_image_size=640), inputs.cameras[rows]
    images = [inputs.images[i] for i in rows]
    maps = estimate_depth(images, cameras, points, options)
    small = stereo_cameras(cameras, options)
    colours = [resize(image, w / image.shape[1]) for image, w in zip(images, small.width, strict=True)]
    dense = fuse_points(list(zip(maps, colours, strict=True)), small, PointOptions(max_points=100_000))
    xyz, normals = dense.xyz.astype(np.float64), dense.normals.astype(np.float64)
    return replace(inputs, points_xyz=xyz, points_rgb=dense.rgb, normals=normals)


def measure_run(name: str, inputs: SplatInputs, options: SplatOptions) -> tuple[dict[str, Any], SplatResult]:
    """One row of the table."""
    wall, cpu = time.monotonic(), time.process_time()
    result = optimise_splats(inputs, options, Progress())
    row: dict[str, Any] = {"set": name, "planned_s": options.planned_seconds, "seed": options.seed}
    row |= {"wall_s": round(time.monotonic() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    row |= {"iterations": result.history[-1]["iteration"], "gaussians": len(result.gaussians)}
    for measured in ("psnr", "ssim", "psnr_fit", "ssim_fit"):
        row[measured] = float(np.mean([getattr(one, measured) for one in result.errors]))
    return row, result


def save_pictures(folder: Path, name: str, inputs: SplatInputs, result: SplatResult, options: SplatOptions) -> None:
    """Each held-out photo on the right, its prediction on the left."""
    folder.mkdir(parents=True, exist_ok=True)
    for key in result.held_out:
        view = inputs.keys.index(key)
        seen = render_view(result.gaussians, inputs.cameras, view, antialiased=options.antialiased)
        pair = np.concatenate([np.rint(seen * 255).astype(np.uint8), inputs.images[view]], axis=1)
        Image.fromarray(pair).save(folder / f"{name}_{options.planned_seconds:.0f}s_{view}.png")


def runs(job: Benchmark) -> Iterator[dict[str, Any]]:
    names = job.sets or tuple(sorted(path.parent.parent.name for path in job.data.glob("*/gt/cameras.json")))
    for name in names:
        try:
            scene = reconstruct(job.data / name / "images", out=job.work / name, only="cameras", quiet=True)
        except Recon3DError as error:
            sys.stderr.write(f"{name}: no scene: {error}\n")
            continue
        inputs = load_inputs(scene, job.stereo)
        for minutes in job.minutes:
            for seed in range(job.repeats):
                options = replace(job.options, planned_seconds=60 * minutes, seed=seed)
                row, result = measure_run(name, inputs, options)
                if job.pictures is not None:
                    save_pictures(job.pictures, name, inputs, result, options)
                yield row


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table; values of several seeds as mean and half the range."""
    lines = ["| set | planned s | wall s | CPU s | iterations | Gaussians | PSNR | SSIM | fitted PSNR | fitted SSIM |"]
    lines.append("|---" * 10 + "|")
    for key in dict.fromkeys((row["set"], row["planned_s"]) for row in rows):
        same = [row for row in rows if (row["set"], row["planned_s"]) == key]
        columns = ("wall_s", "cpu_s", "iterations", "gaussians", "psnr", "ssim", "psnr_fit", "ssim_fit")
        digits = (0, 0, 0, 0, 2, 3, 2, 3)
        cells = [spread([row[c] for row in same], d) for c, d in zip(columns, digits, strict=True)]
        lines.append(f"| {key[0]} | {key[1]:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float], digits: int) -> str:
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {(max(values) - min(values)) / 2:.{digits}f}"


def main() -> None:
    job = tyro.cli(Benchmark)
    rows = []
    for row in runs(job):
        sys.stderr.write(json.dumps(row) + "\n")
        rows.append(row)
    print(
        json.dumps({"machine": machine_card(("recon3d", "torch", "numba")), "rows": rows})
        if job.json
        else f"{machine_card(('recon3d', 'torch', 'numba'))}\n\n{table(rows)}"
    )


if __name__ == "__main__":
    main()
