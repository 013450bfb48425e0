"""Attributes of corners at the pixels, and their gradients: numba kernels."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int32

from recon3d.core.kernels import kernel, run_chunks

_CHUNK = 1 << 13  # pixels per chunk


def interpolate_forward(
    attributes: Float[np.ndarray, "v c"],
    faces: Int32[np.ndarray, "f 3"],
    face: Int32[np.ndarray, "n h w"],
    barycentrics: Float[np.ndarray, "n h w 3"],
) -> Float[np.ndarray, "n h w c"]:
    """Return the attributes at the pixels; zeros where there is no face."""
    values = np.empty((face.size, attributes.shape[1]), attributes.dtype)
    of_pixels, weights = face.reshape(-1), barycentrics.reshape(-1, 3)

    def work(chunk: int) -> None:
        part = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        _interpolate(attributes, faces, of_pixels[part], weights[part], values[part])

    run_chunks(work, -(-face.size // _CHUNK))
    return values.reshape(*face.shape, attributes.shape[1])


def interpolate_backward(
    attributes: Float[np.ndarray, "v c"],
    faces: Int32[np.ndarray, "f 3"],
    face: Int32[np.ndarray, "n h w"],
    barycentrics: Float[np.ndarray, "n h w 3"],
    by: Float[np.ndarray, "n h w c"],
    wanted: tuple[bool, bool],
) -> tuple[Float[np.ndarray, "v c"] | None, Float[np.ndarray, "n h w 3"] | None]:
    """Return the gradients by attributes and by barycentrics, each where it is wanted."""
    of_pixels, weights, by_values = face.reshape(-1), barycentrics.reshape(-1, 3), by.reshape(face.size, -1)
    by_attributes = by_weights = None
    if wanted[0]:  # pixels share corners: one after the other, in double precision
        total = np.zeros(attributes.shape)
        _scatter(faces, of_pixels, weights, by_values, total)
        by_attributes = total.astype(attributes.dtype)
    if wanted[1]:
        by_weights = grads = np.zeros(weights.shape, weights.dtype)

        def work(chunk: int) -> None:
            part = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
            _by_weights(attributes, faces, of_pixels[part], by_values[part], grads[part])

        run_chunks(work, -(-face.size // _CHUNK))
        by_weights = grads.reshape(barycentrics.shape)
    return by_attributes, by_weights


@kernel
@no_type_check
def _interpolate(attributes, faces, face, weights, values):
    for p in range(face.shape[0]):
        f = face[p]
        if f < 0:
            values[p] = 0.0
            continue
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        u, v, w = weights[p, 0], weights[p, 1], weights[p, 2]
        for k in range(attributes.shape[1]):
            values[p, k] = u * attributes[a, k] + v * attributes[b, k] + w * attributes[c, k]


@kernel
@no_type_check
def _scatter(faces, face, weights, by_values, total):
    for p in range(face.shape[0]):
        f = face[p]
        if f < 0:
            continue
        for corner in range(3):
            vertex, weight = faces[f, corner], weights[p, corner]
            for k in range(total.shape[1]):
                total[vertex, k] += weight * by_values[p, k]


@kernel
@no_type_check
def _by_weights(attributes, faces, face, by_values, by_weights):
    for p in range(face.shape[0]):
        f = face[p]
        if f < 0:
            continue
        for corner in range(3):
            vertex = faces[f, corner]
            total = 0.0
            for k in range(attributes.shape[1]):
                total += by_values[p, k] * attributes[vertex, k]
            by_weights[p, corner] = total
