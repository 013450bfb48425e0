"""A network that knows the answer of structure from motion, more or less well: for tests of what follows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import NearestNDInterpolator
from scipy.spatial.transform import Rotation
from tiny_networks import DA3
from torch import Tensor

from recon3d.feedforward.da3.model import Da3Prediction, DepthAnything3
from recon3d.scene import Scene


class SceneNetwork(DepthAnything3):
    """It answers with the cameras of a scene and a depth between its points, whatever it is shown.

    Args:
        scene: a reconstruction.
        keys: photos that it will be shown, in this order.
        turn_deg: standard deviation of an error of every rotation.
        move: standard deviation of an error of every centre, as a share of how far the cameras are spread.
        scale: units of its world per unit of the scene's.
    """

    def __init__(
        self, scene: Scene, keys: Sequence[str], *, turn_deg: float = 0.0, move: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__(DA3)
        self.scene, self.keys, self.scale = scene, list(keys), scale
        rng = np.random.default_rng(5)
        spread = float(scene.cameras.centers.std(axis=0).max())
        self.moves = move * spread * rng.standard_normal((len(keys), 3))
        self.turns = Rotation.from_rotvec(np.radians(turn_deg) * rng.standard_normal((len(keys), 3))).as_matrix()

    def forward(self, images: Tensor, *_: object, **__: object) -> Da3Prediction:
        height, width = images.shape[-2:]
        poses, K, depth = [], [], []
        for turn, moved, key in zip(self.turns, self.moves, self.keys, strict=True):
            row = self.scene.camera_index(key)
            pose = self.scene.cameras.cam_from_world[row].copy()
            pose[:3, 3] -= pose[:3, :3] @ moved
            pose[:3] = turn @ pose[:3]
            poses.append(np.column_stack([pose[:3, :3], pose[:3, 3] * self.scale]))
            size = np.array([width / self.scene.cameras.width[row], height / self.scene.cameras.height[row], 1.0])
            K.append(self.scene.cameras.K[row] * size[:, None])
            depth.append(self._depth(row, height, width) * self.scale)
        fields = {"cam_from_world": np.stack(poses), "K": np.stack(K), "depth_z": np.stack(depth)}
        fields["confidence"] = np.full(fields["depth_z"].shape, 2.0)
        return Da3Prediction(**{name: torch.tensor(v, dtype=torch.float32)[None] for name, v in fields.items()})

    def _depth(self, row: int, height: int, width: int) -> np.ndarray:
        points, cameras = self.scene.points, self.scene.cameras
        mine = points.obs_view == row
        xy = points.obs_xy[mine] * (width / cameras.width[row], height / cameras.height[row])
        _, z = cameras.project(points.xyz[points.obs_point[mine]], np.full(mine.sum(), row, np.int64))
        v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        return np.asarray(NearestNDInterpolator(xy, z)(u, v))
