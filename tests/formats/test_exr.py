"""OpenEXR: files built by hand in every kind that is read, and the kinds that are refused by name."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.exr import parse_exr, read_exr, write_exr

NONE, RLE, ZIPS, ZIP = range(4)
DAMAGED = "damaged|impossible size"
KINDS = {np.dtype(np.uint32): 0, np.dtype(np.float16): 1, np.dtype(np.float32): 2}


def attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value


def channel(name: str, kind: int, sampling: tuple[int, int] = (1, 1)) -> bytes:
    return name.encode() + b"\0" + struct.pack("<iBBBBii", kind, 0, 0, 0, 0, *sampling)


def shuffled(raw: bytes) -> bytes:
    """The predictor and the split into halves, spelled out as a loop."""
    halves = raw[::2] + raw[1::2]
    return bytes([halves[0], *((b - a + 128) % 256 for a, b in pairwise(halves))])


def runs(raw: bytes) -> bytes:
    """Run lengths: runs of three or more bytes repeat, everything else is copied in pieces."""
    out, at = b"", 0
    while at < len(raw):
        same = 1
        while at + same < len(raw) and raw[at + same] == raw[at] and same < 128:
            same += 1
        if same > 2:
            out, at = out + bytes([same - 1, raw[at]]), at + same
        else:
            piece = raw[at : at + 2]
            out, at = out + bytes([256 - len(piece)]) + piece, at + len(piece)
    return out


@dataclass(frozen=True)
class File:
    """Everything about a file that a test may want to spoil."""

    images: dict[str, np.ndarray]
    compression: int = NONE
    order: int = 0
    corner: tuple[int, int] = (0, 0)
    version: int = 2
    channels: bytes | None = None
    block: bytes | None = None
    further: bytes = attribute("comments", "string", b"by hand") + attribute("pixelAspectRatio", "float", bytes(4))

    def data(self) -> bytes:
        height, width = next(iter(self.images.values())).shape
        x, y = self.corner
        entries = b"".join(channel(name, KINDS[image.dtype]) for name, image in self.images.items()) + b"\0"
        head = struct.pack("<II", 20000630, self.version) + self.further
        head += attribute("channels", "chlist", entries if self.channels is None else self.channels)
        head += attribute("compression", "compression", bytes([self.compression]))
        head += attribute("dataWindow", "box2i", struct.pack("<4i", x, y, x + width - 1, y + height - 1))
        head += attribute("lineOrder", "lineOrder", bytes([self.order])) + b"\0"
        step = 16 if self.compression == ZIP else 1
        blocks = {top: self._block(top, min(top + step, height)) for top in range(0, height, step)}
        stored = dict(reversed(blocks.items())) if self.order else blocks
        starts, body = {}, b""
        for top, block in stored.items():
            starts[top] = len(head) + 8 * len(blocks) + len(body)
            body += block
        return head + b"".join(struct.pack("<Q", starts[top]) for top in blocks) + body

    def _block(self, top: int, bottom: int) -> bytes:
        rows = [image[y].tobytes() for y in range(top, bottom) for image in self.images.values()]
        raw = b"".join(rows)
        packed = raw
        if self.compression == RLE:
            packed = runs(shuffled(raw))
        elif self.compression in (ZIPS, ZIP):
            packed = zlib.compress(shuffled(raw))
        packed = packed if len(packed) < len(raw) else raw
        packed = packed if self.block is None else self.block
        return struct.pack("<ii", self.corner[1] + top, len(packed)) + packed


def images(height: int = 37, width: int = 21, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    smooth = np.repeat(generator.normal(size=(height, 1)), width, 1)
    return {
        "A": generator.normal(size=(height, width)).astype(np.float16),
        "Z": smooth.astype(np.float32),
        "id": generator.integers(0, 1 << 20, (height, width)).astype(np.uint32),
    }


FILE = File(images(5, 3))


@pytest.mark.parametrize("compression", [NONE, RLE, ZIPS, ZIP])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("corner", [(0, 0), (-7, 12)])
def test_every_kind_that_is_read(compression: int, order: int, corner: tuple[int, int]) -> None:
    made = images()
    back = parse_exr(File(made, compression, order, corner).data())
    assert list(back) == ["A", "Z", "id"]
    for name, image in made.items():
        assert back[name].dtype == np.float32 and np.array_equal(back[name], image.astype(np.float32)), name


@settings(max_examples=30)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any bits of float32, NaN and infinity among them."""
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 5)))
    names = data.draw(st.lists(st.sampled_from(["R", "G", "B", "A", "Z", "sigma.Y"]), min_size=1, unique=True))
    made = {name: data.draw(arrays(np.uint32, shape)).view(np.float32) for name in names}
    path = tmp_path_factory.mktemp("exr") / "a.exr"
    write_exr(path, made)
    back = read_exr(path)
    assert list(back) == sorted(names)
    assert all(back[name].tobytes() == made[name].tobytes() for name in names)


