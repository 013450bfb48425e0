"""Path tracing: what cameras see of objects below an environment, with global illumination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float32, Int64

from recon3d.core.errors import UsageError
from recon3d.core.kernels import kernel, run_chunks, threads
from recon3d.render.cameras import Cameras
from recon3d.render.raytrace.bvh import Hits
from recon3d.render.raytrace.gbuffer import GBuffer, gbuffer_of, gbuffer_of_view
from recon3d.render.raytrace.options import PathOptions
from recon3d.render.raytrace.random_numbers import path_keys, uniforms
from recon3d.render.raytrace.scene import RenderScene
from recon3d.render.raytrace.wavefront import Rays, Tracer


@dataclass(frozen=True, eq=False)
class PathImages:
    """Rendered views.

    Args:
        rgb: linear radiance, ``[n,h,w,3]``.
        se: standard errors of ``rgb``, ``[n,h,w,3]``; zero with one sample.
        alpha: share of the samples that hit an object, ``[n,h,w]``.
        gbuffer: what is at the centres of the pixels.
    """

    rgb: Float32[np.ndarray, "n h w 3"]
    se: Float32[np.ndarray, "n h w 3"]
    alpha: Float32[np.ndarray, "n h w"]
    gbuffer: GBuffer


@dataclass(frozen=True, eq=False)
class PathProgress:
    """An unfinished view.

    Args:
        view: its index.
        samples: per pixel so far.
        rgb: their mean, ``[h,w,3]``.
        se: its standard error, ``[h,w,3]``.
    """

    view: int
    samples: int
    rgb: Float32[np.ndarray, "h w 3"]
    se: Float32[np.ndarray, "h w 3"]


def path_trace(
    scene: RenderScene,
    cameras: Cameras,
    options: PathOptions | None = None,
    progress: Callable[[PathProgress], None] | None = None,
) -> PathImages:
    """Render views of a scene.

    Paths start at the camera, choose directions by the BSDFs, and at every vertex also draw a direction to the
    environment; both are weighted against each other. The same scene, options and seed give the same bits on any
    number of threads and for any size of a batch.

    Args:
        scene: what is rendered.
        cameras: pinhole cameras, all of one size.
        options: how; None = the defaults.
        progress: called after every pass of a view, with what there is until then.

    Returns:
        Linear images, their standard errors and a G-buffer.

    Raises:
        UsageError: there is no camera, they differ in size, or one has distortion.

    Source: Veach, "Robust Monte Carlo Methods for Light Transport Simulation", 1997, chapters 9 and 10.
    """
    options = options or PathOptions()
    height, width = _size(cameras)
    tracer = Tracer.of(scene)
    views = [_rendered(_View(tracer, cameras, view, options), progress) for view in range(len(cameras))]
    shape = (len(cameras), height, width)
    return PathImages(
        np.stack([view.rgb for view in views]).reshape(*shape, 3),
        np.stack([view.se for view in views]).reshape(*shape, 3),
        np.stack([view.alpha for view in views]).reshape(shape),
        gbuffer_of([view.gbuffer for view in views], shape),
    )


class _Rendered(NamedTuple):
    """One view, pixel after pixel."""

    rgb: np.ndarray
    se: np.ndarray
    alpha: np.ndarray
    gbuffer: dict[str, np.ndarray]


def _rendered(view: _View, progress: Callable[[PathProgress], None] | None) -> _Rendered:
    view.render(progress)
    return _Rendered(view.mean(), view.error(), view.alpha(), view.gbuffer())


def _size(cameras: Cameras) -> tuple[int, int]:
    if not len(cameras):
        raise UsageError("there is no camera to render")
    if cameras.distortion is not None:
        raise UsageError("path_trace renders pinhole cameras", got="distortion", fix="cameras.pinhole()")
    sizes = {(int(h), int(w)) for h, w in zip(cameras.height, cameras.width, strict=True)}
    if len(sizes) > 1:
        raise UsageError("the cameras must have one size", got=sorted(sizes))
    return sizes.pop()


class _View:
    """The samples of one view."""

    def __init__(self, tracer: Tracer, cameras: Cameras, view: int, options: PathOptions) -> None:
        self._tracer, self._options, self._view = tracer, options, view
        self._width, self._n_pixels = int(cameras.width[view]), int(cameras.width[view] * cameras.height[view])
        self._world_from_cam, self._K = cameras.world_from_cam[view], cameras.K[view]
        self._sum, self._squares = np.zeros((self._n_pixels, 3)), np.zeros((self._n_pixels, 3))
        self._n_hits = np.zeros(self._n_pixels, np.int64)
        self._samples = 0
        pixels = np.arange(self._n_pixels)
        self._rays = self._camera_rays(pixels, np.full((len(pixels), 2), 0.5))
        self._hits = tracer.bvh.closest_hit(*self._rays)
        self._seen = np.flatnonzero(self._hits.face >= 0)

    def _camera_rays(self, pixels: Int64[np.ndarray, " n"], inside: np.ndarray) -> Rays:
        """Return rays through places inside pixels, whose directions have length one along the camera's z."""
        x = (pixels % self._width + inside[:, 0] - self._K[0, 2]) / self._K[0, 0]
        y = (pixels // self._width + inside[:, 1] - self._K[1, 2]) / self._K[1, 1]
        rotation = self._world_from_cam[:3, :3]
        ways = x[:, None] * rotation[:, 0] + y[:, None] * rotation[:, 1] + rotation[:, 2]
        origins = np.broadcast_to(self._world_from_cam[:3, 3].astype(np.float32), ways.shape)
        return Rays(np.ascontiguousarray(origins), ways.astype(np.float32))

    def render(self, progress: Callable[[PathProgress], None] | None) -> None:
        """Take all samples."""
        centered = self._options.pixel_filter == "center"
        pixels = self._seen if centered else np.arange(self._n_pixels)
        while self._samples < self._options.spp:
            n_samples = min(self._options.samples_per_pass, self._options.spp - self._samples)
            self._take(pixels, n_samples, centered)
            self._samples += n_samples
            if progress is not None:
                shape = (self._n_pixels // self._width, self._width, 3)
                mean, error = self.mean().reshape(shape), self.error().reshape(shape)
                progress(PathProgress(self._view, self._samples, mean, error))

    def _take(self, pixels: Int64[np.ndarray, " n"], n_samples: int, centered: bool) -> None:
        """Take samples of some pixels, in batches."""
        step = max(1, self._options.paths_at_once // n_samples)

        def work(chunk: int) -> None:
            own = pixels[chunk * step : (chunk + 1) * step]
            keys = np.empty(len(own) * n_samples, np.uint64)
            path_keys(self._options.seed, self._view, own, self._samples, n_samples, keys)
            each = np.repeat(own, n_samples)
            radiance, hit = self._centered(each, keys) if centered else self._scattered(each, keys)
            _accumulate(radiance, hit, own, n_samples, self._sum, self._squares, self._n_hits)

        before = torch.get_num_threads()
        try:
            run_chunks(_alone(work), -(-len(pixels) // step))
        finally:
            torch.set_num_threads(before)

    def _centered(self, pixels: Int64[np.ndarray, " n"], keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rays = Rays._make(field[pixels] for field in self._rays)
        hits = Hits._make(field[pixels] for field in self._hits)
        return self._tracer.trace(rays, hits, keys, self._options), np.ones(len(pixels), np.bool_)

    def _scattered(self, pixels: Int64[np.ndarray, " n"], keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = np.empty((len(pixels), 2), np.float32)
        uniforms(keys, 0, inside)
        rays = self._camera_rays(pixels, inside)
        hits = self._tracer.bvh.closest_hit(*rays)
        hit = hits.face >= 0
        radiance = np.zeros((len(pixels), 3), np.float32)
        own = Hits._make(field[hit] for field in hits)
        radiance[hit] = self._tracer.trace(Rays._make(field[hit] for field in rays), own, keys[hit], self._options)
        if self._options.background == "environment":
            radiance[~hit] = self._tracer.light_from(rays.directions[~hit])[0]
        return radiance, hit

    def mean(self) -> Float32[np.ndarray, "p 3"]:
        """Return the mean of the samples so far."""
        mean = (self._sum / max(self._samples, 1)).astype(np.float32)
        if self._options.pixel_filter == "center" and self._options.background == "environment":
            missed = np.flatnonzero(self._hits.face < 0)
            mean[missed] = self._tracer.light_from(self._rays.directions[missed])[0]
        return mean

    def error(self) -> Float32[np.ndarray, "p 3"]:
        """Return the standard error of the mean."""
        n = self._samples
        if n < 2:
            return np.zeros((self._n_pixels, 3), np.float32)
        variance = np.maximum(self._squares - self._sum**2 / n, 0) / (n - 1)
        return np.sqrt(variance / n).astype(np.float32)

    def alpha(self) -> Float32[np.ndarray, " p"]:
        """Return the share of the samples that hit something."""
        return (self._n_hits / self._samples).astype(np.float32)

    def gbuffer(self) -> dict[str, np.ndarray]:
        """Return what is at the centres of the pixels."""
        seen = self._seen
        rays = Rays._make(field[seen] for field in self._rays)
        hits = Hits._make(field[seen] for field in self._hits)
        return gbuffer_of_view(self._tracer, seen, self._n_pixels, rays, hits)


def _alone(work: Callable[[int], object]) -> Callable[[int], object]:
    """Keep a chunk from spreading over the other cores, which have chunks of their own.

    Torch counts its threads per thread that calls it.
    """

    def alone(chunk: int) -> object:
        torch.set_num_threads(1)
        with threads(1), torch.no_grad():
            return work(chunk)

    return alone


@kernel(order="written")
@no_type_check
def _accumulate(radiance, hit, pixels, n_samples, total, squares, n_hits):
    """Add samples to the sums of their pixels, one after the other."""
    for place in range(len(pixels)):
        pixel = pixels[place]
        for path in range(place * n_samples, (place + 1) * n_samples):
            n_hits[pixel] += hit[path]
            for channel in range(3):
                value = np.float64(radiance[path, channel])
                total[pixel, channel] += value
                squares[pixel, channel] += value * value
