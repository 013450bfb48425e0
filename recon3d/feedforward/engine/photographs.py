"""Photos of a capture through a network: how large, in what memory, and one stored answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image

from recon3d.core.errors import ResourceError
from recon3d.core.files import sha256_file
from recon3d.core.stages import StageResult
from recon3d.feedforward.engine.network import ChosenWeights, load_network
from recon3d.feedforward.engine.sigma import SigmaTable
from recon3d.feedforward.engine.stored import save_views
from recon3d.feedforward.engine.surface import confirmed
from recon3d.feedforward.engine.views import ViewEstimates, estimate_views, working_size
from recon3d.feedforward.inference import prepare
from recon3d.feedforward.memory import check_memory, inference_bytes
from recon3d.feedforward.models import Network
from recon3d.feedforward.preparation import Placement
from recon3d.photos import Photo
from recon3d.photos.decode import read_mask, read_upright
from recon3d.sfm.engine import Tools

VIEWS = "views.npz"
_DECODED = 4  # times the size of the network's images: what photos are reduced to first, to save memory
_SMALLEST = 112
_STEP = 14


@dataclass(frozen=True)
class Means:
    """What a network may use.

    Args:
        weights: which network.
        max_memory_bytes: for weights and tensors together.
        n_threads: threads that compute at the same time.
        size: longer side of the network's images, in pixels; None = by the network, and less where memory ends.
        table: sigma by confidence, learned from truth; None = by how far the photos agree.
    """

    weights: ChosenWeights
    max_memory_bytes: int
    n_threads: int
    size: int | None = None
    table: SigmaTable | None = None


def estimate_stage(photos: Sequence[Photo], means: Means, tools: Tools, name: str = "network") -> StageResult:
    """Run a network on photos, or take what an earlier run has stored.

    Args:
        photos: of one scene, sorted by key.
        means: which network, and what it may use.
        tools: stages and progress.
        name: of the stage.

    Returns:
        The stage; its folder holds ``views.npz``, its value what the user should know.

    Raises:
        ResourceError: the memory does not suffice for the smallest images.
        ResultError: the network's answer is not finite.
        InputError: a photo, a mask or the weights cannot be read.
    """
    inputs = {
        "photos": [[photo.sha256, photo.width, photo.height] for photo in photos],
        "masks": [None if photo.mask is None else sha256_file(photo.mask) for photo in photos],
        "weights": means.weights.key(),
        "size": means.size,
    }

    def build(folder: Path) -> dict[str, Any]:
        with tools.progress.stage("asking the network"), torch_threads(means.n_threads):
            loaded = load_network(means.weights)
            size, notes = fitting_size(loaded.network, photos, means)
            images = read_photos(photos, _DECODED * size, tools.max_pixels)
            views = estimate_views(loaded.network, images, size=size, table=means.table)
            views = replace(views, placements=tuple(_of_photo(*each) for each in _zipped(views, images, photos)))
            save_views(folder / VIEWS, confirmed(_masked(views, photos)))
        return {"size": size, "attention": loaded.attention, "notes": [*loaded.notes, *notes]}

    return tools.store.run(name, inputs, build)


@contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Let torch use some threads below this block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_photos(photos: Sequence[Photo], limit: int, max_pixels: int) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Return upright photos, reduced by area averaging where their longer side exceeds a limit in pixels."""
    return [_reduced(read_upright(photo.path, max_pixels), limit) for photo in photos]


def fitting_size(network: Network, photos: Sequence[Photo], means: Means) -> tuple[int, list[str]]:
    """Return the longer side of the network's images that the memory allows, and what was given up for it.

    Args:
        network: of the photos.
        photos: of one scene.
        means: what may be used.

    Raises:
        ResourceError: the memory does not suffice for the smallest images.
    """
    wanted = means.size or working_size(network)
    for size in [wanted, *range(wanted // _STEP * _STEP, _SMALLEST - 1, -_STEP)]:
        height, width = _network_size(network, photos, size)
        if inference_bytes(network, len(photos), height, width) <= means.max_memory_bytes:
            less = f"the network saw photos of {size} instead of {wanted} px to stay within the memory"
            return size, [less] if size < wanted else []
    check_memory(network, len(photos), *_network_size(network, photos, _SMALLEST), means.max_memory_bytes)
    raise ResourceError("too little memory for the network", got=f"{means.max_memory_bytes / 2**20:.0f} MiB")


def _network_size(network: Network, photos: Sequence[Photo], size: int) -> tuple[int, int]:
    """Return height and width of the network's images."""
    shapes = {(photo.width, photo.height) for photo in photos}
    factor = [min(1.0, 2 * size / max(shape)) for shape in sorted(shapes)]
    blank = [
        np.zeros((max(1, round(height * f)), max(1, round(width * f)), 3), np.uint8)
        for (width, height), f in zip(sorted(shapes), factor, strict=True)
    ]
    height, width = prepare(network, blank, size=size).images.shape[-2:]
    return height, width


def _reduced(image: UInt8[np.ndarray, "h w 3"], limit: int) -> UInt8[np.ndarray, "_ _ 3"]:
    height, width = image.shape[:2]
    factor = limit / max(height, width)
    if factor >= 1:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _zipped(
    views: ViewEstimates, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], photos: Sequence[Photo]
) -> Iterator[tuple[Placement, tuple[int, int], Photo]]:
    for place, image, photo in zip(views.placements, images, photos, strict=True):
        yield place, (image.shape[1], image.shape[0]), photo


def _of_photo(place: Placement, reduced: tuple[int, int], photo: Photo) -> Placement:
    """Return where the whole photo lies in the network's image."""
    return place._replace(
        scale_x=place.scale_x * reduced[0] / photo.width, scale_y=place.scale_y * reduced[1] / photo.height
    )


def _masked(views: ViewEstimates, photos: Sequence[Photo]) -> ViewEstimates:
    """Return the estimates without what the masks of the photos leave out."""
    valid = views.valid.copy()
    for row, photo in enumerate(photos):
        if photo.mask is not None:
            use = read_mask(photo.mask, photo.width, photo.height)
            valid[row] &= _at_pixels(use, views.placements[row], (valid.shape[1], valid.shape[2]))
    return replace(views, valid=valid)


def _at_pixels(use: Bool[np.ndarray, "h w"], place: Placement, size: tuple[int, int]) -> Bool[np.ndarray, "rows cols"]:
    """Return the value of a mask at the centres of the network's pixels."""
    y = ((np.arange(size[0]) + 0.5 - place.offset_y) / place.scale_y).astype(np.int64)
    x = ((np.arange(size[1]) + 0.5 - place.offset_x) / place.scale_x).astype(np.int64)
    return use[np.clip(y, 0, use.shape[0] - 1)][:, np.clip(x, 0, use.shape[1] - 1)]
