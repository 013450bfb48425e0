"""Which files a source names: a folder, a file, a list, or a glob pattern."""

from __future__ import annotations

import glob
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recon3d.core.errors import InputError
from recon3d.photos.types import Rejected

_LOG = logging.getLogger(__name__)
# fmt: off
PHOTO_SUFFIXES = frozenset([".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".avif", ".heic",
                            ".heif", ".hif", ".bmp", ".ppm", ".pgm", ".pnm"])
VIDEO_SUFFIXES = frozenset([".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".mpg", ".mpeg", ".3gp"])
_RAW_SUFFIXES = frozenset([".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".raf", ".rw2", ".orf", ".pef", ".srw"])
# fmt: on
_SILENT_NAMES = frozenset(["thumbs.db", "desktop.ini", "transforms.json", "project.ini", "database.db"])
_SILENT_STEMS = frozenset(["cameras", "images", "points3d", "frames", "rigs"])  # a COLMAP model beside the photos
_MASK_FOLDERS = frozenset(["mask", "masks", "__macosx"])


@dataclass(frozen=True)
class Found:
    """What a source holds.

    Args:
        root: folder that keys are relative to.
        photos: path of each candidate photo by key.
        videos: path of each video by key.
        rejected: files that are neither, with the reason.
    """

    root: Path
    photos: dict[str, Path] = field(default_factory=dict)
    videos: dict[str, Path] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)


def discover(source: str | Path | Sequence[str | Path], exclude: Sequence[Path]) -> Found:
    """List the photos and videos of a source, without opening any.

    Folders are searched with all their subfolders. Left out are hidden files, folders named "mask" or "masks", results
    of an earlier run (folders with a scene.json), and what ``exclude`` names.

    Args:
        source: a folder, a photo, a video, a glob pattern, or a list of such paths.
        exclude: files and folders that are not read.

    Returns:
        The files by key; their order is that of the keys.

    Raises:
        InputError: the source does not exist, or the pattern or list is empty.
    """
    left_out = frozenset(os.path.realpath(path) for path in exclude)
    if not isinstance(source, (str, Path)):
        return _from_list([_absolute(item) for item in source], left_out)
    path = _absolute(source)
    if path.is_dir():
        return _sorted(path, list(_walk(path, left_out)))
    if os.path.lexists(path):
        return _sorted(path.parent, [path])
    if glob.has_magic(str(path)):
        return _from_glob(path, left_out)
    raise InputError(f"{source} does not exist", expected="a folder of photos, a video, a list or a glob pattern")


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))


def _from_list(paths: Sequence[Path], left_out: frozenset[str]) -> Found:
    if not paths:
        raise InputError("the list of photos is empty")
    try:
        root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))
    except ValueError as error:  # Windows: several drives
        raise InputError("the photos of the list have no folder in common", got=error) from error
    files = [file for path in paths for file in (_walk(path, left_out) if path.is_dir() else [path])]
    return _sorted(root, files)


def _from_glob(pattern: Path, left_out: frozenset[str]) -> Found:
    parts = pattern.parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    hits = [Path(hit) for hit in glob.glob(str(pattern), recursive=True)]
    files = [
        hit
        for hit in hits
        if not hit.is_dir() and os.path.realpath(hit) not in left_out and _within(hit, root, left_out)
    ]
    if not files:
        raise InputError(f"no file matches {pattern}")
    return _sorted(root, files)


def _walk(folder: Path, left_out: frozenset[str]) -> Iterator[Path]:
    """Yield all files below a folder; a symlink loop ends because no folder is entered twice."""
    entered = {os.path.realpath(folder)}
    for here, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if _enter(Path(here, name), entered, left_out))
        for name in sorted(files):
            path = Path(here, name)
            if not name.startswith(".") and os.path.realpath(path) not in left_out:
                yield path
        if not folders and not files and Path(here).suffix.lower() in PHOTO_SUFFIXES:
            yield Path(here)  # an empty folder with the name of a photo: reported, not overlooked


def _enter(path: Path, entered: set[str], left_out: frozenset[str]) -> bool:
    real = os.path.realpath(path)
    if path.name.startswith(".") or path.name.lower() in _MASK_FOLDERS or real in left_out | entered:
        return False
    if (path / "scene.json").exists():
        _LOG.info("%s holds the result of an earlier run and is left out", path)
        return False
    entered.add(real)
    return True


def _within(path: Path, root: Path, left_out: frozenset[str]) -> bool:
    """Say whether every folder between ``root`` and a file may be entered."""
    between = path.relative_to(root).parents
    return all(_enter(root / folder, set(), left_out) for folder in between if folder != Path("."))


def _sorted(root: Path, files: Sequence[Path]) -> Found:
    found = Found(root)
    for key, path in sorted((_key(path, root), path) for path in set(files)):
        suffix = path.suffix.lower()
        reason = _not_a_file(path)
        if reason:
            found.rejected.append(Rejected(key, reason))
        elif suffix in VIDEO_SUFFIXES:
            found.videos[key] = path
        elif suffix in PHOTO_SUFFIXES:
            found.photos[key] = path
        elif not _is_silent(path):
            found.rejected.append(Rejected(key, _why_not(suffix)))
    return found


def _not_a_file(path: Path) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "is a folder, not a photo"
    return "" if stat.S_ISREG(mode) else "is not a regular file"


def _is_silent(path: Path) -> bool:
    return path.name.lower() in _SILENT_NAMES or path.stem.lower() in _SILENT_STEMS


def _why_not(suffix: str) -> str:
    if suffix in _RAW_SUFFIXES:
        return f"is a raw photo ({suffix}): export it as JPEG or TIFF"
    return f"is not an image or video ({suffix or 'no extension'})"


def _key(path: Path, root: Path) -> str:
    """Path below the root with "/"; bytes of a name that are not UTF-8 are written as escapes."""
    text = Path(os.path.relpath(path, root)).as_posix()
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
