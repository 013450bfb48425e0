"""Videos: frames by motion and sharpness, bounded and repeatable."""

from __future__ import annotations

import itertools
import struct
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image, ImageFilter

from recon3d.core.errors import DependencyError, InputError
from recon3d.core.workers import WorkerOptions
from recon3d.photos import PhotoOptions, load_photos
from recon3d.photos.motion import frame_motion
from recon3d.photos.sharpness import reduced_grey
from recon3d.photos.video import Seen, choose, select_frames

av = pytest.importorskip("av")
WORKERS = WorkerOptions(n_workers=1)
N_FRAMES, STEP = 24, 4
BLURRED = frozenset(range(1, N_FRAMES, 2))


def _frames(pictures: ModuleType) -> list[Image.Image]:
    """A window that slides over a wide picture; every second frame is blurred."""
    wide = pictures.texture(400, 240, cells=20)
    frames = [wide.crop((STEP * k, 0, STEP * k + 256, 192)) for k in range(N_FRAMES)]
    return [frame.filter(ImageFilter.GaussianBlur(2)) if k in BLURRED else frame for k, frame in enumerate(frames)]


def _write(path: Path, frames: list[Image.Image], pixel_aspect: Fraction | None = None) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *frames[0].size, "yuv420p", 4_000_000
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, pictures: ModuleType) -> Path:
    return _write(tmp_path_factory.mktemp("video") / "clip.mp4", _frames(pictures))


