"""A bitmap font of 5 by 7 for what is burnt into pictures: digits, capitals and a few signs."""

from __future__ import annotations

from typing import Final

WIDTH: Final = 6
HEIGHT: Final = 7

# Seven rows a glyph, five bits a row, the leftmost pixel in the highest bit.
_ROWS: Final = {
    " ": "0 0 0 0 0 0 0",
    "-": "0 0 0 14 0 0 0",
    ".": "0 0 0 0 0 12 12",
    ":": "0 12 12 0 12 12 0",
    "0": "14 17 19 21 25 17 14",
    "1": "4 12 4 4 4 4 14",
    "2": "14 17 1 2 4 8 31",
    "3": "31 2 4 2 1 17 14",
    "4": "2 6 10 18 31 2 2",
    "5": "31 16 30 1 1 17 14",
    "6": "6 8 16 30 17 17 14",
    "7": "31 1 2 4 8 8 8",
    "8": "14 17 17 14 17 17 14",
    "9": "14 17 17 15 1 2 12",
    "A": "14 17 17 31 17 17 17",
    "B": "30 17 17 30 17 17 30",
    "C": "14 17 16 16 16 17 14",
    "D": "28 18 17 17 17 18 28",
    "E": "31 16 16 30 16 16 31",
    "F": "31 16 16 30 16 16 16",
    "G": "14 17 16 23 17 17 15",
    "H": "17 17 17 31 17 17 17",
    "I": "14 4 4 4 4 4 14",
    "J": "7 2 2 2 2 18 12",
    "K": "17 18 20 24 20 18 17",
    "L": "16 16 16 16 16 16 31",
    "M": "17 27 21 21 17 17 17",
    "N": "17 17 25 21 19 17 17",
    "O": "14 17 17 17 17 17 14",
    "P": "30 17 17 30 16 16 16",
    "Q": "14 17 17 17 21 18 13",
    "R": "30 17 17 30 20 18 17",
    "S": "15 16 16 14 1 1 30",
    "T": "31 4 4 4 4 4 4",
    "U": "17 17 17 17 17 17 14",
    "V": "17 17 17 17 17 10 4",
    "W": "17 17 17 21 21 21 10",
    "X": "17 17 10 4 10 17 17",
    "Y": "17 17 17 10 4 4 4",
    "Z": "31 1 2 4 8 16 31",
}
_GLYPHS: Final = {sign: [int(row) for row in rows.split()] for sign, rows in _ROWS.items()}


def text_rows(text: str, scale: int, ink: int, paper: int) -> list[bytes]:
    """The luma of `text`, HEIGHT rows of WIDTH * scale bytes a sign; a row is to be drawn `scale` times.

    A sign that the font has not is left blank.
    """
    return [b"".join(_glyph_row(sign, row, scale, ink, paper) for sign in text) for row in range(HEIGHT)]


_CACHE: dict[tuple[str, int, int, int, int], bytes] = {}


def _glyph_row(sign: str, row: int, scale: int, ink: int, paper: int) -> bytes:
    key = (sign, row, scale, ink, paper)
    if key not in _CACHE:
        bits = _GLYPHS.get(sign, _GLYPHS[" "])[row]
        dots = ((ink if bits >> (4 - column) & 1 else paper) for column in range(WIDTH - 1))
        _CACHE[key] = b"".join(bytes((dot,)) * scale for dot in dots) + bytes((paper,)) * scale
    return _CACHE[key]