def test_the_writer_stores_what_the_format_demands(tmp_path: Path) -> None:
    """Header attributes in full, blocks of 16 lines, and a predictor that the loop above undoes to the same bytes."""
    image = np.repeat(np.arange(20, dtype=np.float32)[:, None], 3, 1)
    write_exr(tmp_path / "a.exr", {"Z": image, "B": image + 1})
    data = (tmp_path / "a.exr").read_bytes()
    assert data[:8] == struct.pack("<II", 20000630, 2)
    end = data.index(attribute("screenWindowWidth", "float", struct.pack("<f", 1))) + len(b"screenWindowWidth") + 15
    head = data[:end]
    window = struct.pack("<4i", 0, 0, 2, 19)
    for part in [
        attribute("channels", "chlist", channel("B", 2) + channel("Z", 2) + b"\0"),
        attribute("compression", "compression", b"\3"),
        attribute("dataWindow", "box2i", window),
        attribute("displayWindow", "box2i", window),
        attribute("lineOrder", "lineOrder", b"\0"),
        attribute("pixelAspectRatio", "float", struct.pack("<f", 1)),
        attribute("screenWindowCenter", "v2f", bytes(8)),
    ]:
        assert part in head
    assert data[end : end + 1] == b"\0"
    offsets = struct.unpack_from("<2Q", data, end + 1)
    assert offsets[0] == end + 1 + 16
    for top, offset in zip((0, 16), offsets, strict=True):
        line, size = struct.unpack_from("<ii", data, offset)
        raw = b"".join((image[y] + 1).tobytes() + image[y].tobytes() for y in range(top, min(top + 16, 20)))
        assert line == top and zlib.decompress(data[offset + 8 : offset + 8 + size]) == shuffled(raw)


def test_noise_that_does_not_shrink_is_stored_as_it_is(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2**32, (16, 64), np.uint32).view(np.float32)
    write_exr(tmp_path / "a.exr", {"Y": noise})
    assert noise.tobytes() in (tmp_path / "a.exr").read_bytes()
    assert read_exr(tmp_path / "a.exr")["Y"].tobytes() == noise.tobytes()


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    image = np.ones((3, 4), np.float32)
    write_exr(tmp_path / "a.exr", {"Z": image, "A": image * 2})
    write_exr(tmp_path / "b.exr", {"A": image * 2, "Z": image})
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()


