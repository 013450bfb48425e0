"""A batch of sparse voxel grids with features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jaxtyping import Float, Int32
from torch import Tensor

from recon3d.core.errors import ShapeError
from recon3d.pointcloud.sparse.geometry import Triple
from recon3d.pointcloud.sparse.rules import Rules
from recon3d.pointcloud.sparse.sites import Sites


@dataclass(frozen=True, eq=False)
class SparseTensor:
    """Features on the occupied voxels of a batch, in any row order.

    Args:
        indices: batch item and voxel (i, j, k) of each row, each voxel once, ``[n, 4]`` int32.
        features: channels of each row, ``[n, c]``.
        spatial_shape: extent of the grid along i, j and k.
        batch_size: number of items.
        keys: rulebooks by the ``indice_key`` of the layers that made them.
        sites: the checked indices; made from them where it is not given.

    Raises:
        ShapeError: indices or features have the wrong shape or type.
        InputError: a voxel lies outside the grid, or two rows hold the same one.
    """

    indices: Int32[Tensor, "n 4"]
    features: Float[Tensor, "n c"]
    spatial_shape: Triple
    batch_size: int
    keys: Mapping[str, Rules] = field(default_factory=dict, repr=False)
    sites: Sites = None  # type: ignore[assignment]  # always set after __post_init__

    def __post_init__(self) -> None:
        object.__setattr__(self, "spatial_shape", tuple(int(n) for n in self.spatial_shape))
        if self.sites is None:
            object.__setattr__(self, "sites", Sites(self.indices, self.spatial_shape, self.batch_size))
        object.__setattr__(self, "indices", self.sites.indices)
        if self.features.ndim != 2 or len(self.features) != len(self.sites):
            got = tuple(self.features.shape)
            raise ShapeError("features of a sparse tensor", got=got, expected=f"({len(self.sites)}, channels)")

    def __len__(self) -> int:
        return len(self.sites)

    def with_features(self, features: Float[Tensor, "n d"]) -> SparseTensor:
        """Return other features on the same sites, with the same rulebooks."""
        return replace(self, features=features)

    def moved(self, sites: Sites, features: Float[Tensor, "m d"], keys: Mapping[str, Rules]) -> SparseTensor:
        """Return features on other sites.

        Args:
            sites: where they are.
            features: one row per site.
            keys: rulebooks that later layers may ask for.
        """
        return SparseTensor(sites.indices, features, sites.spatial_shape, self.batch_size, keys, sites)

    def dense(self) -> Float[Tensor, "b c i j k"]:
        """Return the grid with zeros in empty voxels; differentiable in the features."""
        rows = self.indices.long()
        shape = (self.batch_size, *self.spatial_shape, self.features.shape[1])
        grid = self.features.new_zeros(shape).index_put((rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]), self.features)
        return grid.permute(0, 4, 1, 2, 3)
