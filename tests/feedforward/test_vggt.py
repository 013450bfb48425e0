from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_networks import VGGT, photos, tiny_vggt

from recon3d.core.errors import ShapeError
from recon3d.feedforward.initialization import initialize
from recon3d.feedforward.losses import DenseLossOptions, camera_loss, dense_loss
from recon3d.feedforward.pose_encoding import decode_cameras
from recon3d.feedforward.vggt.dense_heads import inverse_log
from recon3d.feedforward.vggt.model import Vggt


@torch.no_grad()
def test_everything_has_its_shape() -> None:
    found = tiny_vggt()(photos(3, scenes=2), torch.rand(2, 4, 2) * 20)
    assert found.cam_from_world.shape == (2, 3, 3, 4) and found.K.shape == (2, 3, 3, 3)
    assert found.depth_z.shape == found.confidence.shape == found.points_confidence.shape == (2, 3, 28, 42)
    assert found.points_world.shape == (2, 3, 28, 42, 3)
    assert len(found.pose_encodings) == 2
    assert [one.shape for one in found.tracks.xy] == [(2, 3, 4, 2)] * 2
    assert found.tracks.visibility.shape == found.tracks.confidence.shape == (2, 3, 4)


@torch.no_grad()
def test_values_are_in_their_ranges() -> None:
    found = tiny_vggt()(photos(2), torch.rand(1, 4, 2) * 20)
    assert (found.depth_z > 0).all()
    assert (found.confidence >= 1).all() and (found.points_confidence >= 1).all()
    rotation = found.cam_from_world[..., :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(1, 2), atol=1e-5)
    for share in (found.tracks.visibility, found.tracks.confidence):
        assert ((share >= 0) & (share <= 1)).all()


@torch.no_grad()
def test_cameras_are_the_last_encodings() -> None:
    found = tiny_vggt()(photos(2))
    pose, K = decode_cameras(found.pose_encodings[-1], (28, 42))
    assert torch.equal(found.cam_from_world, pose) and torch.equal(found.K, K)


@torch.no_grad()
@pytest.mark.parametrize("views", [1, 8, 9])
def test_chunks_change_nothing(views: int) -> None:
    images, queries = photos(views, 14, 28), torch.tensor([[[3.0, 4.0]]])
    whole, single = (tiny_vggt(chunk=chunk)(images, queries) for chunk in (8, 1))
    for name in ("depth_z", "confidence", "points_world", "points_confidence", "cam_from_world"):
        assert torch.allclose(getattr(whole, name), getattr(single, name), atol=1e-5)
    assert torch.allclose(whole.tracks.xy[0], single.tracks.xy[0], atol=1e-3)


@torch.no_grad()
def test_later_photos_may_come_in_any_order() -> None:
    model, images, order = tiny_vggt(), photos(4), [0, 2, 3, 1]
    some, other = model(images), model(images[:, order])
    assert torch.allclose(some.depth_z[:, order], other.depth_z, atol=1e-5)
    assert torch.allclose(some.cam_from_world[:, order], other.cam_from_world, atol=1e-5)
    assert torch.allclose(some.points_world[:, order], other.points_world, atol=1e-4)


@torch.no_grad()
def test_heads_can_be_left_out() -> None:
    model = tiny_vggt(replace(VGGT, heads=("camera", "depth")))
    assert {name.split(".")[0] for name in model.state_dict()} == {"aggregator", "camera_head", "depth_head"}
    found = model(photos(2), torch.zeros(1, 1, 2))
    assert found.depth_z is not None and found.cam_from_world is not None
    assert found.points_world is None and found.tracks is None
    bare = tiny_vggt(replace(VGGT, heads=()))(photos(1))
    assert bare.cam_from_world is None and bare.depth_z is None and bare.pose_encodings == ()


@torch.no_grad()
def test_without_queries_nothing_is_tracked() -> None:
    assert tiny_vggt()(photos(2)).tracks is None


