"""The last keyframes of a stream, and how a new frame lies over them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, UInt8

from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.sequence.overlap import look_alike, sight, whole
from recon3d.feedforward.sequence.registration import Registration, RegistrationOptions, register
from recon3d.feedforward.sequence.samples import Samples, sampled
from recon3d.feedforward.sequence.sim3 import moved_cameras, scale_of

_SAME_SURFACE = 3.0  # deltas: whether two frames show the same part of the scene need not be known better
_CONTRAST = 4.0  # grey levels: a surface with less looks like any other
_ALIKE = 0.3  # correlation of the brightness of one surface in two frames, seen through imperfect poses


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A frame that others are compared with.

    Args:
        photo: what the network sees of it, ``[h,w,3]``.
        samples: points of it, in the world of the stream.
    """

    photo: UInt8[np.ndarray, "_ _ 3"]
    samples: Samples


@dataclass(frozen=True)
class Shared:
    """What a frame has in common with the keyframes.

    Args:
        share: of its surface that the best keyframe shows.
        looks_alike: whether the brightness there fits, as far as there is anything to see.
    """

    share: float
    looks_alike: bool


class Window:
    """A bounded number of keyframes; the oldest one goes when a new one comes.

    Args:
        length: the most keyframes.
        options: how runs are laid over each other.
    """

    def __init__(self, length: int, options: RegistrationOptions) -> None:
        self.keyframes: deque[Keyframe] = deque(maxlen=length)
        self.options = options

    @property
    def photos(self) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        """Of the keyframes, oldest first."""
        return [one.photo for one in self.keyframes]

    def registered(self, estimates: ViewEstimates) -> Registration:
        """Return how a run over the keyframes and one more frame lies in the world.

        Args:
            estimates: of the keyframes, oldest first, then of the frame.
        """
        found = [sampled(estimates, row, self.options.n_points) for row in range(len(self.keyframes))]
        return register([one.samples for one in self.keyframes], found, self.options)

    def shared(self, photo: UInt8[np.ndarray, "_ _ 3"], run: ViewEstimates) -> Shared:
        """Return how much of a frame the keyframe that shows most of it shows, and whether it looks like that.

        Args:
            photo: of the frame.
            run: estimates of the keyframes, oldest first, then of the frame.
        """
        points, delta = sampled(run, len(run) - 1, self.options.n_points), _SAME_SURFACE * self.options.delta
        seen = [sight(points, run, row, delta) for row in range(len(self.keyframes))]
        best = max(range(len(seen)), key=lambda row: seen[row].share)
        own, other = whole(photo, run, len(run) - 1), whole(self.keyframes[best].photo, run, best)
        alike = look_alike(points, seen[best], own, other, least_contrast=_CONTRAST)
        return Shared(seen[best].share, alike is None or alike >= _ALIKE)

    def add(self, photo: UInt8[np.ndarray, "_ _ 3"], in_world: ViewEstimates) -> None:
        """Make a frame a keyframe.

        Args:
            photo: of it.
            in_world: its estimates, with one row.
        """
        self.keyframes.append(Keyframe(photo, sampled(in_world, 0, self.options.n_points)))


def row_of(estimates: ViewEstimates, row: int) -> ViewEstimates:
    """Return the estimates of one photo, with one row, as copies: the rest of the run can be forgotten."""
    only = slice(row, row + 1)
    return replace(
        estimates,
        cam_from_world=estimates.cam_from_world[only].copy(),
        K=estimates.K[only].copy(),
        depth_z=estimates.depth_z[only].copy(),
        sigma=estimates.sigma[only].copy(),
        confidence=estimates.confidence[only].copy(),
        valid=estimates.valid[only].copy(),
        placements=estimates.placements[only],
    )


def in_world(estimates: ViewEstimates, world_from_run: Float64[np.ndarray, "4 4"]) -> ViewEstimates:
    """Return estimates in another frame of reference, depth and sigma in its unit."""
    scale = np.float32(scale_of(world_from_run))
    return replace(
        estimates,
        cam_from_world=moved_cameras(world_from_run, estimates.cam_from_world),
        depth_z=estimates.depth_z * scale,
        sigma=estimates.sigma * scale,
    )
