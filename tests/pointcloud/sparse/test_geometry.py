"""Windows: their checks, and the shapes that follow from them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import UsageError
from recon3d.pointcloud.sparse import Window
from recon3d.pointcloud.sparse.geometry import triple

TRIPLES = st.tuples(*[st.integers(1, 3)] * 3)


@pytest.mark.parametrize(("given_value", "expected"), [(3, (3, 3, 3)), ([1, 2, 3], (1, 2, 3)), ((4, 4, 4), (4, 4, 4))])
def test_one_or_three_integers_make_three(given_value: Any, expected: tuple[int, int, int]) -> None:
    assert triple(given_value) == expected


@pytest.mark.parametrize("wrong", [[1], [1, 2], [1, 2, 3, 4], []])
def test_other_numbers_of_integers_are_one_error(wrong: list[int]) -> None:
    with pytest.raises(UsageError, match="dilation is one integer or three"):
        triple(wrong, "dilation")


@pytest.mark.parametrize(
    ("name", "value"),
    [("kernel", (0, 1, 1)), ("stride", (1, 0, 1)), ("dilation", (1, 1, 0)), ("padding", (0, -1, 0))],
)
def test_a_size_that_is_too_small_is_named(name: str, value: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match=f"the {name} of a sparse convolution is too small"):
        Window(**({"kernel": (1, 1, 1)} | {name: value}))  # type: ignore[arg-type]


@settings(max_examples=40)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3), kernel=TRIPLES, stride=TRIPLES, dilation=TRIPLES, pad=TRIPLES)
def test_the_output_shape_is_that_of_a_dense_convolution(
    shape: Any, kernel: Any, stride: Any, dilation: Any, pad: Any
) -> None:
    found = Window(kernel, stride, pad, dilation).output_shape(shape)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    fits = [n + 2 * p >= span for n, p, span in zip(shape, pad, spans, strict=True)]
    assert [one > 0 for one in found] == fits
    if all(fits):
        layer = torch.nn.functional.conv3d
        dense = layer(torch.zeros(1, 1, *shape), torch.zeros(1, 1, *kernel), None, stride, pad, dilation)
        assert tuple(dense.shape[2:]) == found


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 3, 3), (1, 3, 5)])
@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 1, 3)])
def test_a_centred_window_keeps_the_shape_and_sees_itself_in_the_middle(kernel: Any, dilation: Any) -> None:
    window = Window.centred(kernel, dilation)
    assert window.output_shape((8, 9, 10)) == (8, 9, 10)
    middle = [n // 2 for n in kernel]
    assert [m * d - p for m, d, p in zip(middle, window.dilation, window.padding, strict=True)] == [0, 0, 0]
    assert window.volume == kernel[0] * kernel[1] * kernel[2]


def test_windows_of_equal_sizes_are_one_key() -> None:
    assert len({Window((3, 3, 3)), Window((3, 3, 3), (1, 1, 1)), Window((3, 3, 3), (2, 1, 1))}) == 2
