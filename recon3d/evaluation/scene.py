"""Depth maps, points and surfaces of a scene folder against the truth beside a `cameras.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64

from recon3d.core.errors import FormatError
from recon3d.evaluation.alignment import MIN_PHOTOS, Alignment, align
from recon3d.evaluation.depth import (
    DepthErrors,
    ScaleMode,
    evaluate_depth,
    find_true_depth,
    read_depth_png,
    sample_depth,
)
from recon3d.evaluation.estimate import Estimate
from recon3d.evaluation.novel_views import NovelViewErrors
from recon3d.evaluation.points import PointErrors, SeenSpace, evaluate_points
from recon3d.evaluation.surface import opaque_centres, sample_mesh
from recon3d.evaluation.truth import Truth
from recon3d.formats.ply import read_ply
from recon3d.render.cameras import Cameras, undistort
from recon3d.scene import Scene
from recon3d.scene_dense import DENSE_POINTS, MESH, SPLATS, depth_names, load_depth, load_scene_mesh, load_splats

FUSED, SPARSE = "fused_points.ply", "reference_points.ply"
DEPTH = "depth"


@dataclass(frozen=True)
class SurfaceErrors:
    """Points and surfaces of a scene against reference points.

    Args:
        reference: name of the reference file.
        recall_only: the reference is sparse, so that only completeness and recall mean something.
        results: errors by what was compared (``points``, ``points_dense``, ``mesh``, ``splats``), one per tau.
    """

    reference: str
    recall_only: bool
    results: Mapping[str, tuple[PointErrors, ...]]

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready fields."""
        results = {name: [one.to_json() for one in errors] for name, errors in self.results.items()}
        return {"reference": self.reference, "recall_only": self.recall_only, "results": results}


def align_scene(scene: Scene, truth: Truth) -> Alignment | None:
    """Return the similarity that brings a scene's cameras onto the truth; None with fewer than three of its photos."""
    rows = Estimate.from_scene(scene).rows(truth)
    pairs = [(at, rows[name]) for at, name in enumerate(truth.names) if name in rows]
    if len(pairs) < MIN_PHOTOS:
        return None
    of_truth, of_scene = np.array(pairs, np.int64).T
    return align(truth.cameras.cam_from_world[of_truth], scene.cameras.cam_from_world[of_scene])


def evaluate_scene_depth(scene: Scene, truth: Truth, folder: Path, mode: ScaleMode = "pose") -> DepthErrors | None:
    """Compare the depth maps of a scene folder with measured ones.

    Every true pixel is looked up in the undistorted photo's depth map through the scene's own lens model.

    Args:
        scene: loaded from its folder.
        truth: photos that count.
        folder: where the truth lies; ``depth/STEM.png`` in it are its depth maps.
        mode: how the estimate is scaled.

    Returns:
        The errors; None where there is nothing to compare or the scale needs an alignment that does not exist.

    Raises:
        FormatError: a depth map is damaged.
    """
    alignment = align_scene(scene, truth)
    paths = find_true_depth(truth, folder / DEPTH)
    if not paths or scene.root is None or not has_depth(scene) or (mode == "pose" and alignment is None):
        return None
    return evaluate_depth(_depth_pairs(scene, truth, paths), mode, 1.0 if alignment is None else alignment.scale)


def has_depth(scene: Scene) -> bool:
    """Return whether a scene folder holds a depth map."""
    root = scene.root
    return root is not None and any((root / depth_names(view.key)[0]).is_file() for view in scene.registered)


def _depth_pairs(
    scene: Scene, truth: Truth, paths: Mapping[str, Path]
) -> Iterator[tuple[Float32[np.ndarray, "_h _w"], Float32[np.ndarray, "_h _w"]]]:
    rows, root = Estimate.from_scene(scene).rows(truth), scene.root
    places: dict[bytes, Float64[np.ndarray, "m 2"]] = {}  # most photos share their lens
    for name, path in paths.items():
        true = read_depth_png(path)
        estimate = np.zeros_like(true)
        if root is not None and name in rows:
            key = scene.registered[rows[name]].key
            if (root / depth_names(key)[0]).is_file():
                depth = load_depth(root, key).depth_z
                at = _places(scene, rows[name], true.shape, depth.shape, places)
                estimate = sample_depth(depth, at).reshape(true.shape).astype(np.float32)
        yield estimate, true


