"""The dense stages of a run: depth maps by stereo or from splats, splats, mesh, materials and light."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from recon3d.core.errors import UsageError
from recon3d.core.files import atomic_path
from recon3d.core.kernels import threads
from recon3d.core.stages import StageResult
from recon3d.dense.fuse import PhotoDepth, fuse_with_stats
from recon3d.dense.points_fusion import PointOptions, fuse_points
from recon3d.dense.splat_depth import splat_depth
from recon3d.dense.stereo import estimate_depth
from recon3d.dense.types import DepthMap
from recon3d.feedforward.engine.depth import NetworkDepth
from recon3d.photos.decode import read_mask
from recon3d.pipeline_images import Images
from recon3d.pipeline_memory import check_stereo_memory, coarser_voxels, splat_photo_size
from recon3d.pipeline_photos import SizedPhotos, read_sized
from recon3d.pipeline_relight import FILES, NO_FACES, RelightTask, has_faces, relight
from recon3d.pipeline_work import DepthSource, Only, SplatsStart, Workspace
from recon3d.plan_dense import DenseOptions
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians.files import load_gaussians, save_gaussians
from recon3d.render.mesh.files import save_mesh
from recon3d.render.mesh.statistics import mesh_statistics
from recon3d.scene import Points, Scene
from recon3d.scene_dense import DENSE_POINTS, MESH, SPLATS, SPLATS_COMPRESSED, depth_names, load_depth, save_depth
from recon3d.scene_io import output_stem
from recon3d.splats.evaluate import render_view
from recon3d.splats.holdout import held_out
from recon3d.splats.relight.options import RelightOptions
from recon3d.splats.train import optimise_splats
from recon3d.splats.types import SplatInputs

_N_KEPT = 24  # depth maps in memory
_STOPS: dict[Only | None, tuple[str, ...]] = {
    None: ("depth", "splats", "mesh"),
    "cameras": (),
    "points": ("depth",),
    "splats": ("depth", "splats"),
    "mesh": ("depth", "mesh"),
}


@dataclass(frozen=True)
class DenseSettings:
    """What the dense stages do, with every preset and budget resolved.

    Args:
        only: where to stop; None = nowhere.
        depth: where the depth maps come from.
        start: which points the splats start from.
        options: of the stages.
        max_memory_bytes: memory to plan for.
        max_pixels: cap for decoding.
        relight: how materials and light are estimated from the mesh; None = not at all.
        network: depth maps of a network, for ``depth="network"``.
    """

    only: Only | None
    depth: DepthSource
    start: SplatsStart
    options: DenseOptions
    max_memory_bytes: int
    max_pixels: int
    relight: RelightOptions | None = None
    network: NetworkDepth | None = None

    def wants(self, part: str) -> bool:
        """Return whether a part is made: ``depth``, ``splats``, ``mesh`` or ``relight``."""
        if part == "relight":
            return self.relight is not None and self.wants("mesh")
        parts = _STOPS[self.only]
        return part in parts or (part == "splats" and self.depth == "splats" and "depth" in parts)


class DenseStages:
    """The dense stages of one scene; duplicates of a photo are left out.

    Args:
        work: where.
        scene: cameras and sparse points.
        images: the undistorted photos of its registered views.
        originals: rows of the registered views that are no duplicates, ``[n]``.
        settings: what to do.
    """

    def __init__(
        self, work: Workspace, scene: Scene, images: Images, originals: Int64[np.ndarray, " n"], settings: DenseSettings
    ) -> None:
        self.work, self.scene, self.settings = work, scene, settings
        self.keys = tuple(scene.registered[i].key for i in originals)
        self.paths = tuple(images.paths[i] for i in originals)
        self.masks = tuple(images.masks[i] for i in originals)
        self.cameras = scene.pinhole_cameras[originals].pinhole()
        self.points = _renumbered(scene.points, originals, len(scene.cameras))
        # The photos are the same in every world, depth and splats are not: another scale makes them anew.
        self.inputs = {"images": images.key, "keys": list(self.keys), "world": scene.world_from_sfm.tolist()}
        # Even where no splats are wanted now: --only shall change no bit of what it makes.
        out = held_out(self.keys, settings.options.splats.holdout)
        self.optimised = np.array([key not in out for key in self.keys], np.bool_)
        self.done: dict[str, StageResult] = {}

    def execute(self) -> None:
        """Run what is wanted, in the order that it depends on each other."""
        by_splats = self.settings.depth == "splats"
        with threads(self.work.n_threads):
            if self.settings.wants("depth") and not by_splats:
                self.done["depth"] = self.depth_of_network() if self.settings.depth == "network" else self.stereo()
            if self.settings.wants("splats"):
                self.done["splats"] = self.splats()
            if self.settings.wants("depth") and by_splats:
                self.done["depth"] = self.depth_of_splats()
            if self.settings.wants("mesh"):
                self.done["mesh"] = self.mesh()
            if self.settings.wants("relight") and has_faces(self.done["mesh"]):
                self.done["relight"] = self.relight()

    @property
    def metrics(self) -> dict[str, Any]:
        """Numbers of the stages that were run, by their names."""
        return {name: stage.value["metrics"] for name, stage in self.done.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, in plain words."""
        notes = [note for stage in self.done.values() for note in stage.value["notes"]]
        missing = self.settings.wants("relight") and "relight" not in self.done
        return (*notes, NO_FACES) if missing else tuple(notes)

    def publish(self) -> tuple[Path, ...]:
        """Show the files of the stages in the output folder, and remove those of earlier runs."""
        with_depth = "depth" in self.done
        names = {name: "depth" for key in self.keys for name in depth_names(key)} if with_depth else {}
        self.work.keep_only("depth", [Path(name).name for name in names])
        names |= {DENSE_POINTS: "depth", SPLATS: "splats", SPLATS_COMPRESSED: "splats", MESH: "mesh"}
        names |= dict.fromkeys(FILES, "relight")
        for name, stage in names.items():
            if stage not in self.done:
                (self.work.folder / name).unlink(missing_ok=True)
        made = {name: self.done[stage].folder for name, stage in names.items() if stage in self.done}
        return tuple(self.work.publish(folder / name, name) for name, folder in made.items())

    def sized(self, max_image_size: int) -> SizedPhotos:
        """Read the photos at a working size."""
        return read_sized(self.paths, self.masks, self.cameras, max_image_size, self.settings.max_pixels)

    def stereo(self) -> StageResult:
        """Depth maps and dense points by multi-view stereo."""
        options = self.settings.options.stereo
        check_stereo_memory(self.cameras, options.max_image_size, self.settings.max_memory_bytes)

        def build(folder: Path) -> dict[str, Any]:
            photos = self.sized(options.max_image_size)
            images, masks = list(photos.images), list(photos.masks)
            maps = estimate_depth(
                images, photos.cameras, self.points, options, self.work.progress, masks, self.optimised
            )
            return self._keep_depth(folder, maps, photos, {"source": "stereo", "n_sources": options.n_sources})

        inputs = {**self.inputs, "stereo": asdict(options), "may_help": self.optimised.tolist()}
        return self.work.stage("depth", inputs, build)

    def depth_of_network(self) -> StageResult:
        """Depth maps and dense points that a network saw."""
        network = self.settings.network
        if network is None:
            raise UsageError("there are no depth maps of a network", fix="use --engine lite3r")
        size = min(network.size, self.settings.options.stereo.max_image_size)

        def build(folder: Path) -> dict[str, Any]:
            photos = self.sized(size)
            maps = network.maps(self.scene, self.keys, photos.cameras)
            return self._keep_depth(folder, maps, photos, {"source": "network"})

        return self.work.stage("depth", {**self.inputs, "network": network.key, "size": size}, build)

    def depth_of_splats(self) -> StageResult:
        """Depth maps and dense points from the splats."""
        splats = self.done["splats"]
        size = self.settings.options.stereo.max_image_size

        def build(folder: Path) -> dict[str, Any]:
            photos = self.sized(size)
            antialiased = self.settings.options.splats.antialiased
            maps = splat_depth(load_gaussians(splats.folder / SPLATS), photos.cameras, antialiased=antialiased)
            return self._keep_depth(folder, maps, photos, {"source": "splats"})

        return self.work.stage("depth", {"splats": splats.key, "size": size}, build)

    def _keep_depth(
        self, folder: Path, maps: Sequence[DepthMap], photos: SizedPhotos, metrics: dict[str, Any]
    ) -> dict[str, Any]:
        for key, depth in zip(self.keys, maps, strict=True):
            save_depth(folder, key, depth)
        given = list(zip(maps, photos.images, strict=True))
        # Of two photos, only one other can agree.
        agree = PointOptions(min_views=min(PointOptions.min_views, len(given) - 1))
        points = fuse_points(given, photos.cameras, agree)
        points.save(folder / DENSE_POINTS)
        coverage = {key: round(depth.coverage, 4) for key, depth in zip(self.keys, maps, strict=True)}
        megapixels = sum(depth.depth_z.size for depth in maps) / 1e6
        metrics = {**metrics, "coverage": coverage, "megapixels": megapixels, "n_points": len(points)}
        empty = [key for key, share in coverage.items() if share == 0]
        notes = [f"no depth could be found for {', '.join(empty[:5])}"] if empty else []
        notes += [] if len(points) else ["the depth maps agree on no dense point"]
        return {"metrics": metrics, "notes": notes}

    def splats(self) -> StageResult:
        """Optimise splats; an interrupted optimisation continues at its last checkpoint."""
        options, depth = self.settings.options.splats, self.done.get("depth")
        memory = self.settings.max_memory_bytes
        depth = depth if self.settings.start == "dense" else None
        inputs = {**self.inputs, "depth": depth and depth.key, "splats": asdict(options), "memory": memory}
        checkpoints = self.work.store.root / "splats_checkpoint"

        def build(folder: Path) -> dict[str, Any]:
            size, smaller = splat_photo_size(self.cameras, options.max_image_size, memory)
            photos = self.sized(size)
            xyz, rgb, normals = self._start_points(depth)
            masks = tuple(None if mask is None else mask.astype(np.uint8) for mask in photos.masks)
            given = SplatInputs(self.keys, photos.images, photos.cameras, xyz, rgb, normals, masks, memory)
            result = optimise_splats(given, options, self.work.progress, checkpoints)
            for name in (SPLATS, SPLATS_COMPRESSED):
                save_gaussians(folder / name, result.gaussians, antialiased=options.antialiased)
            for key in result.held_out:
                row = self.keys.index(key)
                seen = render_view(result.gaussians, photos.cameras, row, antialiased=options.antialiased)
                photo, render = held_out_pictures(folder, key)
                _save_picture(photo, photos.images[row])
                _save_picture(render, np.rint(seen * 255).astype(np.uint8))
            return {
                "metrics": {
                    "n_gaussians": len(result.gaussians),
                    "n_iterations": result.history[-1]["iteration"] if result.history else 0,
                    "image_size": [int(photos.cameras.width.max()), int(photos.cameras.height.max())],
                    "antialiased": options.antialiased,
                    "held_out": [errors.to_json() for errors in result.errors],
                },
                "notes": [*smaller, *result.notes],
                "history": list(result.history),
            }

        stage = self.work.stage("splats", inputs, build)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return stage

    def _start_points(self, depth: StageResult | None) -> tuple[Any, Any, Any]:
        """Return positions, colours and normals to start from; photos that are kept out give none."""
        rows = np.flatnonzero(self.optimised)
        if depth is None:
            return self.points.xyz, self.points.rgb, None
        folder, cameras = depth.folder, self.cameras[rows]
        keys, paths = [self.keys[row] for row in rows], [self.paths[row] for row in rows]
        maps = _StoredDepth(folder, keys, paths, cameras, self.settings.max_pixels)
        dense = fuse_points(maps, cameras, PointOptions(max_points=self.settings.options.splats.max_gaussians))
        if len(dense) < len(self.points):
            return self.points.xyz, self.points.rgb, None
        return dense.xyz.astype(np.float64), dense.rgb, dense.normals.astype(np.float64)

    def mesh(self) -> StageResult:
        """Fuse the depth maps into a mesh."""
        depth, options = self.done["depth"], self.settings.options.mesh
        inputs = {"depth": depth.key, "mesh": asdict(options), "memory": self.settings.max_memory_bytes}
        inputs |= {"outlines": True} if any(self.masks) else {}

        def build(folder: Path) -> dict[str, Any]:
            maps = _StoredDepth(depth.folder, self.keys, self.paths, self.cameras, self.settings.max_pixels)
            sizes = zip(self.masks, self.cameras.width.tolist(), self.cameras.height.tolist(), strict=True)
            masks = (None if path is None else read_mask(path, width, height) for path, width, height in sizes)
            memory = self.settings.max_memory_bytes
            mesh, stats = fuse_with_stats(
                maps, self.cameras, options, masks=masks, max_memory_bytes=memory, progress=self.work.progress
            )
            save_mesh(folder / MESH, mesh)
            notes = coarser_voxels(stats.wanted_voxel, stats.voxel)
            return {"metrics": {**asdict(mesh_statistics(mesh)), **asdict(stats)}, "notes": notes}

        return self.work.stage("mesh", inputs, build)

    def relight(self) -> StageResult:
        """Estimate materials and light from the mesh and the photos that are not held out."""

        def read(max_image_size: int) -> tuple[SizedPhotos, list[str]]:
            memory = self.settings.max_memory_bytes
            size, smaller = splat_photo_size(self.cameras, max_image_size, memory, "materials")
            return self.sized(size), smaller

        task = RelightTask(
            self.done["mesh"],
            self.keys,
            self.optimised,
            {**self.inputs, "memory": self.settings.max_memory_bytes},
            read,
            self.settings.relight or RelightOptions(),
            self.settings.options.splats.antialiased,
        )
        return relight(self.work, task)


