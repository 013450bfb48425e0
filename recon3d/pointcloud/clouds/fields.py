"""Between the named columns of a file or a message and a cloud: positions, colours, normals and the usual aliases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped, UInt8

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.pcd_colour import pack_rgb, unpack_rgb
from recon3d.formats.pointcloud2 import PointCloud2, pointcloud2_arrays, pointcloud2_message, stamp_seconds
from recon3d.pointcloud.clouds.types import PointCloud

Fields = dict[str, Shaped[np.ndarray, "n ..."]]
_AXES = ("x", "y", "z")
_NORMALS = (
    ("nx", "ny", "nz"),
    ("normal_x", "normal_y", "normal_z"),
    ("nor:normalX", "nor:normalY", "nor:normalZ"),
)
_COLOURS = (("red", "green", "blue"), ("r", "g", "b"), ("colorRed", "colorGreen", "colorBlue"))
_PACKED = ("rgb", "rgba")
_ALIASES = {"reflectance": "intensity", "i": "intensity", "scalar_Intensity": "intensity", "gps_time": "time_s"}
_ALIASES |= {"classification": "label", "class": "label", "scalar_Label": "label"}
_LONG = ("i8", "u8")
_EXACT_M = 1000.0  # below this, float32 is good to a twentieth of a millimetre


def cloud_from_fields(
    fields: Mapping[str, Shaped[np.ndarray, "n ..."]], *, frame: str = "sensor", time_s: float | None = None
) -> PointCloud:
    """Return a cloud of the columns of a file.

    ``x y z`` become the positions; three columns of colours or a packed one become ``rgb``; three of normals become
    ``normals``; common aliases get the names that :class:`PointCloud` uses. All others are kept as they are.

    Args:
        fields: arrays of ``n`` rows by name.
        frame: name of the coordinate frame.
        time_s: when the cloud was taken.

    Raises:
        FormatError: there are no positions, or the columns differ in length.
    """
    left = dict(fields)
    if not all(axis in left and left[axis].ndim == 1 and left[axis].dtype.kind in "iuf" for axis in _AXES):
        raise FormatError("a cloud needs the columns x, y and z", got=", ".join(left)[:200] or "no columns")
    lengths = {values.shape[:1] for values in left.values()}
    if len(lengths) != 1:
        raise FormatError("the columns of a cloud differ in length", got=sorted(lengths))
    with np.errstate(invalid="ignore"):  # bytes of another format may be signalling NaNs
        xyz = _stacked(left, _AXES).astype(np.float64)
    attributes: Fields = {}
    for names in _COLOURS:
        if all(name in left and left[name].ndim == 1 for name in names):
            attributes["rgb"] = _bytes(_stacked(left, names))
    for names in _NORMALS:
        if all(name in left and left[name].ndim == 1 for name in names):
            attributes["normals"] = _stacked(left, names).astype(np.float32)
    for name, values in left.items():
        _add(attributes, _ALIASES.get(name, name), values)
    return PointCloud(xyz=xyz, attributes=attributes, frame=frame, time_s=time_s)


def _stacked(left: Fields, names: tuple[str, ...]) -> Shaped[np.ndarray, "n k"]:
    return np.stack([left.pop(name) for name in names], 1)


def _add(attributes: Fields, name: str, values: Shaped[np.ndarray, "n ..."]) -> None:
    if name in _PACKED and values.ndim == 1 and values.dtype.itemsize == 4:
        attributes.setdefault("rgb", unpack_rgb(values))
    elif name == "rgb" and values.shape[1:] == (3,):
        attributes["rgb"] = _bytes(values)
    elif name == "intensity":
        attributes[name] = values.astype(np.float32)
    elif name == "time_s" and values.dtype.kind in "iuf":
        attributes[name] = values.astype(np.float64)
    elif name in ("label", "instance") and values.dtype.kind in "iu":
        attributes[name] = values.astype(np.int64)
    else:
        attributes[name] = values


def _bytes(colours: Shaped[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Colours of 8 bits, of 16 bits, or of floats in 0..1 or 0..255, as bytes."""
    if colours.dtype == np.uint8:
        return colours
    top = float(np.nanmax(colours, initial=0.0))
    if colours.dtype.kind == "f" and top <= 1:
        colours = colours * 255
    elif colours.dtype.kind in "iu" and top > 255:
        colours = colours // 256
    rounded: UInt8[np.ndarray, "n 3"] = np.clip(np.rint(np.nan_to_num(colours)), 0, 255).astype(np.uint8)
    return rounded


