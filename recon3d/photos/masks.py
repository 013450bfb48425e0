"""Which mask of a mask folder belongs to which photo."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from recon3d.core.errors import InputError
from recon3d.photos.discover import PHOTO_SUFFIXES, discover

_LOG = logging.getLogger(__name__)


def find_masks(folder: Path | None, keys: Sequence[str]) -> dict[str, Path]:
    """Return the mask of each photo that has one: "a/b.png" or "a/b.jpg.png" for the photo "a/b.jpg".

    Args:
        folder: folder of masks, None for none.
        keys: keys of the photos.

    Returns:
        Paths by key; photos without a mask are missing.

    Raises:
        InputError: the folder does not exist, or no mask in it belongs to a photo.
    """
    if folder is None:
        return {}
    if not folder.is_dir():
        raise InputError(f"the mask folder {folder} does not exist", expected="a folder of mask images")
    by_stem = {os.path.splitext(key)[0]: path for key, path in reversed(discover(folder, ()).photos.items())}
    pairs = {key: by_stem.get(key) or by_stem.get(os.path.splitext(key)[0]) for key in keys}
    masks = {key: path for key, path in pairs.items() if path is not None}
    if keys and not masks:
        raise InputError(
            f"no mask in {folder} belongs to a photo",
            got=f"{len(by_stem)} masks",
            expected=f"names like {os.path.splitext(keys[0])[0]}.png ({', '.join(sorted(PHOTO_SUFFIXES)[:4])} ...)",
        )
    _LOG.info("%d of %d photos have a mask", len(masks), len(keys))
    return masks
