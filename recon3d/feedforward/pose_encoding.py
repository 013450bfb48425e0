"""The nine numbers of a camera: translation, quaternion (x, y, z, w), vertical and horizontal field of view.

VGGT encodes ``cam_from_world``, Depth Anything 3 encodes ``world_from_cam``; the numbers are computed alike.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, pad

MIN_TANGENT = 1e-6


def encode_cameras(
    pose: Float[Tensor, "*batch 3 4"], K: Float[Tensor, "*batch 3 3"], size: tuple[int, int]
) -> Float[Tensor, "*batch 9"]:
    """Return translation, unit quaternion with w >= 0 and fields of view; the principal point is forgotten.

    Args:
        pose: rotation and translation, ``[...,3,4]``.
        K: intrinsics in pixels, ``[...,3,3]``.
        size: height and width of the images, in pixels.
    """
    half_size = torch.tensor(size, dtype=K.dtype, device=K.device) / 2.0
    fov = 2.0 * torch.atan(half_size / torch.stack([K[..., 1, 1], K[..., 0, 0]], -1))
    return torch.cat([pose[..., 3], quaternion_from_matrix(pose[..., :3]), fov], dim=-1)


def decode_cameras(
    encoding: Float[Tensor, "*batch 9"], size: tuple[int, int]
) -> tuple[Float[Tensor, "*batch 3 4"], Float[Tensor, "*batch 3 3"]]:
    """Return poses and intrinsics whose principal point is the centre of the image.

    Args:
        encoding: nine numbers per camera; the quaternion may have any length but zero.
        size: height and width of the images, in pixels.
    """
    pose = torch.cat([matrix_from_quaternion(encoding[..., 3:7]), encoding[..., :3, None]], dim=-1)
    half_height, half_width = size[0] / 2.0, size[1] / 2.0
    tangents = torch.tan(encoding[..., 7:] / 2.0).clamp(min=MIN_TANGENT)
    K = encoding.new_zeros(*encoding.shape[:-1], 3, 3)
    K[..., 0, 0], K[..., 1, 1] = half_width / tangents[..., 1], half_height / tangents[..., 0]
    K[..., 0, 2], K[..., 1, 2], K[..., 2, 2] = half_width, half_height, 1.0
    return pose, K


def matrix_from_quaternion(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Return rotation matrices of quaternions (x, y, z, w) of any length but zero."""
    x, y, z, w = quaternion.unbind(-1)
    s = 2.0 / (quaternion * quaternion).sum(-1)
    entries = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in entries], -2)


def quaternion_from_matrix(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Return unit quaternions (x, y, z, w) with w >= 0, from the largest component (Shepperd 1978)."""
    m = matrix
    xx, yy, zz = m.diagonal(dim1=-2, dim2=-1).unbind(-1)
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    outer = [  # 4 q q^T, rows and columns x y z w
        [1 + xx - yy - zz, xy, xz, wx],
        [xy, 1 - xx + yy - zz, yz, wy],
        [xz, yz, 1 - xx - yy + zz, wz],
        [wx, wy, wz, 1 + xx + yy + zz],
    ]
    rows = torch.stack([torch.stack(row, -1) for row in outer], -2)
    largest = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = normalize(rows.take_along_dim(largest[..., None, None], -2).squeeze(-2), dim=-1)
    return torch.where(q[..., 3:] < 0, -q, q)


def inverted(pose: Float[Tensor, "*batch 3 4"]) -> Float[Tensor, "*batch 3 4"]:
    """Return the inverse of rigid motions."""
    rotation = pose[..., :3].mT
    return torch.cat([rotation, -rotation @ pose[..., 3:]], dim=-1)


def homogeneous(pose: Float[Tensor, "*batch 3 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Return the 4x4 matrices of rigid motions."""
    bottom = pad(pose, (0, 0, 0, 1))
    bottom[..., 3, 3] = 1.0
    return bottom


def unproject(
    depth_z: Float[Tensor, "*batch h w"],
    K: Float[Tensor, "*batch 3 3"],
    cam_from_world: Float[Tensor, "*batch 3 4"],
    *,
    first_centre: float = 0.5,
) -> Float[Tensor, "*batch h w 3"]:
    """Return world points of all pixels.

    Args:
        depth_z: along the camera's z axis, in the unit of the translations.
        K: intrinsics of the network's images, in pixels.
        cam_from_world: poses, ``[...,3,4]``.
        first_centre: where the centre of the first pixel is, along both axes: 0.5 everywhere in recon3d and in the rays
            of Depth Anything 3; the public code of both networks unprojects with 0.
    """
    height, width = depth_z.shape[-2:]
    axes = (torch.arange(n, device=K.device, dtype=K.dtype) + first_centre for n in (height, width))
    v, u = torch.meshgrid(*axes, indexing="ij")
    cx, cy, fx, fy = (K[..., row, col, None, None] for row, col in ((0, 2), (1, 2), (0, 0), (1, 1)))
    points_cam = torch.stack([(u - cx) * depth_z / fx, (v - cy) * depth_z / fy, depth_z], -1)
    world_from_cam = inverted(cam_from_world)
    return points_cam @ world_from_cam[..., None, :, :3].mT + world_from_cam[..., None, None, :, 3]
