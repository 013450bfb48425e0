"""Render data/demo_photos and data/demo_photos_cameras.json.

Run ``python data/make_demo_photos.py`` (about 135 s of processor time, in two processes). The same numpy and Pillow on
the same kind of processor give the same bytes; other versions of Pillow may compress to other bytes of the same
pictures.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from courtyard.render import photograph
from courtyard.scene import courtyard
from courtyard.shapes import Shape
from PIL import Image

from recon3d.render.cameras import Cameras

HERE = Path(__file__).resolve().parent
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shoot:
    """How the courtyard is photographed.

    Args:
        n_photos: photos along the arc.
        width: photo width in pixels.
        height: photo height in pixels.
        focal_px: true focal length at that width.
        principal_px: offset of the principal point from the centre.
        k1: radial distortion.
        arc_deg: first and last azimuth of the photographer, counter-clockwise from +x.
        target: the point that the photos look at, metres.
        seed: of the hand-held jitter, the noise and the exposure.
    """

    n_photos: int = 16
    width: int = 960
    height: int = 640
    focal_px: float = 706.4
    principal_px: tuple[float, float] = (1.3, -0.9)
    k1: float = -0.052
    arc_deg: tuple[float, float] = (-96.0, 6.0)
    target: tuple[float, float, float] = (-0.25, 0.25, 0.86)
    seed: int = 11

    @property
    def focal_tag_mm(self) -> int:
        """The focal length for 35 mm film as a camera would write it: an integer."""
        return round(self.focal_px * 43.267 / float(np.hypot(self.width, self.height)))

    def scaled(self, factor: float) -> Shoot:
        """Return the same shoot with smaller or larger photos."""
        offset = (self.principal_px[0] * factor, self.principal_px[1] * factor)
        size = {"width": round(self.width * factor), "height": round(self.height * factor)}
        return replace(self, focal_px=self.focal_px * factor, principal_px=offset, **size)


def cameras(shoot: Shoot) -> Cameras:
    """Return the exact cameras: a hand-held walk along an arc, high and low."""
    rng = np.random.default_rng(shoot.seed)
    n = shoot.n_photos
    azimuth = np.radians(np.linspace(*shoot.arc_deg, n) + rng.uniform(-0.8, 0.8, n))
    radius = 3.75 + 0.3 * np.cos(np.linspace(0, 5, n)) + rng.uniform(-0.08, 0.08, n)
    height = 1.55 + 0.42 * np.sin(np.linspace(0.4, 10.2, n)) + rng.uniform(-0.04, 0.04, n)
    target = np.array(shoot.target) + rng.uniform(-0.1, 0.1, (n, 3))
    center = np.stack([radius * np.cos(azimuth) + target[:, 0], radius * np.sin(azimuth) + target[:, 1], height], 1)
    poses = np.stack([_look(c, t, r) for c, t, r in zip(center, target, rng.uniform(-1.6, 1.6, n), strict=True)])
    K = np.eye(3)
    K[0, 0] = K[1, 1] = shoot.focal_px
    K[:2, 2] = shoot.width / 2 + shoot.principal_px[0], shoot.height / 2 + shoot.principal_px[1]
    sizes = np.full(n, shoot.width, np.int64), np.full(n, shoot.height, np.int64)
    return Cameras(poses, np.tile(K, (n, 1, 1)), *sizes, np.tile([shoot.k1, 0, 0, 0], (n, 1)))


def _look(center: Any, target: Any, roll_deg: float) -> Any:
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    pose = np.eye(4)
    pose[:3, :3] = [c * right + s * down, c * down - s * right, forward]
    pose[:3, 3] = -pose[:3, :3] @ center
    return pose


def photo_name(index: int) -> str:
    """Return the file name of a photo."""
    return f"courtyard_{index + 1:02d}.jpg"


def cameras_json(shoot: Shoot) -> dict[str, Any]:
    """Return the exact cameras in the layout of a ``cameras.json`` (poses map world to camera, OpenCV axes)."""
    exact = cameras(shoot)
    images = [
        {
            "name": photo_name(index),
            "width": shoot.width,
            "height": shoot.height,
            "K": exact.K[index].tolist(),
            "dist": [shoot.k1, 0.0, 0.0, 0.0],
            "w2c": np.round(exact.cam_from_world[index, :3], 12).tolist(),
        }
        for index in range(shoot.n_photos)
    ]
    convention = (
        "w2c maps world to camera points; camera axes x right, y down, z forward; world z up; pixel (0, 0) is the "
        "outer top-left corner of the image; dist is k1 k2 p1 p2 on normalised coordinates"
    )
    return {"set": "demo_photos", "unit": "metre", "gt_kind": "rendered", "convention": convention, "images": images}


def exif(shoot: Shoot, index: int) -> Image.Exif:
    """Return the tags that a camera would write."""
    tags = Image.Exif()
    tags[0x010F], tags[0x0110], tags[0x0112] = "recon3d", "Courtyard ray caster", 1
    detail = tags.get_ifd(0x8769)
    minute, second = divmod(23 * index + 8, 60)
    detail[0x9003] = f"2025:06:21 16:{12 + minute:02d}:{second:02d}"
    detail[0xA405] = shoot.focal_tag_mm
    return tags


@lru_cache(maxsize=1)
def _scene() -> list[Shape]:
    return courtyard()


def render(shoot: Shoot, index: int, samples: int = 2) -> Image.Image:
    """Render one photo."""
    exposure = 2 ** np.random.default_rng([shoot.seed, index]).uniform(-0.12, 0.12)
    pixels = photograph(_scene(), cameras(shoot)[index : index + 1], shoot.seed * 1000 + index, exposure, samples)
    return Image.fromarray(pixels)


def _save(job: tuple[Shoot, int, str, int, int]) -> str:
    shoot, index, folder, quality, samples = job
    path = Path(folder) / photo_name(index)
    render(shoot, index, samples).save(path, quality=quality, subsampling=2, optimize=True, exif=exif(shoot, index))
    return path.name


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the photos and their cameras."""
    parser = argparse.ArgumentParser(description="Render the demo photos of recon3d.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for demo_photos/ and demo_photos_cameras.json")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the photo size")
    parser.add_argument("--samples", type=int, default=2, help="rays per pixel along x and y")
    parser.add_argument("--quality", type=int, default=84, help="JPEG quality")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the photos to render, from 0")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    shoot = Shoot().scaled(options.scale)
    folder = options.out / "demo_photos"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = range(shoot.n_photos) if options.only is None else options.only
    jobs = [(shoot, index, str(folder), options.quality, options.samples) for index in chosen]
    with ProcessPoolExecutor(options.workers) as pool:
        for name in pool.map(_save, jobs):
            logger.info("%s", name)
    text = json.dumps(cameras_json(shoot), indent=1) + "\n"
    (options.out / "demo_photos_cameras.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
