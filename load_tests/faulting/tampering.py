"""What time, a broken disk or a forger may do to a stored object: each is refused by readers, and found by `check`.

The forger knows every public key and may write to the bucket. All is pure: the bytes of an object in, others out.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import google_crc32c

from mediasrv.storage.keys import NodeKey
from mediasrv.storage.sealing import (
    TRAILER_BYTES,
    Ended,
    build_footer,
    footer_length,
    header_length,
    parse_header,
)

_ENTRY_BYTES: Final = 60
_FOOTER_HEAD_BYTES: Final = 64
_SIGNATURE_BYTES: Final = 64
_OFFSET_BYTES, _LENGTH_BYTES = 8, 4


class Regions(NamedTuple):
    """Where the pieces of an object lie: each is a start and an end."""

    header: tuple[int, int]
    parts: tuple[int, int]
    footer: tuple[int, int]
    entries: tuple[int, int]
    signature: tuple[int, int]
    trailer: tuple[int, int]
    first_part_bytes: int


def regions_of(body: bytes) -> Regions:
    header, footer = header_length(body), footer_length(body)
    start, end = len(body) - footer, len(body)
    entries = start + _FOOTER_HEAD_BYTES
    signature = end - TRAILER_BYTES - _SIGNATURE_BYTES
    (first_part,) = struct.unpack_from(">I", body, entries + _OFFSET_BYTES)
    return Regions(
        (0, header),
        (header, start),
        (start, entries),
        (entries, signature),
        (signature, signature + _SIGNATURE_BYTES),
        (end - TRAILER_BYTES, end),
        first_part,
    )


def flip(body: bytes, at: int, dice: random.Random) -> bytes:
    """One bit of the byte at `at` is another one."""
    return body[:at] + bytes((body[at] ^ (1 << dice.randrange(8)),)) + body[at + 1 :]


def bit_flips(body: bytes, dice: random.Random) -> dict[str, bytes]:
    """An object with one bit changed, once for each of its regions."""
    at = regions_of(body)
    tag = at.parts[0] + at.first_part_bytes - dice.randrange(1, 17)
    places = {
        "magic": dice.randrange(8),
        "header length": 11,
        "header": dice.randrange(12, at.header[1]),
        "part": dice.randrange(at.parts[0], tag - 16),
        "tag": tag,
        "last part": dice.randrange(at.parts[1] - 200, at.parts[1] - 16),
        "footer": dice.randrange(*at.footer),
        "index": dice.randrange(*at.entries),
        "signature": dice.randrange(*at.signature),
        "trailer": dice.randrange(*at.trailer),
    }
    return {name: flip(body, place, dice) for name, place in places.items()}


def _same_checksum(body: bytes, dice: random.Random) -> bytes:
    """Other footage of the same length and crc32c: a checksum proves nothing against a forger.

    A CRC is linear: four bytes are found, bit by bit, that take back what the others changed.
    """
    at = regions_of(body)
    start = at.parts[0] + 100
    wanted = google_crc32c.value(body)
    changed = bytearray(flip(body, start, dice))
    patch, size = start + 8, len(body)
    # What each bit of the four bytes does to the checksum, whatever the rest is.
    zero = google_crc32c.value(bytes(size))
    effects = []
    for bit in range(32):
        one = bytearray(size)
        one[patch + bit // 8] = 1 << bit % 8
        effects.append(google_crc32c.value(bytes(one)) ^ zero)
    for bit in _solve(effects, google_crc32c.value(bytes(changed)) ^ wanted):
        changed[patch + bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _solve(effects: list[int], wanted: int) -> list[int]:
    """Which effects, taken together (exclusive or), give `wanted`: elimination over GF(2)."""
    rows: dict[int, tuple[int, int]] = {}
    for number, effect in enumerate(effects):
        mask = 1 << number
        while effect:
            top = effect.bit_length()
            if top not in rows:
                rows[top] = (effect, mask)
                break
            effect, mask = effect ^ rows[top][0], mask ^ rows[top][1]
    chosen = 0
    while wanted:
        effect, mask = rows[wanted.bit_length()]
        wanted, chosen = wanted ^ effect, chosen ^ mask
    return [number for number in range(len(effects)) if chosen >> number & 1]


def own_footage(body: bytes, forger: NodeKey, node_id: str | None = None) -> bytes:
    """The same object signed by the forger's key, in the name of the node or of one of the forger's own."""
    at = regions_of(body)
    header, parts = body[: at.header[1]], body[slice(*at.parts)]
    parsed = parse_header(header)
    if node_id is not None:
        parsed = replace(parsed, node_id=node_id)
        header = parsed.build()
    entries, offset = [], 0
    for place in range(*at.entries, _ENTRY_BYTES):
        (length,) = struct.unpack_from(">I", body, place + _OFFSET_BYTES)
        descriptor = body[place + _OFFSET_BYTES + _LENGTH_BYTES :][:32]
        offset += length
        entries.append((length, descriptor, parts[offset - 16 : offset]))
    footer = build_footer(header, entries, Ended.CLOSED, parsed.key_id, forger)
    return header + parts + footer


HARMS: Final[dict[str, Callable[[bytes, random.Random], bytes]]] = {
    "truncated": lambda body, dice: body[: -dice.randrange(1, len(body) // 2)],
    "appended": lambda body, dice: body + dice.randbytes(dice.randrange(1, 500)),
    "own key": lambda body, dice: own_footage(body, NodeKey.generate()),
    "own node": lambda body, dice: own_footage(body, NodeKey.generate(), "forger-1"),
    "same checksum": _same_checksum,
}
