"""Plain pycolmap as a peer: one camera where all sizes are equal, else cameras by EXIF; photos upright; defaults."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pycolmap
import tyro
from PIL import Image, ImageOps

REFUSED = 4
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class PlainPycolmap:
    """Run plain pycolmap on photos and write its largest model to OUT/model.

    Args:
        photos: files.
        out: folder for the database, upright photos and the model.
        mapper: which mapper.
        calibration: known intrinsics fx,fy,cx,cy of all photos, kept fixed.
        seed: of the mapper.
        threads: threads of every step.
    """

    photos: tyro.conf.Positional[tuple[Path, ...]]
    out: Path
    mapper: Literal["incremental", "global"] = "incremental"
    calibration: str | None = None
    seed: int = 0
    threads: int = 2


def main(options: PlainPycolmap) -> int:
    """Run it; 0 = a model was written, 4 = there is none."""
    pycolmap.logging.minloglevel = 2
    pycolmap.set_random_seed(options.seed)
    images, database = options.out / "images", options.out / "database.db"
    images.mkdir(parents=True)
    sizes = {upright(photo, images / photo.name) for photo in options.photos}
    reader = pycolmap.ImageReaderOptions()
    if options.calibration is not None:
        reader.camera_model, reader.camera_params = "PINHOLE", options.calibration
    mode = pycolmap.CameraMode.SINGLE if len(sizes) == 1 else pycolmap.CameraMode.AUTO
    extraction = pycolmap.FeatureExtractionOptions(num_threads=options.threads)
    pycolmap.extract_features(database, images, camera_mode=mode, reader_options=reader, extraction_options=extraction)
    pycolmap.match_exhaustive(database, matching_options=pycolmap.FeatureMatchingOptions(num_threads=options.threads))
    models = run_mapper(options, database, images)
    if not models:
        sys.stderr.write("no model\n")
        return REFUSED
    largest = max(models.values(), key=lambda model: model.num_reg_images())
    (options.out / "model").mkdir()
    largest.write(options.out / "model")
    return 0


def upright(photo: Path, target: Path) -> tuple[int, int]:
    """Copy a photo, turned upright where its EXIF tag says so, and return its upright size."""
    with Image.open(photo) as image:
        exif = image.getexif()
        if exif.get(_ORIENTATION, 1) == 1:
            shutil.copyfile(photo, target)
            return image.size
        turned = ImageOps.exif_transpose(image)
        del exif[_ORIENTATION]
        turned.save(target, quality=100, subsampling=0, exif=exif)
        return turned.size


def run_mapper(options: PlainPycolmap, database: Path, images: Path) -> dict[int, Any]:
    """Run the chosen mapper with its defaults."""
    target = options.out / "sparse"
    target.mkdir()
    if options.mapper == "incremental":
        incremental = pycolmap.IncrementalPipelineOptions(num_threads=options.threads, random_seed=options.seed)
        if options.calibration is not None:
            incremental.ba_refine_focal_length = incremental.ba_refine_extra_params = False
        return pycolmap.incremental_mapping(database, images, target, incremental)
    pipeline = pycolmap.GlobalPipelineOptions(num_threads=options.threads, random_seed=options.seed)
    pipeline.mapper.global_positioning.use_gpu = pipeline.mapper.bundle_adjustment.ceres.use_gpu = False
    if options.calibration is not None:
        adjustment = pipeline.mapper.bundle_adjustment
        adjustment.refine_focal_length = adjustment.refine_extra_params = False
    return pycolmap.global_mapping(database, images, target, pipeline)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(PlainPycolmap)))
