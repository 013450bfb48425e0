"""Generated labelled point clouds without end: streets seen by a spinning LiDAR, and scanned rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.worlds.materials import (
        BOX_CLASSES as BOX_CLASSES,
        ROOM_CLASSES as ROOM_CLASSES,
        SEMANTIC_KITTI_19 as SEMANTIC_KITTI_19,
        STREET_CLASSES as STREET_CLASSES,
    )
    from recon3d.pointcloud.worlds.rooms import RoomOptions as RoomOptions, generate_room as generate_room
    from recon3d.pointcloud.worlds.streets import (
        Street as Street,
        StreetOptions as StreetOptions,
        generate_street as generate_street,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "materials": ["BOX_CLASSES", "ROOM_CLASSES", "SEMANTIC_KITTI_19", "STREET_CLASSES"],
        "rooms": ["RoomOptions", "generate_room"],
        "streets": ["Street", "StreetOptions", "generate_street"],
    },
)
