"""Many photos in overlapping chunks: along a video, or by similarity where there is no order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from recon3d.core.budget import available_memory_bytes
from recon3d.feedforward.memory import check_memory, inference_bytes
from recon3d.feedforward.models import Network

MAX_CHUNK = 120
_SHARE = 0.8  # of the free memory


@dataclass(frozen=True, eq=False)
class Chunk:
    """Photos that go through the network together.

    Args:
        photos: their numbers, those that earlier chunks have first, ``[k]``.
        n_shared: how many those are.
    """

    photos: Int64[np.ndarray, " k"]
    n_shared: int

    @property
    def new(self) -> Int64[np.ndarray, " m"]:
        """Photos that no earlier chunk has: this chunk says where they are."""
        return self.photos[self.n_shared :]


def video_chunks(n_photos: int, size: int, overlap: int) -> list[Chunk]:
    """Return chunks along a video; each starts with the last ``overlap`` frames of the one before.

    Args:
        n_photos: frames of the video.
        size: of a chunk; the last one may be smaller.
        overlap: less than ``size``.
    """
    chunks = [Chunk(np.arange(min(size, n_photos)), 0)]
    while (end := int(chunks[-1].photos[-1]) + 1) < n_photos:
        chunks.append(Chunk(np.arange(end - overlap, min(end - overlap + size, n_photos)), overlap))
    return chunks


def unordered_chunks(signatures: Float32[np.ndarray, "n d"], size: int, overlap: int) -> list[Chunk]:
    """Return chunks of similar photos; each holds those of the earlier photos that are most similar to its new ones.

    The first chunk grows from the photo that is most similar to all others, each further one from the photo that is
    most similar to one that has a place already.

    Args:
        signatures: unit vectors whose products say how similar photos are, ``[n,d]``.
        size: of a chunk.
        overlap: less than ``size``.
    """
    n = len(signatures)
    free, reach = np.ones(n, np.bool_), signatures @ signatures.sum(0)
    chunks: list[Chunk] = []
    while free.any():
        wanted = size - overlap if chunks else size
        first = int(np.argmax(np.where(free, reach, -np.inf)))
        new, near = _grown(signatures, free, first, wanted)
        placed = np.flatnonzero(~free)
        anchors = placed[np.argsort(-near[placed], kind="stable")[:overlap]]
        chunks.append(Chunk(np.concatenate([anchors, new]), len(anchors)))
        free[new] = False
        reach = near if len(chunks) == 1 else np.maximum(reach, near)
    return chunks


def _grown(
    signatures: Float32[np.ndarray, "n d"], free: Bool[np.ndarray, " n"], first: int, wanted: int
) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, " n"]]:
    """Return free photos, each the most similar to one before it, and how similar every photo is to the nearest."""
    left, new = free.copy(), [first]
    near = signatures @ signatures[first]
    left[first] = False
    while len(new) < wanted and left.any():
        new.append(int(np.argmax(np.where(left, near, -np.inf))))
        left[new[-1]] = False
        near = np.maximum(near, signatures @ signatures[new[-1]])
    return np.array(new, np.int64), near


def chunk_size(network: Network, height: int, width: int, max_memory_bytes: int | None = None) -> int:
    """Return how many photos a network can see together, at most 120.

    Args:
        network: whose weights are in memory already.
        height: of its images, in pixels.
        width: of its images, in pixels.
        max_memory_bytes: for weights and tensors together; None = the weights and 80 % of what is free.

    Raises:
        ResourceError: not even two fit.
    """
    limit = usable_bytes(network) if max_memory_bytes is None else max_memory_bytes
    check_memory(network, 2, height, width, limit)
    return next(n for n in range(MAX_CHUNK, 1, -1) if n == 2 or inference_bytes(network, n, height, width) <= limit)


def usable_bytes(network: Network) -> int:
    """Return what weights and tensors may take on the network's device: the weights and 80 % of what is free."""
    device = next(network.parameters()).device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory_bytes()
    return sum(one.numel() * one.itemsize for one in network.parameters()) + int(_SHARE * free)