class _StoredDepth(Sequence[PhotoDepth]):
    """Depth maps on disk with their photos; a few that were used last stay in memory."""

    def __init__(
        self, folder: Path, keys: Sequence[str], paths: Sequence[Path], cameras: Cameras, max_pixels: int
    ) -> None:
        self.folder, self.keys, self.paths, self.cameras = folder, keys, paths, cameras
        self.max_pixels = max_pixels
        self.read = lru_cache(maxsize=_N_KEPT)(self._read)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: Any) -> Any:
        return self.read(int(index))

    def _read(self, index: int) -> PhotoDepth:
        depth = load_depth(self.folder, self.keys[index])
        one = self.cameras[np.array([index], np.int64)]
        size = max(depth.depth_z.shape)
        photo = read_sized(self.paths[index : index + 1], (None,), one, size, self.max_pixels)
        return depth, photo.images[0]


def _renumbered(points: Points, originals: Int64[np.ndarray, " n"], n_cameras: int) -> Points:
    """Return the points with observations that count the original photos only."""
    number = np.full(n_cameras, -1, np.int32)
    number[originals] = np.arange(len(originals), dtype=np.int32)
    view = number[points.obs_view]
    kept = view >= 0
    return replace(points, obs_point=points.obs_point[kept], obs_view=view[kept], obs_xy=points.obs_xy[kept])


def held_out_pictures(folder: Path, key: str) -> tuple[Path, Path]:
    """Return the files of a held-out photo and of its prediction in the folder of the splat stage."""
    stem = output_stem(key)
    return folder / f"photo_{stem}.png", folder / f"render_{stem}.png"


def _save_picture(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
