"""PIZ-compressed OpenEXR files made in memory: the encoder spelled out as loops, with codes of one length."""

from __future__ import annotations

import struct

import numpy as np

KINDS = {np.dtype(np.uint32): 0, np.dtype(np.float16): 1, np.dtype(np.float32): 2}


def piz_file(images: dict[str, np.ndarray]) -> bytes:
    """Return a file of these channels, sorted by name."""
    height, width = next(iter(images.values())).shape
    entries = b"".join(
        name.encode() + b"\0" + struct.pack("<iB3xii", KINDS[image.dtype], 0, 1, 1) for name, image in images.items()
    )
    attributes = [
        (b"channels\0chlist\0", entries + b"\0"),
        (b"compression\0compression\0", b"\4"),
        (b"dataWindow\0box2i\0", struct.pack("<4i", 0, 0, width - 1, height - 1)),
        (b"lineOrder\0lineOrder\0", b"\0"),
    ]
    head = struct.pack("<II", 20000630, 2)
    head += b"".join(name + struct.pack("<i", len(value)) + value for name, value in attributes) + b"\0"
    blocks = []
    for top in range(0, height, 32):
        part = {name: image[top : top + 32] for name, image in images.items()}
        raw = b"".join(part[name][y].tobytes() for y in range(min(32, height - top)) for name in part)
        packed = piz_block(list(part.values()))
        packed = packed if len(packed) < len(raw) else raw
        blocks.append(struct.pack("<ii", top, len(packed)) + packed)
    starts = np.cumsum([0, *map(len, blocks)])[:-1] + len(head) + 8 * len(blocks)
    return head + starts.astype("<u8").tobytes() + b"".join(blocks)


def piz_block(planes: list[np.ndarray]) -> bytes:
    words = [np.ascontiguousarray(plane).view(np.uint16).reshape(len(plane), -1) for plane in planes]
    used = np.unique(np.concatenate([part.reshape(-1) for part in words]))
    bitmap = np.zeros(8192, np.uint8)
    for word in used:
        bitmap[word >> 3] |= 1 << (word & 7)
    bitmap[0] &= 0xFE  # zero is always among them
    table = np.unique(np.concatenate([[0], used]))
    coded = []
    for plane, part in zip(planes, words, strict=True):
        numbers = np.searchsorted(table, part).astype(np.int64)
        size = part.shape[1] // plane.shape[1]
        for first in range(size):
            numbers[:, first::size] = wavelet(numbers[:, first::size], len(table) - 1 < 1 << 14)
        coded.append(numbers.reshape(-1))
    held = np.flatnonzero(bitmap)
    first, last = (int(held[0]), int(held[-1])) if len(held) else (8191, 0)
    stored = bitmap[first : last + 1].tobytes() if len(held) else b""
    body = huffman(np.concatenate(coded))
    return struct.pack("<HH", first, last) + stored + struct.pack("<i", len(body)) + body


def wavelet(plane: np.ndarray, narrow: bool) -> np.ndarray:
    """The Haar transform of one plane of numbers."""
    out = plane.copy()
    height, width = out.shape

    def pair(a: tuple[int, int], b: tuple[int, int]) -> None:
        out[a], out[b] = step_of(int(out[a]), int(out[b]), narrow)

    step = 1
    while step * 2 <= min(height, width):
        whole_y, whole_x = height // (2 * step) * 2 * step, width // (2 * step) * 2 * step
        for y in range(0, whole_y, 2 * step):
            for x in range(0, whole_x, 2 * step):
                pair((y, x), (y, x + step))
                pair((y + step, x), (y + step, x + step))
                pair((y, x), (y + step, x))
                pair((y, x + step), (y + step, x + step))
            if width & step:
                pair((y, whole_x), (y + step, whole_x))
        if height & step:
            for x in range(0, whole_x, 2 * step):
                pair((whole_y, x), (whole_y, x + step))
        step *= 2
    return out


def step_of(a: int, b: int, narrow: bool) -> tuple[int, int]:
    if narrow:
        a, b = (value - 65536 if value > 32767 else value for value in (a, b))
        return (a + b >> 1) & 0xFFFF, (a - b) & 0xFFFF
    moved = (a + 0x8000) & 0xFFFF
    mean, difference = moved + b >> 1, moved - b
    return (mean + 0x8000 if difference < 0 else mean) & 0xFFFF, difference & 0xFFFF


def huffman(numbers: np.ndarray) -> bytes:
    """Codes of one length, with runs of at least four coded as repetitions."""
    symbols = np.unique(numbers).tolist()
    repeat = symbols[-1] + 1
    symbols.append(repeat)
    length = max(1, (len(symbols) - 1).bit_length())
    code = {symbol: f"{index:0{length}b}" for index, symbol in enumerate(symbols)}
    parts: list[str] = []
    at = 0
    while at < len(numbers):
        run = 1
        while at + run < len(numbers) and numbers[at + run] == numbers[at] and run < 256:
            run += 1
        parts.append(code[int(numbers[at])])
        if run >= 4:
            parts += [code[repeat], f"{run - 1:08b}"]
        else:
            run = 1
        at += run
    bits = "".join(parts)
    table = lengths_table(symbols, length)
    return struct.pack("<IIIII", symbols[0], repeat, len(table), len(bits), 0) + table + packed(bits)


def lengths_table(symbols: list[int], length: int) -> bytes:
    bits, symbol, used = "", symbols[0], set(symbols)
    while symbol <= symbols[-1]:
        run = 0
        while symbol + run not in used and run < 261:
            run += 1
        if run >= 6:
            bits += f"{63:06b}{run - 6:08b}"
        elif run >= 2:
            bits += f"{59 + run - 2:06b}"
        else:
            bits += f"{0 if run else length:06b}"
        symbol += max(run, 1)
    return packed(bits)


def packed(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
