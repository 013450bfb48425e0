"""Feed-forward reconstruction: VGGT and Depth Anything 3 networks on one ViT/DPT library, their weights, and Lite3R."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.feedforward.checkpoints import load_checkpoint as load_checkpoint
    from recon3d.feedforward.da3.metric import NestedDepthAnything3 as NestedDepthAnything3
    from recon3d.feedforward.da3.model import Da3Prediction as Da3Prediction, DepthAnything3 as DepthAnything3
    from recon3d.feedforward.inference import predict as predict, prepare as prepare
    from recon3d.feedforward.memory import check_memory as check_memory, inference_bytes as inference_bytes
    from recon3d.feedforward.models import build_model as build_model
    from recon3d.feedforward.predictions import Prediction as Prediction
    from recon3d.feedforward.preparation import Placement as Placement, Prepared as Prepared
    from recon3d.feedforward.vggt.model import Vggt as Vggt, VggtPrediction as VggtPrediction

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "checkpoints": ["load_checkpoint"],
        "da3.metric": ["NestedDepthAnything3"],
        "da3.model": ["Da3Prediction", "DepthAnything3"],
        "inference": ["predict", "prepare"],
        "memory": ["check_memory", "inference_bytes"],
        "models": ["build_model"],
        "predictions": ["Prediction"],
        "preparation": ["Placement", "Prepared"],
        "vggt.model": ["Vggt", "VggtPrediction"],
    },
)
