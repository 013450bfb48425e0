"""Options of the camera engine: what is refused, and how calibrations read."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import UsageError
from recon3d.sfm.options import SfmOptions, parse_calibration

positive = st.floats(1e-3, 1e6)
finite = st.floats(-1e6, 1e6)


def test_defaults_are_frozen_and_valid() -> None:
    options = SfmOptions()
    assert (options.mapper, options.pairs, options.intrinsics, options.principal_point) == ("auto",) * 4
    assert options.calibration is None and options.seed == 0
    with pytest.raises(FrozenInstanceError):
        options.seed = 1  # type: ignore[misc]
    assert SfmOptions(**asdict(options)) == options


@pytest.mark.parametrize("name", ["max_image_size", "max_features"])
@pytest.mark.parametrize("value", [-1, 0, 63])
def test_too_small_numbers_are_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{name}.*got: {value}.*at least 64"):
        replace(SfmOptions(), **{name: value})
    assert getattr(replace(SfmOptions(), **{name: 64}), name) == 64


def test_four_numbers_are_a_pinhole() -> None:
    np.testing.assert_array_equal(parse_calibration("689.9, 691,380.2,2.517e2"), [689.9, 691, 380.2, 251.7, 0, 0, 0, 0])


@given(st.tuples(positive, positive), st.lists(finite, min_size=6, max_size=6))
def test_eight_numbers_come_back_exactly(focal: tuple[float, float], rest: list[float]) -> None:
    values = [*focal, *rest]
    np.testing.assert_array_equal(parse_calibration(",".join(map(repr, values))), values)
    np.testing.assert_array_equal(parse_calibration(",".join(map(repr, values[:4]))), values[:4] + [0.0] * 4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "689.9",
        "a,b,c,d",
        "1,2,3",
        "1,2,3,4,5",
        "1,2,3,4,5,6,7,8,9",
        "0,600,320,240",
        "600,-600,320,240",
        "600,nan,320,240",
        "600,600,inf,240",
        "600;600;320;240",
        "600,600,320,240,",
    ],
)
def test_unreadable_calibrations_say_how_to_write_one(text: str) -> None:
    for make in (parse_calibration, lambda value: SfmOptions(calibration=value)):
        with pytest.raises(UsageError, match="calibration is not readable") as caught:
            make(text)
        assert caught.value.got == text and "--sfm.calibration" in str(caught.value)
        assert caught.value.exit_code == 2


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        values = parse_calibration(text)
    except UsageError:
        return
    assert values.shape == (8,) and np.isfinite(values).all() and (values[:2] > 0).all()