def fields_from_cloud(cloud: PointCloud, *, packed_rgb: bool = False) -> Fields:
    """Return the columns that a file of a cloud has.

    Positions are float32 where all of them lie within a kilometre of the origin, else float64.

    Args:
        cloud: any.
        packed_rgb: whether colours are one column ``rgb`` of packed floats, as PCD and ROS have it, or three of bytes.

    Raises:
        UsageError: an attribute has the name of a coordinate.
    """
    if clash := sorted(set(_AXES) & set(cloud.attributes)):
        fix = "give the attribute another name"
        raise UsageError("an attribute has the name of a coordinate", got=", ".join(clash), fix=fix)
    fields: Fields = dict(zip(_AXES, stored_positions(cloud).T, strict=True))
    for name, values in cloud.attributes.items():
        if name == "rgb" and packed_rgb:
            fields["rgb"] = pack_rgb(_bytes(values)).view(np.float32)
        elif name == "rgb":
            fields |= dict(zip(_COLOURS[0], _bytes(values).T, strict=True))
        elif name == "normals":
            fields |= dict(zip(_NORMALS[0], values.T.astype(np.float32), strict=True))
        elif values.ndim == 1:
            fields[name] = values.view(np.uint8) if values.dtype == np.bool_ else values
        else:
            flat = values.reshape(len(values), math.prod(values.shape[1:]))
            fields |= {f"{name}_{column}": flat[:, column] for column in range(flat.shape[1])}
    return fields


def stored_positions(cloud: PointCloud) -> Shaped[np.ndarray, "n 3"]:
    """Return the positions in the type that files hold: float32 where it is exact to a tenth of a millimetre."""
    near = bool((np.abs(np.nan_to_num(cloud.xyz, posinf=0, neginf=0)) < _EXACT_M).all())
    positions: Float64[np.ndarray, "n 3"] = cloud.xyz
    return positions.astype(np.float32) if near else positions


def cloud_from_message(message: Any, *, keep_invalid: bool = False) -> PointCloud:
    """Return the cloud of a ROS message, with its frame and time.

    Args:
        message: a ``sensor_msgs/PointCloud2`` of ROS 1 or ROS 2, or any object with the same attributes.
        keep_invalid: keep the points that have no position, as NaN.

    Raises:
        FormatError: its fields or its data are damaged.
    """
    arrays = pointcloud2_arrays(message, keep_invalid=keep_invalid)
    frame = str(message.header.frame_id) or "sensor"
    return cloud_from_fields(arrays, frame=frame, time_s=stamp_seconds(message))


def cloud_to_message(cloud: PointCloud) -> PointCloud2:
    """Return a cloud as a message with the fields of ``sensor_msgs/PointCloud2``; its positions are float32.

    Args:
        cloud: any; 64-bit integers among its attributes become 32-bit ones.
    """
    fields = {name: _wire(values) for name, values in fields_from_cloud(cloud, packed_rgb=True).items()}
    fields |= {axis: fields[axis].astype(np.float32) for axis in _AXES}
    stamp_ns = round((cloud.time_s or 0.0) * 1e9)
    return pointcloud2_message(fields, frame_id=cloud.frame, stamp_ns=stamp_ns)


def _wire(values: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    if values.dtype.str[1:] in _LONG:
        return values.astype(np.int32 if values.dtype.kind == "i" else np.uint32)
    return values
