"""Train one small Volt twice, with the naive and with the full recipe, on the same few generated scenes.

    python benchmarks/segmentation_recipes.py --data rooms --pool 32 --steps 4000 --out runs

Same network, first weights, scenes, steps, rate and crops; only the recipe differs. A small pool of scenes is what the
published claim is about: plain training learns them by heart. Both are scored on scenes of the pool and on others.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import lru_cache
from pathlib import Path

import torch

from recon3d.core.progress import make_progress
from recon3d.pointcloud.segmentation import SegmenterOptions, SegmenterSpec, TrainSegmenterOptions, train_segmenter
from recon3d.pointcloud.segmentation.scoring import SegmenterScore, network_labels, score_labels
from recon3d.pointcloud.segmentation.sources import generated_scenes, merged
from recon3d.pointcloud.segmentation.weights import read_segmenter
from recon3d.pointcloud.volt.grid import voxelised
from recon3d.pointcloud.volt.samples import Sample

VOXELS = {"rooms": 0.1, "streets": 0.4}


class Pool:
    """A limited number of generated scenes, thinned to half a voxel, which makes every step faster."""

    def __init__(self, data: str, count: int, held_out: int) -> None:
        self._all, self._voxel_m = generated_scenes(data), VOXELS[data]
        self.spec: SegmenterSpec = merged(self._all.spec, self._voxel_m)
        self.count: int | None = count
        self.held_out: int | None = held_out
        self._kept = lru_cache(maxsize=None)(self._made)

    def training(self, number: int) -> Sample:
        return self._kept(number, True)

    def unseen(self, number: int) -> Sample:
        return self._kept(number, False)

    def _made(self, number: int, trained: bool) -> Sample:
        whole = self._all.training(number) if trained else self._all.unseen(number)
        return voxelised(whole, self._voxel_m / 2)[0].changed(grid=None)


def options_of(given: argparse.Namespace, recipe: str) -> TrainSegmenterOptions:
    return TrainSegmenterOptions(
        data=given.data,
        network=SegmenterOptions(dim=given.dim, depth=4, up_dim=64, voxel_m=VOXELS[given.data]),
        recipe="full" if recipe == "full" else "naive",
        steps=given.steps,
        minutes=0.0,
        scenes=2,
        most_voxels=4000,
        learning_rate=given.rate,
        pool=given.pool,
        evaluate_minutes=given.evaluate_minutes,
        evaluate_scenes=given.scenes,
    )


def scored(weights: Path, pool: Pool, given: argparse.Namespace) -> dict[str, SegmenterScore]:
    model, spec = read_segmenter(weights)
    seen = (pool.training(number) for number in range(given.pool))
    unseen = (pool.unseen(number) for number in range(given.scenes))
    return {
        name: score_labels(lambda one: network_labels(model, spec, one), scenes, spec.classes)
        for name, scenes in (("pool", seen), ("held out", unseen))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(VOXELS), default="rooms")
    parser.add_argument("--recipes", nargs="+", default=["naive", "full"])
    parser.add_argument("--pool", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--scenes", type=int, default=20, help="held-out scenes")
    parser.add_argument("--evaluate-minutes", type=float, default=2.0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pool = Pool(given.data, given.pool, given.scenes)
    for recipe in given.recipes:
        wall, cpu = time.perf_counter(), time.process_time()
        folder = given.out / recipe
        resume = (folder / "checkpoint.safetensors").exists()
        train_segmenter(options_of(given, recipe), folder, pool, resume=resume, progress=make_progress(True))
        used = f"{time.perf_counter() - wall:.0f} s wall, {time.process_time() - cpu:.0f} s CPU"
        for name, score in scored(folder / "weights.safetensors", pool, given).items():
            print(
                f"{recipe:6} {name:9} mIoU {100 * score.score.mean_iou:5.1f}  {used}  {json.dumps(score.to_json())}",
                flush=True,
            )


if __name__ == "__main__":
    main()
