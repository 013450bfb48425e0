"""What a folder or file holds that the page can show."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recon3d.core.errors import FormatError, InputError
from recon3d.core.files import read_capped
from recon3d.scene import Scene
from recon3d.scene_dense import ENVIRONMENT, RELIGHTABLE
from recon3d.scene_io import output_name

Role = Literal["splats", "mesh", "points", "environment"]
PAGE_FILES = (".ply", ".spz", ".glb")
_ENVIRONMENTS = (".hdr", ".exr")
_HEADER_BYTES = 1 << 16
_EXPECTED = "a folder of recon3d reconstruct, or a .ply, .spz or .glb file"


@dataclass(frozen=True)
class Item:
    """One file that the page can show.

    Args:
        role: what it is.
        path: relative to the root, ``/`` between the parts.
        n_bytes: its size.
    """

    role: Role
    path: str
    n_bytes: int


@dataclass(frozen=True)
class Contents:
    """What was opened.

    Args:
        root: the folder; the page may read the files in it, and no others.
        name: what the page is called.
        items: what can be shown; the first of each role is shown at the start.
        scene: the reconstruction; None for a folder or file without one.
        only: the one file below the root that may be read; None = all.
    """

    root: Path
    name: str
    items: tuple[Item, ...]
    scene: Scene | None = None
    only: str | None = None

    def document(self) -> dict[str, Any]:
        """Return what the page needs to know, JSON-ready."""
        files = [{"role": one.role, "path": one.path, "bytes": one.n_bytes} for one in self.items]
        base: dict[str, Any] = {"name": self.name, "items": files, "cameras": [], "antialiased": False}
        if self.scene is None:
            return base | {"scale": None, "canSetScale": False}
        scale = self.scene.scale
        return base | {
            "cameras": list(_cameras(self.scene)),
            "antialiased": is_antialiased(self.scene),
            "scale": {"kind": scale.kind, "source": scale.source, "unit": scale.unit},
            "canSetScale": True,
        }

    def resolve(self, path: str) -> Path | None:
        """Return the file at a path relative to the root; None where it is not one of ours.

        Refused are parts that begin with a dot (the work folder among them), ``..``, absolute paths, and links that
        lead out of the root.
        """
        parts = path.split("/")
        if any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts):
            return None
        if self.only is not None and path != self.only:
            return None
        root, found = self.root.resolve(), Path(os.path.realpath(self.root.joinpath(*parts)))
        return found if found.is_relative_to(root) and found.is_file() else None


def read_contents(path: Path) -> Contents:
    """Look at what lies at a path.

    Args:
        path: a folder of reconstruct, any folder with splats, meshes or points, or one such file.

    Raises:
        InputError: there is nothing that the page can show.
        FormatError: the scene is damaged.
    """
    path = Path(path)
    if path.name == "scene.json":
        path = path.parent
    if path.is_file() and path.suffix.lower() in PAGE_FILES:
        item = _item(path.parent, path)
        return Contents(path.parent, path.name, (item,), only=path.name)
    if not path.is_dir():
        got = f"a {path.suffix or 'nameless'} file" if path.exists() else "nothing there"
        raise InputError(f"cannot show {path}", got=got, expected=_EXPECTED)
    scene = Scene.load(path) if (path / "scene.json").is_file() else None
    items = tuple(sorted(_items(path), key=_rank))
    if scene is None and not any(item.role != "environment" for item in items):
        raise InputError(f"{path} holds nothing to show", expected=_EXPECTED)
    return Contents(path, path.resolve().name, items, scene)


def _items(folder: Path) -> Iterator[Item]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in (*PAGE_FILES, *_ENVIRONMENTS) and not path.name.startswith("."):
            yield _item(folder, path)


def _item(folder: Path, path: Path) -> Item:
    return Item(_role(path), path.relative_to(folder).as_posix(), path.stat().st_size)


def _role(path: Path) -> Role:
    suffix = path.suffix.lower()
    if suffix == ".ply":
        return _ply_role(path)
    roles: Mapping[str, Role] = {".spz": "splats", ".glb": "mesh", ".hdr": "environment", ".exr": "environment"}
    return roles[suffix]


def _ply_role(path: Path) -> Role:
    """Tell by the header of a PLY whether it holds splats, faces or only points."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES).partition(b"end_header")[0]
    except OSError as error:
        raise InputError(f"cannot read {path}", got=error.strerror) from error
    if b" scale_0" in header or b" packed_position" in header:
        return "splats"
    return "mesh" if b"element face" in header and b"element face 0" not in header else "points"


def _rank(item: Item) -> tuple[bool, bool, bool, bool, str]:
    """Put what can be relit and its light first, plain PLY before its compressed twin, and dense points before others.

    The mesh with photographed colours comes before its relightable twin: it shows the same surface, and the splats
    show the materials already.
    """
    name = item.path.lower()
    first = name in (RELIGHTABLE, ENVIRONMENT)
    return not first, name.endswith(".spz"), "dense" not in name, item.path != item.path.lower(), name


def _cameras(scene: Scene) -> Iterator[dict[str, Any]]:
    cameras = scene.pinhole_cameras
    root = scene.root or Path()
    for row, view in enumerate(scene.registered):
        K, image = cameras.K[row], f"images/{output_name(view.key)}"
        yield {
            "key": view.key,
            "image": image if (root / image).is_file() else None,
            "width": int(cameras.width[row]),
            "height": int(cameras.height[row]),
            "K": [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])],
            "camFromWorld": cameras.cam_from_world[row].reshape(-1).tolist(),
        }


def is_antialiased(scene: Scene) -> bool:
    """Return whether the splats of a scene were optimised with the antialiasing compensation."""
    made = scene.metrics.get("splats")
    return isinstance(made, Mapping) and made.get("antialiased") is True


def read_item(contents: Contents, path: str, max_bytes: int) -> bytes:
    """Return the bytes of one file of the contents.

    Raises:
        InputError: there is no such file.
        FormatError: it is longer than ``max_bytes``.
    """
    found = contents.resolve(path)
    if found is None:
        raise InputError(f"{contents.root} holds no {path}")
    try:
        return read_capped(found, max_bytes)
    except FormatError as error:
        raise FormatError(f"{path} is too large for one page", got=error.got, expected=error.expected) from error
