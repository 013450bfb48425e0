"""The rendered demo photos agree with the exact cameras beside them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

DATA = Path(__file__).resolve().parents[2] / "data"
PHOTOS = sorted((DATA / "demo_photos").glob("*.jpg"))


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    sys.path.insert(0, str(DATA))
    try:
        import make_demo_photos
    finally:
        sys.path.remove(str(DATA))
    return make_demo_photos


BEADS = [
    *((-1.4, 0.7, 1.5), (0.8, 0.7, 1.5), (-0.3, -0.6, 0.3)),
    *((-1.4, -0.6, 0.3), (0.8, -0.6, 0.9), (-0.3, 0.7, 1.0)),
]


@pytest.fixture(scope="module")
def beads(maker: ModuleType) -> list[Any]:
    """A black ground and small white balls."""
    from courtyard.shapes import Box, Ellipsoid
    from courtyard.textures import Texture

    black, white = (Texture(np.full((8, 8, 3), value, np.float32), 1.0, 1.0) for value in (0.0, 0.9))
    ground = Box((2.3, -2.3, -0.1), black, half=(4.8, 4.8, 0.1))
    return [ground, *(Ellipsoid(place, white, radii=(0.05, 0.05, 0.05)) for place in BEADS)]


def _truth() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((DATA / "demo_photos_cameras.json").read_text(encoding="utf-8"))
    return value


def test_sixteen_photos_under_three_megabytes() -> None:
    assert len(PHOTOS) == 16
    assert sum(path.stat().st_size for path in PHOTOS) < 3_000_000
    assert {path.suffix for path in (DATA / "demo_photos").iterdir()} == {".jpg"}


def test_cameras_json_describes_the_committed_photos() -> None:
    truth = _truth()
    assert truth["set"] == "demo_photos"
    assert truth["unit"] == "metre"
    assert [entry["name"] for entry in truth["images"]] == [path.name for path in PHOTOS]
    for entry, path in zip(truth["images"], PHOTOS, strict=True):
        with Image.open(path) as image:
            assert image.size == (entry["width"], entry["height"])


def test_cameras_json_is_what_the_script_writes(maker: ModuleType) -> None:
    assert json.loads(json.dumps(maker.cameras_json(maker.Shoot()))) == _truth()


def test_poses_are_rotations_that_see_the_table() -> None:
    for entry in _truth()["images"]:
        pose, K = np.array(entry["w2c"]), np.array(entry["K"])
        np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(pose[:, :3]) == pytest.approx(1)
        center = -pose[:, :3].T @ pose[:, 3]
        assert 1.0 < center[2] < 2.1
        table = K @ (pose[:, :3] @ [0.0, 0.0, 0.73] + pose[:, 3])
        assert table[2] > 1
        assert 0.2 * entry["width"] < table[0] / table[2] < 0.8 * entry["width"]


def test_exif_looks_like_a_camera() -> None:
    for path, entry in zip(PHOTOS, _truth()["images"], strict=True):
        with Image.open(path) as image:
            tags, detail = image.getexif(), image.getexif().get_ifd(0x8769)
        assert tags[0x010F]
        assert tags[0x0110]
        assert detail[0x9003].startswith("2025:06:21 16:")
        focal_px = detail[0xA405] * np.hypot(entry["width"], entry["height"]) / 43.267
        assert focal_px == pytest.approx(entry["K"][0][0], rel=0.03)


@pytest.mark.parametrize("index", [0, 7, 15])
def test_beads_lie_where_the_cameras_say(maker: ModuleType, beads: list[Any], index: int) -> None:
    from courtyard.render import nearest, pixel_rays

    shoot = replace(maker.Shoot(), k1=-0.12).scaled(0.2)
    camera = maker.cameras(shoot)[index : index + 1]
    seen, _ = camera.project(np.array(BEADS), np.zeros(len(BEADS), np.int64))
    origin, direction = pixel_rays(camera, (0, shoot.height), 3)
    owner = nearest(beads, origin, direction).shape.reshape(3 * shoot.height, 3 * shoot.width)
    np.testing.assert_allclose(origin, camera.centers[0], atol=1e-6)
    checked = 0
    for bead, place in enumerate(seen, start=1):
        rows, columns = np.nonzero(owner == bead)
        if (place > 4).all() and (place < (shoot.width - 4, shoot.height - 4)).all() and len(rows) > 60:
            checked += 1
            np.testing.assert_allclose([(columns.mean() + 0.5) / 3, (rows.mean() + 0.5) / 3], place, atol=0.15)
    assert checked >= 4


@pytest.mark.parametrize(
    ("place", "hue"),
    [((0.7, -0.62, 0.24), (1, 1, 0)), ((-2.17, -0.55, 1.5), (0, 1, 1)), ((-0.2, 2.05, 2.4), (1, 0, 0))],
    ids=["yellow ball", "teal door", "brick wall"],
)
def test_committed_photos_show_things_where_the_cameras_say(
    maker: ModuleType, place: tuple[float, ...], hue: tuple[int, ...]
) -> None:
    exact, checked = maker.cameras(maker.Shoot()), 0
    seen, _ = exact.project(np.tile(place, (16, 1)), np.arange(16))
    for path, (x, y) in zip(PHOTOS, seen, strict=True):
        with Image.open(path) as image:
            if 8 < x < image.width - 8 and 8 < y < image.height - 8:
                patch = np.asarray(image)[int(y) - 6 : int(y) + 6, int(x) - 6 : int(x) + 6]
                colour = np.median(patch.reshape(-1, 3), 0)
                wanted, other = (colour[[flag == bit for flag in hue]] for bit in (1, 0))
                checked += bool(wanted.min() > other.max())
    assert checked >= 8


def test_rendering_is_repeatable(maker: ModuleType, beads: list[Any]) -> None:
    from courtyard.render import photograph

    camera = maker.cameras(maker.Shoot().scaled(1 / 8))[3:4]
    first, second = (photograph(beads, camera, seed=5, samples=1) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (photograph(beads, camera, seed=6, samples=1) != first).any()


def test_shapes_hit_where_they_should(maker: ModuleType) -> None:
    from courtyard.shapes import Box, Drum, Ellipsoid, intersect
    from courtyard.textures import Texture

    paint = Texture(np.ones((4, 4, 3), np.float32), 1, 1)
    origin = np.array([[-5.0, 0, 0.1], [-5, 0, 0.1], [-5, 0, 3]], np.float32)
    direction = np.array([[1.0, 0, 0], [-1, 0, 0], [1, 0, 0]], np.float32)
    cases = [
        (Box((0, 0, 0), paint, half=(1, 2, 1)), 4.0),
        (Ellipsoid((0, 0, 0), paint, radii=(1, 1, 1)), 5 - np.sqrt(0.99)),
        (Drum((0, 0, 0), paint, bottom=1.0, top=0.5, height=1.0), 4.3),
    ]
    for shape, distance in cases:
        t = intersect(shape, origin, direction, np.arange(3))
        assert t[0] == pytest.approx(distance, abs=1e-5)
        assert t[1] > 1e8, "behind the ray"
        assert t[2] > 1e8, "beside the shape"
