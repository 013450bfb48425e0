"""Sparse convolution and its weight gradient in Numba: whole blocks of outputs from tiles that gather in place."""

from __future__ import annotations

from typing import Any, no_type_check

from recon3d.core.kernels import kernel
from recon3d.pointcloud.sparse.tiles import GROUP, N_VECTORS, VECTOR_BYTES, add_outer_products, add_products

_PANEL_BYTES = N_VECTORS * VECTOR_BYTES


@kernel(order="written")
@no_type_check
def convolve_block(block: Any, panel: Any, n_panels: Any, x: Any, w: Any, out: Any, rows: Any) -> Any:
    """Write panels of the outputs of one block.

    Args:
        block: its number.
        panel: the first panel.
        n_panels: how many.
        x: input features ``[n, c]``.
        w: weights ``[panels, volume, c, panel]``.
        out: outputs with one row more for padding, zero in this block's rows and panels.
        rows: input rows, output rows, starts and counts of :class:`~recon3d.pointcloud.sparse.rules.Blocks`.
    """
    rows_in, rows_out, starts, counts = rows
    x_at, w_at, out_at = x.ctypes.data, w.ctypes.data, out.ctypes.data
    in_at, out_rows_at = rows_in.ctypes.data, rows_out.ctypes.data
    n, size = x.shape[1], x.itemsize
    stride, out_stride = n * size, out.shape[1] * size
    for p in range(panel, panel + n_panels):
        for offset in range(counts.shape[1]):
            start = starts[block, offset] * 4
            weights = w_at + (p * counts.shape[1] + offset) * n * _PANEL_BYTES
            for pair in range(0, counts[block, offset], GROUP):
                at = start + pair * 4
                add_products(
                    x, x_at, stride, in_at + at, out_at + p * _PANEL_BYTES, out_stride, out_rows_at + at, weights, n
                )


@kernel(order="written")
@no_type_check
def weight_gradient(offset: Any, group: Any, n_groups: Any, x: Any, g: Any, w: Any, rows: Any) -> Any:
    """Write some rows of the gradient of one kernel entry.

    Args:
        offset: the kernel entry.
        group: first group of GROUP input channels.
        n_groups: how many.
        x: input features; their channels are a multiple of GROUP.
        g: gradients of the outputs; their channels are whole panels.
        w: gradient of the weights ``[volume, c_in, c_out]``, zero in these rows.
        rows: input rows, output rows, starts and counts of :class:`~recon3d.pointcloud.sparse.rules.Blocks`.
    """
    rows_in, rows_out, starts, counts = rows
    size = x.itemsize
    x_at, g_at, w_at = x.ctypes.data, g.ctypes.data, w.ctypes.data
    in_at, out_rows_at = rows_in.ctypes.data, rows_out.ctypes.data
    stride, g_stride = x.shape[1] * size, g.shape[1] * size
    for block in range(counts.shape[0]):
        n = counts[block, offset]
        if n == 0:
            continue
        start = starts[block, offset] * 4
        for first in range(group * GROUP, (group + n_groups) * GROUP, GROUP):
            for panel in range(0, g_stride, _PANEL_BYTES):
                place = w_at + (offset * x.shape[1] + first) * g_stride + panel
                add_outer_products(
                    x,
                    x_at + first * size,
                    stride,
                    in_at + start,
                    g_at + panel,
                    g_stride,
                    out_rows_at + start,
                    place,
                    g_stride,
                    n,
                )
