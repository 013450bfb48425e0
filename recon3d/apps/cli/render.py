"""`recon3d render`: pictures and videos of splats along an orbit, through the cameras or along a trajectory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.frames import check_folder, remove_remains, write_picture, write_pictures
from recon3d.apps.cli.output import print_json, print_lines
from recon3d.core.errors import InputError, UsageError
from recon3d.core.progress import Stage, make_progress
from recon3d.formats.video_writer import h264_encoder, write_mp4
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians.files import load_gaussians
from recon3d.render.gaussians.options import GaussianBackend
from recon3d.render.gaussians.types import Gaussians
from recon3d.render.orbits import orbit, orbit_points
from recon3d.render.trajectories import CameraPath, focal_per_diagonal, resized, through, usual_size
from recon3d.render.trajectory_files import read_path_file
from recon3d.render.views import Quantity, ViewOptions, render_views
from recon3d.scene import Scene

_SPLATS = (".ply", ".spz")
_LONGEST_SIDE, _USUAL_SIZE = 1280, (1280, 720)
_USUAL_FOCAL = 0.9  # of the diagonal of the frame
_UPS = {"z": (0.0, 0.0, 1.0), "y": (0.0, 1.0, 0.0), "y-down": (0.0, -1.0, 0.0), "z-down": (0.0, 0.0, -1.0)}


@dataclass(frozen=True)
class Subject:
    """What is rendered, and the cameras that belong to it.

    Args:
        gaussians: the splats.
        cameras: pinhole cameras of the photos; None for a file of splats alone.
        antialiased: the splats were optimised with antialiasing.
    """

    gaussians: Gaussians
    cameras: Cameras | None
    antialiased: bool = False

    @property
    def points(self) -> Float64[np.ndarray, "p 3"]:
        """Centres of the Gaussians that can be seen."""
        means = self.gaussians.means[self.gaussians.opacities > 0.1]
        return means.detach().cpu().numpy().astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Render(Command):
    """Render the splats of an output folder, or of a file, into a video, a folder of pictures, or one picture.

    Args:
        scene: output folder of recon3d reconstruct, or splats as .ply or .spz.
        to: a .mp4 video, a .png picture, or a folder of PNG pictures.
        path: orbit, through (the cameras in their order), or a file: TUM, transforms.json, JSON of cam_from_world.
        frames: number of frames, by default 120, or one per pose of a file; otherwise a file is ridden through.
        width: of the frames in pixels, by default in proportion, or as the photos, up to 1280.
        height: of the frames in pixels.
        fps: frames per second of a video.
        up: what points up in a file of splats alone.
        what: colour, depth (near is bright), alpha (coverage), or normal (of the depth).
        background: red, green and blue behind the scene, 0 to 1.
        depth_range: nearest and farthest depth that get colours of their own, world units; otherwise what is seen.
        antialiasing: auto does as the output folder was made; off for a file of splats.
        backend: of the rasteriser.
        quiet: show no progress.
    """

    scene: Path
    to: Path | None = None
    path: str = "orbit"
    frames: int | None = None
    width: int | None = None
    height: int | None = None
    fps: float = 30.0
    up: Literal["z", "y", "y-down", "z-down"] = "z"
    what: Quantity = "colour"
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    depth_range: tuple[float, float] | None = None
    antialiasing: Literal["auto", "on", "off"] = "auto"
    backend: GaussianBackend = "auto"
    quiet: bool = False

    def run(self) -> int:
        """Render, print what was written and return 0."""
        target, look = self._target(), self._look()
        subject = read_subject(self.scene)
        if self.antialiasing == "auto":
            look = replace(look, antialiased=subject.antialiased)
        path = self._path(subject, target)
        with make_progress(self.quiet).stage(f"rendering {target.name}", len(path)) as shown:
            frames = _counted(render_views(subject.gaussians, path.cameras, look), shown)
            self._write(target, frames)
        self._tell(target, path)
        return 0

    def _look(self) -> ViewOptions:
        return ViewOptions(self.what, self.background, self.antialiasing == "on", self.depth_range, self.backend)

    def _target(self) -> Path:
        """Return where to write, having refused what cannot work before anything is rendered."""
        if self.to is None:
            raise UsageError("no target given", fix="add --to video.mp4, --to picture.png or --to FOLDER")
        target = self.to.expanduser()
        if self.scene.is_dir() and self.scene.resolve() in (target.resolve(), *target.resolve().parents):
            raise UsageError("the target lies in the output folder, whose files are recorded", got=target)
        suffix = target.suffix.lower()
        if suffix not in ("", ".mp4", ".png") and not target.is_dir():
            raise UsageError("cannot tell what to write", got=target.name, expected=".mp4, .png or a folder")
        if suffix == ".mp4":
            h264_encoder()
        elif suffix != ".png":
            check_folder(target)
        return target

    def _path(self, subject: Subject, target: Path) -> CameraPath:
        n_frames = self.frames or (1 if target.suffix.lower() == ".png" else 120)
        if self.frames is not None and self.frames < 1:
            raise UsageError("--frames must be positive", got=self.frames)
        if target.suffix.lower() == ".png" and n_frames > 1:
            raise UsageError("one picture holds one frame", got=f"--frames {n_frames}", fix="give a folder or a .mp4")
        size = self._size(subject.cameras, target.suffix.lower() == ".mp4")
        if self.path not in ("orbit", "through"):
            return self._file_path(subject, size, target)
        if subject.cameras is None:
            if self.path == "through":
                raise UsageError("a file of splats holds no cameras to ride through", fix="give the output folder")
            return orbit_points(subject.points, n_frames, size, np.array(_UPS[self.up]))
        if self.path == "through":
            return through(subject.cameras, n_frames, size)
        return orbit(subject.cameras, n_frames, size, subject.points)

    def _file_path(self, subject: Subject, size: tuple[int, int], target: Path) -> CameraPath:
        known = subject.cameras
        focal = _USUAL_FOCAL if known is None else float(np.median(focal_per_diagonal(known)))
        cameras = read_path_file(Path(self.path).expanduser(), size, focal)
        if self.frames is not None and self.frames != len(cameras):
            return through(cameras, self.frames, size)
        if target.suffix.lower() == ".png":
            cameras = cameras[:1]
        same = bool(((cameras.width == size[0]) & (cameras.height == size[1])).all())
        return CameraPath(cameras if same else resized(cameras, size), False, f"the poses of {self.path}")

    def _size(self, cameras: Cameras | None, even: bool) -> tuple[int, int]:
        """Return the size of the frames; videos need even sides."""
        for name, side in (("--width", self.width), ("--height", self.height)):
            if side is not None and not 2 <= side <= 16384:
                raise UsageError(f"{name} is out of range", got=side, expected="2..16384")
        usual_w, usual_h = _USUAL_SIZE if cameras is None else usual_size(cameras, _LONGEST_SIDE)
        if self.width is None and self.height is None:
            width, height = usual_w, usual_h
        else:
            width = self.width or round((self.height or 0) * usual_w / usual_h)
            height = self.height or round(width * usual_h / usual_w)
        return (max(2, width // 2 * 2), max(2, height // 2 * 2)) if even else (max(1, width), max(1, height))

    def _write(self, target: Path, frames: Iterator[UInt8[np.ndarray, "h w 3"]]) -> None:
        remove_remains(target)
        suffix = target.suffix.lower()
        if suffix == ".mp4":
            write_mp4(target, frames, self.fps)
        elif suffix == ".png":
            write_picture(target, next(frames))
        else:
            write_pictures(target, frames)

    def _tell(self, target: Path, path: CameraPath) -> None:
        width, height = int(path.cameras.width[0]), int(path.cameras.height[0])
        if self.json:
            facts = {"to": str(target), "n_frames": len(path), "width": width, "height": height}
            print_json({**facts, "what": self.what, "path": path.description, "is_closed": path.is_closed})
        else:
            noun = "frame" if len(path) == 1 else "frames"
            print_lines([f"{target}: {len(path)} {noun} of {width}x{height}, {path.description}"])


def read_subject(path: Path) -> Subject:
    """Read splats, with the cameras that belong to them where there are some.

    Raises:
        InputError: there are none.
        FormatError: a file is damaged.
    """
    if path.name == "scene.json":
        path = path.parent
    if path.is_dir():
        scene = Scene.load(path)
        return Subject(scene.gaussians(), scene.pinhole_cameras, _is_antialiased(scene))
    if path.is_file() and path.suffix.lower() in _SPLATS:
        return Subject(load_gaussians(path), None)
    got = path.suffix or "a file without extension" if path.exists() else "nothing there"
    raise InputError(f"{path} holds no splats", got=got, expected="a folder of recon3d reconstruct, a .ply or a .spz")


def _is_antialiased(scene: Scene) -> bool:
    made = scene.metrics.get("splats")
    return isinstance(made, Mapping) and made.get("antialiased") is True


def _counted(frames: Iterator[UInt8[np.ndarray, "h w 3"]], shown: Stage) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    for frame in frames:
        yield frame
        shown.advance()
