"""Frames one by one: pose, depth and sigma of each as it comes, in memory that stays the same."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image

from recon3d.core.errors import InputError, UsageError
from recon3d.feedforward.engine.network import choose_weights, load_network
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.inference import prepare
from recon3d.feedforward.memory import check_memory
from recon3d.feedforward.models import Network
from recon3d.feedforward.preparation import Placement, check_photos
from recon3d.feedforward.sequence.chunks import usable_bytes
from recon3d.feedforward.sequence.estimator import Estimator, NetworkEstimator, as_estimator
from recon3d.feedforward.sequence.registration import RegistrationOptions
from recon3d.feedforward.sequence.window import Window, in_world, row_of
from recon3d.feedforward.small import NAME

_METRIC = "metres, as the network estimates them"
_RELATIVE = "relative: the unit is that of the first frame of the segment; distances have the right ratios only"


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is followed.

    Args:
        model: name of the network.
        checkpoint: file of its weights; None = bundled or fetched ones.
        dense_attention: compute every attention in full, even where there are Lite3R's projections.
        size: longer side (VGGT: width) of the network's images, in pixels; None = that of the network.
        window: keyframes that each new frame is seen with; time and memory of a frame grow with it.
        keyframe_overlap: a frame of which no keyframe shows this share of the surface becomes a keyframe.
        min_overlap: a frame of which no keyframe shows this share of the surface is not tracked.
        lost_after: frames in a row that are not tracked, after which a new segment starts.
        registration: how a run is laid over the keyframes.
    """

    model: str = NAME
    checkpoint: Path | None = None
    dense_attention: bool = False
    size: int | None = None
    window: int = 5
    keyframe_overlap: float = 0.7
    min_overlap: float = 0.1
    lost_after: int = 3
    registration: RegistrationOptions = field(default_factory=RegistrationOptions)

    def __post_init__(self) -> None:
        if self.window < 1 or self.lost_after < 1 or not 0 <= self.min_overlap <= self.keyframe_overlap <= 1:
            raise UsageError(
                "the options of a stream are wrong",
                got=self,
                expected="window and lost_after of 1 and more, 0 <= min_overlap <= keyframe_overlap <= 1",
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamEstimate:
    """What is known about a frame when it comes; it is never changed afterwards.

    Args:
        number: of the frame, from 0.
        time: as it was pushed.
        cam_from_world: pose in OpenCV axes; the world is the camera of the first frame of the segment, ``[4,4]``.
        K: intrinsics in pixels of ``depth_z``, ``[3,3]``.
        K_image: intrinsics in pixels of the image that was pushed, ``[3,3]``.
        depth_z: along the camera's z axis, 0 = none, ``[h,w]``.
        sigma: one standard deviation of the depth, 0 where there is none, ``[h,w]``.
        valid: pixels whose depth can be used, ``[h,w]``.
        is_keyframe: whether later frames are compared with this one.
        tracked: whether the run confirms the keyframes, and the frame shows surfaces of theirs that look the same.
            Where it is false, pose and depth are a guess.
        inliers: share of the points of the keyframes that this run confirms.
        segment: rises when the stream was lost and started anew. Poses of different segments share neither origin nor
            unit.
        metric: whether lengths are in metres.
        scale_note: what the unit of lengths is, in plain words.
    """

    number: int
    time: float | None
    cam_from_world: Float64[np.ndarray, "4 4"]
    K: Float64[np.ndarray, "3 3"]
    K_image: Float64[np.ndarray, "3 3"]
    depth_z: Float32[np.ndarray, "h w"]
    sigma: Float32[np.ndarray, "h w"]
    valid: Bool[np.ndarray, "h w"]
    is_keyframe: bool
    tracked: bool
    inliers: float
    segment: int
    metric: bool
    scale_note: str

    @property
    def world_from_cam(self) -> Float64[np.ndarray, "4 4"]:
        """Pose of the camera in the world: the inverse of ``cam_from_world``."""
        return np.linalg.inv(self.cam_from_world)


class Stream:
    """Follows a camera frame by frame.

    Each frame goes through the network together with the last few keyframes; the run is laid over what is known of
    those by a robust, weighted similarity. Memory does not grow with the number of frames, nothing is written to disk,
    and frames may be pushed from several threads: they are taken one after the other. There are no loops: the drift of
    a long way stays.

    Args:
        options: how; the network is loaded from them.
        network: one that is loaded already, or any function from photos to their estimates; ``model``, ``checkpoint``
            and ``dense_attention`` of the options are then not used.

    Raises:
        DependencyError: there are no weights of the network here.
    """

    def __init__(self, options: StreamOptions | None = None, *, network: Network | Estimator | None = None) -> None:
        self.options = options or StreamOptions()
        if network is None:
            chosen = choose_weights(
                self.options.model, self.options.checkpoint, dense_attention=self.options.dense_attention
            )
            network = load_network(chosen).network
        self._estimator: Estimator | None = as_estimator(network, self.options.size)
        self._window = Window(self.options.window, self.options.registration)
        self._lock = threading.Lock()
        self._number, self._segment, self._lost = 0, -1, 0
        self._shape: tuple[int, ...] | None = None

    def push(self, image: UInt8[np.ndarray, "_ _ 3"], time: float | None = None) -> StreamEstimate:
        """Return pose, depth and sigma of the next frame.

        Args:
            image: upright sRGB frame; all frames of a stream have one size.
            time: of the frame, in any unit; it is handed through.

        Raises:
            InputError: it is no image, or its size differs from that of the first one.
            ResourceError: a window of such frames does not fit into memory.
            UsageError: the stream is closed.
        """
        with self._lock:
            if self._estimator is None:
                raise UsageError("this stream is closed", fix="open a new one")
            self._check(image)
            photo, factor = self._reduced(image)
            run = self._estimator([*self._window.photos, photo])
            estimate = self._answer(self._placed(photo, run), image, factor, time)
            self._number += 1
            return estimate

    def close(self) -> None:
        """Let the network and the keyframes go; a second call does nothing."""
        with self._lock:
            self._estimator = None
            self._window.keyframes.clear()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, image: UInt8[np.ndarray, "..."]) -> None:
        check_photos([image])
        if self._shape is None and isinstance(self._estimator, NetworkEstimator):
            network, size = self._estimator.network, self._estimator.size
            height, width = prepare(network, [image], size=size).images.shape[-2:]
            check_memory(network, self.options.window + 1, height, width, usable_bytes(network))
        self._shape = self._shape or image.shape[:2]
        if image.shape[:2] != self._shape:
            raise InputError("the frames of a stream have one size", got=image.shape[:2], expected=self._shape)

    def _reduced(self, image: UInt8[np.ndarray, "h w _"]) -> tuple[UInt8[np.ndarray, "_ _ 3"], int]:
        """Return a copy of a frame, not much larger than the network's images, and by what it was divided."""
        factor = 1
        if isinstance(self._estimator, NetworkEstimator):
            factor = self._estimator.reduction(image)
        return np.asarray(Image.fromarray(image[..., :3]).reduce(factor)), factor

    def _placed(self, photo: UInt8[np.ndarray, "_ _ 3"], run: ViewEstimates) -> _Placed:
        """Return where a frame is, and make it a keyframe where it should be one."""
        frame, window, options = row_of(run, len(run) - 1), self._window, self.options
        if not window.keyframes:
            return self._restarted(photo, frame)
        lies, shared = window.registered(run), window.shared(photo, run)
        fits = lies.inliers >= options.registration.min_inliers
        tracked = fits and shared.share >= options.min_overlap and shared.looks_alike
        self._lost = 0 if tracked else self._lost + 1
        if self._lost >= options.lost_after:
            return self._restarted(photo, frame)
        frame = in_world(frame, lies.target_from_source)
        is_keyframe = tracked and shared.share < options.keyframe_overlap
        if is_keyframe:
            window.add(photo, frame)
        return _Placed(frame, is_keyframe, tracked, lies.inliers)

    def _restarted(self, photo: UInt8[np.ndarray, "_ _ 3"], frame: ViewEstimates) -> _Placed:
        """Start a segment whose world is the camera of this frame."""
        self._segment, self._lost = self._segment + 1, 0
        frame = in_world(frame, frame.cam_from_world[0])
        self._window.keyframes.clear()
        self._window.add(photo, frame)
        return _Placed(frame, True, True, 1.0)

    def _answer(
        self, found: _Placed, image: UInt8[np.ndarray, "h w _"], factor: int, time: float | None
    ) -> StreamEstimate:
        frame, metric = found.frame, found.frame.metric
        return StreamEstimate(
            number=self._number,
            time=time,
            cam_from_world=frame.cam_from_world[0],
            K=frame.K[0],
            K_image=_placement(frame, image, factor).to_photo(frame.K[0]),
            depth_z=frame.depth_z[0],
            sigma=frame.sigma[0],
            valid=frame.valid[0],
            is_keyframe=found.is_keyframe,
            tracked=found.tracked,
            inliers=found.inliers,
            segment=self._segment,
            metric=metric,
            scale_note=_METRIC if metric else _RELATIVE,
        )


@dataclass(frozen=True, eq=False)
class _Placed:
    """A frame in the world."""

    frame: ViewEstimates
    is_keyframe: bool
    tracked: bool
    inliers: float


def _placement(frame: ViewEstimates, image: UInt8[np.ndarray, "h w _"], factor: int) -> Placement:
    """Return where the image that was pushed lies in the map of its depth."""
    height, width = frame.depth_z.shape[1:]
    if not frame.placements:
        return Placement(width / image.shape[1], height / image.shape[0])
    place = frame.placements[0]
    return place._replace(scale_x=place.scale_x / factor, scale_y=place.scale_y / factor)
