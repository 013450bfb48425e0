"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from recon3d.core.errors import ShapeError
from recon3d.dense.types import DepthMap
from recon3d.evaluation.novel_views import ViewErrors
from recon3d.scene import Scene, View


@dataclass(frozen=True)
class PairSummary:
    """How well two photos match.

    Args:
        first: key of the first photo.
        second: key of the second photo.
        n_matches: matches before geometric verification.
        n_inliers: matches that agree with one two-view geometry.
        median_triangulation_deg: median angle between the rays of the inlier matches; NaN = unknown.
    """

    first: str
    second: str
    n_matches: int
    n_inliers: int
    median_triangulation_deg: float = float("nan")


@dataclass(frozen=True, eq=False)
class HeldOutView:
    """A photo that was kept out of the optimisation, and its prediction.

    Args:
        errors: how well it was predicted.
        photo: the photo as it was compared, sRGB, ``[h,w,3]``; None = not shown.
        render: the prediction, of the same size; None = not shown.

    Raises:
        ShapeError: photo and prediction differ in size.
    """

    errors: ViewErrors
    photo: UInt8[np.ndarray, "h w 3"] | None = None
    render: UInt8[np.ndarray, "h w 3"] | None = None

    def __post_init__(self) -> None:
        if self.photo is not None and self.render is not None and self.photo.shape != self.render.shape:
            what = f"photo and prediction of {self.errors.key} differ in size"
            raise ShapeError(what, got=self.render.shape, expected=self.photo.shape)


@dataclass(frozen=True, eq=False)
class SplatSummary:
    """The optimised Gaussians.

    Args:
        n_gaussians: how many there are.
        n_iterations: steps of the optimisation.
        seconds: wall time of the optimisation.
        n_photos: photos that it saw.
        image_size: width and height of the largest training image in pixels; None = not told.
        sh_degree: of the colours.
        held_out: photos that it did not see.
        history: records with ``iteration`` and some of ``loss``, ``psnr`` and ``gaussians``.
        turntable: frames of one size along a path; the report shrinks them.
        is_closed: the last frame leads back to the first.
        turntable_text: what the path is, in words.
        file_bytes: sizes of the files by name.
        notes: sentences in plain words.
    """

    n_gaussians: int
    n_iterations: int
    seconds: float
    n_photos: int
    image_size: tuple[int, int] | None = None
    sh_degree: int = 3
    held_out: Sequence[HeldOutView] = ()
    history: Sequence[Mapping[str, Any]] = ()
    turntable: Sequence[UInt8[np.ndarray, "h w 3"]] = ()
    is_closed: bool = True
    turntable_text: str = ""
    file_bytes: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class DepthPreview:
    """One depth map with its photo.

    Args:
        key: of the photo.
        photo: the undistorted photo, sRGB; it may be of another size.
        depth: its depth map in world units.
    """

    key: str
    photo: UInt8[np.ndarray, "h w 3"]
    depth: DepthMap


@dataclass(frozen=True, eq=False)
class DepthSummary:
    """The depth maps of a scene.

    Args:
        source: where they come from, in words, such as "the splats" or "multi-view stereo".
        n_maps: how many there are.
        coverage: mean share of pixels with a depth.
        seconds: wall time; NaN = not told.
        previews: some of them.
    """

    source: str
    n_maps: int
    coverage: float
    seconds: float = float("nan")
    previews: Sequence[DepthPreview] = ()


@dataclass(frozen=True)
class StereoSummary:
    """What multi-view stereo did.

    Args:
        n_maps: photos with a depth map.
        n_sources: other photos that each was compared with.
        megapixels: pixels of all depth maps together.
        coverage: mean share of pixels whose depth passed the checks.
        n_points: points that it added to the scene; 0 = none.
        seconds: wall time.
    """

    n_maps: int
    n_sources: int
    megapixels: float
    coverage: float
    n_points: int
    seconds: float


@dataclass(frozen=True, eq=False)
class MeshSummary:
    """The triangle mesh.

    Args:
        n_vertices: vertices.
        n_faces: triangles.
        area: of its surface, world units squared.
        extent: size along world x, y and z, world units.
        n_components: parts that hang together.
        is_watertight: it has no open edge.
        seconds: wall time of fusion and clean-up; NaN = not told.
        pictures: it from some directions, sRGB.
        turntable: frames of one size along a path; instead of pictures.
        is_closed: the last frame leads back to the first.
        file_bytes: sizes of the files by name.
    """

    n_vertices: int
    n_faces: int
    area: float
    extent: tuple[float, float, float]
    n_components: int
    is_watertight: bool
    seconds: float = float("nan")
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]] = ()
    turntable: Sequence[UInt8[np.ndarray, "h w 3"]] = ()
    is_closed: bool = True
    file_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RelightSummary:
    """Materials and light, and what carries them.

    Args:
        n_splats: relightable splats.
        n_faces: triangles of the mesh with textures.
        n_photos: photos that the estimate saw.
        image_size: width and height of the largest of them in pixels.
        seen: share of the surface's points that photos show; the others were filled in.
        seconds: wall time; NaN = not told.
        key: photo whose camera the pictures are of; empty = none.
        pictures: what they show in words, and sRGB pictures.
        held_out: photos that the estimate did not see.
        file_bytes: sizes of the files by name.
        notes: sentences in plain words, such as how the scale of the albedo was chosen.
    """

    n_splats: int
    n_faces: int
    n_photos: int
    image_size: tuple[int, int]
    seen: float
    seconds: float = float("nan")
    key: str = ""
    pictures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]] = field(default_factory=dict)
    held_out: Sequence[ViewErrors] = ()
    file_bytes: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class DenseResults:
    """What was made beyond cameras and points; parts that were not made are None.

    Args:
        splats: the Gaussians.
        depth: the depth maps.
        mesh: the mesh.
        stereo: multi-view stereo.
        relight: materials and light.
    """

    splats: SplatSummary | None = None
    depth: DepthSummary | None = None
    mesh: MeshSummary | None = None
    stereo: StereoSummary | None = None
    relight: RelightSummary | None = None


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Everything that one report shows.

    Args:
        title: name of the capture.
        views: every input photo, sorted by key, whatever became of it.
        scene: the reconstruction; None where it was refused.
        verdict: the result in one or two plain sentences; empty = made from ``views`` and ``scene``.
        thumbnails: small JPEG files (about 320 px wide) by key; photos without one get a placeholder.
        pairs: matched pairs of photos.
        timings: wall time of every stage in seconds, in the order of the stages.
        settings: resolved options, JSON-ready.
        warnings: sentences in plain words.
        provenance: versions and the like, JSON-ready; added to that of the scene.
        dense: splats, depth and mesh.
    """

    title: str
    views: Sequence[View]
    scene: Scene | None = None
    verdict: str = ""
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    pairs: Sequence[PairSummary] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    dense: DenseResults = field(default_factory=DenseResults)
