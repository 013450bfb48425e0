"""EXIF: what cameras write, what rules follow from it, and garbage."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from recon3d.photos.exif import focal_px, is_cropped, parse_exif, read_exif
from recon3d.photos.types import Exif

NAN = float("nan")


def test_everything_a_phone_writes_is_read_back(tmp_path: Path, pictures: ModuleType) -> None:
    block = pictures.exif_bytes(
        {0x010F: "Maker\x00\x00", 0x0110: " Model X "},
        {0x9003: "2024:05:06 07:08:09", 0x920A: 4.25, 0xA405: 26, 0xA434: "Wide lens", 0xA002: 320, 0xA003: 240},
        {1: "S", 2: (33.0, 51.0, 30.0), 3: "W", 4: (70.0, 30.0, 0.0), 5: b"\x00", 6: 125.5},
    )
    pictures.save(pictures.texture(), tmp_path / "a.jpg", exif=block)
    with Image.open(tmp_path / "a.jpg") as image:
        exif = read_exif(image)
    assert exif.gps is not None
    assert exif.gps == pytest.approx((-(33 + 51 / 60 + 30 / 3600), -70.5, 125.5))
    assert exif == Exif("Maker", "Model X", "Wide lens", 4.25, 26.0, exif.gps, "2024:05:06 07:08:09", (320, 240))


def test_focal_by_the_diagonal_rule() -> None:
    exif = Exif(focal_35mm=28.0)
    assert focal_px(exif, 4000, 3000) == pytest.approx(28 * 5000 / 43.267)
    assert focal_px(exif, 3000, 4000) == focal_px(exif, 4000, 3000)
    assert focal_px(Exif(focal_mm=5.0), 4000, 3000) is None


def test_focal_plane_resolution_gives_the_film_equivalent() -> None:
    """Canon EOS 5D: 36 mm at 4368 px; the sensor is film-sized, so 50 mm stay 50 mm within its diagonal."""
    tags = {0x920A: 50.0, 0xA20E: 4368 / (36.0 / 25.4), 0xA210: 2, 0xA002: 4368, 0xA003: 2912}
    focal = parse_exif({}, tags, {}).focal_35mm
    assert focal == pytest.approx(50 * 43.267 / math.hypot(36, 24))
    centimetres = {**tags, 0xA20E: 4368 / 3.6, 0xA210: 3}
    assert parse_exif({}, centimetres, {}).focal_35mm == pytest.approx(focal)
    assert parse_exif({}, {**tags, 0xA405: 80}, {}).focal_35mm == 80.0


@pytest.mark.parametrize("value", [0, NAN, math.inf, -35, 1e9, "35", b"35", None, (1, 2), 1])
def test_absurd_focal_lengths_are_none(value: Any) -> None:
    exif = parse_exif({}, {0xA405: value}, {})
    assert exif.focal_35mm is None and focal_px(exif, 640, 480) is None


@pytest.mark.parametrize(
    "change",
    [{1: ""}, {3: "X"}, {2: (NAN, 0.0, 0.0)}, {2: (91.0, 0.0, 0.0)}, {2: (33.0, 75.0, 0.0)}, {2: ()}, {4: "east"},
     {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)}, {2: (-3.0, 0.0, 0.0)}],
)  # fmt: skip
def test_half_a_position_is_none(change: dict[int, Any]) -> None:
    good = {1: "N", 2: (33.0, 51.0, 0.0), 3: "E", 4: (8.0, 0.0, 0.0)}
    assert parse_exif({}, {}, good).gps is not None
    assert parse_exif({}, {}, {**good, **change}).gps is None


def test_position_without_altitude_and_below_the_sea() -> None:
    good = {1: "N", 2: (33.0, 30.0, 0.0), 3: "E", 4: (8.0, 0.0, 0.0)}
    assert parse_exif({}, {}, good).gps == (33.5, 8.0, None)
    assert parse_exif({}, {}, {**good, 5: b"\x01", 6: 12.0}).gps == (33.5, 8.0, -12.0)
    assert parse_exif({}, {}, {**good, 6: NAN}).gps == (33.5, 8.0, None)


def test_crop_is_a_changed_aspect_ratio_and_resizing_is_not() -> None:
    exif = Exif(pixels=(4000, 3000))
    assert not is_cropped(exif, 800, 600)
    assert not is_cropped(exif, 600, 800)  # turned
    assert not is_cropped(exif, 641, 480)  # rounding
    assert is_cropped(exif, 4000, 2250)
    assert not is_cropped(Exif(), 4000, 2250)


def test_control_characters_do_not_get_through() -> None:
    exif = parse_exif({0x010F: b"Ma\xffker\x07\n", 0x0110: 17}, {}, {})
    assert exif.make.isprintable() and exif.make.startswith("Ma") and exif.model == ""


_VALUES = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.lists(st.floats(), max_size=4).map(tuple),
)  # fmt: skip
_TAGS = [1, 2, 3, 4, 5, 6, 0x010F, 0x0110, 0x9003, 0x920A, 0xA405, 0xA434, 0xA002, 0xA003, 0xA20E, 0xA210]


@settings(max_examples=200, deadline=None)
@given(tags=st.dictionaries(st.sampled_from(_TAGS), _VALUES))
def test_any_values_give_finite_facts(tags: dict[int, Any]) -> None:
    exif = parse_exif(tags, tags, tags)
    focal = focal_px(exif, 640, 480)
    assert focal is None or 1 < focal < 1e6
    assert exif.gps is None or all(value is None or math.isfinite(value) for value in exif.gps)
    is_cropped(exif, 640, 480)


def test_damaged_exif_does_not_cost_the_photo(tmp_path: Path, pictures: ModuleType) -> None:
    block = bytearray(pictures.exif_bytes({0x010F: "Maker"}, {0xA405: 26}))
    for start in range(8, len(block), 3):
        block[start] ^= 0xFF
    pictures.save(pictures.texture(), tmp_path / "a.jpg", exif=bytes(block))
    with Image.open(tmp_path / "a.jpg") as image:
        assert isinstance(read_exif(image), Exif)


def test_exif_travels_through_json() -> None:
    for exif in (Exif(), Exif("a", "b", "c", 1.5, 26.0, (1.0, 2.0, None), "t", (3, 4))):
        assert Exif.from_json(exif.to_json()) == exif
