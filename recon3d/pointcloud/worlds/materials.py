"""Classes of generated worlds and the materials of their surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

# Small on purpose: every name is one of SemanticKITTI's, except clutter, which no data set labels.
STREET_CLASSES = (
    "road",
    "sidewalk",
    "terrain",
    "building",
    "fence",
    "vegetation",
    "trunk",
    "pole",
    "traffic-sign",
    "car",
    "truck",
    "other-vehicle",
    "person",
    "bicyclist",
    "clutter",
)
(ROAD, SIDEWALK, TERRAIN, BUILDING, FENCE, VEGETATION, TRUNK, POLE, SIGN, CAR, TRUCK, OTHER_VEHICLE, PERSON) = range(13)
BICYCLIST, CLUTTER = 13, 14

# Row of a street class among SemanticKITTI's 19 evaluated classes (0 = car); -1 = not evaluated.
SEMANTIC_KITTI_19: Mapping[str, int] = MappingProxyType(
    {
        "road": 8,
        "sidewalk": 10,
        "terrain": 16,
        "building": 12,
        "fence": 13,
        "vegetation": 14,
        "trunk": 15,
        "pole": 17,
        "traffic-sign": 18,
        "car": 0,
        "truck": 3,
        "other-vehicle": 4,
        "person": 5,
        "bicyclist": 6,
        "clutter": -1,
    }
)
BOX_CLASSES = ("car", "pedestrian", "cyclist")

# ScanNet's 20 classes in the order of its benchmark.
ROOM_CLASSES = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "desk",
    "curtain",
    "refrigerator",
    "shower curtain",
    "toilet",
    "sink",
    "bathtub",
    "otherfurniture",
)

(DULL, PAINT, CABIN, GLASS, RUBBER, FACADE, ROOF, LEAF, BARK, CLOTH, METAL, RETRO) = range(12)

# Return of a material: factor on its albedo, part of it that does not depend on incidence, share of returns lost.
_RETURNS = np.array(
    [
        [1.0, 0.4, 0.01],  # dull
        [0.9, 0.15, 0.06],  # paint
        [0.5, 0.1, 0.75],  # cabin: windows of a car
        [0.3, 0.0, 0.85],  # glass
        [0.3, 0.5, 0.25],  # rubber
        [1.0, 0.4, 0.02],  # facade
        [0.9, 0.4, 0.03],  # roof
        [1.0, 0.8, 0.02],  # leaf
        [1.0, 0.5, 0.01],  # bark
        [1.0, 0.6, 0.02],  # cloth
        [1.0, 0.3, 0.03],  # metal
        [3.5, 0.7, 0.0],  # retro
    ]
)


def returns_of(materials: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return brightness, share of the brightness without incidence, and the share of lost rays of materials.

    Args:
        materials: their indices.
    """
    rows = _RETURNS[materials]
    return rows[..., 0], rows[..., 1], rows[..., 2]


# Looks of surfaces in rooms.
PLAIN, WOOD, FABRIC, TILES, BOOKS, PATTERN, GLAZED = range(7)
