"""Numbers, lines and JSON are taken strictly."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import FormatError
from recon3d.formats import parsing


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_their_repr(value: float) -> None:
    assert parsing.parse_floats([repr(value)], "f") == [value]


@pytest.mark.parametrize("token", ["", "x", "1_000", "0x10", "1,5", "1" * 65, "--1", "1e", "\udcff"])
def test_bad_floats(token: str) -> None:
    with pytest.raises(FormatError, match="line 3: not a number"):
        parsing.parse_float(token, "line 3")


@pytest.mark.parametrize("token", ["nan", "inf", "-Infinity", "1e999"])
def test_non_finite_numbers_only_where_asked(token: str) -> None:
    assert not np.isfinite(parsing.parse_float(token, "f"))
    with pytest.raises(FormatError, match="not a finite number"):
        parsing.parse_floats(["1", token], "f")


def test_ints_within_their_range() -> None:
    assert parsing.parse_int("12", "f") == 12
    assert parsing.parse_int("-1", "f", -1) == -1
    for token in ("-1", "1.0", "", "-", "1e3", "9" * 5000, "²", "+1", str(2**63)):
        with pytest.raises(FormatError, match="not an integer"):
            parsing.parse_int(token, "f")
    with pytest.raises(FormatError, match=r"0\.\.255"):
        parsing.parse_int("256", "f", 0, 255)


def test_lines_split_only_at_line_feeds() -> None:
    assert parsing.text_lines("a\r\nb\x0b\x1c\u2028c\n".encode()) == ["a", "b\x0b\x1c\u2028c", ""]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 9999,
        b'{"a": 1%s}' % (b"0" * 500),
    ],
)
def test_bad_json(data: bytes) -> None:
    with pytest.raises(FormatError, match="f"):
        parsing.parse_json(data, "f")


def test_fields_are_typed() -> None:
    owner = {"a": 1, "b": "x", "t": True}
    assert parsing.json_field(owner, "a", int, "f") == 1
    assert parsing.json_field(owner, "t", bool, "f") is True
    assert parsing.json_field(owner, "absent", int, "f", 5) == 5
    for key, kind in [("a", str), ("absent", int), ("t", int)]:
        with pytest.raises(FormatError, match=f"f: '{key}' is wrong"):
            parsing.json_field(owner, key, kind, "f")
    with pytest.raises(FormatError, match="not a JSON object"):
        parsing.json_field([], "a", int, "f")


def test_json_numbers() -> None:
    assert parsing.json_number({"a": 1}, "a", "f") == 1.0
    assert parsing.json_int({"a": 3.0}, "a", "f") == 3
    for value in (3.5, -1, 2**40, 10**400, True, "3", None):
        with pytest.raises(FormatError):
            parsing.json_int({"a": value}, "a", "f")


@given(st.lists(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=2), min_size=3, max_size=3))
def test_arrays_survive_json(value: list[list[float]]) -> None:
    array = parsing.json_array(json.loads(json.dumps(value)), (3, 2), "f")
    assert array.tolist() == value and array.dtype == np.float64


@pytest.mark.parametrize("value", [1, [1], [[1, 2]], [1, [2]], [1, "2"], [1, None], [True, 1], {"0": 1}, [1, 2, 3]])
def test_arrays_have_exactly_their_shape(value: Any) -> None:
    with pytest.raises(FormatError):
        parsing.json_array(value, (2,), "f")
