"""FlatFormer against the released modules of its authors with seeded weights (shared/goldens/flatformer)."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import cases, load
from torch import Tensor

from recon3d.formats.kitti_text import KittiObject
from recon3d.formats.range_image import RangeImage, range_image_points
from recon3d.formats.safetensors import read_safetensors
from recon3d.pointcloud.boxes.conversions import NuscenesBoxes, boxes_from_nuscenes
from recon3d.pointcloud.boxes.nms import nms_bev
from recon3d.pointcloud.boxes.overlap import intersection_bev, rotated_iou_3d, rotated_iou_bev
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.flatformer.bev import scatter_bev
from recon3d.pointcloud.flatformer.decode import Detections, decode_candidates, decode_maps, score_maps
from recon3d.pointcloud.flatformer.detector import PillarDetector
from recon3d.pointcloud.flatformer.encoder import FlatFormerEncoder, position_embedding
from recon3d.pointcloud.flatformer.losses import detection_loss
from recon3d.pointcloud.flatformer.options import (
    DecodeOptions,
    DetectorOptions,
    EncoderOptions,
    LossOptions,
    PillarGrid,
    TargetOptions,
)
from recon3d.pointcloud.flatformer.pillars import cell_indices, pillarize
from recon3d.pointcloud.flatformer.targets import TrueBoxes, detection_targets, draw_gaussian, gaussian_radius
from recon3d.pointcloud.flatformer.windows import LAYER_ORDERS, LayerOrder, group_slots, layer_orders, sort_keys
from recon3d.pointcloud.metrics.kitti import KITTI_RELAXED, KITTI_STRICT, kitti_metrics
from recon3d.pointcloud.metrics.nuscenes import NuscenesFrame, NuscenesOptions, nuscenes_metrics, nuscenes_ranges
from recon3d.pointcloud.metrics.waymo import WaymoFrame, waymo_metrics

pytestmark = pytest.mark.golden


def of_kind(pattern: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", cases("flatformer", pattern))


ENCODERS, DETECTORS = of_kind("encoder_*"), of_kind("detector_*")


@cache
def stored(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """The configuration, the weights and the tensors of a folder."""
    state, tensors = (read_safetensors(path / f"{name}.safetensors") for name in ("state_dict", "tensors"))
    return json.loads((path / "config.json").read_text()), state, tensors


def assert_near(got: Tensor, want: Tensor, absolute: float, relative: float = 0.0) -> None:
    assert got.shape == want.shape
    torch.testing.assert_close(got.detach().double(), want.double(), atol=absolute, rtol=relative)


# --- the encoder ---


def encoder_options(config: dict[str, Any]) -> EncoderOptions:
    return EncoderOptions(
        channels=config["in_channels"],
        heads=config["num_heads"],
        blocks=config["num_blocks"],
        activation=config["activation"],
        window=tuple(config["window_shape"][:2]),
        group=config["group_size"],
        cells=tuple(config["sparse_shape"][:2]),
        temperature=config["pos_temperature"],
        normalised_positions=config["normalize_pos"],
    )


def encoder(path: Path) -> tuple[FlatFormerEncoder, dict[str, Tensor], int]:
    config, state, tensors = stored(path)
    network = FlatFormerEncoder(encoder_options(config["config"]))
    network.load_state_dict(state, strict=True)
    return network, tensors, config["batch_size"]


@ENCODERS
def test_order_and_groups(path: Path) -> None:
    config, _, tensors = stored(path)
    options = encoder_options(config["config"])
    orders = layer_orders(tensors["coords"], config["batch_size"], options)
    for name in LAYER_ORDERS:
        assert torch.equal(orders[name].permutation, tensors[f"map.{name}"].long())
    # The place of a group among all is free: ours puts samples of less than a group last.
    counts, start, slots, owned = config["num_voxels"], 0, [], []
    for n in counts:
        grouping = group_slots([n], options.group)
        owned.append(grouping.owned + sum(len(one) for one in slots))
        slots.append(grouping.slots + start)
        start += n
    assert torch.equal(torch.cat(slots), tensors["map.flat2win"].long())
    assert torch.equal(torch.cat(owned), tensors["map.win2flat"].long())
    kept = tensors["pe"]  # of the first pillars only where there are many
    assert_near(position_embedding(tensors["coords"][: len(kept), [3, 2]], options), kept, 2e-5)


@ENCODERS
def test_every_layer_and_its_gradients(path: Path) -> None:
    network, tensors, batch_size = encoder(path)
    features = tensors["feats"].float().requires_grad_()
    outputs = list(network.layer_outputs(tensors["coords"], features, batch_size))
    for number, found in enumerate(outputs):
        name = f"out.block{number // len(LAYER_ORDERS)}.layer{number % len(LAYER_ORDERS)}"
        if name in tensors:
            assert_near(found, tensors[name], 2e-5)
    assert_near(outputs[-1], tensors["out.feats"], 2e-5)
    if "grad.w" not in tensors:
        return
    (outputs[-1] * tensors["grad.w"]).sum().backward()
    gradients = {f"grad.param.{name}": one.grad for name, one in network.named_parameters()}
    gradients["grad.feats"] = features.grad
    for name in [name for name in tensors if name.startswith("grad.") and name != "grad.w"]:
        want = tensors[name]
        assert_near(gradients[name], want, 1e-4 * float(want.abs().max()))


@ENCODERS
def test_scattered_map(path: Path) -> None:
    config, _, tensors = stored(path)
    shape = tuple(config["config"]["output_shape"])
    bev = scatter_bev(tensors["coords"], tensors["out.feats"], config["batch_size"], shape).double()
    sums = torch.stack([bev.sum(), bev.abs().sum(), (bev.abs().sum(1) > 0).sum()])
    assert_near(sums, tensors["out.bev_nonzero_check"], 1e-2, 1e-6)


# --- the detector ---


def detector_options(config: dict[str, Any]) -> DetectorOptions:
    train, test, span = config["train_cfg"], config["test_cfg"], config["point_cloud_range"]
    limit = test["post_center_limit_range"]  # behind the narrower one of the box coder: the grid, and 10 m up and down
    grid = PillarGrid(lower=tuple(span[:3]), upper=tuple(span[3:]), size=tuple(config["voxel_size"]))
    encoding = config | {"in_channels": config["feat_channels"][-1], "sparse_shape": grid.shape, "activation": "gelu"}
    return DetectorOptions(
        grid=grid,
        attributes=tuple((f"column_{n}", "as_is") for n in range(3, config["in_channels"])),
        vfe_channels=tuple(config["feat_channels"]),
        encoder=encoder_options(encoding),
        backbone_channels=tuple(config["backbone_channels"]),
        backbone_layers=tuple(config["layer_nums"]),
        neck_channels=config["neck_channels"],
        shared_channels=config["share_conv_channel"],
        classes=tuple(config["classes"]),
        box_convention="mmdet3d_v0",
        targets=TargetOptions(
            overlap=train["gaussian_overlap"],
            smallest_radius=train["min_radius"],
            most_objects=train["max_objs"],
        ),
        loss=LossOptions(
            velocity_weight=train["code_weights"][-1], iou_weight=train["iou_weight"], legacy_iou_target=True
        ),
        decode=DecodeOptions(
            candidates=test["max_num"],
            score=test["score_threshold"],
            iou_power=test["iou_pow"],
            centre_lower=(*(max(a, b) for a, b in zip(span[:2], limit[:2], strict=True)), -10.0),
            centre_upper=(*(min(a, b) for a, b in zip(span[3:5], limit[3:5], strict=True)), 10.0),
            nms_overlap=tuple(test["nms_thr"]),
            nms_before=tuple(test["pre_max_size"]),
            nms_after=tuple(test["post_max_size"]),
        ),
    )


def samples_of(tensors: dict[str, Tensor]) -> list[Tensor]:
    return [tensors["points"][tensors["point_batch"] == n] for n in range(len(tensors["pred.heatmap"]))]


def head_maps(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("pred."): one for name, one in tensors.items() if name.startswith("pred.")}


@DETECTORS
def test_pillars(path: Path) -> None:
    config, _, tensors = stored(path)
    grid = detector_options(config).grid
    assert list(grid.shape[:2]) == config["grid"]
    assert torch.equal(cell_indices(tensors["points"][:, :3], grid).flip(1).int(), tensors["point_coors"][:, 1:])
    pillars = pillarize(samples_of(tensors), grid)
    assert torch.equal(pillars.coords.int(), tensors["vfe.coors"])
    assert torch.equal(pillars.coords[pillars.pillar_of_point].int(), tensors["point_coors"])


def released_orders(coords: Tensor, batch_size: int, options: EncoderOptions) -> dict[str, LayerOrder]:
    """The orders of the released code, in which the last pillars of a sample may come behind the first of the next."""
    grouping = group_slots(torch.bincount(coords[:, 0], minlength=batch_size).tolist(), options.group)
    offset, orders = coords[:, 0] * math.prod(options.cells) * 10, {}
    for name, (axis, shifted) in LAYER_ORDERS.items():
        keys = sort_keys(coords[:, [3, 2]], window=options.window, cells=options.cells, axis=axis, shifted=shifted)
        permutation = (keys + offset).argsort()
        back = torch.empty_like(permutation)
        back[permutation] = grouping.owned
        slots = permutation[grouping.slots]
        orders[name] = LayerOrder(permutation=permutation, slots=slots, back=back, runs=grouping.runs)
    return orders


@DETECTORS
def test_every_map(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon3d.pointcloud.flatformer.encoder.layer_orders", released_orders)
    config, state, tensors = stored(path)
    network = PillarDetector(detector_options(config)).eval()
    network.load_state_dict(state, strict=True)
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: seen.update({name: output})

    for name in ("voxel_encoder", "backbone", "neck"):
        network.get_submodule(name).register_forward_hook(keep(name))
    network.backbone.register_forward_hook(lambda module, inputs, output: seen.update(bev=inputs[0]))
    with torch.inference_mode():
        maps = network(samples_of(tensors))
    assert_near(seen["voxel_encoder"], tensors["vfe.feats"], 1e-3, 1e-3)
    assert_near(seen["bev"][0], tensors["middle.bev_sample0"], 2e-2, 2e-2)
    for number, found in enumerate(seen["backbone"]):
        assert_near(found[0], tensors[f"backbone.{number}_sample0"], 2e-2, 2e-2)
    assert_near(seen["neck"][0], tensors["neck_sample0"], 2e-2, 2e-2)
    assert maps.keys() == head_maps(tensors).keys()
    for name, want in head_maps(tensors).items():
        assert_near(maps[name], want, 1e-3, 1e-3)


def modern(boxes: Tensor, *, bottom: bool) -> Tensor:
    """Boxes of the released code in our convention."""
    x, y, z, w, length, h, r = boxes[:, :7].double().unbind(1)
    yaw = -r - math.pi / 2
    return torch.stack([x, y, z + h / 2 if bottom else z, length, w, h, yaw], 1)


def truth_of(tensors: dict[str, Tensor]) -> list[TrueBoxes]:
    counts, legacy = tensors["gt.count"].tolist(), tensors["gt.boxes_v0_bottom"]
    parts = zip(modern(legacy, bottom=True).split(counts), tensors["gt.labels"].long().split(counts), strict=True)
    speeds = legacy[:, 7:].split(counts)
    return [TrueBoxes(boxes=b, labels=n, velocities=v) for (b, n), v in zip(parts, speeds, strict=True)]


@DETECTORS
def test_targets(path: Path) -> None:
    config, _, tensors = stored(path)
    found = detection_targets(truth_of(tensors), detector_options(config))
    assert_near(found.heatmap, tensors["target.heatmap"], 1e-6)
    assert torch.equal(found.index.int(), tensors["target.ind"])
    assert torch.equal(found.mask.int(), tensors["target.mask"])
    assert_near(found.codes, tensors["target.anno_box"], 1e-5)


@DETECTORS
def test_losses(path: Path) -> None:
    config, _, tensors = stored(path)
    options = detector_options(config)
    found = detection_loss(head_maps(tensors), detection_targets(truth_of(tensors), options), options)
    for name, got in {"loss_heatmap": found.heatmap, "loss_bbox": found.boxes, "loss_iou": found.iou}.items():
        assert_near(got[None], tensors[f"loss.task0.{name}"], 0, 1e-4)


def assert_same_boxes(found: Detections, tensors: dict[str, Tensor], name: str, *, bottom: bool, share: float) -> None:
    """For nearly all boxes there is one of the same class at the same place with the same numbers."""
    legacy = tensors[f"{name}.{'boxes_bottom' if bottom else 'boxes'}"]
    want, scores, labels = modern(legacy, bottom=bottom), tensors[f"{name}.scores"], tensors[f"{name}.labels"].long()
    off = torch.cat(
        [found.boxes.double()[:, None, :6] - want[None, :, :6], found.velocities[:, None] - legacy[:, 7:]], 2
    )
    turn = (found.boxes.double()[:, None, 6] - want[None, :, 6] + math.pi) % (2 * math.pi) - math.pi
    same = (off.abs().amax(2) < 2e-3) & (turn.abs() < 2e-3)
    same &= ((found.scores[:, None] - scores[None]).abs() < 1e-4) & (found.labels[:, None] == labels[None])
    missed = (~same.any(0)).sum() + (~same.any(1)).sum()
    assert missed <= share * len(want), f"{missed} of {len(want)} differ"
    assert abs(len(found.boxes) - len(want)) <= share * len(want)


@DETECTORS
def test_decoded_boxes(path: Path) -> None:
    config, _, tensors = stored(path)
    maps, options = head_maps(tensors), detector_options(config)
    assert_near(score_maps(maps, options), tensors["decode.heat"], 1e-5)
    for number, found in enumerate(decode_candidates(maps, options)):
        assert_same_boxes(found, tensors, f"decode.{number}", bottom=False, share=0)
    for number, found in enumerate(decode_maps(maps, options)):
        assert_same_boxes(found, tensors, f"final.{number}", bottom=True, share=0.02)


@of_kind("gaussian/*.npz")
def test_gaussians(path: Path) -> None:
    golden = load(path)
    sizes = torch.from_numpy(golden["sizes"])
    for name in golden:
        if name.startswith("radius_"):
            radius = gaussian_radius(sizes, float(name.removeprefix("radius_")))
            np.testing.assert_allclose(radius.numpy(), golden[name], rtol=1e-5)
    heatmap = torch.zeros(golden["heatmap"].shape)
    for column, row, radius in golden["draw_xyr"].tolist():
        draw_gaussian(heatmap, column, row, radius)
    np.testing.assert_allclose(heatmap.numpy(), golden["heatmap"], atol=1e-7)


# --- boxes and metrics ---


def scored_boxes(rows: list[dict[str, Any]], names: tuple[str, ...]) -> Boxes3D:
    fields = (("translation", 3), ("size", 3), ("rotation", 4))
    stored_boxes = (np.array([row[key] for row in rows], np.float64).reshape(-1, n) for key, n in fields)
    scores = [row["detection_score"] for row in rows if "detection_score" in row]
    return Boxes3D(
        boxes=boxes_from_nuscenes(NuscenesBoxes(*stored_boxes)),
        labels=np.array([names.index(row["detection_name"]) for row in rows], np.int64),
        names=names,
        scores=np.array(scores) if len(scores) == len(rows) else None,
        velocities=np.array([row["velocity"] for row in rows], np.float64).reshape(-1, 2),
    )


@of_kind("geometry*/geometry.npz")
@pytest.mark.parametrize("kind", [torch.float64, torch.float32, None])
def test_overlaps(path: Path, kind: torch.dtype | None) -> None:
    golden = load(path)
    a, b = (
        golden[name] if kind is None else torch.from_numpy(golden[name]).to(kind) for name in ("boxes_a", "boxes_b")
    )
    for name, overlap in (("inter_bev", intersection_bev), ("iou_bev", rotated_iou_bev), ("iou_3d", rotated_iou_3d)):
        limit = 1e-4 if kind is torch.float32 else 1e-9
        np.testing.assert_allclose(np.asarray(overlap(a, b)), golden[name], rtol=0, atol=limit)


@of_kind("geometry*/geometry.npz")
def test_suppression(path: Path) -> None:
    golden = load(path)
    for name in golden:
        if name.startswith("nms_keep_"):
            kept = nms_bev(golden["nms_boxes"], golden["nms_scores"], float(name.removeprefix("nms_keep_")))
            assert kept.tolist() == golden[name].tolist()


@of_kind("eval_waymo*")
def test_waymo_metrics(path: Path) -> None:
    golden, names = load(path / "data.npz"), ("unset", "vehicle", "pedestrian", "sign", "cyclist")

    def frame(number: int) -> WaymoFrame:
        found, there = golden["pred_frame"] == number, golden["gt_frame"] == number
        boxes = [
            Boxes3D(
                boxes=golden[f"{side}_box"][rows],
                labels=golden[f"{side}_type"][rows].astype(np.int64),
                names=names,
                scores=golden[f"{side}_score"][rows].astype(np.float64),
            )
            for side, rows in (("pred", found), ("gt", there))
        ]
        return WaymoFrame(
            predictions=boxes[0],
            truths=boxes[1],
            truth_points=golden["gt_num_points"][there].astype(np.int64),
            truth_levels=golden["gt_difficulty"][there].astype(np.int64),
            in_no_label_zone=golden["pred_nlz"][found] > 0,
        )

    numbers = np.union1d(golden["pred_frame"], golden["gt_frame"]).tolist()
    scores = waymo_metrics([frame(number) for number in numbers])
    want = json.loads((path / "expected.json").read_text())["expected"]
    assert set(scores) == set(want)
    for name, row in want.items():
        assert scores[name] == pytest.approx((row["mAP"], row["mAPH"]), abs=1e-6)


def kitti_lines(frame: dict[str, Any]) -> list[KittiObject]:
    def line(row: int) -> KittiObject:
        length, height, width = map(float, frame["dimensions"][row])
        return KittiObject(
            kind=frame["name"][row],
            truncated=frame["truncated"][row] if "truncated" in frame else -1.0,
            occluded=frame["occluded"][row] if "occluded" in frame else -1,
            alpha=frame["alpha"][row],
            box_2d=tuple(map(float, frame["bbox"][row])),
            size_hwl=(height, width, length),
            location=tuple(map(float, frame["location"][row])),
            rotation_y=frame["rotation_y"][row],
            score=frame["score"][row] if "score" in frame else None,
        )

    return [line(row) for row in range(len(frame["name"]))]


@of_kind("eval_kitti*")
def test_kitti_metrics(path: Path) -> None:
    stored_lines = json.loads((path / "annos.json").read_text())
    truths, found = ([kitti_lines(frame) for frame in stored_lines[side]] for side in ("gt", "dt"))
    scores = {
        least: kitti_metrics(truths, found, of) for least, of in (("strict", KITTI_STRICT), ("relaxed", KITTI_RELAXED))
    }
    want = json.loads((path / "expected.json").read_text())
    assert set(want) <= set(scores["strict"])
    for name, value in want.items():
        assert scores["strict"][name] == pytest.approx(value, abs=1e-3)
    printed = (path / "expected.txt").read_text().splitlines()
    for start in range(0, len(printed) - 4, 5):
        title, *rows = printed[start : start + 5]
        name, positions = title.split()[0], "R40" if "R40" in title else "R11"
        kind = KITTI_STRICT if float(title.split()[-1].rstrip(":")) == KITTI_STRICT[name].box_3d else KITTI_RELAXED
        of = scores["strict" if kind is KITTI_STRICT else "relaxed"]
        for row in rows:
            compared = {"bbox": "image"}.get(row.split()[0], row.split()[0])
            for level, value in zip(("easy", "moderate", "hard"), row.split(":")[1].split(","), strict=True):
                assert of[f"{name}_{compared}/{level}_{positions}"] == pytest.approx(float(value), abs=0.0051)


@of_kind("eval_nuscenes*")
def test_nuscenes_metrics(path: Path) -> None:
    stored_rows, names = json.loads((path / "boxes.json").read_text()), tuple(nuscenes_ranges())

    def frame(token: str) -> NuscenesFrame:
        there, found = ([row for row in stored_rows[side] if row["sample_token"] == token] for side in ("gt", "pred"))
        return NuscenesFrame(
            predictions=replace(scored_boxes(found, names), scores=np.array([row["detection_score"] for row in found])),
            truths=scored_boxes(there, names),
            predicted_attributes=[row["attribute_name"] for row in found],
            true_attributes=[row["attribute_name"] for row in there],
        )

    tokens = dict.fromkeys(row["sample_token"] for side in stored_rows.values() for row in side)
    score = nuscenes_metrics([frame(token) for token in tokens], NuscenesOptions(ranges=dict.fromkeys(names, math.inf)))
    want = json.loads((path / "expected.json").read_text())
    assert (score.nds, score.mean_ap) == pytest.approx((want["nd_score"], want["mean_ap"]), abs=1e-6)
    keys = {"trans_err": "ATE", "scale_err": "ASE", "orient_err": "AOE", "vel_err": "AVE", "attr_err": "AAE"}
    for name in names:
        expected = {float(distance): value for distance, value in want["label_aps"][name].items()}
        assert score.ap[name] == pytest.approx(expected, abs=1e-6)
        for key, value in want["label_tp_errors"][name].items():
            error = math.nan if value is None else value
            assert score.class_errors[name][keys[key]] == pytest.approx(error, abs=1e-6, nan_ok=True)


# --- range images ---


@of_kind("range_image*/*.npz")
def test_range_images(path: Path) -> None:
    golden = load(path)
    for lidar in sorted({name.split(".")[0] for name in golden}):
        found = {name.split(".")[1]: values for name, values in golden.items() if name.split(".")[0] == lidar}
        image = RangeImage(
            pixels=found["range_image"],
            vehicle_from_lidar=found["extrinsic"],
            inclinations=found.get("beam_inclinations", found.get("inclination_min_max")),
            pixel_poses=found.get("pixel_pose_rpyxyz"),
            global_from_vehicle=found.get("frame_pose"),
        )
        points = range_image_points(image)
        np.testing.assert_allclose(points.xyz, found["points"], rtol=0, atol=1e-6)
        assert np.array_equal(points.features, found["features"])
        outside = range_image_points(image, keep_no_label_zones=False)
        np.testing.assert_allclose(outside.xyz, found["points_outside_nlz"], rtol=0, atol=1e-6)
