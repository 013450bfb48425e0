"""The dense part of a scene folder: depth maps, splats, mesh and what can be relit, read when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon3d.core.errors import FormatError, InputError
from recon3d.dense.types import DepthMap
from recon3d.formats.exr import read_exr, write_exr
from recon3d.scene_io import output_stem

if TYPE_CHECKING:
    from recon3d.render.gaussians import Gaussians
    from recon3d.render.mesh import Mesh
    from recon3d.render.shading import Environment
    from recon3d.splats.relight import RelightableGaussians

DEPTH = "depth"
SPLATS, SPLATS_COMPRESSED, MESH, DENSE_POINTS = "splats.ply", "splats.spz", "mesh.glb", "points_dense.ply"
RELIGHTABLE, ENVIRONMENT, RELIGHTABLE_MESH = "relightable.ply", "environment.exr", "relightable.glb"
_MAX_PIXELS = 400_000_000


def depth_names(key: str) -> tuple[str, str]:
    """Return the paths of a photo's depth map and of its sigma in a scene folder."""
    stem = output_stem(key)
    return f"{DEPTH}/{stem}.exr", f"{DEPTH}/{stem}_sigma.exr"


def save_depth(folder: Path, key: str, depth: DepthMap) -> None:
    """Write a depth map as two EXR files: channel Z is the depth along camera z, channel Y its sigma; 0 = none.

    Args:
        folder: the scene folder.
        key: of the photo.
        depth: its depth map, in world units.
    """
    of_depth, of_sigma = depth_names(key)
    write_exr(folder / of_depth, {"Z": depth.depth_z})
    write_exr(folder / of_sigma, {"Y": depth.sigma})


def load_depth(folder: Path, key: str) -> DepthMap:
    """Read what :func:`save_depth` wrote.

    Raises:
        InputError: the scene has no depth map of that photo.
        FormatError: a file is damaged.
    """
    arrays = []
    for name, channel in zip(depth_names(key), "ZY", strict=True):
        path = folder / name
        if not path.is_file():
            fix = "run recon3d reconstruct without --only cameras"
            raise InputError(f"there is no depth map of {key}", got=f"no {path}", fix=fix)
        channels = read_exr(path, max_pixels=_MAX_PIXELS)
        if channel not in channels:
            raise FormatError(f"{path} has no channel {channel}", got=", ".join(channels))
        arrays.append(np.ascontiguousarray(channels[channel], np.float32))
    if arrays[0].shape != arrays[1].shape:
        raise FormatError(f"depth and sigma of {key} differ in size", got=arrays[1].shape, expected=arrays[0].shape)
    return DepthMap(arrays[0], arrays[1])


def load_splats(folder: Path) -> Gaussians:
    """Read the Gaussians of a scene folder.

    Raises:
        InputError: it has none.
        FormatError: the file is damaged.
    """
    from recon3d.render.gaussians.files import load_gaussians

    return load_gaussians(_existing(folder, SPLATS, "splats"))


def load_scene_mesh(folder: Path) -> Mesh:
    """Read the mesh of a scene folder, turned from glTF's y-up axes into the world.

    Raises:
        InputError: it has none.
        FormatError: the file is damaged.
    """
    from recon3d.render.mesh.files import load_mesh

    return load_mesh(_existing(folder, MESH, "mesh"))


def load_scene_relightable(folder: Path) -> RelightableGaussians:
    """Read the relightable splats of a scene folder.

    Raises:
        InputError: it has none.
        FormatError: the file is damaged.
    """
    from recon3d.splats.relight.files import load_relightable

    return load_relightable(_existing(folder, RELIGHTABLE, "relightable splats", "with --relightable"))


def load_scene_environment(folder: Path) -> Environment:
    """Read the light under which the photos of a scene folder were taken.

    Raises:
        InputError: it was not estimated.
        FormatError: the file is damaged.
    """
    from recon3d.render.shading import load_environment

    return load_environment(_existing(folder, ENVIRONMENT, "estimate of the light", "with --relightable"))


def _existing(folder: Path, name: str, what: str, how: str = "without --only") -> Path:
    path = folder / name
    if not path.is_file():
        fix = f"run recon3d reconstruct {how}"
        raise InputError(f"{folder} holds no {what}", got=f"no {name}", fix=fix)
    return path
