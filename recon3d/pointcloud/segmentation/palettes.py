"""Classes of the data sets that segmenters are trained on, with numbers of their files and colours to look at."""

from __future__ import annotations

import colorsys

from recon3d.pointcloud.worlds.materials import ROOM_CLASSES, STREET_CLASSES

Colours = tuple[tuple[int, int, int], ...]

# Ids of SemanticKITTI that mean the same thing in generated streets; moving objects follow those that stand.
STREET_IDS = {
    "road": (40, 60, 44),
    "sidewalk": (48, 49),
    "terrain": (72,),
    "building": (50,),
    "fence": (51,),
    "vegetation": (70,),
    "trunk": (71,),
    "pole": (80,),
    "traffic-sign": (81,),
    "car": (10, 252),
    "truck": (18, 258),
    "other-vehicle": (20, 13, 16, 256, 257, 259),
    "person": (30, 254),
    "bicyclist": (31, 32, 253, 255),
}
STREET_NAMES = tuple(name for name in STREET_CLASSES if name != "clutter")
_STREET_COLOURS = {
    "road": (120, 90, 130),
    "sidewalk": (200, 120, 190),
    "terrain": (150, 200, 90),
    "building": (230, 160, 60),
    "fence": (160, 110, 70),
    "vegetation": (40, 140, 50),
    "trunk": (110, 70, 30),
    "pole": (240, 230, 140),
    "traffic-sign": (250, 60, 60),
    "car": (60, 110, 240),
    "truck": (30, 60, 150),
    "other-vehicle": (70, 180, 230),
    "person": (240, 40, 160),
    "bicyclist": (170, 60, 230),
}
# SemanticKITTI's 19 evaluated classes and the ids of their points in its files.
KITTI_19 = {
    "car": (10, 252),
    "bicycle": (11,),
    "motorcycle": (15,),
    "truck": (18, 258),
    "other-vehicle": (20, 13, 16, 256, 257, 259),
    "person": (30, 254),
    "bicyclist": (31, 253),
    "motorcyclist": (32, 255),
    "road": (40, 60),
    "parking": (44,),
    "sidewalk": (48,),
    "other-ground": (49,),
    "building": (50,),
    "fence": (51,),
    "vegetation": (70,),
    "trunk": (71,),
    "terrain": (72,),
    "pole": (80,),
    "traffic-sign": (81,),
}
# NYU40 numbers of ScanNet's 20 classes.
SCANNET_IDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)


def street_colours() -> Colours:
    """Return the colours of the classes of generated streets."""
    return tuple(_STREET_COLOURS[name] for name in STREET_NAMES)


def palette(n_classes: int) -> Colours:
    """Return colours that are easy to tell apart.

    Args:
        n_classes: how many.
    """
    found = []
    for k in range(n_classes):
        red, green, blue = colorsys.hsv_to_rgb((k * 0.618034) % 1, (0.45, 0.75, 0.95)[k % 3], (0.95, 0.7)[k // 3 % 2])
        found.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(found)


def room_colours() -> Colours:
    """Return the colours of ScanNet's 20 classes."""
    return palette(len(ROOM_CLASSES))


def kitti_colours() -> Colours:
    """Return the colours of SemanticKITTI's 19 classes: those of generated streets where they share a name."""
    spare = palette(len(KITTI_19))
    return tuple(_STREET_COLOURS.get(name, spare[k]) for k, name in enumerate(KITTI_19))
