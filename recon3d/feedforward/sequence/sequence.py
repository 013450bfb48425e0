"""Cameras and depth of long videos and of large sets of photos, in memory that does not grow with their number."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from recon3d.core.errors import InputError
from recon3d.core.progress import Progress
from recon3d.feedforward.inference import prepare
from recon3d.feedforward.models import Network
from recon3d.feedforward.sequence.assembly import Assembly
from recon3d.feedforward.sequence.chunks import MAX_CHUNK, Chunk, chunk_size, unordered_chunks, video_chunks
from recon3d.feedforward.sequence.estimates import SequenceEstimates
from recon3d.feedforward.sequence.estimator import Estimator, NetworkEstimator, Photos, Picked, as_estimator
from recon3d.feedforward.sequence.loops import loop_candidates
from recon3d.feedforward.sequence.options import SequenceOptions
from recon3d.feedforward.sequence.places import place_signatures
from recon3d.feedforward.sequence.pose_graph import Link, linked_to_first, optimise
from recon3d.feedforward.sequence.sim3 import moved_cameras, scale_of, similarity
from recon3d.feedforward.sequence.store import EstimateStore

_PLACES = 8  # photos of a chunk that are compared with other chunks


def estimate_sequence(
    network: Network | Estimator,
    photos: Photos,
    options: SequenceOptions | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> SequenceEstimates:
    """Return cameras and depth of any number of photos.

    The photos go through the network in overlapping chunks. Each chunk is laid over the earlier ones by a robust,
    weighted similarity of the surface points and cameras of the photos that they share; places that were seen before
    close loops; then all chunks are moved so that their links fit best.

    Args:
        network: in evaluation mode; or any function from photos to their estimates.
        photos: upright sRGB photos; they are read when they are needed, some of them more than once.
        options: how.
        folder: for the depth maps, kept afterwards; None = a temporary one that the result removes.
        progress: where it is shown.

    Raises:
        InputError: there is no photo.
        ResourceError: not even two photos fit into memory, or the disk is full.
    """
    options, progress = options or SequenceOptions(), progress or Progress()
    if not len(photos):
        raise InputError("there is no photo", expected="at least one")
    estimator = as_estimator(network, options.size)
    size = options.chunk or _fitting(estimator, photos, options.max_memory_bytes)
    temporary = tempfile.TemporaryDirectory(prefix="recon3d-sequence-") if folder is None else None
    store = EstimateStore(Path(temporary.name) if temporary is not None else Path(folder or ""))
    try:
        chunks = _chunks(photos, size, min(options.overlap or size // 2, size - 1), options)
        assembly = Assembly(estimator, photos, chunks, store, options.registration)
        with progress.stage("chunks", len(chunks)) as stage:
            for _ in chunks:
                assembly.add()
                stage.advance()
        if options.loops:
            assembly.links += _loops(assembly, options, progress)
        return replace(_put_together(assembly), temporary=temporary)
    except BaseException:
        if temporary is not None:
            temporary.cleanup()
        raise


def _fitting(estimator: Estimator, photos: Photos, max_memory_bytes: int | None) -> int:
    """Return how many photos of the size of the first one fit into memory together."""
    if not isinstance(estimator, NetworkEstimator):
        return MAX_CHUNK
    height, width = prepare(estimator.network, [photos[0]], size=estimator.size).images.shape[-2:]
    return chunk_size(estimator.network, height, width, max_memory_bytes)


def _chunks(photos: Photos, size: int, overlap: int, options: SequenceOptions) -> list[Chunk]:
    if options.order == "video" or len(photos) <= size:
        return video_chunks(len(photos), size, overlap)
    return unordered_chunks(place_signatures(photos, options.signatures, options.seed), size, overlap)


def _loops(assembly: Assembly, options: SequenceOptions, progress: Progress) -> list[Link]:
    """Return the loops that a run of their own verified."""
    if len(assembly.chunks) <= 2:
        return []
    kept: Int64[np.ndarray, " m"] = np.concatenate(
        [chunk.new[:: max(1, len(chunk.new) // _PLACES)] for chunk in assembly.chunks]
    )
    signatures = place_signatures(Picked(assembly.photos, kept.tolist()), options.signatures, options.seed)
    candidates = loop_candidates(signatures, kept, assembly.owner[kept], assembly.links)
    found = []
    with progress.stage("loops", len(candidates)) as stage:
        for candidate in candidates:
            found.append(assembly.close_loop(candidate, options.loop_views))
            stage.advance()
    return [one for one in found if one is not None]


def _put_together(assembly: Assembly) -> SequenceEstimates:
    """Return all cameras in the frame of the first one, after moving the chunks so that their links fit best."""
    trusted = [one for one in assembly.links if one.inliers >= assembly.options.min_inliers]
    start, units = np.stack(assembly.world_from_chunk), np.array(assembly.units)
    placed, believed = optimise(start, trusted, units)
    linked, owner, n = linked_to_first(len(placed), believed), assembly.owner, len(assembly.owner)
    if assembly.metric:  # every chunk has metres of its own; the mean of them is the best guess
        stretch = float(np.exp(-np.log(scale_of(placed[linked])).mean()))
        placed = similarity(stretch, np.eye(3), np.zeros(3)) @ placed
    own, K = np.zeros((n, 4, 4)), np.zeros((n, 3, 3))
    for photo in range(n):
        own[photo], K[photo] = assembly.store.camera(photo)
    poses = moved_cameras(placed[owner], own)
    return SequenceEstimates(
        cam_from_world=poses @ np.linalg.inv(poses[0]),
        K=K,
        scale=scale_of(placed[owner]),
        chunk=owner,
        linked=linked[owner],
        metric=assembly.metric,
        links=tuple(one for one in assembly.links if not one.is_loop or one in believed),
        store=assembly.store,
    )
