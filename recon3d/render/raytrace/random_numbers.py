"""Random numbers that are a function of seed, view, pixel, sample and dimension, and of nothing else."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from recon3d.core.kernels import kernel

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


@kernel(order="written", inline=True)
@no_type_check
def _mixed(value):
    """Return the output function of SplitMix64 (Steele, Lea, Flood, 2014), a bijection of 64 bits."""
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))


@kernel(order="written", inline=True)
@no_type_check
def draw(key, dimension):
    """Return the 64 random bits of one dimension of a path."""
    return _mixed(key + np.uint64(dimension + 1) * _STEP)


@kernel(order="written", inline=True)
@no_type_check
def number(word):
    """Return the upper bits of 64 as a number in [0,1)."""
    return np.float32(word >> np.uint64(40)) * np.float32(2.0**-24)


@kernel(order="written")
@no_type_check
def path_keys(seed, view, pixels, first_sample, n_samples, keys):
    """Write the key of every path: pixel by pixel, and within one sample by sample."""
    start = _mixed(_mixed(np.uint64(seed) + _STEP) + np.uint64(view) * _STEP)
    for place in range(len(pixels)):
        of_pixel = _mixed(start + (np.uint64(pixels[place]) + np.uint64(1)) * _STEP)
        for sample in range(n_samples):
            which = np.uint64(first_sample + sample + 1)
            keys[place * n_samples + sample] = _mixed(of_pixel + which * _STEP)


@kernel(order="written")
@no_type_check
def uniforms(keys, first_dimension, numbers):
    """Write numbers in [0,1) of consecutive dimensions for every path, ``[n,d]`` float32."""
    for path in range(len(keys)):
        for column in range(numbers.shape[1]):
            numbers[path, column] = number(draw(keys[path], first_dimension + column))