def test_gradients_reach_every_parameter() -> None:
    """Of the aggregator and of all heads; only the mask token of DINOv2, which is not built here, would be left out."""
    model = tiny_vggt()
    found = model(photos(2), torch.tensor([[[3.0, 4.0], [20.0, 9.0]]]))
    parts = found.depth_z, found.confidence, found.points_world, found.points_confidence
    total = sum(part.sum() for part in parts) + sum(stage.square().sum() for stage in found.pose_encodings)
    tracks = found.tracks
    (total + tracks.xy[0].sum() + tracks.visibility.sum() + tracks.confidence.sum()).backward()
    assert not [name for name, one in model.named_parameters() if one.grad is None or not one.grad.isfinite().all()]
    assert not [name for name, one in model.named_parameters() if not one.grad.any()]


@torch.no_grad()
def test_equal_photos_and_plain_ones_stay_finite() -> None:
    model = tiny_vggt()
    for images in (photos(1).expand(1, 3, 3, 28, 42), torch.zeros(1, 2, 3, 28, 42), torch.ones(1, 2, 3, 28, 42)):
        found = model(images)
        for one in (found.depth_z, found.confidence, found.points_world, found.cam_from_world, found.K):
            assert torch.isfinite(one).all()


@torch.no_grad()
def test_double_precision_agrees_with_single() -> None:
    model, images = tiny_vggt(), photos(2)
    single = model(images)
    double = model.double()(images.double())
    assert double.depth_z.dtype == torch.float64
    assert torch.allclose(double.depth_z.float(), single.depth_z, rtol=1e-3)
    assert torch.allclose(double.cam_from_world.float(), single.cam_from_world, atol=1e-3)


def test_images_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(ShapeError, match="multiples of 14"):
        tiny_vggt()(photos(2, 28, 40))


@torch.no_grad()
def test_the_heads_stay_in_float32_below_autocast() -> None:
    model, images = tiny_vggt(), photos(2)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images)
    assert found.depth_z.dtype == found.points_world.dtype == found.cam_from_world.dtype == torch.float32
    assert torch.allclose(found.depth_z.log(), model(images).depth_z.log(), atol=0.3)


@torch.no_grad()
def test_a_network_in_half_precision_runs() -> None:
    found = tiny_vggt().bfloat16()(photos(2).bfloat16())
    assert found.depth_z.dtype == torch.bfloat16 and torch.isfinite(found.depth_z).all()


def test_inverse_log_is_odd_and_undoes_the_logarithm() -> None:
    x = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0], dtype=torch.float64)
    y = inverse_log(x)
    assert torch.allclose(torch.sign(y) * torch.log1p(y.abs()), x)
    assert torch.allclose(y, -y.flip(0))
    assert torch.autograd.gradcheck(inverse_log, (x[[0, 1, 3, 4]].requires_grad_(),))


def test_one_batch_can_be_learned() -> None:
    """Cameras and depth of one scene: a few steps by the signs of the gradients take most of the loss away."""
    model = Vggt(replace(VGGT, heads=("camera", "depth"), depth=2, taps=(0, 0, 1, 1)))
    initialize(model, 0)
    images, target = photos(2, 14, 28), 0.3 * torch.rand(2, 9, generator=torch.Generator().manual_seed(1))
    depth, mask = torch.tensor([1.2, 1.8])[:, None, None, None].expand(2, 14, 28, 1), torch.ones(2, 14, 28).bool()
    losses = []
    for step in range(20):
        found = model(images)
        cameras = camera_loss([stage[0] for stage in found.pose_encodings], target)
        dense = dense_loss(found.depth_z[0, ..., None], found.confidence[0], depth, mask, DenseLossOptions())
        (cameras.total + dense.plain).backward()
        with torch.no_grad():
            for one in model.parameters():
                if one.grad is not None:
                    one -= 0.005 * 0.9**step * one.grad.sign()
                    one.grad = None
        losses.append(float((cameras.total + dense.plain).detach()))
    assert losses[-1] < 0.3 * losses[0]
