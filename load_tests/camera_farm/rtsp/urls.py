"""Addresses of streams and of their tracks, in the forms in which cameras give them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qs, urlsplit

_STREAMS: Final = ("main", "sub")
_TRACK: Final = re.compile(r"trackID=(\d)")


class UrlStyle(StrEnum):
    """`/main`, or one path for all streams with the stream in the query."""

    PATH = "path"
    QUERY = "query"


class ControlStyle(StrEnum):
    """A track's `a=control`: `trackID=0`; the whole URL; the whole URL with the track in its query."""

    RELATIVE = "relative"
    ABSOLUTE = "absolute"
    QUERY = "query"


def stream_path(name: str, style: UrlStyle) -> str:
    """Path and query of a stream's URL, without the first slash."""
    if style is UrlStyle.PATH:
        return name
    return f"cam/realmonitor?channel=1&subtype={_STREAMS.index(name)}"


def stream_of(url: str) -> str:
    """The name of the stream that a URL of any form names; it need not exist."""
    parts = urlsplit(url)
    subtype = parse_qs(parts.query).get("subtype", [""])[0][:1]
    if subtype.isdigit() and int(subtype) < len(_STREAMS):
        return _STREAMS[int(subtype)]
    return parts.path.strip("/").split("/")[0]


def track_of(url: str) -> int | None:
    """The number of the track that a URL names; None where it names the whole stream."""
    found = _TRACK.search(url)
    return int(found[1]) if found else None


def control_of(base: str, number: int, style: ControlStyle) -> str:
    """A track's `a=control`; `base` is the stream's URL without a slash at its end."""
    if style is ControlStyle.RELATIVE:
        return f"trackID={number}"
    if style is ControlStyle.ABSOLUTE:
        return f"{base}/trackID={number}"
    return f"{base}{'&' if '?' in base else '?'}trackID={number}&profile=token-7"


def track_url(base: str, number: int, style: ControlStyle) -> str:
    control = control_of(base, number, style)
    return f"{base}/{control}" if style is ControlStyle.RELATIVE else control