def _select(path: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    options = {"max_pixels": 10**8, "max_frames": 150, "min_motion": 0.02, "max_video_s": 100.0, **changes}
    return select_frames(str(path), str(folder), **options)


def test_sharp_frames_along_the_whole_path(clip: Path, tmp_path: Path, pictures: ModuleType) -> None:
    answer = _select(clip, tmp_path, min_motion=2.5 * STEP / 320)
    indices = [index for index, _, _ in answer["frames"]]
    assert answer["reason"] == "" and len(answer["sha256"]) == 64
    assert not BLURRED & set(indices)
    assert 8 <= len(indices) <= 10
    assert indices[0] <= 2 and indices[-1] >= N_FRAMES - 4
    assert max(b - a for a, b in itertools.pairwise(indices)) <= 4
    for index, time_s, path in answer["frames"]:
        assert time_s == pytest.approx(index / 25)
        saved = np.asarray(Image.open(path).convert("RGB"), float)
        assert np.abs(saved - np.asarray(_frames(pictures)[index], float)).mean() < 12


def test_number_of_frames_is_capped(clip: Path, tmp_path: Path) -> None:
    assert len(_select(clip, tmp_path, max_frames=3)["frames"]) == 3


def test_a_still_camera_gives_one_frame(tmp_path: Path, pictures: ModuleType) -> None:
    still = _write(tmp_path / "still.mp4", [pictures.texture(256, 192)] * 20)
    assert len(_select(still, tmp_path)["frames"]) == 1


def test_frames_become_photos_with_time_and_key(clip: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    photos = load_photos(clip.parent, PhotoOptions(max_frames=5), tmp_path, WORKERS, seen.append)
    assert len(photos.photos) == 5 == len(seen)
    first = photos.photos[0]
    assert first.key.startswith("clip.mp4/0000") and first.key.endswith(".png")
    assert (first.width, first.height) == (256, 192)
    times = [photo.time_s for photo in photos.photos]
    assert None not in times and times == sorted(times)
    assert load_photos(clip, PhotoOptions(max_frames=5), tmp_path, WORKERS).photos == photos.photos


def test_caps_on_size_and_length(clip: Path, tmp_path: Path) -> None:
    assert "256x192" in _select(clip, tmp_path, max_pixels=1000)["reason"]
    assert "too long" in _select(clip, tmp_path, max_video_s=0.5)["reason"]


@pytest.mark.parametrize("data", [b"", b"not a video at all", bytes(5000)])
def test_what_is_no_video_is_reported(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(data)
    answer = _select(tmp_path / "a.mp4", tmp_path)
    assert answer["frames"] == [] and answer["reason"].startswith("the file ")
    with pytest.raises(InputError, match=r"a\.mp4"):
        load_photos(tmp_path, PhotoOptions(), tmp_path / "work", WORKERS)


def test_truncated_video_is_reported(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    assert _select(tmp_path / "cut.mp4", tmp_path)["reason"]


def test_a_phone_held_upright_gives_upright_frames(clip: Path, tmp_path: Path, pictures: ModuleType) -> None:
    """The matrix of the track header (ISO/IEC 14496-12, 8.3.2) says: show it a quarter turn clockwise."""
    data = bytearray(clip.read_bytes())
    start = data.index(b"tkhd") + 44
    turn = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    data[start : start + 36] = struct.pack(">9i", *turn)
    (tmp_path / "phone.mp4").write_bytes(bytes(data))
    index, _, path = _select(tmp_path / "phone.mp4", tmp_path)["frames"][0]
    expected = np.rot90(np.asarray(_frames(pictures)[index], float), -1)
    saved = np.asarray(Image.open(path), float)
    assert saved.shape == (256, 192, 3)
    assert np.abs(saved - expected).mean() < 12


def test_wide_pixels_become_square(tmp_path: Path, pictures: ModuleType) -> None:
    wide = _write(tmp_path / "wide.mkv", [pictures.texture(256, 192)] * 3, Fraction(4, 3))
    _, _, path = _select(wide, tmp_path)["frames"][0]
    assert Image.open(path).size == (341, 192)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_mutated_videos_are_used_or_reported(clip: Path, tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    data = bytearray(clip.read_bytes())
    for _ in range(20):
        data[int(generator.integers(len(data)))] = int(generator.integers(256))
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    answer = _select(tmp_path / "a.mp4", tmp_path / "frames", max_frames=2)
    assert answer["frames"] or answer["reason"]


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "no video stream" in _select(tmp_path / "a.mkv", tmp_path)["reason"]


def test_missing_decoder_names_the_install_line(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "av.py").write_text("raise ImportError('not installed')")
    monkeypatch.syspath_prepend(str(blocked))
    with pytest.raises(DependencyError, match=r"pip install 'recon3d\[video\]'"):
        load_photos(clip, PhotoOptions(), tmp_path / "work", WORKERS)


_SEEN = st.lists(st.tuples(st.floats(0.3, 5), st.floats(0, 0.1)), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(steps=_SEEN, max_frames=st.integers(1, 20))
def test_choice_is_ordered_capped_and_covers_the_path(steps: list[tuple[float, float]], max_frames: int) -> None:
    travel = np.cumsum([step for _, step in steps])
    seen = [Seen(k, k / 25, blur, float(travel[k])) for k, (blur, _) in enumerate(steps)]
    chosen = choose(seen, max_frames, 0.05)
    assert 1 <= len(chosen) <= max_frames
    assert [item.index for item in chosen] == sorted({item.index for item in chosen})
    parts = min(max(1, round(travel[-1] / 0.05)), max_frames, len(seen))
    for item in seen:  # nobody is further from a chosen frame than two parts and one jump
        assert min(abs(item.travel - other.travel) for other in chosen) <= 2 * travel[-1] / parts + 0.1
    assert choose([], max_frames, 0.05) == []


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -3), (5, 4), (-9, 2)])
def test_motion_is_the_shift_in_diagonals(pictures: ModuleType, dx: int, dy: int) -> None:
    wide = reduced_grey(pictures.texture(240, 200, cells=24), 1024)
    before, after = wide[20:164, 20:212], wide[20 + dy : 164 + dy, 20 + dx : 212 + dx]
    assert frame_motion(before, after) * np.hypot(144, 192) == pytest.approx(np.hypot(dx, dy), abs=0.3)


def test_motion_forward_counts_and_blank_pictures_do_not(pictures: ModuleType) -> None:
    picture = pictures.texture(192, 144, cells=24)
    nearer = picture.resize((212, 158), Image.Resampling.BICUBIC).crop((10, 7, 202, 151))
    assert frame_motion(reduced_grey(picture, 192), reduced_grey(nearer, 192)) > 0.01
    blank = np.full((144, 192), 9, np.float32)
    assert frame_motion(blank, blank) == 0.0
