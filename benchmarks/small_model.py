"""Quality of `recon3d-small` and its Lite3R version: unseen generated scenes, and the real photo sets.

    python benchmarks/small_model.py [--weights FILE --delta FILE] [--scenes 20] [--size 84] [--sets fountain_p11 ...]
        [--pictures FOLDER] [--json]

Real sets come from RECON3D_DATASETS (default: ../shared/datasets beside the repository). They are cut into groups of
four consecutive photos, which is what the network was trained on; every group is a scene. Depth is compared where the
set has depth maps, or where a reference point lies in a pixel (the nearest one), after one median scale per group;
poses over all pairs within the groups. The constant answer is flat depth, and cameras side by side that look ahead
with a field of view of 53 degrees. Dense network, Lite3R version and every other row compute in float32.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from recon3d.evaluation.depth import find_true_depth, read_depth_png
from recon3d.evaluation.truth import read_truth
from recon3d.feedforward.bundled import bundled_weights
from recon3d.feedforward.da3.preprocess import normalise, prepare
from recon3d.feedforward.deltas import add_delta
from recon3d.feedforward.models import build_model
from recon3d.feedforward.pose_encoding import homogeneous
from recon3d.feedforward.preparation import Placement
from recon3d.feedforward.training.scores import Answer, Scores, score, truth_of, unseen
from recon3d.formats.ply import read_ply

NAME = "recon3d-small"
SETS = ("fountain_p11", "lund_door", "temple_ring16", "kitchen_rgbd")
GROUP = 4
Group = tuple[torch.Tensor, Answer]


def generated(n_scenes: int, size: int) -> list[Group]:
    views = unseen(n_scenes, size=size)
    return list(zip(normalise(views.images), truth_of(views), strict=True))


def real(folder: Path, size: int) -> Iterator[Group]:
    """Yield prepared photos and their truth, four by four."""
    truth = read_truth(folder / "gt" / "cameras.json")
    maps = find_true_depth(truth, folder / "gt" / "depth")
    points = folder / "gt" / "reference_points.ply"
    xyz = cloud(points) if points.is_file() else None
    for start in range(0, len(truth.names) - 1, GROUP):
        rows = list(range(start, min(start + GROUP, len(truth.names))))
        if len(rows) < 2:
            continue
        photos = [np.asarray(Image.open(folder / "images" / truth.names[row]).convert("RGB")) for row in rows]
        prepared = prepare(photos, size=size)
        shape = prepared.images.shape[-2:]
        K = np.stack([p.to_network(truth.cameras.K[row]) for p, row in zip(prepared.placements, rows, strict=True)])
        pose = truth.cameras.cam_from_world[rows].astype(np.float64)
        depth = np.zeros((len(rows), *shape))
        for at, row in enumerate(rows):
            if truth.names[row] in maps:
                depth[at] = sampled(read_depth_png(maps[truth.names[row]]), prepared.placements[at], shape)
            elif xyz is not None:
                depth[at] = splatted(xyz, pose[at], K[at], shape)
        yield prepared.images, Answer(cam_from_world=pose, K=K, depth_z=depth)


def cloud(path: Path) -> np.ndarray:
    vertices = read_ply(path).vertices
    return np.stack([vertices[axis] for axis in "xyz"], -1).astype(np.float64)


def sampled(depth: np.ndarray, placement: Placement, shape: tuple[int, int]) -> np.ndarray:
    """Return the true depth at the middle of every pixel of the network's image."""
    y = ((np.arange(shape[0]) + 0.5 - placement.offset_y) / placement.scale_y).astype(int).clip(0, depth.shape[0] - 1)
    x = ((np.arange(shape[1]) + 0.5 - placement.offset_x) / placement.scale_x).astype(int).clip(0, depth.shape[1] - 1)
    return depth[y[:, None], x]


