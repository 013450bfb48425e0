"""Which faces meet at the edges of a mesh."""

from __future__ import annotations

import torch
from jaxtyping import Int32
from torch import Tensor

from recon3d.render.mesh.rasterization import check_faces


@torch.no_grad()
def opposite_vertices(faces: Int32[Tensor, "f 3"], n_vertices: int) -> Int32[Tensor, "f 3"]:
    """Return, for the edge opposite to each corner of each face, the corner that the other face has opposite to it.

    Args:
        faces: vertex indices.
        n_vertices: of the mesh.

    Returns:
        Vertex indices; -1 where an edge has no other face, or more than one.

    Raises:
        ShapeError: a face names a vertex that is not there.
    """
    check_faces(faces, n_vertices)
    start, end = faces[:, [1, 2, 0]].long().reshape(-1), faces[:, [2, 0, 1]].long().reshape(-1)
    key, order = (torch.minimum(start, end) * n_vertices + torch.maximum(start, end)).sort(stable=True)
    same = key[1:] == key[:-1]
    outside = same.new_zeros(1)
    pair = torch.nonzero(same & ~torch.cat([outside, same[:-1]]) & ~torch.cat([same[1:], outside]))[:, 0]
    one, other = order[pair], order[pair + 1]
    corners = faces.reshape(-1)
    opposite = torch.full_like(corners, -1)
    opposite[one], opposite[other] = corners[other], corners[one]
    return opposite.reshape(-1, 3)
