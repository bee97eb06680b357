"""Headers and URLs of RTSP that say where media comes from and how: Transport, RTP-Info, Scale, control URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mediasrv.errors import ProtocolError

_PORTS: Final = r"(?i)\b{}\s*=\s*(\d{{1,5}})(?:\s*-\s*(\d{{1,5}}))?"
_PAIRS: Final = {name: re.compile(_PORTS.format(name)) for name in ("interleaved", "server_port", "client_port")}
_SOURCE: Final = re.compile(r"(?i)\bsource\s*=\s*\"?\[?([0-9a-f:.]+)")
_MOST_URL_BYTES: Final = 2048


@dataclass(frozen=True, slots=True)
class Transport:
    """What a camera answered to SETUP (RFC 2326, 12.39); it may give other channels than it was asked for.

    `channels` and `server_ports` are those of RTP and RTCP. `source` is the numeric address that media comes from where
    the camera names one, else empty.
    """

    is_tcp: bool
    channels: tuple[int, int] | None = None
    server_ports: tuple[int, int] | None = None
    source: str = ""


def parse_transport(header: str) -> Transport:
    """The first transport of the header: an answer has one. Never raises; what makes no sense is absent."""
    first = header.split(",", 1)[0]
    channels = transport_pair(first, "interleaved", 255)
    source = _SOURCE.search(first)
    is_tcp = channels is not None or "/tcp" in first.partition(";")[0].lower()
    ports = transport_pair(first, "server_port", 65_535)
    return Transport(is_tcp, channels, ports, source[1] if source else "")


def transport_pair(transport: str, name: str, most: int) -> tuple[int, int] | None:
    """The numbers of `interleaved`, `server_port` or `client_port`, for RTP and RTCP; where one is given, the next is
    meant. None where there is none, or one exceeds `most`."""
    found = _PAIRS[name].search(transport)
    if found is None:
        return None
    first = int(found[1])
    second = int(found[2]) if found[2] else first + 1
    return (first, second) if first <= most and second <= most else None


def parse_rtp_info(header: str) -> list[tuple[str, int | None]]:
    """URL and sequence number of the first packet of each track (RFC 2326, 12.33); None where not given.

    URLs may hold commas and semicolons: an entry begins at `url=` only. RTP times are left alone: cameras give zeros
    and those of their last client, and a track begins where it arrived (docs/time.md, 5).
    """
    entries = []
    for entry in re.split(r"(?i)(?:^|,)\s*url\s*=", header)[1:]:
        url = re.split(r"(?i);\s*(?:seq|rtptime)\s*=", entry, maxsplit=1)[0].strip().strip('"')
        entries.append((url, _sequence(entry)))
    return entries


def parse_scale(header: str) -> float:
    """How many times faster than it happened the camera sends (RFC 2326, 12.34); 1 where it does not say."""
    found = re.fullmatch(r"-?\d{1,6}(?:\.\d{0,6})?", header.strip())
    return float(found[0]) if found else 1.0


def resolve_control(base: str, control: str) -> str:
    """The URL of a track or of the aggregate (RFC 2326, C.1.1).

    Absolute stays; `*` or nothing is the base; `/path` is of the base's host. Anything else is appended to the base,
    query and all, as the common servers expect of their own relative URLs.
    Raises ProtocolError for what cannot stand in a request line.
    """
    if re.match(r"(?i)rtsps?://", control):
        url = control
    elif control in ("", "*"):
        url = base
    elif control.startswith("/"):
        parts = urlsplit(base)
        url = f"{parts.scheme}://{parts.netloc}{control}"
    else:
        url = base.removesuffix("/") + "/" + control
    if len(url) > _MOST_URL_BYTES or not re.fullmatch(r"[!-~]+", url):
        raise ProtocolError("The camera gave a control URL with characters that no URL has.")
    return url


def _sequence(entry: str) -> int | None:
    found = re.search(r"(?i);\s*seq\s*=\s*(\d{1,10})", entry)
    return int(found[1]) if found and int(found[1]) <= 0xFFFF else None
