"""The kinds of scenes: each builds one world and says where its cameras may stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recon3d.feedforward.scenes.kinds.facade import build_facade
from recon3d.feedforward.scenes.kinds.room import build_room
from recon3d.feedforward.scenes.kinds.stage import Stage
from recon3d.feedforward.scenes.kinds.table import build_table
from recon3d.feedforward.scenes.kinds.terrain import build_terrain

STAGES: dict[str, Callable[[np.random.Generator], Stage]] = {
    "room": build_room,
    "table": build_table,
    "facade": build_facade,
    "terrain": build_terrain,
}
