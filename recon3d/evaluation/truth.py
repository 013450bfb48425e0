"""Ground-truth cameras of a photo set: `cameras.json` and the named lists of `subsets.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped
from recon3d.render.cameras import Cameras

MAX_JSON_BYTES = 16 << 20
_ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Truth:
    """Known cameras of one photo set.

    Args:
        name: name of the set.
        unit: unit of the world, for example ``metre`` or ``arbitrary``.
        names: file names of the photos that belong to the scene, one per camera.
        cameras: their true cameras, OpenCV axes.
        outliers: file names of photos of another scene: registering one is an error.
        expect_refusal: the capture holds no model that can be trusted; the right answer is a refusal.
        subset: name of the subset that this is, empty for the whole set.
    """

    name: str
    unit: str
    names: tuple[str, ...]
    cameras: Cameras
    outliers: tuple[str, ...] = ()
    expect_refusal: bool = False
    subset: str = ""

    @property
    def is_metric(self) -> bool:
        """Whether the unit of the world is the metre."""
        return self.unit.lower() in ("metre", "meter", "m")

    def restricted(self, names: Sequence[str], subset: str = "") -> Truth:
        """Return the truth of the photos in ``names`` only.

        Args:
            names: file names, each of them known.
            subset: what to call this selection.

        Raises:
            UsageError: a name is not in the set.
        """
        unknown = sorted(set(names) - set(self.names) - set(self.outliers))
        if unknown:
            raise UsageError(f"subset {subset!r} names photos without ground truth", got=unknown[:5])
        rows = np.array([i for i, name in enumerate(self.names) if name in set(names)], dtype=np.int64)
        outliers = tuple(name for name in self.outliers if name in set(names))
        kept = tuple(self.names[i] for i in rows)
        return replace(self, names=kept, cameras=self.cameras[rows], outliers=outliers, subset=subset)


def read_truth(path: Path) -> Truth:
    """Read a `cameras.json`.

    Args:
        path: the file.

    Returns:
        The cameras in the order of the file, outliers apart.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not a valid `cameras.json`.
    """
    document = _load_object(path)
    images = document.get("images")
    if not isinstance(images, list) or not images:
        raise FormatError(f"{path} is not a cameras.json", got=type(images).__name__, expected="a list 'images'")
    records = [_record(path, index, image) for index, image in enumerate(images)]
    names = [str(record["name"]) for record in records]
    if len(set(names)) != len(names):
        raise FormatError(f"{path} names a photo twice", expected="every name once")
    inliers = [record for record in records if not record["outlier"]]
    return Truth(
        name=str(document.get("set") or Path(path).resolve().parent.parent.name),
        unit=str(document.get("unit", "")),
        names=tuple(record["name"] for record in inliers),
        cameras=_cameras(inliers),
        outliers=tuple(record["name"] for record in records if record["outlier"]),
        expect_refusal=document.get("expect") == "refuse",
    )


def read_subsets(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a `subsets.json`: lists of file names by subset name.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not an object of lists of names.
    """
    subsets = {}
    for key, names in _load_object(path).items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise FormatError(f"{path}: subset {key!r} is not a list of file names")
        subsets[key] = tuple(names)
    return subsets


def _load_object(path: Path) -> dict[str, Any]:
    data = read_capped(Path(path), MAX_JSON_BYTES)
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not valid JSON", got=str(error)[:200]) from error
    if not isinstance(document, dict):
        raise FormatError(f"{path} has the wrong content", got=type(document).__name__, expected="a JSON object")
    return document


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _record(path: Path, index: int, image: object) -> dict[str, Any]:
    where = f"{path}: images[{index}]"
    if not isinstance(image, Mapping) or not isinstance(image.get("name"), str) or not image["name"]:
        raise FormatError(f"{where} is not valid", expected="an object with a 'name'")
    record: dict[str, Any] = {"name": image["name"], "outlier": image.get("outlier") is True}
    if record["outlier"]:
        return record
    record["size"] = _numbers(where, [image.get("width"), image.get("height")], (2,))
    record["K"] = _numbers(where + ".K", image.get("K"), (3, 3))
    record["w2c"] = _numbers(where + ".w2c", image.get("w2c"), (3, 4))
    record["dist"] = _numbers(where + ".dist", image.get("dist", [0.0] * 4), (4,))
    _check_camera(where, record)
    return record


def _numbers(where: str, value: object, shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{where} is not valid", got=str(error)[:80], expected=f"numbers of shape {shape}") from error
    if array.shape != shape or not np.isfinite(array).all():
        raise FormatError(f"{where} is not valid", got=f"shape {array.shape}", expected=f"finite, shape {shape}")
    return array


def _check_camera(where: str, record: Mapping[str, Any]) -> None:
    rotation = record["w2c"][:, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if not (deviation < _ROTATION_TOLERANCE and np.linalg.det(rotation) > 0):
        raise FormatError(f"{where}.w2c is no rigid motion", got=f"deviation {deviation:.3g}", expected="a rotation")
    if not (record["size"].min() >= 1 and record["size"].max() <= 1 << 20):
        raise FormatError(f"{where} has an impossible size", got=record["size"].tolist())
    if not (record["K"][0, 0] > 0 and record["K"][1, 1] > 0):
        raise FormatError(f"{where}.K is not valid", got=record["K"].tolist(), expected="positive focal lengths")


def _cameras(records: Sequence[Mapping[str, Any]]) -> Cameras:
    n = len(records)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3] = np.array([record["w2c"] for record in records]).reshape(n, 3, 4)
    sizes = np.array([record["size"] for record in records]).reshape(n, 2).astype(np.int64)
    K = np.array([record["K"] for record in records]).reshape(n, 3, 3)
    distortion = np.array([record["dist"] for record in records]).reshape(n, 4)
    return Cameras(poses, K, sizes[:, 0], sizes[:, 1], distortion)
