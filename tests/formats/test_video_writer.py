"""MP4: what is written plays everywhere, has the right colours, and is whole or absent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from recon3d.core.errors import DependencyError, ShapeError, UsageError
from recon3d.formats import video_writer
from recon3d.formats.video_writer import h264_encoder, write_mp4

av = pytest.importorskip("av")
COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128), (255, 255, 255), (0, 0, 0)]


def frames(size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    return [np.tile(np.array(colour, np.uint8), (*size, 1)) for colour in COLOURS]


def test_a_browser_can_play_it(tmp_path: Path) -> None:
    assert write_mp4(tmp_path / "a.mp4", frames(), 25.0) == 6
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert container.format.name.startswith("mov,mp4")
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, float(stream.average_rate), stream.frames) == (64, 48, 25.0, 6)
        assert stream.codec_context.colorspace == 1  # BT.709


def test_the_index_stands_before_the_pictures(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", frames())
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_colours_survive(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", frames(), crf=10)
    with av.open(str(tmp_path / "a.mp4")) as container:
        found = [frame.to_ndarray(format="rgb24")[20, 20].astype(int) for frame in container.decode(video=0)]
    assert len(found) == 6
    for colour, pixel in zip(COLOURS, found, strict=True):
        assert np.abs(pixel - colour).max() <= 4


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1e9])
def test_a_rate_out_of_range_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(UsageError, match="frame rate"):
        write_mp4(tmp_path / "a.mp4", frames(), fps)


def test_no_frame_and_odd_sides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a frame"):
        write_mp4(tmp_path / "a.mp4", [])
    with pytest.raises(ShapeError, match="even"):
        write_mp4(tmp_path / "a.mp4", frames((47, 64)))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_video_that_fails(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"the old one")

    def broken() -> Iterator[np.ndarray]:
        yield from frames()
        yield frames((50, 64))[0]

    with pytest.raises(ShapeError, match="differ in size"):
        write_mp4(tmp_path / "a.mp4", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"the old one"


def test_a_missing_extra_is_named_with_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DependencyError, match=r"pip install 'recon3d\[video\]'"):
        write_mp4(tmp_path / "a.mp4", frames())


def test_an_encoder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_writer, "_av", lambda: SimpleNamespace(codecs_available={"mpeg4"}))
    with pytest.raises(DependencyError, match=r"H\.264"):
        h264_encoder()


def test_a_codec_that_only_decodes_is_no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoEncoder(Exception):
        pass

    def refuse(name: str, mode: str) -> None:
        raise NoEncoder

    fake = SimpleNamespace(
        codecs_available={"h264"}, codec=SimpleNamespace(Codec=refuse), error=SimpleNamespace(FFmpegError=NoEncoder)
    )
    monkeypatch.setattr(video_writer, "_av", lambda: fake)
    with pytest.raises(DependencyError, match=r"H\.264"):
        h264_encoder()
