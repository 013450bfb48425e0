"""Points of a sensor as the detector wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import InputError
from recon3d.pointcloud.flatformer.options import DetectorOptions, PillarGrid

_EDGE = 1e-3  # metres below and above that the released code leaves out
_CLOSE = 5.0
_SCALED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "as_is": lambda values: values,
    "byte": lambda values: values / 255.0,
    "tanh": torch.tanh,
}


def crop_points(points: Float[Tensor, "p c"], grid: PillarGrid) -> Float[Tensor, "_ c"]:
    """Return the finite points inside a grid, a millimetre away from its floor and ceiling, in their order.

    Args:
        points: x, y, z in metres and other columns.
        grid: the box.
    """
    edge = points.new_tensor([0.0, 0.0, _EDGE])
    lower, upper = points.new_tensor(grid.lower) + edge, points.new_tensor(grid.upper) - edge
    xyz = points[:, :3]
    inside = ((xyz > lower) & (xyz < upper)).all(1) & points.isfinite().all(1)
    return points[inside]


def prepare_points(points: Float[Tensor, "p c"], options: DetectorOptions) -> Float[Tensor, "_ d"]:
    """Return the points inside the grid, with the columns that the network has learnt from.

    Further columns are dropped.

    Args:
        points: x, y, z in metres and the attributes of the configuration, unscaled.
        options: of the detector.

    Raises:
        InputError: there are too few columns.
    """
    if points.shape[1] < options.columns:
        raise InputError(
            "the points have too few columns",
            got=points.shape[1],
            expected=f"{options.columns}: x, y, z, {', '.join(name for name, _ in options.attributes)}",
            fix="add columns of zeros for what the sensor does not measure",
        )
    kept = crop_points(points[:, : options.columns].float(), options.grid)
    scaled = [_SCALED[kind](kept[:, 3 + n]) for n, (_, kind) in enumerate(options.attributes)]
    return torch.cat([kept[:, :3], *(one[:, None] for one in scaled)], 1)


def stack_sweeps(
    sweeps: Sequence[Float[Tensor, "_ c"]], current_from_sweep: Sequence[Float[Tensor, "4 4"]]
) -> Float[Tensor, "_ 5"]:
    """Return the points of several sweeps in the frame of the current one: x, y, z, intensity, sweep.

    The last column is 0 for the current sweep, -1 for the one before and so on. Previous sweeps lose the points
    within five metres of their sensor, which mostly are the vehicle itself.

    Args:
        sweeps: the current one first; where a frame has no previous sweep, give the current one again.
        current_from_sweep: pose of each sweep.

    Raises:
        InputError: there are not as many poses as sweeps, or there is no intensity.
    """
    if len(sweeps) != len(current_from_sweep) or not sweeps or min(one.shape[1] for one in sweeps) < 4:
        raise InputError(
            "sweeps that cannot be stacked",
            got=f"{[tuple(one.shape) for one in sweeps]} and {len(current_from_sweep)} poses",
            expected="a pose for each, and x, y, z, intensity",
        )
    parts = []
    for number, (points, pose) in enumerate(zip(sweeps, current_from_sweep, strict=True)):
        far = points if number == 0 else points[points[:, :2].norm(dim=1) > _CLOSE]
        xyz = (far[:, :3].to(pose.dtype) @ pose[:3, :3].T + pose[:3, 3]).to(points.dtype)
        parts.append(torch.cat([xyz, far[:, 3:4], torch.full_like(far[:, :1], -number)], 1))
    return torch.cat(parts)
