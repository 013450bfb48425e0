"""What a long sequence came to: poses at hand, depth on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from recon3d.core.errors import UsageError
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.sequence.pose_graph import Link
from recon3d.feedforward.sequence.store import EstimateStore


@dataclass(frozen=True, eq=False, kw_only=True)
class SequenceEstimates:
    """Cameras of all photos in one frame of reference; depth and sigma of each are read when they are asked for.

    The world is the camera of the first photo. Use it in a ``with`` block, or call :meth:`close`, to remove temporary
    files.

    Args:
        cam_from_world: poses in OpenCV axes, ``[n,4,4]``.
        K: intrinsics in pixels of the network's images, ``[n,3,3]``.
        scale: what the depth of each photo's run is multiplied by, ``[n]``.
        chunk: number of the run that each photo comes from, ``[n]``.
        linked: photos whose run hangs together with the first one by links that can be trusted; the others are guesses,
            ``[n]``.
        metric: whether lengths are in metres; else their unit is arbitrary.
        links: between runs, loops included.
        store: the files.
        temporary: folder that :meth:`close` removes.
    """

    cam_from_world: Float64[np.ndarray, "n 4 4"]
    K: Float64[np.ndarray, "n 3 3"]
    scale: Float64[np.ndarray, " n"]
    chunk: Int64[np.ndarray, " n"]
    linked: Bool[np.ndarray, " n"]
    metric: bool
    links: tuple[Link, ...]
    store: EstimateStore
    temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    def loops(self) -> tuple[Link, ...]:
        """Links that were found by appearance and verified."""
        return tuple(one for one in self.links if one.is_loop)

    def __len__(self) -> int:
        return len(self.K)

    def __getitem__(self, photo: int) -> ViewEstimates:
        """Return the estimate of one photo in the common world, with one row."""
        if not -len(self) <= photo < len(self):
            raise IndexError(photo)
        photo %= len(self)
        own, scale = self.store.read(photo), np.float32(self.scale[photo])
        return replace(
            own,
            cam_from_world=self.cam_from_world[photo, None],
            depth_z=own.depth_z * scale,
            sigma=own.sigma * scale,
            metric=self.metric,
        )

    def __iter__(self) -> Iterator[ViewEstimates]:
        return (self[photo] for photo in range(len(self)))

    def views(self, photos: Sequence[int]) -> ViewEstimates:
        """Return the estimates of some photos together; smaller maps are padded at the right and below.

        Args:
            photos: their numbers, at least one.

        Raises:
            UsageError: there is none.
        """
        if not len(photos):
            raise UsageError("estimates of no photo cannot be put together")
        found = [self[photo] for photo in photos]
        height, width = (max(one.depth_z.shape[axis] for one in found) for axis in (1, 2))

        def maps(name: str) -> Shaped[np.ndarray, "s h w"]:
            own = (getattr(one, name) for one in found)
            return np.concatenate(
                [np.pad(one, ((0, 0), (0, height - one.shape[1]), (0, width - one.shape[2]))) for one in own]
            )

        return ViewEstimates(
            cam_from_world=np.concatenate([one.cam_from_world for one in found]),
            K=np.concatenate([one.K for one in found]),
            depth_z=maps("depth_z"),
            sigma=maps("sigma"),
            confidence=maps("confidence"),
            valid=maps("valid"),
            metric=self.metric,
            placements=tuple(place for one in found for place in one.placements),
            sigma_source=found[0].sigma_source,
        )

    def close(self) -> None:
        """Remove temporary files; poses remain."""
        if self.temporary is not None:
            self.temporary.cleanup()

    def __enter__(self) -> SequenceEstimates:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
