"""What the photo room hands on: options, photos, and files that were turned away."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PhotoOptions:
    """What is read and how much of it.

    Args:
        max_pixels: photos with more pixels are turned away before they are decoded.
        masks: folder with one mask per photo, under the photo's name with any image extension; white = use. Masks have
            the size of the upright photo; photos without a mask are used whole.
        exclude: files and folders below the input folder that are not read.
        poses: COLMAP model folder or transforms.json with known poses; none is taken unless it is named here.
        max_frames: frames taken from each video.
        video_min_motion: smallest motion between two chosen frames, as a share of the frame's diagonal.
        max_video_s: longer videos are turned away.
    """

    max_pixels: int = 200_000_000
    masks: Path | None = None
    exclude: tuple[Path, ...] = ()
    poses: Path | None = None
    max_frames: int = 150
    video_min_motion: float = 0.02
    max_video_s: float = 1800.0


@dataclass(frozen=True)
class Exif:
    """What the camera wrote into the file; a tag that is absent or absurd is empty.

    Args:
        make: maker of the camera.
        model: model of the camera.
        lens: model of the lens.
        focal_mm: focal length in millimetres.
        focal_35mm: focal length of the same view on 35 mm film, in millimetres.
        gps: latitude and longitude in degrees (WGS 84, north and east positive) and altitude in metres.
        time: when the photo was taken, "YYYY:MM:DD HH:MM:SS" as the camera wrote it.
        pixels: width and height that the camera recorded, before the file's orientation is applied.
    """

    make: str = ""
    model: str = ""
    lens: str = ""
    focal_mm: float | None = None
    focal_35mm: float | None = None
    gps: tuple[float, float, float | None] | None = None
    time: str = ""
    pixels: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Exif:
        """Return what :meth:`to_json` described."""
        gps, pixels = value["gps"], value["pixels"]
        return cls(**{**value, "gps": gps and tuple(gps), "pixels": pixels and tuple(pixels)})


@dataclass(frozen=True)
class Photo:
    """One usable photo. Sizes and ``focal_px`` hold after the EXIF orientation has been applied ("upright").

    Args:
        key: path below the input folder, "/" between parts; frames of a video are "clip.mp4/000123.png".
        path: file to read.
        width: upright width in pixels.
        height: upright height in pixels.
        sha256: hash of the file's bytes, lower-case hex.
        exif: what the camera wrote.
        focal_px: focal length in pixels as EXIF states it, a starting value; None when it says nothing credible.
        exif_conflict: the file's aspect ratio is not the one that the camera recorded: cropped, so EXIF's focal and a
            central principal point are not to be trusted.
        sharpness: 1 / width of its edges in pixels, at 1024 pixels on the longer side; comparable within one capture.
        remark: "" or "blurred".
        duplicate_of: key of the better file of the same picture.
        mask: image whose white pixels are to be used, in upright pixels.
        time_s: for a frame of a video, seconds from its start.
    """

    key: str
    path: Path
    width: int
    height: int
    sha256: str
    exif: Exif = field(default_factory=Exif)
    focal_px: float | None = None
    exif_conflict: bool = False
    sharpness: float = 0.0
    remark: str = ""
    duplicate_of: str | None = None
    mask: Path | None = None
    time_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Photo:
        """Return what :meth:`to_json` described."""
        mask = value["mask"]
        paths = {"path": Path(value["path"]), "mask": None if mask is None else Path(mask)}
        return cls(**{**value, **paths, "exif": Exif.from_json(value["exif"])})


@dataclass(frozen=True)
class Rejected:
    """One file that cannot be used.

    Args:
        key: path below the input folder.
        reason: why, in words that a user understands.
        sha256: hash of its bytes; empty when they could not be read.
    """

    key: str
    reason: str
    sha256: str = ""

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return {"key": self.key, "reason": self.reason, "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: dict[str, str]) -> Rejected:
        """Return what :meth:`to_json` described."""
        return cls(**value)


@dataclass(frozen=True)
class PhotoSet:
    """All photos of one capture.

    Args:
        root: folder that keys are relative to.
        photos: usable photos, ascending by key; duplicates and blurred photos among them, with their remark.
        rejected: files that cannot be used, ascending by key.
        known_poses: COLMAP model folder or transforms.json that ``PhotoOptions.poses`` named.
    """

    root: Path
    photos: tuple[Photo, ...]
    rejected: tuple[Rejected, ...] = ()
    known_poses: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "root": str(self.root),
            "photos": [photo.to_json() for photo in self.photos],
            "rejected": [item.to_json() for item in self.rejected],
            "known_poses": _plain(self.known_poses),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PhotoSet:
        """Return what :meth:`to_json` described."""
        poses = value["known_poses"]
        return cls(
            root=Path(value["root"]),
            photos=tuple(Photo.from_json(item) for item in value["photos"]),
            rejected=tuple(Rejected.from_json(item) for item in value["rejected"]),
            known_poses=None if poses is None else Path(poses),
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Exif):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else value
