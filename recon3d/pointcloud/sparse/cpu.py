"""Sparse convolution on the CPU for float32 and float64, by vector tiles; no bit depends on the number of threads."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.kernels import run_chunks
from recon3d.pointcloud.sparse.cpu_kernels import convolve_block, weight_gradient as gradient_of_entry
from recon3d.pointcloud.sparse.rules import Rules
from recon3d.pointcloud.sparse.tiles import GROUP, panel_columns

_TASKS = 16  # at least so many, so that threads share the work of a small tensor too


def convolve(features: Float[Tensor, "n c"], weight: Float[Tensor, "k c d"], rules: Rules) -> Float[Tensor, "m d"]:
    """Return the sums of ``features[in] @ weight[offset]`` over the pairs of a rulebook.

    Args:
        features: rows of the source sites.
        weight: a matrix per kernel entry.
        rules: the pairs.
    """
    n_out, channels = len(rules.target), weight.shape[2]
    panel = panel_columns(features.element_size())
    n_panels = -(-channels // panel)
    out = np.zeros((n_out + 1, n_panels * panel), _plain(features).dtype)
    x, packed, blocks = _plain(features), _packed(weight, panel, n_panels), rules.blocks
    n_blocks = len(blocks.counts)
    share = n_panels if n_blocks >= _TASKS else 1
    rows = (blocks.rows_in, blocks.rows_out, blocks.starts, blocks.counts)

    def work(task: int) -> None:
        part, block = divmod(task, n_blocks)
        convolve_block(block, part * share, share, x, packed, out, rows)

    if x.shape[1]:
        run_chunks(work, n_blocks * (n_panels // share))
    return torch.from_numpy(out)[:n_out, :channels].contiguous()


def weight_gradient(
    features: Float[Tensor, "n c"], grads: Float[Tensor, "m d"], rules: Rules
) -> Float[Tensor, "k c d"]:
    """Return the sums of ``features[in].T @ grads[out]`` over the pairs of each kernel entry.

    Args:
        features: rows of the source sites.
        grads: rows of the target sites.
        rules: the pairs.
    """
    n_in, n_out = features.shape[1], grads.shape[1]
    x = _plain(_widened(features, GROUP))
    g = _plain(_widened(grads, panel_columns(grads.element_size())))
    out = np.zeros((rules.volume, x.shape[1], g.shape[1]), x.dtype)
    blocks = rules.blocks
    rows = (blocks.rows_in, blocks.rows_out, blocks.starts, blocks.counts)
    groups = x.shape[1] // GROUP
    share = groups if rules.volume >= _TASKS else 1

    def work(task: int) -> None:
        offset, part = divmod(task, groups // share)
        gradient_of_entry(offset, part * share, share, x, g, out, rows)

    if groups and g.shape[1]:
        run_chunks(work, rules.volume * (groups // share))
    return torch.from_numpy(out)[:, :n_in, :n_out].contiguous()


def _plain(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().contiguous().numpy()
    return array


def _widened(tensor: Tensor, multiple: int) -> Tensor:
    extra = -tensor.shape[1] % multiple
    return torch.nn.functional.pad(tensor.detach(), (0, extra)) if extra else tensor


def _packed(weight: Tensor, panel: int, n_panels: int) -> np.ndarray:
    """Return weights as ``[panels, volume, c, panel]``."""
    volume, n_in, n_out = weight.shape
    wide = torch.nn.functional.pad(weight.detach(), (0, n_panels * panel - n_out))
    return _plain(wide.reshape(volume, n_in, n_panels, panel).permute(2, 0, 1, 3))
