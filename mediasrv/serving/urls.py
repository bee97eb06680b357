"""URLs that readers ask for, and those that they are told."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from mediasrv.media.access_unit import StreamName, StreamRef, TrackKind, is_camera_id

CONTROL: Final = "track"
"""A track's control URL is this and its kind's number behind the stream's."""


def parse_stream_url(url: str) -> tuple[StreamRef, TrackKind | None] | None:
    """`/{camera}`, `/{camera}/main`, `/{camera}/sub`, each perhaps with a track behind it; None for anything else."""
    try:
        words = urlsplit(url).path.strip("/").split("/")
    except ValueError:
        return None
    track = _parse_track(words[-1])
    if track is not None:
        words.pop()
    if not 1 <= len(words) <= 2 or not is_camera_id(words[0]):
        return None
    name = words[1] if len(words) == 2 else StreamName.MAIN
    return (StreamRef(words[0], StreamName(name)), track) if name in tuple(StreamName) else None


def _parse_track(word: str) -> TrackKind | None:
    number = word.removeprefix(CONTROL)
    if number == word or number not in {str(int(kind)) for kind in TrackKind}:
        return None
    return TrackKind(int(number))


def base_url(url: str) -> str:
    """As the peer wrote it, without a login, a query and a track: what it shall ask for from here on."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    head, _, last = path.rpartition("/")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{head if _parse_track(last) is not None else path}"
