"""The metadata track: XML documents in RTP (ONVIF Streaming, 5.2.1.1); the marker ends a document."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from load_tests.camera_farm.events import Event, notification, utc_text
from load_tests.camera_farm.tracks.rtp_unit import PAYLOAD_BYTES

METADATA_PAYLOAD_TYPE: Final = 107
METADATA_CLOCK_RATE: Final = 90_000
METADATA_INTERVAL_S: Final = 1.0
"""Even where nothing happens a document with the scene is sent each second."""

_HEAD: Final = (
    '<?xml version="1.0" encoding="UTF-8"?><tt:MetadataStream xmlns:tt="http://www.onvif.org/ver10/schema" '
    'xmlns:wsnt="http://docs.oasis-open.org/wsn/b-2" xmlns:tns1="http://www.onvif.org/ver10/topics">'
)


def scene_document(now: datetime) -> bytes:
    """An analytics frame of this moment with nothing in it."""
    frame = f'<tt:VideoAnalytics><tt:Frame UtcTime="{utc_text(now)}"/></tt:VideoAnalytics>'
    return f"{_HEAD}{frame}</tt:MetadataStream>".encode()


def event_document(events: list[Event]) -> bytes:
    body = "".join(notification(event) for event in events)
    return f"{_HEAD}<tt:Event>{body}</tt:Event></tt:MetadataStream>".encode()


def metadata_payloads(document: bytes) -> list[bytes]:
    return [document[at : at + PAYLOAD_BYTES] for at in range(0, len(document), PAYLOAD_BYTES)]