def _places(
    scene: Scene, row: int, size: tuple[int, ...], map_size: tuple[int, ...], known: dict[bytes, Any]
) -> Float64[np.ndarray, "m 2"]:
    """Return where the pixels of the photo lie in the depth map of its undistorted twin, ``[m,2]``."""
    one = np.array([row], np.int64)
    lens, twin = scene.cameras[one], scene.pinhole_cameras[one]
    numbers = [lens.K, twin.K, lens.width, lens.height, twin.width, twin.height, np.array([*size, *map_size])]
    if lens.distortion is not None:
        numbers.append(lens.distortion)
    identity = b"".join(np.asarray(each, np.float64).tobytes() for each in numbers)
    if identity not in known:
        known[identity] = _find_places(lens, twin, size, map_size)
    return np.asarray(known[identity])


def _find_places(
    lens: Cameras, twin: Cameras, size: tuple[int, ...], map_size: tuple[int, ...]
) -> Float64[np.ndarray, "m 2"]:
    x, y = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
    pixels = np.stack([x * lens.width[0] / size[1], y * lens.height[0] / size[0]], -1).reshape(-1, 2)
    normalized = (pixels - lens.K[0, :2, 2]) / lens.K[0][(0, 1), (0, 1)]
    if lens.distortion is not None and lens.distortion.any():
        normalized = undistort(normalized, np.repeat(lens.distortion, len(normalized), axis=0))
    places = normalized * twin.K[0][(0, 1), (0, 1)] + twin.K[0, :2, 2]
    return np.asarray(places * (map_size[1] / twin.width[0], map_size[0] / twin.height[0]))


def evaluate_scene_points(scene: Scene, truth: Truth, folder: Path, taus: Sequence[float]) -> SurfaceErrors | None:
    """Compare sparse points, dense points, mesh and splats of a scene folder with reference points.

    Args:
        scene: loaded from its folder.
        truth: photos that count; it gives the alignment.
        folder: where the truth lies: ``fused_points.ply``, judged inside what ``depth/`` has measured, or
            ``reference_points.ply``, which is sparse.
        taus: distances in the unit of the truth.

    Returns:
        The errors; None where there are no reference points or no alignment.

    Raises:
        FormatError: a file is damaged.
    """
    alignment = align_scene(scene, truth)
    name = next((name for name in (FUSED, SPARSE) if (folder / name).is_file()), None)
    if name is None or alignment is None:
        return None
    reference = _read_points(folder / name)
    seen = _seen_space(truth, folder) if name == FUSED else None
    results = {}
    for what, points in _scene_points(scene):
        moved = alignment.scale * points.astype(np.float64) @ alignment.rotation.T + alignment.translation
        results[what] = tuple(evaluate_points(moved, reference, tau, seen) for tau in taus)
    return SurfaceErrors(name, name == SPARSE, results)


def _scene_points(scene: Scene) -> Iterator[tuple[str, Float[np.ndarray, "m 3"]]]:
    yield "points", scene.points.xyz
    root = scene.root
    if root is None:
        return
    if (root / DENSE_POINTS).is_file():
        yield "points_dense", _read_points(root / DENSE_POINTS)
    if (root / MESH).is_file():
        mesh = load_scene_mesh(root)
        yield "mesh", sample_mesh(mesh.vertices, mesh.faces)
    if (root / SPLATS).is_file():
        splats = load_splats(root)
        yield "splats", opaque_centres(splats.means.numpy(), splats.opacity_logits.numpy())


def _read_points(path: Path) -> Float64[np.ndarray, "m 3"]:
    vertices = read_ply(path).vertices
    if not {"x", "y", "z"} <= set(vertices):
        raise FormatError(f"{path} holds no points", got=", ".join(vertices) or "no properties", expected="x, y, z")
    return np.stack([np.asarray(vertices[axis], np.float64) for axis in "xyz"], -1)


def _seen_space(truth: Truth, folder: Path) -> SeenSpace | None:
    paths = find_true_depth(truth, folder / DEPTH)
    if not paths:
        return None
    rows = np.array([row for row, name in enumerate(truth.names) if name in paths], np.int64)
    return SeenSpace(truth.cameras[rows], tuple(read_depth_png(path) for path in paths.values()))


def held_out_errors(scene: Scene) -> NovelViewErrors | None:
    """Return how well the splats of a scene predict the photos that they did not see, as measured when they were made.

    They are stored in ``scene.metrics["splats"]["held_out"]``, a list of :meth:`ViewErrors.to_json`.

    Returns:
        The errors; None where no photo was held out.

    Raises:
        FormatError: the stored numbers are not readable.
    """
    splats = scene.metrics.get("splats")
    records = splats.get("held_out") if isinstance(splats, Mapping) else None
    return NovelViewErrors.from_json(records) if isinstance(records, list) and records else None
