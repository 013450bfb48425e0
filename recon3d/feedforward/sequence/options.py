"""Options of long videos and large sets of photos."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recon3d.core.errors import UsageError
from recon3d.feedforward.sequence.registration import RegistrationOptions


@dataclass(frozen=True)
class SequenceOptions:
    """How many photos are cut into chunks and put together again.

    Args:
        order: ``video`` keeps the order of the photos; ``unordered`` puts similar ones into the same chunk.
        chunk: photos in one run of the network; None = what memory allows, at most 120.
        overlap: photos of a chunk that earlier chunks have too; None = half of the chunk.
        size: longer side (VGGT: width) of the network's images, in pixels; None = that of the network.
        max_memory_bytes: for the network's weights and tensors together; None = the weights and 80 % of what is free.
        loops: look for places that were seen before, by appearance, and verify them by a run of their own.
        loop_views: photos in such a run.
        signatures: how photos are compared: by ``vlad`` of their SIFT features, by ``layout`` of edges and colours, or
            ``auto``: vlad where the short side of the photos has 200 pixels and more.
        registration: how runs are laid over each other.
        seed: of the codebook.
    """

    order: Literal["video", "unordered"] = "video"
    chunk: int | None = None
    overlap: int | None = None
    size: int | None = None
    max_memory_bytes: int | None = None
    loops: bool = True
    loop_views: int = 8
    signatures: Literal["auto", "vlad", "layout"] = "auto"
    registration: RegistrationOptions = field(default_factory=RegistrationOptions)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.chunk is not None and self.chunk < 2:
            raise UsageError("a chunk needs two photos", got=self.chunk)
        if self.overlap is not None and (self.overlap < 1 or (self.chunk is not None and self.overlap >= self.chunk)):
            raise UsageError("an overlap is at least one photo and less than a chunk", got=self.overlap)
        if self.loop_views < 2:
            raise UsageError("a loop needs two photos", got=self.loop_views)