def splatted(xyz: np.ndarray, pose: np.ndarray, K: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the depth of the nearest reference point in every pixel, 0 where there is none."""
    points = xyz @ pose[:3, :3].T + pose[:3, 3]
    points = points[points[:, 2] > 0.01]
    col, row, _ = np.floor((points @ K.T / points[:, 2:]).T).astype(int)
    inside = (col >= 0) & (col < shape[1]) & (row >= 0) & (row < shape[0])
    depth = np.full(shape, np.inf)
    np.minimum.at(depth, (row[inside], col[inside]), points[inside, 2])
    return np.where(np.isfinite(depth), depth, 0.0)


def asked(network: torch.nn.Module) -> Callable[[list[Group]], list[Answer]]:
    def answers(groups: list[Group]) -> list[Answer]:
        return [one(network, images) for images, _ in groups]

    return answers


def one(network: torch.nn.Module, images: torch.Tensor) -> Answer:
    with torch.inference_mode():
        found = network(images[None], strategy="first")
    parts = homogeneous(found.cam_from_world)[0], found.K[0], found.depth_z[0]
    pose, K, depth = (part.double().numpy() for part in parts)
    return Answer(cam_from_world=pose, K=K, depth_z=depth)


def flat(groups: list[Group]) -> list[Answer]:
    """Answer without looking."""
    found = []
    for images, _ in groups:
        s, _, h, w = images.shape
        pose = np.tile(np.eye(4), (s, 1, 1))
        pose[:, 0, 3] = -np.arange(s)
        K = np.tile(np.array([[max(h, w), 0, w / 2], [0, max(h, w), h / 2], [0, 0, 1.0]]), (s, 1, 1))
        found.append(Answer(cam_from_world=pose, K=K, depth_z=np.ones((s, h, w))))
    return found


def picture(path: Path, groups: list[Group], answers: list[Answer]) -> None:
    """Write photos, true and estimated inverse depth of the first groups side by side."""
    rows = []
    for (images, truth), answer in list(zip(groups, answers, strict=True))[:6]:
        photos = (images * torch.tensor([0.229, 0.224, 0.225])[:, None, None]) + torch.tensor([0.485, 0.456, 0.406])[
            :, None, None
        ]
        seen = (photos.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)[:3]
        maps = [shaded(depth) for depth in (truth.depth_z[:3], answer.depth_z[:3])]
        rows.append(np.concatenate([*seen, *maps[0], *maps[1]], 1))
    width = max(row.shape[1] for row in rows)
    Image.fromarray(np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])).save(
        path
    )


def shaded(depth: np.ndarray) -> np.ndarray:
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-6), 0)
    top = np.quantile(inverse[inverse > 0], 0.98) if (inverse > 0).any() else 1.0
    return np.repeat((np.clip(inverse / top, 0, 1) * 255).astype(np.uint8)[..., None], 3, -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--delta", type=Path)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--size", type=int, default=84)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    dense = build_model(NAME, checkpoint=words.weights or bundled_weights(NAME))
    delta = words.delta or (None if words.weights else bundled_weights(f"{NAME}-lite3r"))
    who: dict[str, Callable[[list[Group]], list[Answer]]] = {"constant": flat, "dense": asked(dense)}
    if delta is not None:
        who["Lite3R"] = asked(add_delta(copy.deepcopy(dense), delta))
    root = Path(os.environ.get("RECON3D_DATASETS", Path(__file__).parents[2] / "shared" / "datasets")) / "photos"
    found: dict[str, dict[str, Any]] = {}
    for name in ("generated", *words.sets):
        groups = generated(words.scenes, words.size) if name == "generated" else list(real(root / name, words.size))
        found[name] = {}
        for answerer, function in who.items():
            answers = function(groups)
            found[name][answerer] = score(answers, [truth for _, truth in groups]).to_json()
            if words.pictures and answerer != "constant":
                words.pictures.mkdir(parents=True, exist_ok=True)
                picture(words.pictures / f"{name}_{answerer}.png", groups, answers)
    if words.json:
        print(json.dumps(found, indent=1))
        return
    columns = ("scenes", "answer", "AbsRel", "delta1", "AUC@30", "rotation", "direction", "field of view")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, rows in found.items():
        for answerer, values in rows.items():
            print(line(name, answerer, Scores(**values)))


def line(name: str, who: str, found: Scores) -> str:
    depth = f"{found.abs_rel:.3f} | {found.delta1:.3f}" if np.isfinite(found.abs_rel) else "- | -"
    angles = " | ".join(f"{a:.1f} deg" for a in (found.rotation_deg, found.direction_deg, found.fov_deg))
    return f"| {name} | {who} | {depth} | {found.auc30:.1f} | {angles} |"


if __name__ == "__main__":
    main()
