"""Printed things: posters, signs and book covers with shapes and lines of letters."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from courtyard.noise import Array, fractal, mix, step
from courtyard.textures import Texture

# A 5 x 7 dot font, one row per number, for the few words that are readable.
_FONT = {
    "R": (30, 17, 17, 30, 20, 18, 17),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "N": (17, 25, 25, 21, 19, 19, 17),
    "3": (30, 1, 1, 14, 1, 1, 30),
    "D": (30, 17, 17, 17, 17, 17, 30),
}


def poster(
    rng: np.random.Generator, size_m: tuple[float, float], colours: list[Array], word: str = "", per_metre: int = 700
) -> Texture:
    """A sheet: a frame, a word or a bar, a picture of discs and triangles, lines of small print.

    Args:
        rng: decides every detail.
        size_m: width and height in metres.
        colours: paper, ink, and two or more for the picture.
        word: a headline in letters of the built-in font; none draws a line of made-up letters.
        per_metre: texels per metre.
    """
    h, w = round(size_m[1] * per_metre), round(size_m[0] * per_metre)
    paper = np.broadcast_to(colours[0], (h, w, 3)) * (1 + 0.05 * fractal(rng, (h, w), (8, 8), 5))[..., None]
    sheet = cast(Array, paper.astype(np.float32))
    border = max(2, w // 28)
    _frame(sheet, border, colours[1])
    cell = max(1, (w - 6 * border) // (6 * max(len(word), 9)))
    _letters(sheet, (2 * border + 2, 3 * border), cell, word or _nonsense(rng, 9), colours[1])
    top = 2 * border + 2 + 9 * cell + border
    bottom = h - 2 * border - max(24, h // 4)
    _picture(rng, sheet[top:bottom, 2 * border : w - 2 * border], colours)
    small = max(1, cell // 3)
    for row in range(bottom + border, h - 2 * border - 7 * small, 10 * small):
        _letters(sheet, (row, 3 * border), small, _nonsense(rng, (w - 6 * border) // (6 * small)), colours[1])
    wear = step(0.6, 0.75, fractal(rng, (h, w), (10, 8), 5, 0.7))
    return Texture(mix(sheet, colours[0] * 0.8, 0.5 * wear).clip(0.01, 0.95), *size_m)


def _frame(sheet: Array, border: int, ink: Array) -> None:
    inner = slice(border, -border)
    keep = sheet[inner, inner].copy()
    sheet[border // 2 : -(border // 2 or 1), border // 2 : -(border // 2 or 1)] = ink
    sheet[inner, inner] = keep


def _nonsense(rng: np.random.Generator, n: int) -> str:
    return "".join("?" if rng.random() < 0.82 else " " for _ in range(n))


def _letters(sheet: Array, corner: tuple[int, int], cell: int, word: str, ink: Array) -> None:
    made_up = np.random.default_rng(sum(corner) + len(word))
    row, column = corner
    for letter in word:
        dots = _dots(letter, made_up)
        block = np.kron(dots, np.ones((cell, cell), bool))
        target = sheet[row : row + block.shape[0], column : column + block.shape[1]]
        target[block[: target.shape[0], : target.shape[1]]] = ink
        column += 6 * cell


def _dots(letter: str, made_up: np.random.Generator) -> npt.NDArray[np.bool_]:
    if letter in _FONT:
        return np.array([[bool(row >> (4 - bit) & 1) for bit in range(5)] for row in _FONT[letter]])
    if letter == " ":
        return np.zeros((7, 5), bool)
    return made_up.random((7, 5)) < 0.48


def _picture(rng: np.random.Generator, area: Array, colours: list[Array]) -> None:
    h, w = area.shape[:2]
    row, column = np.mgrid[:h, :w].astype(np.float32)
    area[:] = colours[2] * (0.75 + 0.5 * row / h)[..., None]
    for index in range(16):
        x, y, size = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.05, 0.24) * w
        ink = colours[[0, 1, *range(3, len(colours))][index % (len(colours) - 1)]]
        if index % 3 == 0:
            mask = np.abs(np.hypot(column - x, row - y) - size) < size * 0.3
        elif index % 3 == 1:
            mask = (row - y > 0) & (row - y < size) & (np.abs(column - x) < (row - y) * 0.8)
        else:
            mask = (np.abs(column - x) < size) & (np.abs(row - y) < size * 0.25)
        area[mask] = ink
