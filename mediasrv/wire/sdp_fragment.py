"""The SDP fragments of trickled candidates and ICE restarts (RFC 8840, 9; RFC 9725, 4.3). Pure: text in, values out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mediasrv.errors import InvalidRequest
from mediasrv.wire.ice import Credentials

MOST_BYTES: Final = 65_536
_MOST_LINES: Final = 1000
_LINE: Final = re.compile(r"[a-z]=.*")
# RFC 8839, 5.4.
_FRAGMENT: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")


@dataclass(frozen=True, slots=True)
class IceDescription:
    """What a peer says about its ICE, and the lines (m-line, mid) that say of which section.

    Its candidates are not kept: who is ICE-lite answers whoever checks.
    """

    fragment: str
    password: str
    section: tuple[str, ...] = ()


def parse_fragment(text: str) -> IceDescription:
    """Reads an `application/trickle-ice-sdpfrag` body. Raises InvalidRequest `fragment_invalid`.

    The credentials may stand before the first m-line or in a section; several must be the same (RFC 8840, 4.4).
    """
    if len(text) > MOST_BYTES:
        raise _refused("is too long")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > _MOST_LINES:
        raise _refused("has too many lines")
    if not all(_LINE.fullmatch(line) for line in lines):
        raise _refused("is no session description")
    fragment = _only(lines, "a=ice-ufrag:")
    password = _only(lines, "a=ice-pwd:")
    if not _FRAGMENT.fullmatch(fragment) or not _PASSWORD.fullmatch(password):
        raise _refused("has no ICE credentials that could be used")
    section = (next((line for line in lines if line.startswith(name)), "") for name in ("m=", "a=mid:"))
    return IceDescription(fragment, password, tuple(line for line in section if line))


def build_fragment(section: Sequence[str], credentials: Credentials, candidates: Sequence[str]) -> str:
    """Our side of an ICE restart, of the same section; `candidates` are whole lines."""
    return "\r\n".join(
        (
            "a=ice-lite",
            *section,
            f"a=ice-ufrag:{credentials.fragment}",
            f"a=ice-pwd:{credentials.password}",
            *candidates,
            "",
        )
    )


def _only(lines: Sequence[str], name: str) -> str:
    """The one value of an attribute, empty where there is none."""
    values = {line.removeprefix(name) for line in lines if line.startswith(name)}
    if len(values) > 1:
        raise _refused("has several ICE credentials")
    return values.pop() if values else ""


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"The SDP fragment {why}.", code="fragment_invalid")
