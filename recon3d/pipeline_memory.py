"""Memory of the dense stages that grows with the number of photos: how large these may be, and how many too many."""

from __future__ import annotations

from math import sqrt

from recon3d.core.errors import ResourceError
from recon3d.plan_dense import BASE_BYTES, STEREO_BYTES_PER_PIXEL
from recon3d.render.cameras import Cameras
from recon3d.splats.schedule import BYTES_PER_PHOTO_PIXEL

SPLAT_SHARE = 0.5  # of the memory for photos; the rest is for Gaussians
MIN_SPLAT_SIZE = 160


def check_stereo_memory(cameras: Cameras, size: int, max_memory_bytes: int) -> None:
    """Refuse stereo whose photos together exceed the memory even at the size that was planned.

    Args:
        cameras: of the photos.
        size: long side of the depth maps in pixels.
        max_memory_bytes: memory to plan for.

    Raises:
        ResourceError: the memory does not suffice.
    """
    need = STEREO_BYTES_PER_PIXEL * _pixels(cameras, size)
    if need > 1.02 * max_memory_bytes:  # sizes are rounded
        raise _too_little(f"depth maps of {len(cameras)} photos", max_memory_bytes, need)


def splat_photo_size(
    cameras: Cameras, wanted: int, max_memory_bytes: int, what: str = "splats"
) -> tuple[int, list[str]]:
    """Return how far photos are reduced so that all of them fit the memory beside the Gaussians.

    Args:
        cameras: of the photos.
        wanted: long side without a limit, in pixels.
        max_memory_bytes: memory to plan for.
        what: is optimised, in plain words.

    Returns:
        The long side in pixels, and a note where it is smaller than wanted.

    Raises:
        ResourceError: not even the smallest photos fit.
    """
    have, limit = BYTES_PER_PHOTO_PIXEL * _pixels(cameras, wanted), SPLAT_SHARE * max_memory_bytes
    if have <= limit:
        return wanted, []
    longest = int(max(cameras.width.max(), cameras.height.max()))
    size = int(min(wanted, longest) * sqrt(limit / have))
    if size < MIN_SPLAT_SIZE:
        need = BYTES_PER_PHOTO_PIXEL * _pixels(cameras, MIN_SPLAT_SIZE) / SPLAT_SHARE
        raise _too_little(f"{what} of {len(cameras)} photos", max_memory_bytes, need)
    memory = f"{max_memory_bytes / 2**30:.1f} GiB of memory"
    return size, [f"{what} were optimised from photos of {size} px to stay within {memory}"]


def coarser_voxels(wanted: float, voxel: float) -> list[str]:
    """Return a note where a mesh could not have the voxels that were asked for, or suit the photos.

    Args:
        wanted: edge of a voxel in world units without limits.
        voxel: edge of the voxels that fitted.
    """
    if voxel <= 1.001 * wanted:
        return []
    return [f"the mesh was made with voxels of {voxel:.4g} instead of {wanted:.4g} to keep its memory and faces"]


def _pixels(cameras: Cameras, size: int) -> int:
    reduced = cameras.limited(size)
    return int((reduced.width.astype(int) * reduced.height.astype(int)).sum())


def _too_little(what: str, got: float, expected: float) -> ResourceError:
    return ResourceError(
        f"too little memory for {what}",
        got=f"{(BASE_BYTES + got) / 2**30:.2f} GiB",
        expected=f"at least {(BASE_BYTES + expected) / 2**30:.2f} GiB",
        fix="raise --max-memory, use --only cameras or fewer photos",
    )
