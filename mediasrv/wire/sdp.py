"""Session descriptions, as RTSP cameras write them and as this server does (RFC 8866; for RTSP: RFC 2326, C)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mediasrv.errors import ProtocolError

MOST_BYTES: Final = 65_536
MOST_MEDIA: Final = 32
MOST_CLOCK_RATE: Final = 1_000_000
MOST_CHANNELS: Final = 16
MOST_PARAMETER_SETS: Final = 32

_SPROP_NAMES: Final = ("sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps")
_STATIC_TYPES: Final = {0: ("PCMU", 8000), 8: ("PCMA", 8000)}
"""Payload types that need no rtpmap (RFC 3551, 6), of the codecs that are kept."""


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """One `m=` section, reduced to the first payload type it offers.

    `kind` is `video`, `audio`, …; `encoding` is the rtpmap's name in capitals, empty where there is none; `parameters`
    are those of the fmtp line, names in small letters; `control` is as written, empty where there is none.
    """

    kind: str
    payload_type: int
    encoding: str
    clock_rate: int
    channels: int
    parameters: Mapping[str, str]
    control: str


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """`control` is the aggregate control URL as written, empty where there is none."""

    control: str
    media: tuple[MediaDescription, ...]


def parse_sdp(body: bytes) -> SessionDescription:
    """Raises ProtocolError for what is no SDP, breaks its grammar where it matters, or passes a bound."""
    if len(body) > MOST_BYTES:
        raise ProtocolError(f"The session description is longer than {MOST_BYTES} bytes.")
    lines = [line.strip() for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines or not lines[0].startswith("v="):
        raise ProtocolError("The session description does not begin with its version.")
    sections: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    if len(sections) > MOST_MEDIA + 1:
        raise ProtocolError(f"The session description has more than {MOST_MEDIA} media.")
    control = _attributes(sections[0]).get("control", [""])[0]
    return SessionDescription(control, tuple(_parse_media(section) for section in sections[1:]))


def build_sdp(description: SessionDescription, session_id: int, name: str) -> bytes:
    """What `parse_sdp` reads back; of live media without end, sent to where the session will say."""
    lines = ["v=0", f"o=- {session_id} 1 IN IP4 0.0.0.0", f"s={name}", "c=IN IP4 0.0.0.0", "t=0 0", "a=range:npt=now-"]
    if description.control:
        lines.append(f"a=control:{description.control}")
    for media in description.media:
        lines += _build_media(media)
    return ("\r\n".join(lines) + "\r\n").encode()


def _build_media(media: MediaDescription) -> list[str]:
    number = media.payload_type
    channels = f"/{media.channels}" if media.channels > 1 else ""
    lines = [
        f"m={media.kind} 0 RTP/AVP {number}",
        f"a=rtpmap:{number} {media.encoding}/{media.clock_rate}{channels}",
    ]
    if media.parameters:
        lines.append(f"a=fmtp:{number} " + ";".join(f"{one}={value}" for one, value in media.parameters.items()))
    return [*lines, f"a=control:{media.control}"]


def sprop_parameter_sets(media: MediaDescription) -> list[bytes]:
    """The NAL units of `sprop-parameter-sets` (RFC 6184, 8.1), or `sprop-vps`, `-sps` and `-pps` (RFC 7798, 7.1).

    What is not base64 is left out, as if it were absent: the stream itself usually carries them, and better ones.
    """
    texts = ",".join(media.parameters.get(name, "") for name in _SPROP_NAMES).split(",")
    nals = []
    for text in [text for text in texts if text.strip()][:MOST_PARAMETER_SETS]:
        bare = text.strip().rstrip("=")  # cameras forget the padding
        try:
            nal = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        except ValueError:
            continue
        if nal:
            nals.append(nal)
    return nals


def _parse_media(lines: list[str]) -> MediaDescription:
    words = lines[0][2:].split()
    if len(words) < 4:
        raise ProtocolError("A media line of the session description is incomplete.")
    payload_type = _number(words[3], "payload type", 127)
    attributes = _attributes(lines)
    encoding, clock_rate, channels = _parse_rtpmap(attributes.get("rtpmap", []), payload_type)
    return MediaDescription(
        kind=words[0].lower(),
        payload_type=payload_type,
        encoding=encoding,
        clock_rate=clock_rate,
        channels=channels,
        parameters=_parse_fmtp(attributes.get("fmtp", []), payload_type),
        control=attributes.get("control", [""])[0],
    )


def _attributes(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            found.setdefault(name.strip().lower(), []).append(value.strip())
    return found


def _parse_rtpmap(values: list[str], payload_type: int) -> tuple[str, int, int]:
    """Encoding name, clock rate and channels of one payload type; nothing of the others is looked at."""
    for value in values:
        number, _, mapping = value.partition(" ")
        if number == str(payload_type):
            name, *rest = mapping.strip().split("/")
            clock_rate = _number(rest[0], "clock rate", MOST_CLOCK_RATE) if rest else 0
            channels = _number(rest[1], "number of channels", MOST_CHANNELS) if len(rest) > 1 else 1
            return name.upper(), clock_rate, channels
    name, clock_rate = _STATIC_TYPES.get(payload_type, ("", 0))
    return name, clock_rate, 1


def _parse_fmtp(values: list[str], payload_type: int) -> Mapping[str, str]:
    for value in values:
        number, _, text = value.partition(" ")
        if number == str(payload_type):
            pairs = (item.partition("=") for item in text.split(";"))
            return MappingProxyType({name.strip().lower(): given.strip() for name, _, given in pairs if name.strip()})
    return MappingProxyType({})


def _number(text: str, what: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= most):
        raise ProtocolError(f"The session description gives a {what} that is no number up to {most}.")
    return int(text)