@pytest.mark.parametrize(
    "channels",
    [
        {},
        {"Z": np.zeros((0, 3), np.float32)},
        {"Z": np.zeros((2, 3), np.float32), "Y": np.zeros((3, 2), np.float32)},
        {"": np.zeros((2, 3), np.float32)},
        {"a" * 32: np.zeros((2, 3), np.float32)},
        {"a\0b": np.zeros((2, 3), np.float32)},
    ],
)
def test_what_exr_cannot_hold(tmp_path: Path, channels: dict[str, np.ndarray]) -> None:
    with pytest.raises((UsageError, TypeCheckError)):  # the latter from the run-time checks of the tests
        write_exr(tmp_path / "a.exr", channels)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (replace(FILE, version=2 | 0x200), "files with tiles"),
        (replace(FILE, version=2 | 0x800), "files with deep pixels"),
        (replace(FILE, version=2 | 0x1000), "files with several parts"),
        (replace(FILE, version=3), "unknown version"),
        (replace(FILE, compression=5), "not read; got: PXR24"),
        (replace(FILE, compression=9), "not read; got: DWAB"),
        (replace(FILE, compression=77), "not read; got: number 77"),
        (replace(FILE, order=2), "bad line order"),
        (replace(FILE, channels=channel("Y", 1) + channel("RY", 1, (2, 2)) + b"\0"), "subsampled"),
        (replace(FILE, channels=channel("A", 3) + b"\0"), "bad channel"),
        (replace(FILE, channels=channel("A", 1) * 2 + b"\0"), "bad channel"),
        (replace(FILE, channels=channel("A", 1).replace(b"A", b"\xff") + b"\0"), "bad channel"),
        (replace(FILE, channels=channel("B", 1) + channel("A", 1) + b"\0"), "order of channels"),
        (replace(FILE, channels=b"\0"), "order of channels"),
        (replace(FILE, channels=channel("A", 1)), "has no end"),
        (replace(FILE, channels=channel("A", 1) + b"\0\0"), "1 bytes too many"),
        (replace(FILE, channels=b"".join(channel(f"{i:04}", 1) for i in range(1025)) + b"\0"), "bad channel"),
        (replace(FILE, further=attribute("lineOrder", "lineOrder", b"\0")), "bad attribute"),
        (replace(FILE, further=attribute("channels", "chlist2", b"\0")), "bad attribute"),
        (replace(FILE, further=attribute("a" * 300, "string", b"")), "has no end"),
        (replace(FILE, further=b"a\0b\0" + struct.pack("<i", -5)), "impossible number"),
    ],
)
def test_what_is_refused_says_why(file: File, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_exr(file.data(), "a.exr")


def spoiled(old: bytes, new: bytes, compression: int = NONE) -> bytes:
    data = replace(FILE, compression=compression).data()
    assert data.count(old) == 1 and len(old) == len(new)
    return data.replace(old, new)


def test_bad_numbers_in_the_header() -> None:
    window = struct.pack("<4i", 0, 0, 2, 4)
    for corner in [(0, 0, -1, 4), (0, 5, 2, 4), (2**31 - 1, 0, -(2**31), 4)]:
        with pytest.raises(FormatError, match="empty data window"):
            parse_exr(spoiled(window, struct.pack("<4i", *corner)))
    for corner in [(-(2**31), -(2**31), 2**31 - 1, 2**31 - 1), (0, 0, 2, 2**30)]:
        with pytest.raises(FormatError, match="is too large"):
            parse_exr(spoiled(window, struct.pack("<4i", *corner)))
    with pytest.raises(FormatError, match="impossible size"):
        parse_exr(spoiled(window, struct.pack("<4i", 0, 0, 2, 10**6)))
    with pytest.raises(FormatError, match="impossible size"):
        parse_exr(spoiled(window, struct.pack("<4i", 0, 0, 10**7, 4)))
    with pytest.raises(FormatError, match="attributes are missing"):
        parse_exr(spoiled(b"lineOrder\0lineOrder", b"lineOrdes\0lineOrder"))


def test_offsets_that_point_elsewhere() -> None:
    data = FILE.data()
    table = len(data) - 5 * (8 + 3 * 10) - 5 * 8
    first, second = data[table : table + 8], data[table + 8 : table + 16]
    for wrong in [second, bytes(8), b"\xff" * 8, struct.pack("<Q", len(data) - 3)]:
        with pytest.raises(FormatError, match=r"points elsewhere|cut off"):
            parse_exr(data.replace(first, wrong))


@pytest.mark.parametrize("compression", [NONE, RLE, ZIPS, ZIP])
def test_every_truncation_is_refused(compression: int) -> None:
    data = File(images(6, 4), compression).data()
    for length in range(0, len(data), 3):
        with pytest.raises(FormatError):
            parse_exr(data[:length])


def block_file(compression: int, block: bytes, width: int = 1000) -> bytes:
    """One line of zeros in a block of a test's own."""
    return File({"Y": np.zeros((1, width), np.float32)}, compression, block=block).data()


def test_blocks_of_the_right_size_only() -> None:
    right = zlib.compress(shuffled(bytes(4000)))
    assert not parse_exr(block_file(ZIP, right))["Y"].any()
    bad = {
        ZIP: [zlib.compress(bytes(3999)), zlib.compress(bytes(4001)), right + b"x", right[:-1], right[:9] + b"\7" * 9],
        RLE: [runs(bytes(3999)), runs(bytes(4001)), b"\x7f", b"\x80abc", b""],
        NONE: [bytes(3999), bytes(4001)],
    }
    for compression, blocks in bad.items():
        for block in blocks:
            with pytest.raises(FormatError, match=DAMAGED):
                parse_exr(block_file(compression, block))


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(64 << 20), 9)
    tracemalloc.start()
    with pytest.raises(FormatError, match=DAMAGED):
        parse_exr(block_file(ZIP, bomb, 20_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_absent_too_large_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_exr(tmp_path / "absent.exr")
    write_exr(tmp_path / "a.exr", {"Z": np.zeros((10, 10), np.float32)})
    with pytest.raises(FormatError, match="at most 99 values"):
        read_exr(tmp_path / "a.exr", max_pixels=99)
    for data in (b"", b"#?RADIANCE\n", b"\x76\x2f\x31"):
        with pytest.raises(FormatError):
            parse_exr(data)
