"""The kinds of scenes: each builds one world and says where its cameras may stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recon3d.feedforward.scenes.kinds.stage import Stage
from recon3d.feedforward.scenes.kinds.table import build_table

STAGES: dict[str, Callable[[np.random.Generator], Stage]] = {
    "room": build_table,
    "table": build_table,
    "facade": build_table,
    "terrain": build_table,
}
