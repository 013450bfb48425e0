"""Textures: mip chains, wrap modes and trilinear lookup, differentiable in texels and UVs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.gaussians.checks import check_alike, check_finite, check_shapes
from recon3d.render.mesh.dispatch import MeshBackend, module_for
from recon3d.render.mesh.fragments import Fragments, check_fragments
from recon3d.render.mesh.rasterization import check_faces, points_in_cameras

Wrap = Literal["repeat", "clamp", "mirror"]
WRAPS: tuple[Wrap, ...] = ("repeat", "clamp", "mirror")


@dataclass(frozen=True, eq=False)
class Texture:
    """An image on a surface, with smaller and smaller versions of itself.

    UVs (0, 0) are the outer top-left corner of the image and (1, 1) the bottom-right one, as in glTF, so that the
    centre of the first texel is at (0.5/w, 0.5/h).

    Args:
        mips: the image ``[h,w,c]`` and its smaller versions, the largest first; build them with :meth:`of`.
        wrap: what lies beyond the image: the image again, its border, or its mirror image.

    Raises:
        ShapeError: there is no image, or one is empty or has another number of channels.
        UsageError: there is no such wrap mode, or the images differ in type or device.
    """

    mips: tuple[Float[Tensor, "_ _ c"], ...]
    wrap: Wrap = "repeat"

    def __post_init__(self) -> None:
        shapes = [tuple(image.shape) for image in self.mips]
        alike = {shape[-1] for shape in shapes if len(shape) == 3}
        if not shapes or any(len(shape) != 3 or 0 in shape for shape in shapes) or len(alike) != 1:
            raise ShapeError("a texture has the wrong shape", got=shapes[:3], expected="images [h,w,c] of the same c")
        check_alike({f"mips[{level}]": image for level, image in enumerate(self.mips)})
        if self.wrap not in WRAPS:
            raise UsageError("there is no such wrap mode", got=self.wrap, expected=", ".join(WRAPS))

    @classmethod
    def of(cls, image: Float[Tensor, "h w c"], *, wrap: Wrap = "repeat", n_levels: int | None = None) -> Texture:
        """Return a texture with its mip chain; gradients of all levels reach the image.

        Args:
            image: linear values of any number of channels.
            wrap: what lies beyond the image.
            n_levels: images of the chain; None = down to one texel.

        Raises:
            ShapeError: the image is empty or has the wrong shape.
            UsageError: the number of levels is not positive.
        """
        check_shapes({"image": (image, (None, None, None))})
        if n_levels is not None and n_levels < 1:
            raise UsageError("a texture needs a level", got=n_levels, expected="at least 1")
        mips = [image]
        while min(image.shape) > 0 and max(mips[-1].shape[:2]) > 1 and (n_levels is None or len(mips) < n_levels):
            mips.append(_halved(mips[-1]))
        return cls(tuple(mips), wrap)

    def sample(
        self,
        uv: Float[Tensor, "*shape 2"],
        footprint: Float[Tensor, "*shape 2 2"] | None = None,
        *,
        backend: MeshBackend = "auto",
    ) -> Float[Tensor, "*shape c"]:
        """Look the texture up: bilinear in the image, linear between the two levels that fit the footprint.

        Differentiable in the texels and in ``uv``; the level is not.

        Args:
            uv: where; see the class.
            footprint: derivatives of u and v (rows) by the picture's x and y in pixels (columns), of
                :func:`uv_footprint`; None = the first level.
            backend: ``auto``, ``numba`` (CPU) or ``torch``.

        Raises:
            ShapeError: a tensor has the wrong shape.
            UsageError: type or device differ from those of the texture.
            InputError: a value is not finite.
        """
        rest = tuple(uv.shape[:-1])
        check_shapes({"uv": (uv, (*rest, 2))})
        check_alike({"texture": self.mips[0], "uv": uv})
        check_finite({"uv": uv})
        lod = uv.new_zeros(rest)
        if footprint is not None:
            check_shapes({"footprint": (footprint, (*rest, 2, 2))})
            check_finite({"footprint": footprint})
            lod = self.levels(footprint).to(uv.dtype)
        texels = torch.cat([image.flatten(0, 1) for image in self.mips])
        sizes = torch.tensor([image.shape[:2] for image in self.mips], dtype=torch.int32)
        where = (uv.reshape(-1, 2), lod.reshape(-1))
        home = module_for(backend, uv)
        values: Tensor = home.sample(texels, sizes, *where, WRAPS.index(self.wrap))
        return values.reshape(*rest, values.shape[-1])

    @torch.no_grad()
    def levels(self, footprint: Float[Tensor, "*shape 2 2"]) -> Float[Tensor, "*shape"]:
        """Return the level whose texels are as far apart as the pixels, along the longer side of the footprint.

        Args:
            footprint: see :meth:`sample`.
        """
        height, width = self.mips[0].shape[:2]
        texels = footprint * footprint.new_tensor([[width], [height]])
        longest = texels.square().sum(-2).amax(-1)
        return (0.5 * longest.clamp(min=1).log2()).clamp(max=len(self.mips) - 1)


def _halved(image: Float[Tensor, "h w c"]) -> Float[Tensor, "h2 w2 c"]:
    height, width = image.shape[:2]
    size = (max(height // 2, 1), max(width // 2, 1))
    smaller = torch.nn.functional.adaptive_avg_pool2d(image.permute(2, 0, 1)[None], size)
    return smaller[0].permute(1, 2, 0)


@torch.no_grad()
def uv_footprint(
    uvs: Float[Tensor, "f 3 2"],
    fragments: Fragments,
    vertices: Float[Tensor, "v 3"],
    faces: Int32[Tensor, "f 3"],
    cameras: CameraTensors,
    *,
    backend: MeshBackend = "auto",
) -> Float[Tensor, "n h w 2 2"]:
    """Return how UVs change from pixel to pixel, for :meth:`Texture.sample`; no gradient.

    Args:
        uvs: at the corners of each face.
        fragments: of :func:`recon3d.render.mesh.rasterize_mesh`.
        vertices: positions in the world, as they were rasterised.
        faces: vertex indices.
        cameras: as they were rasterised for.
        backend: ``auto``, ``numba`` (CPU) or ``torch``.

    Returns:
        Derivatives of u and v (rows) by x and y in pixels (columns); zeros where there is no face.

    Raises:
        ShapeError: a tensor has the wrong shape, or a face is not there.
        UsageError: type or device differ.
    """
    check_shapes({"uvs": (uvs, (len(faces), 3, 2)), "vertices": (vertices, (None, 3)), "faces": (faces, (None, 3))})
    check_alike({"uvs": uvs, "vertices": vertices, "cameras.K": cameras.K})
    check_faces(faces, len(vertices))
    check_fragments(fragments, len(faces))
    points = points_in_cameras(vertices, cameras.cam_from_world)
    found: Tensor = module_for(backend, vertices).footprints(uvs, points, faces, cameras.K, fragments.face)
    return found
