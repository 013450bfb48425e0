"""Lite3R: sparse linear attention and low-precision linear layers for the feed-forward networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.feedforward.lite3r.attention import SparseLinearAttention as SparseLinearAttention
    from recon3d.feedforward.lite3r.block_sparse import block_sparse_attention as block_sparse_attention
    from recon3d.feedforward.lite3r.blocks import Blocks as Blocks, choose_blocks as choose_blocks
    from recon3d.feedforward.lite3r.conversion import (
        convert as convert,
        fake_quantise_linears as fake_quantise_linears,
        freeze_all_but_projections as freeze_all_but_projections,
        sparse_attentions as sparse_attentions,
        store_linears as store_linears,
    )
    from recon3d.feedforward.lite3r.distillation import (
        AttentionRecorder as AttentionRecorder,
        distillation_loss as distillation_loss,
        distillation_weight as distillation_weight,
        learning_rate_factor as learning_rate_factor,
    )
    from recon3d.feedforward.lite3r.linear import feature_map as feature_map, linear_attention as linear_attention
    from recon3d.feedforward.lite3r.linears import (
        FakeQuantLinear as FakeQuantLinear,
        QuantOptions as QuantOptions,
        smoothing as smoothing,
    )
    from recon3d.feedforward.lite3r.options import SparseOptions as SparseOptions
    from recon3d.feedforward.lite3r.protocol import (
        DepthScores as DepthScores,
        GeometryScores as GeometryScores,
        PoseScores as PoseScores,
        depth_scores as depth_scores,
        geometry_scores as geometry_scores,
        pose_scores as pose_scores,
    )
    from recon3d.feedforward.lite3r.quantisation import (
        E4M3 as E4M3,
        E5M2 as E5M2,
        FloatFormat as FloatFormat,
        IntegerFormat as IntegerFormat,
        fake_quantise as fake_quantise,
    )
    from recon3d.feedforward.lite3r.storage import (
        Bf16Linear as Bf16Linear,
        Fp8Linear as Fp8Linear,
        Int8Linear as Int8Linear,
        fastest_storage as fastest_storage,
        stored as stored,
    )
    from recon3d.feedforward.lite3r.threeway import (
        BlockClasses as BlockClasses,
        classify_blocks as classify_blocks,
        marginal_attention as marginal_attention,
    )
    from recon3d.feedforward.lite3r.tokens import topk_attention as topk_attention

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "attention": ["SparseLinearAttention"],
        "block_sparse": ["block_sparse_attention"],
        "blocks": ["Blocks", "choose_blocks"],
        "conversion": [
            "convert",
            "fake_quantise_linears",
            "freeze_all_but_projections",
            "sparse_attentions",
            "store_linears",
        ],
        "distillation": ["AttentionRecorder", "distillation_loss", "distillation_weight", "learning_rate_factor"],
        "linear": ["feature_map", "linear_attention"],
        "linears": ["FakeQuantLinear", "QuantOptions", "smoothing"],
        "options": ["SparseOptions"],
        "protocol": ["DepthScores", "GeometryScores", "PoseScores", "depth_scores", "geometry_scores", "pose_scores"],
        "quantisation": ["E4M3", "E5M2", "FloatFormat", "IntegerFormat", "fake_quantise"],
        "storage": ["Bf16Linear", "Fp8Linear", "Int8Linear", "fastest_storage", "stored"],
        "threeway": ["BlockClasses", "classify_blocks", "marginal_attention"],
        "tokens": ["topk_attention"],
    },
)
