"""Scene: photos, cameras, points, scale and provenance of one reconstruction, and its folder format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float64, Int32, UInt8

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.cameras import Cameras

if TYPE_CHECKING:
    from recon3d.dense import DepthMap
    from recon3d.render.gaussians import Gaussians
    from recon3d.render.mesh import Mesh
    from recon3d.render.shading import Environment
    from recon3d.splats.relight import RelightableGaussians

Status = Literal["registered", "not_registered", "skipped"]


@dataclass(frozen=True)
class View:
    """One input photo and what became of it.

    Args:
        key: path relative to the input folder, with the extension, ``/`` as separator.
        status: ``registered`` (it has a camera), ``not_registered`` (tried, no pose) or ``skipped`` (not tried).
        reason: why not, or a remark on a registered photo ("blurred", "duplicate of b.jpg"); empty when all is well.
        width: width of the upright photo in pixels; 0 where it could not be decoded.
        height: height of the upright photo in pixels.
        sha256: of the file's bytes; empty where it could not be read.
        camera_group: photos with equal numbers share their intrinsics; -1 where there are none.
        model: index of the model that the photo belongs to (0 = this scene), -1 where none.
        time_s: seconds from the start of its video; None for photos.
    """

    key: str
    status: Status
    reason: str = ""
    width: int = 0
    height: int = 0
    sha256: str = ""
    camera_group: int = -1
    model: int = -1
    time_s: float | None = None


@dataclass(frozen=True, eq=False)
class Points:
    """Sparse points with their tracks.

    Args:
        xyz: world coordinates, ``[p,3]``.
        rgb: colours, sRGB, ``[p,3]``.
        error_px: mean reprojection error over the track, ``[p]``.
        sigma: one standard deviation of the position in world units along its worst axis, ``[p]``; NaN = unknown.
        obs_point: point index of each observation, ``[o]``, ascending.
        obs_view: camera index (into ``Scene.cameras``) of each observation, ``[o]``.
        obs_xy: observed pixel in the upright, distorted photo, ``[o,2]``.
    """

    xyz: Float64[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"]
    error_px: Float64[np.ndarray, " p"]
    sigma: Float64[np.ndarray, " p"]
    obs_point: Int32[np.ndarray, " o"]
    obs_view: Int32[np.ndarray, " o"]
    obs_xy: Float64[np.ndarray, "o 2"]

    def __post_init__(self) -> None:
        p, o = len(self.xyz), len(self.obs_point)
        wanted = {"xyz": (p, 3), "rgb": (p, 3), "error_px": (p,), "sigma": (p,)}
        wanted |= {"obs_point": (o,), "obs_view": (o,), "obs_xy": (o, 2)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ShapeError(f"Points.{name} has the wrong shape", got=getattr(self, name).shape, expected=shape)

    def __len__(self) -> int:
        return len(self.xyz)

    @property
    def mean_error_px(self) -> float:
        """Mean reprojection error of all observations in pixels; 0 without any."""
        weights = self.track_length
        return float(np.average(self.error_px, weights=weights)) if weights.sum() else 0.0

    @property
    def track_length(self) -> Int32[np.ndarray, " p"]:
        """Number of photos that see each point, ``[p]``."""
        return np.bincount(self.obs_point, minlength=len(self)).astype(np.int32)


@dataclass(frozen=True)
class Scale:
    """What one world unit means.

    Args:
        kind: ``metric`` (one unit is one metre) or ``relative`` (unknown).
        source: where a metric scale comes from, in plain words.
        interval_95: factors below and above 1 that hold the true scale with 95 % confidence; None when relative.
    """

    kind: Literal["metric", "relative"] = "relative"
    source: str = ""
    interval_95: tuple[float, float] | None = None

    @property
    def unit(self) -> str:
        """``m`` for a metric scene, ``units`` for a relative one: metres are never printed for a relative scene."""
        return "m" if self.kind == "metric" else "units"


@dataclass(frozen=True, eq=False)
class Scene:
    """One reconstruction in a right-handed, z-up world.

    Args:
        views: every input photo, sorted by key, whatever became of it.
        cameras: cameras of the registered views in the order of ``views``, as photographed (with distortion).
        pinhole_cameras: their twins for the undistorted photos in ``images/``.
        points: sparse points.
        pose_sigma: per registered view: standard deviations of the rotation about camera x, y, z in degrees and of the
            camera centre along world x, y, z in world units, ``[n,6]``; NaN = unknown.
        scale: what one world unit means.
        world_from_sfm: the similarity that levelling and scaling applied to the mapper's frame, ``[4,4]``.
        metrics: numbers of the verification and the mapping, JSON-ready.
        provenance: versions, resolved options, warnings, JSON-ready.
        root: the folder that the scene was loaded from or saved to.
    """

    views: tuple[View, ...]
    cameras: Cameras
    pinhole_cameras: Cameras
    points: Points
    pose_sigma: Float64[np.ndarray, "n 6"]
    scale: Scale = Scale()
    world_from_sfm: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    root: Path | None = None

    def __post_init__(self) -> None:
        n = len(self.cameras)
        if not n == len(self.pinhole_cameras) == len(self.pose_sigma) == len(self.registered):
            got = (len(self.registered), n, len(self.pinhole_cameras), len(self.pose_sigma))
            raise ShapeError("views, cameras, pinhole cameras and pose_sigma disagree", got=got, expected="equal")

    @property
    def registered(self) -> tuple[View, ...]:
        """The views that have a camera, in the order of ``cameras``."""
        return tuple(view for view in self.views if view.status == "registered")

    @property
    def timestamps(self) -> Float64[np.ndarray, " n"] | None:
        """Seconds of the registered views; None unless all are frames of one video."""
        times = [view.time_s for view in self.registered]
        if None in times or len({view.key.rpartition("/")[0] for view in self.registered}) != 1:
            return None
        return np.array(times, np.float64)

    def camera_index(self, key: str) -> int:
        """Return the row of ``cameras`` that belongs to the photo ``key``.

        Raises:
            UsageError: no registered photo has that key.
        """
        for index, view in enumerate(self.registered):
            if view.key == key:
                return index
        raise UsageError("no registered photo has that key", got=key, expected=[v.key for v in self.registered][:10])

    def transformed(self, new_from_old: Float64[np.ndarray, "4 4"]) -> Scene:
        """Return the scene in another world, ``x_new = new_from_old x_old`` (a similarity, ``[4,4]``)."""
        scale = float(np.cbrt(np.linalg.det(new_from_old[:3, :3])))
        rotation = new_from_old[:3, :3] / scale
        xyz = self.points.xyz @ new_from_old[:3, :3].T + new_from_old[:3, 3]
        points = replace(self.points, xyz=xyz, sigma=self.points.sigma * scale)
        sigma = self.pose_sigma.copy()
        sigma[:, 3:] = scale * np.sqrt(sigma[:, 3:] ** 2 @ (rotation**2).T)
        return replace(
            self,
            cameras=self.cameras.transformed(new_from_old),
            pinhole_cameras=self.pinhole_cameras.transformed(new_from_old),
            points=points,
            pose_sigma=sigma,
            world_from_sfm=new_from_old @ self.world_from_sfm,
        )

    def save(self, folder: str | Path, extra_files: Iterable[str | Path] = ()) -> Scene:
        """Write scene.json, both COLMAP models, transforms.json, trajectory.tum and points.ply into ``folder``.

        Args:
            folder: created where absent; each file is replaced atomically, scene.json last.
            extra_files: further files in the folder, relative to it, that scene.json shall list with their hashes.

        Returns:
            The scene with ``root`` set to the folder.

        Raises:
            UsageError: the scene contradicts itself, or its metrics or provenance are not JSON.
            InputError: an extra file is absent.
        """
        from recon3d.scene_io import save_scene

        return save_scene(self, folder, extra_files)

    def depth(self, key: str) -> DepthMap:
        """Read the depth map of a registered photo, in the pixels of its undistorted photo in ``images/``.

        Raises:
            UsageError: no registered photo has that key, or the scene lies in no folder.
            InputError: the reconstruction made no depth map of it.
            FormatError: the file is damaged.
        """
        from recon3d.scene_dense import load_depth

        self.camera_index(key)
        return load_depth(self._folder(), key)

    def gaussians(self) -> Gaussians:
        """Read the splats of the scene, on the CPU.

        Raises:
            UsageError: the scene lies in no folder.
            InputError: the reconstruction made none.
            FormatError: the file is damaged.
        """
        from recon3d.scene_dense import load_splats

        return load_splats(self._folder())

    def mesh(self) -> Mesh:
        """Read the mesh of the scene.

        Raises:
            UsageError: the scene lies in no folder.
            InputError: the reconstruction made none.
            FormatError: the file is damaged.
        """
        from recon3d.scene_dense import load_scene_mesh

        return load_scene_mesh(self._folder())

    def relightable(self) -> RelightableGaussians:
        """Read the relightable splats of the scene, on the CPU.

        Raises:
            UsageError: the scene lies in no folder.
            InputError: the reconstruction made none.
            FormatError: the file is damaged.
        """
        from recon3d.scene_dense import load_scene_relightable

        return load_scene_relightable(self._folder())

    def environment(self) -> Environment:
        """Read the light under which the photos were taken, as it was estimated.

        Raises:
            UsageError: the scene lies in no folder.
            InputError: the reconstruction estimated none.
            FormatError: the file is damaged.
        """
        from recon3d.scene_dense import load_scene_environment

        return load_scene_environment(self._folder())

    def _folder(self) -> Path:
        if self.root is None:
            fix = "save it first, or load it with Scene.load"
            raise UsageError("the scene lies in no folder, so it has no depth, splats or mesh", fix=fix)
        return self.root

    @staticmethod
    def load(folder: str | Path) -> Scene:
        """Read the folder that :meth:`save` wrote; every field has the same bits as before.

        Raises:
            InputError: the folder or a file of it is absent.
            FormatError: a file is damaged, was changed after it was written, or contradicts another.
        """
        from recon3d.scene_io import load_scene

        return load_scene(folder)
