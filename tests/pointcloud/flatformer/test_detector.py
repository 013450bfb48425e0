"""Points to boxes: pillars, features, targets, losses, decoding, and the whole small detector."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.pointcloud.boxes.nms import nms_bev
from recon3d.pointcloud.flatformer import (
    DETECTOR_NAMES,
    DetectorOptions,
    PillarDetector,
    TrueBoxes,
    detection_loss,
    detection_targets,
    detector_options,
    prepare_points,
    stack_sweeps,
)
from recon3d.pointcloud.flatformer.head import HeadMaps, branch_channels
from recon3d.pointcloud.flatformer.pillars import pillarize
from recon3d.pointcloud.flatformer.vfe import DynamicVFE, pillar_means

TINY = detector_options("flatformer-tiny")
BOXES = torch.tensor(
    [
        [2.0, 3.0, -1.0, 4.2, 1.9, 1.6, 0.4],
        [-5.0, 8.0, -0.9, 4.5, 1.8, 1.5, -2.9],
        [6.0, -12.0, -0.8, 0.8, 0.7, 1.7, 3.0],
        [90.0, 0.0, -1.0, 4.2, 1.9, 1.6, 0.0],  # outside
    ]
)
LABELS = torch.tensor([0, 0, 1, 0])
SPEEDS = torch.tensor([[1.0, 2.0], [math.nan, math.nan], [-1.0, 0.5], [0.0, 0.0]])
TRUTH = TrueBoxes(boxes=BOXES, labels=LABELS, velocities=SPEEDS)


def points(n: int, seed: int = 0) -> Tensor:
    draw = torch.rand(n, 5, generator=torch.Generator().manual_seed(seed))
    return draw * torch.tensor([23.0, 35.8, 5.9, 255.0, 0.0]) + torch.tensor([-10.2, -20.4, -3.95, 0.0, 0.0])


def detector(options: DetectorOptions = TINY) -> PillarDetector:
    torch.manual_seed(0)
    return PillarDetector(options).eval()


def perfect_maps(truth: TrueBoxes, options: DetectorOptions) -> HeadMaps:
    """What a head says that has learnt a sample by heart."""
    targets = detection_targets([truth], options)
    n, (ny, nx) = 10, options.maps.bev
    codes = torch.zeros(n, ny * nx)
    mask = targets.mask[0]
    codes[:, targets.index[0, mask]] = targets.codes[0, mask].T.nan_to_num()
    names = {name: k for name, k in branch_channels(options).items() if name not in ("iou", "heatmap")}
    parts = torch.split(codes.view(1, n, ny, nx), list(names.values()), 1)
    heat = targets.heatmap
    logits = torch.where(heat == 1, 12.0, -12.0)
    return dict(zip(names, parts, strict=True)) | {"iou": torch.ones(1, 1, ny, nx), "heatmap": logits}


@pytest.mark.parametrize("convention", ["recon3d", "mmdet3d_v0"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_perfect_head_gives_the_truth_back(convention: str, stride: int) -> None:
    options = replace(TINY, box_convention=convention, stride=stride)
    maps = perfect_maps(TRUTH, options)
    loss = detection_loss(maps, detection_targets([TRUTH], options), options)
    assert float(loss.boxes) < 1e-5
    assert float(loss.iou) < 1e-4
    assert float(loss.heatmap) < 1e-3
    (found,) = PillarDetector(options).decode(maps)
    assert found.labels.tolist() == [0, 0, 1]  # the one outside is ignored
    for box, label in zip(BOXES[:3], LABELS[:3], strict=True):
        off = (found.boxes - box).abs().amax(1) + (found.labels != label)
        assert float(off.min()) < 1e-3


def test_targets_of_nothing_and_of_strange_boxes() -> None:
    none = detection_targets([TrueBoxes(boxes=BOXES[:0], labels=LABELS[:0])], TINY)
    assert not none.mask.any()
    assert float(none.heatmap.max()) == 0
    strange = BOXES[:2].clone()
    strange[0, 3] = 0  # no length
    found = detection_targets([TrueBoxes(boxes=strange, labels=torch.tensor([0, 7]))], TINY)
    assert not found.mask.any()
    loss = detection_loss({name: one.requires_grad_() for name, one in perfect_maps(TRUTH, TINY).items()}, none, TINY)
    loss.total.backward()
    assert float((loss.boxes + loss.iou).detach()) == 0
    with pytest.raises(ShapeError):
        detection_targets([], TINY)


def test_unknown_velocities_cost_nothing() -> None:
    options = replace(TINY, loss=replace(TINY.loss, velocity_weight=1.0))
    targets, maps = detection_targets([TRUTH], options), perfect_maps(TRUTH, options)
    assert float(detection_loss(maps, targets, options).boxes) < 1e-5
    assert float(detection_loss(maps | {"vel": maps["vel"] + 1}, targets, options).boxes) == pytest.approx(
        2 * (2 * 2) / 3, rel=1e-3
    )


def test_gradients_of_the_losses() -> None:
    options = TINY
    targets = detection_targets([TRUTH], options)
    torch.manual_seed(4)
    maps = {
        name: (0.1 * torch.randn_like(one) + (-6 if name == "heatmap" else 0.5)).requires_grad_()
        for name, one in perfect_maps(TRUTH, options).items()
    }
    detection_loss(maps, targets, options).total.backward()
    where, step = int(targets.index[0, 0]), 1e-2
    for name in ("heatmap", "height", "dim", "rot", "iou"):
        sides = []
        for sign in (1, -1):
            moved = maps[name].detach().clone()
            moved.view(moved.shape[1], -1)[0, where] += sign * step
            with torch.no_grad():
                loss = detection_loss(maps | {name: moved}, targets, options)
            sides.append(float(loss.heatmap if name == "heatmap" else loss.iou if name == "iou" else loss.boxes))
        gradient = maps[name].grad
        assert gradient is not None
        wanted = float(gradient.view(gradient.shape[1], -1)[0, where])
        assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(wanted, rel=2e-2, abs=2e-3)


def test_pillars_are_sorted_and_hold_their_points() -> None:
    samples = [points(400), points(0), points(7, 1)]
    found = pillarize(samples, TINY.grid)
    key = found.coords @ torch.tensor([10**9, 10**6, 10**3, 1])
    assert bool((key[1:] > key[:-1]).all())
    assert found.coords[:, 0].unique().tolist() == [0, 2]
    size, lower = torch.tensor(TINY.grid.size), torch.tensor(TINY.grid.lower)
    centre = found.coords[found.pillar_of_point][:, [3, 2, 1]] * size + size / 2 + lower
    assert bool(((found.points[:, :3] - centre).abs() <= size / 2 + 1e-4).all())
    with pytest.raises(ShapeError):
        pillarize([points(3), points(3)[:, :4]], TINY.grid)


def test_means_do_not_depend_on_the_order_and_copies_change_nothing() -> None:
    sample = points(900)
    rows = torch.randperm(len(sample), generator=torch.Generator().manual_seed(2))
    forward, shuffled = pillarize([sample], TINY.grid), pillarize([sample[rows]], TINY.grid)
    assert torch.equal(pillar_means(forward), pillar_means(shuffled))
    same = pillarize([torch.tensor([[1.0, 2.0, -1.0, 0.5, 0.0]]).expand(9, -1)], TINY.grid)
    torch.testing.assert_close(pillar_means(same)[0], torch.tensor([1.0, 2.0, -1.0]), atol=1e-6, rtol=0)
    vfe = DynamicVFE(5, (32, 64), TINY.grid).eval()
    twice = pillarize([torch.cat([sample, sample])], TINY.grid)
    torch.testing.assert_close(vfe(twice), vfe(forward), atol=1e-5, rtol=0)


def test_long_clouds_pass_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    vfe, cloud = DynamicVFE(5, (32, 64), TINY.grid).eval(), pillarize([points(2000)], TINY.grid)
    with torch.no_grad():
        whole = vfe(cloud)
        monkeypatch.setattr("recon3d.pointcloud.flatformer.vfe._CHUNK", 300)
        torch.testing.assert_close(vfe(cloud), whole, atol=1e-5, rtol=0)


def test_an_empty_cloud_is_an_empty_map() -> None:
    network = detector()
    with torch.inference_mode():
        both = network([prepare_points(points(800), TINY), torch.zeros(0, 5)])
        alone = network([torch.zeros(0, 5)])
    for name, one in alone.items():
        assert one.shape[2:] == TINY.grid.bev
        torch.testing.assert_close(both[name][1:], one, atol=1e-5, rtol=0)
    assert [len(found.boxes) for found in network.detect([torch.zeros(0, 5)])] == [0]


def test_points_are_cropped_scaled_and_checked() -> None:
    cloud = points(3)
    cloud[0, 0] = 500.0
    cloud[1, 1] = math.nan
    assert torch.allclose(prepare_points(cloud, TINY)[:, 3], cloud[2:, 3] / 255)
    with pytest.raises(InputError, match="too few columns"):
        prepare_points(cloud[:, :4], TINY)


def test_sweeps_come_into_the_present_frame() -> None:
    now, before = torch.tensor([[1.0, 0, 0, 9]]), torch.tensor([[1.0, 0, 0, 8], [10.0, 0, 0, 7]])
    moved = torch.eye(4)
    moved[0, 3] = 2.0
    found = stack_sweeps([now, before], [torch.eye(4), moved])
    assert found.tolist() == [[1, 0, 0, 9, 0], [12, 0, 0, 7, -1]]
    with pytest.raises(InputError):
        stack_sweeps([now], [])


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_every_named_configuration_stands(name: str) -> None:
    options = detector_options(name)
    with torch.device("meta"):
        count = sum(one.numel() for one in PillarDetector(options).parameters())
    if name == "flatformer-waymo-1f":
        assert count == 17_472 + 1_059_840 + 701_952 + 74_240 + 414_606
    assert count > 100_000


def test_wrong_options_are_refused() -> None:
    for wrong in ({"box_convention": "kitti"}, {"stride": 5}, {"classes": ("car",)}, {"vfe_channels": (8, 8)}):
        with pytest.raises(UsageError):
            replace(TINY, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        detector_options("flatformer-moon")


def test_suppression_does_not_depend_on_the_order() -> None:
    boxes = torch.cat([BOXES[:3], BOXES[:3] + torch.tensor([0.1, 0, 0, 0, 0, 0, 0])]).double()
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.95, 0.5], dtype=torch.float64)
    kept = set(nms_bev(boxes, scores, 0.5).tolist())
    assert kept == {0, 2, 4}
    rows = torch.tensor([5, 2, 0, 4, 1, 3])
    assert {int(rows[k]) for k in nms_bev(boxes[rows], scores[rows], 0.5)} == kept
    assert len(nms_bev(boxes, scores, 1.0)) == 6
