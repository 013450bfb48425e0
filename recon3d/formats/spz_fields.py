"""The attributes of SPZ files: how each is turned into bytes and back."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from recon3d.core.errors import UsageError
from recon3d.formats.splat_ply import LOGIT_LIMIT

_LARGEST = 2**23 - 1  # of a 24-bit signed integer
_COLOUR_SCALE = 0.15


def fitting_bits(means: Float32[np.ndarray, "g 3"], most: int) -> int:
    """Return the largest number of fractional bits with which all coordinates fit into 24 signed bits.

    Raises:
        UsageError: they do not fit without any.
    """
    farthest = float(np.abs(means).max(initial=0.0))
    bits = most
    while bits >= 0 and round(math.ldexp(farthest, bits)) > _LARGEST:
        bits -= 1
    if bits < 0:
        fix = "rescale or crop the scene, or write a .ply"
        raise UsageError(
            "the Gaussians are too far away for SPZ", got=farthest, expected=f"at most {_LARGEST}", fix=fix
        )
    return bits


def encode_positions(means: Float32[np.ndarray, "g 3"], bits: int) -> bytes:
    """Return coordinates as 24-bit little-endian fixed-point numbers."""
    fixed = _round(np.ldexp(means.astype(np.float64), bits)).astype("<i4")
    return np.ascontiguousarray(fixed).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def decode_positions(raw: UInt8[np.ndarray, "g 9"], bits: int) -> Float32[np.ndarray, "g 3"]:
    """Return coordinates from 24-bit fixed-point numbers."""
    wide = np.zeros((3 * len(raw), 4), np.uint8)
    wide[:, 1:] = raw.reshape(-1, 3)
    fixed = wide.view("<i4").reshape(-1, 3) >> 8  # in the upper bytes, so that the shift carries the sign
    return np.ldexp(fixed.astype(np.float32), -bits)


def encode_logits(logits: Float32[np.ndarray, " g"]) -> bytes:
    """Return opacities as bytes."""
    return _bytes(255 / (1 + np.exp(-np.clip(logits.astype(np.float64), -50, 50))))


def decode_logits(raw: UInt8[np.ndarray, "g 1"]) -> Float32[np.ndarray, " g"]:
    """Return the logits of opacities."""
    with np.errstate(divide="ignore"):  # 0 and 1 have infinite logits
        logits = np.log(raw.reshape(-1) / (255.0 - raw.reshape(-1)))
    return np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT).astype(np.float32)


def encode_colours(dc: Float32[np.ndarray, "g 3"]) -> bytes:
    """Return constant coefficients as bytes."""
    return _bytes(dc.astype(np.float64) * (_COLOUR_SCALE * 255) + 127.5)


def decode_colours(raw: UInt8[np.ndarray, "g 3"]) -> Float32[np.ndarray, "g 3"]:
    """Return constant coefficients."""
    return ((raw.reshape(-1, 3) / 255.0 - 0.5) / _COLOUR_SCALE).astype(np.float32)


def encode_scales(log_scales: Float32[np.ndarray, "g 3"]) -> bytes:
    """Return log scales as bytes."""
    return _bytes((log_scales.astype(np.float64) + 10) * 16)


def decode_scales(raw: UInt8[np.ndarray, "g 3"]) -> Float32[np.ndarray, "g 3"]:
    """Return log scales."""
    return (raw.reshape(-1, 3) / 16.0 - 10).astype(np.float32)


def encode_quats_v3(quats: Float32[np.ndarray, "g 4"]) -> bytes:
    """Return the three smallest components in 10 bits each, a sign and 9 bits of ``|q| * sqrt(2)``.

    The order is x, y, z, w. The two highest bits say which one is left out: the largest, made positive.
    """
    xyzw = _unit(quats[:, (1, 2, 3, 0)].astype(np.float64))
    largest = np.argmax(np.abs(xyzw), axis=1)
    rows = np.arange(len(xyzw))
    xyzw *= np.where(xyzw[rows, largest] < 0, -1.0, 1.0)[:, None]
    packed = largest.astype(np.uint32)
    for index in range(4):
        magnitude = np.minimum(511 * np.abs(xyzw[:, index]) * math.sqrt(2) + 0.5, 511).astype(np.uint32)
        field = (xyzw[:, index] < 0).astype(np.uint32) << 9 | magnitude
        packed = np.where(largest == index, packed, packed << 10 | field)
    raw: bytes = packed.astype("<u4").tobytes()
    return raw


def decode_quats_v3(raw: UInt8[np.ndarray, "g 4"]) -> Float32[np.ndarray, "g 4"]:
    """Return unit quaternions (w, x, y, z) from their three smallest components."""
    packed = np.ascontiguousarray(raw).view("<u4").reshape(-1)
    largest = packed >> 30
    xyzw = np.zeros((len(packed), 4))
    for index in (3, 2, 1, 0):
        here = largest != index
        value = (packed & 511) / (511 * math.sqrt(2))
        xyzw[here, index] = np.where(packed & 512, -value, value)[here]
        packed = np.where(here, packed >> 10, packed)
    missing = np.sqrt(np.maximum(0, 1 - (xyzw**2).sum(1)))
    xyzw[np.arange(len(xyzw)), largest] = missing
    return _unit(xyzw)[:, (3, 0, 1, 2)].astype(np.float32)


def decode_quats_v2(raw: UInt8[np.ndarray, "g 3"]) -> Float32[np.ndarray, "g 4"]:
    """Return unit quaternions (w, x, y, z) from x, y, z; w is not negative."""
    xyz = raw.reshape(-1, 3) / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(1)))
    return _unit(np.column_stack([w, xyz])).astype(np.float32)


def encode_harmonics(rest: Float32[np.ndarray, "g j 3"], bits: tuple[int, int]) -> bytes:
    """Return the coefficients above degree 0 as bytes at the centres of ``2**bits`` buckets, colours fastest."""
    first = [_bucket(rest[:, :3], bits[0]), _bucket(rest[:, 3:], bits[1])]
    return np.concatenate(first, 1).tobytes()


def decode_harmonics(raw: UInt8[np.ndarray, "g c"]) -> Float32[np.ndarray, "g j 3"]:
    """Return the coefficients above degree 0."""
    values = (raw.astype(np.float32) - 128) / 128
    return values.reshape(len(raw), raw.shape[1] // 3, 3)


def _bucket(values: Float32[np.ndarray, "g j 3"], bits: int) -> UInt8[np.ndarray, "g j 3"]:
    size = 1 << (8 - bits)
    fine = _round(np.clip(values.astype(np.float64), -2, 2) * 128) + 128
    buckets: UInt8[np.ndarray, "g j 3"] = np.clip((fine + size // 2) // size * size, 0, 255).astype(np.uint8)
    return buckets


def _round(values: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Round halves away from zero, as C does."""
    rounded: Float64[np.ndarray, "*shape"] = np.trunc(values + np.copysign(0.5, values))
    return rounded


def _bytes(values: Float64[np.ndarray, "*shape"]) -> bytes:
    raw: bytes = np.clip(_round(values), 0, 255).astype(np.uint8).tobytes()
    return raw


def _unit(quats: Float64[np.ndarray, "g 4"]) -> Float64[np.ndarray, "g 4"]:
    unit: Float64[np.ndarray, "g 4"] = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    return unit
