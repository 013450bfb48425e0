"""Equirectangular maps of other programs: images to environments in our z-up world, and back.

Blender's world is ours. three.js, nvdiffrec and Mitsuba scenes are y-up; their worlds become ours by the usual turn
``(x, y, z) -> (x, -z, y)``, as glTF does it. All images have their top row at the zenith.

===========  ==========================  =======================  ===========================
program      u of a direction (its axes)  direction of the centre  the same in our world
===========  ==========================  =======================  ===========================
Blender      0.5 - atan2(y, x) / 2 pi     +x                       +x
three.js     0.5 + atan2(z, x) / 2 pi     +x                       +x
nvdiffrec    0.5 + atan2(x, -z) / 2 pi    -z                       +y
Mitsuba 3    atan2(x, -z) / 2 pi          +z                       -y
===========  ==========================  =======================  ===========================

Mitsuba's first and last rows lie on the poles, not half a pixel below; its images are resampled along the columns.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.render.shading.environment import Environment

Image = Float[Tensor, "h w 3"]


def environment_from_blender(image: Image) -> Environment:
    """Return the light of a Blender world texture."""
    return Environment(image)


def environment_to_blender(env: Environment) -> Image:
    """Return the image that gives this light in Blender."""
    return _image(env, 0)


def environment_from_three(image: Image) -> Environment:
    """Return the light of an equirectangular texture of three.js, after the turn from y-up to z-up."""
    return Environment(image)


def environment_to_three(env: Environment) -> Image:
    """Return the image that gives this light in a y-up scene of three.js."""
    return _image(env, 0)


def environment_from_nvdiffrec(image: Image) -> Environment:
    """Return the light of a probe of nvdiffrec, after the turn from y-up to z-up."""
    return Environment(image).rotated_z(90)


def environment_to_nvdiffrec(env: Environment) -> Image:
    """Return the image that gives this light in nvdiffrec."""
    return _image(env, 90)


def environment_from_mitsuba(image: Image) -> Environment:
    """Return the light of Mitsuba 3's ``envmap``, after the turn from y-up to z-up."""
    height = image.shape[0]
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) * ((height - 1) / height)
    return Environment(_interpolated(image, rows)).rotated_z(-90)


def environment_to_mitsuba(env: Environment) -> Image:
    """Return the image that gives this light in Mitsuba 3's ``envmap`` of a y-up scene."""
    image = _image(env, -90)
    height = image.shape[0]
    rows = torch.arange(height, dtype=torch.float64) * (height / max(height - 1, 1)) - 0.5
    return _interpolated(image, rows.clamp(0, height - 1))


def _image(env: Environment, degrees: float) -> Image:
    """Return the map as seen in a frame that stands turned about z in the world; resampled only where it must be."""
    frame = Environment(env.radiance).rotated_z(degrees)
    if torch.allclose(frame.rotation, env.rotation, atol=1e-6):
        return env.radiance
    return env.lookup(frame.directions() @ frame.rotation.mT)


def _interpolated(image: Image, rows: Tensor) -> Image:
    """Return the image at fractional rows."""
    top = rows.floor().long().clamp(0, image.shape[0] - 1)
    down = (rows - top).to(image)[:, None, None]
    return torch.lerp(image[top], image[(top + 1).clamp_max(image.shape[0] - 1)], down)
