"""Answers that no client should swallow: XML that is broken, and XML that grows when it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from load_tests.camera_farm.onvif.soap import NAMESPACES

DTD_PATH: Final = "/onvif/external.dtd"
_DEPTH: Final = 200_000
_HUGE_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_TRICKLE_S: Final = 0.2
_TRICKLE_BYTES: Final = 3000

Chunks = AsyncIterator[bytes]
Bomb = Callable[[str, str], Chunks]
"""`(text, dtd_url)` makes the answer out of the right one, piece by piece; a URL that nobody should fetch is given."""


def undeclared(text: str) -> str:
    """Prefixes without their namespaces, as some cameras write them."""
    for prefix in ("tt", "tds", "trt"):
        text = text.replace(f' xmlns:{prefix}="{NAMESPACES[prefix]}"', "")
    return text


def truncated(text: str) -> str:
    """What is left of an answer after a buffer that was too small."""
    return text[: len(text) * 2 // 3]


def _declaration_and_rest(text: str) -> tuple[str, str]:
    declaration, end, rest = text.partition("?>")
    return declaration + end, rest


async def _entities(text: str, _dtd_url: str) -> Chunks:
    """Ten times ten times ten … : a gigabyte out of a kilobyte."""
    levels = [f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 10)]
    declaration, rest = _declaration_and_rest(text)
    doctype = f'<!DOCTYPE bomb [<!ENTITY e0 "boom">{"".join(levels)}]>'
    yield f"{declaration}{doctype}{rest.replace('</s:Body>', '&e9;</s:Body>')}".encode()


async def _external(text: str, dtd_url: str) -> Chunks:
    """A document type that is to be fetched from elsewhere."""
    declaration, rest = _declaration_and_rest(text)
    yield f'{declaration}<!DOCTYPE s:Envelope SYSTEM "{dtd_url}">{rest}'.encode()


async def _deep(text: str, _dtd_url: str) -> Chunks:
    head, end, rest = text.partition("<s:Header/>")
    yield f"{head}<s:Header>{'<a>' * _DEPTH}{'</a>' * _DEPTH}</s:Header>{rest if end else text}".encode()


async def _huge(text: str, _dtd_url: str) -> Chunks:
    yield text.encode()
    filling = b"<!--" + b"x" * (_CHUNK_BYTES - 7) + b"-->"
    for _ in range(_HUGE_BYTES // _CHUNK_BYTES):
        yield filling


async def _trickle(text: str, _dtd_url: str) -> Chunks:
    """A byte now and then: never silent for long, and never done."""
    for byte in text.encode()[:_TRICKLE_BYTES]:
        yield bytes((byte,))
        await asyncio.sleep(_TRICKLE_S)


BOMBS: Final[dict[str, Bomb]] = {
    "entities": _entities,
    "external": _external,
    "deep": _deep,
    "huge": _huge,
    "trickle": _trickle,
}
