from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from true_network import HEIGHT, WIDTH, TrueNetwork, intrinsics, poses, wall

from recon3d.core.errors import ResultError
from recon3d.feedforward.engine.calibration import learn_table, save_table, stored_table
from recon3d.feedforward.engine.sigma import SigmaTable
from recon3d.feedforward.scenes.types import TrueViews

N = 2


def truth(scale: float = 1.0) -> TrueViews:
    """The wall, in another unit than the network's."""
    pose, K = poses(N), intrinsics(N)
    depth = np.stack([wall(*pair) for pair in zip(pose, K, strict=True)]) * scale
    pose[:, :3, 3] *= scale
    given = {"cam_from_world": pose, "K": K, "depth_z": depth}
    tensors = {name: torch.tensor(value, dtype=torch.float32)[None] for name, value in given.items()}
    return TrueViews(images=torch.rand(1, N, 3, HEIGHT, WIDTH), normals=torch.zeros(1, N, HEIGHT, WIDTH, 3), **tensors)


def test_the_table_is_the_error_against_truth_whatever_the_unit() -> None:
    table = learn_table(TrueNetwork((0.04, 0.01)), [truth(), truth(5.0)], "walls")
    assert table.source == "walls" and len(table.relative) >= 2
    assert table.relative[0] == pytest.approx(0.04, rel=0.2) and table.relative[-1] == pytest.approx(0.01, rel=0.2)


def test_scenes_without_a_surface_teach_nothing() -> None:
    empty = TrueViews(**{**vars(truth()), "depth_z": torch.zeros(1, N, HEIGHT, WIDTH)})
    with pytest.raises(ResultError, match="too few pixels"):
        learn_table(TrueNetwork(), [empty], "")
    with pytest.raises(ResultError, match="too few pixels"):
        learn_table(TrueNetwork(), [], "")


def test_a_table_belongs_to_its_weights(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_bytes(b"1")
    other.write_bytes(b"2")
    table = SigmaTable((1.0, 2.0), (0.2, 0.1), "walls")
    save_table(tmp_path / "net-sigma.json", table, mine)
    assert stored_table("net", mine, tmp_path) == table
    assert stored_table("net", other, tmp_path) is None and stored_table("absent", mine, tmp_path) is None
