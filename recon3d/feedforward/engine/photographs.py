"""Photos of a capture through a network: how large, in what memory, and one stored answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
from recon3d.feedforward.sequence.chunks import chunk_size
from recon3d.feedforward.sequence.options import SequenceOptions
from recon3d.feedforward.sequence.sequence import estimate_sequence
from recon3d.photos import Photo
from recon3d.photos.decode import read_mask, read_upright
from recon3d.sfm.engine import Tools

VIEWS = "views.npz"
_DECODED = 4  # times the size of the network's images: what photos are reduced to first, to save memory
_SMALLEST = 112
_STEP = 14
_GPU_SHARE = 0.9
_TOGETHER = 8  # photos that must fit at a time; of more, groups are laid over each other


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
        "table": None if means.table is None else asdict(means.table),
        "device": network_device().type,
    }

    def build(folder: Path) -> dict[str, Any]:
        with torch_threads(means.n_threads):
            loaded = load_network(means.weights)
            loaded.network.to(network_device())
            size, notes = fitting_size(loaded.network, photos, means)
            answer = ask(loaded.network, Photographs(photos, _DECODED * size, tools.max_pixels), size, means, tools)
            save_views(folder / VIEWS, confirmed(_masked(answer.views, photos)))
        told = [*loaded.notes, *notes, *answer.notes]
        return {"size": size, "attention": loaded.attention, "notes": told, "unlinked": answer.unlinked}

    return tools.store.run(name, inputs, build)


class Photographs(Sequence[UInt8[np.ndarray, "_ _ 3"]]):
    """Upright photos, read when they are asked for and reduced by area averaging.

    Args:
        photos: where they are.
        limit: for their longer side, in pixels.
        max_pixels: larger files are not decoded.
    """

    def __init__(self, photos: Sequence[Photo], limit: int, max_pixels: int) -> None:
        self.photos, self.limit, self.max_pixels = photos, limit, max_pixels

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: Any) -> Any:
        return _reduced(read_upright(self.photos[index].path, self.max_pixels), self.limit)


class Answer(NamedTuple):
    """What a network said about any number of photos.

    Args:
        views: the estimates; their placements refer to the photos in full size.
        unlinked: photos whose part does not hang together with the first one.
        notes: what the user should know, in plain words.
    """

    views: ViewEstimates
    unlinked: list[int]
    notes: list[str]


def ask(network: Network, given: Photographs, size: int, means: Means, tools: Tools) -> Answer:
    """Show all photos to a network at once, or in overlapping chunks where they are too many.

    Args:
        network: in evaluation mode.
        given: the photos.
        size: longer side of the network's images, in pixels.
        means: what may be used.
        tools: progress.
    """
    height, width = _network_size(network, given.photos, size)
    chunk = chunk_size(network, height, width, memory_of(network_device(), means))
    if len(given) <= chunk:
        with tools.progress.stage("asking the network"):
            views = estimate_views(network, list(given), size=size, table=means.table)
        return Answer(_placed(views, given), [], [])
    order: Literal["video", "unordered"] = "unordered" if given.photos[0].time_s is None else "video"
    options = SequenceOptions(order=order, chunk=chunk, size=size)

    def estimate(some: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> ViewEstimates:
        return estimate_views(network, list(some), size=size, table=means.table)

    with estimate_sequence(estimate, given, options, progress=tools.progress) as found:
        views, linked = found.views(range(len(given))), found.linked
        note = f"the network saw {len(given)} photos in {int(found.chunk.max()) + 1} overlapping groups of {chunk}"
    return Answer(_placed(views, given), np.flatnonzero(~linked).tolist(), [note])


def network_device() -> torch.device:
    """Return where networks run: a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def memory_of(device: torch.device, means: Means) -> int:
    """Return the bytes that a network may take: those of the run, on a GPU a share of what is free there.

    Args:
        device: where it runs.
        means: of the run.
    """
    return int(_GPU_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else means.max_memory_bytes


@contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Let torch use some threads below this block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fitting_size(network: Network, photos: Sequence[Photo], means: Means) -> tuple[int, list[str]]:
    """Return the longer side of the network's images that the memory allows, and what was given up for it.

    Args:
        network: of the photos.
        photos: of one scene.
        means: what may be used.

    Raises:
        ResourceError: the memory does not suffice for the smallest images.
    """
    wanted, memory = means.size or working_size(network), memory_of(network_device(), means)
    for size in [wanted, *range(wanted // _STEP * _STEP, _SMALLEST - 1, -_STEP)]:
        height, width = _network_size(network, photos, size)
        if inference_bytes(network, min(len(photos), _TOGETHER), height, width) <= memory:
            less = f"the network saw photos of {size} instead of {wanted} px to stay within the memory"
            return size, [less] if size < wanted else []
    check_memory(
        network,
        min(len(photos), _TOGETHER),
        *_network_size(network, photos, min(wanted, _SMALLEST)),
        means.max_memory_bytes,
    )
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
    old = image.shape[1], image.shape[0]
    size = _reduced_size(*old, limit)
    return image if size == old else np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _reduced_size(width: int, height: int, limit: int) -> tuple[int, int]:
    factor = min(1.0, limit / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _placed(views: ViewEstimates, given: Photographs) -> ViewEstimates:
    """Return the estimates with placements of the photos in full size."""
    places = []
    for place, photo in zip(views.placements, given.photos, strict=True):
        width, height = _reduced_size(photo.width, photo.height, given.limit)
        scale = {"scale_x": place.scale_x * width / photo.width, "scale_y": place.scale_y * height / photo.height}
        places.append(place._replace(**scale))
    return replace(views, placements=tuple(places))


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
