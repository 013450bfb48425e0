"""What a photo looks like in one vector, so that places that were seen before are found again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from recon3d.core.seeds import generator
from recon3d.sfm.features import sift
from recon3d.sfm.retrieval import vlad_signatures

_SIDE, _CELLS, _DIRECTIONS = 64, 4, 8
_COLOUR = 0.5  # weight of the colours beside the edges
_VLAD_SIDE = 200
_FEW = 100  # features of a photo: with fewer, the codebook says nothing
_SIFT_SIZE, _SIFT_COUNT = 640, 1024
_DIM = 1024


def place_signatures(
    photos: Sequence[UInt8[np.ndarray, "_ _ 3"]], kind: Literal["auto", "vlad", "layout"] = "auto", seed: int = 0
) -> Float32[np.ndarray, "n d"]:
    """Return one unit vector per photo; products of two say how much alike they look.

    Args:
        photos: may be read from disk one by one; vlad keeps their features in temporary files.
        kind: ``vlad`` survives a change of the viewpoint, ``layout`` is faster and works for tiny photos; ``auto``
            takes vlad where the short side of the first photo has 200 pixels and more, and photos have 100 features.
        seed: of the codebook.
    """
    if not len(photos):
        return np.zeros((0, 1), np.float32)
    large = kind == "vlad" or (kind == "auto" and min(photos[0].shape[:2]) >= _VLAD_SIDE)
    found = _vlad(photos, seed, _FEW if kind == "auto" else 0) if large else None
    return np.stack([layout_signature(photo) for photo in photos]) if found is None else found


def _vlad(photos: Sequence[UInt8[np.ndarray, "_ _ 3"]], seed: int, least: int) -> Float32[np.ndarray, "n d"] | None:
    """Return signatures by SIFT features; None where photos have fewer than ``least`` of them in the mean."""
    with tempfile.TemporaryDirectory(prefix="recon3d-places-") as folder:
        descriptors = _Descriptors(photos, Path(folder))
        if sum(len(descriptors[row]) for row in range(len(photos))) < least * len(photos):
            return None
        whole = vlad_signatures(descriptors, seed)
    # A random projection keeps products; a signature of 16,384 numbers for each photo would not stay small.
    projection = generator(seed, "places").normal(size=(whole.shape[1], _DIM)).astype(np.float32)
    return _units(np.concatenate([whole[row : row + 64] @ projection for row in range(0, len(whole), 64)]))


def layout_signature(photo: UInt8[np.ndarray, "_ _ 3"]) -> Float32[np.ndarray, " d"]:
    """Return how strong the edges in eight directions are in a grid of 4 x 4 cells, and the mean colours there.

    The idea is that of GIST (Oliva and Torralba 2001), with gradients in the place of Gabor filters.
    """
    small = np.asarray(Image.fromarray(photo).resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)
    dy, dx = np.gradient(small.mean(-1))
    direction = np.floor((np.arctan2(dy, dx) / np.pi + 1) / 2 * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    edges = np.where(direction[..., None] == np.arange(_DIRECTIONS), np.hypot(dx, dy)[..., None], np.float32(0))
    colours = small - small.mean((0, 1))
    parts = np.sqrt(_per_cell(edges, _SIDE // _CELLS)), _per_cell(colours, _SIDE // _CELLS)
    weighted = [weight * _units(part.ravel()[None])[0] for part, weight in zip(parts, (1.0, _COLOUR), strict=True)]
    return np.asarray(_units(np.concatenate(weighted)[None])[0])


def _per_cell(values: Float32[np.ndarray, "h w c"], side: int) -> Float32[np.ndarray, "a b c"]:
    rows, cols = values.shape[0] // side, values.shape[1] // side
    return np.asarray(values.reshape(rows, side, cols, side, -1).mean((1, 3), dtype=np.float32))


def _units(vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norm, 1e-12), np.float32)


class _Descriptors(Sequence[UInt8[np.ndarray, "_ 128"]]):
    """SIFT descriptors of photos, found once and kept in files.

    Args:
        photos: of which.
        folder: for the files.
    """

    def __init__(self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]], folder: Path) -> None:
        self.photos, self.folder = photos, folder

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: Any) -> Any:
        path = self.folder / f"{index}.npy"
        if not path.exists():
            np.save(path, sift(self.photos[index], _SIFT_SIZE, _SIFT_COUNT, rich=False)[1])
        return np.load(path)
