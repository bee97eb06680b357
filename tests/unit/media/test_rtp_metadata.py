"""ONVIF metadata over RTP: documents whole, over several packets, without markers, with losses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.rtp import MetadataDepacketizer
from tests.unit.media.test_rtp_depacketize import Camera, Listener

XML = b"<tt:MetadataStream>" + b"<tt:Event/>" * 20 + b"</tt:MetadataStream>"
PIECES = [XML[at : at + 50] for at in range(0, len(XML), 50)]


@pytest.fixture
def listener() -> Listener:
    return Listener()


def metadata(listener: Listener, most_bytes: int = 4096) -> MetadataDepacketizer:
    return MetadataDepacketizer(96, listener.deliver, most_bytes=most_bytes)


def test_a_document_ends_with_the_marker(listener: Listener) -> None:
    camera = Camera(metadata(listener))
    camera.send([XML], 0, now=1.0)
    camera.send(PIECES, 90_000, now=2.0)
    camera.send([XML], 90_000, now=3.0)
    assert listener.units == [(0, True, XML, 1.0), (90_000, True, XML, 2.0), (90_000, True, XML, 3.0)]


def test_a_document_whose_marker_never_comes_ends_with_the_next_timestamp(listener: Listener) -> None:
    camera = Camera(metadata(listener), marks=False)
    for timestamp in (0, 90_000, 180_000):
        camera.send(PIECES, timestamp)
    assert listener.payloads == [XML, XML]


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("lost", range(len(PIECES)))
def test_a_document_that_lost_a_packet_is_dropped_whole(listener: Listener, marks: bool, lost: int) -> None:
    camera = Camera(metadata(listener), marks=marks, lose=(len(PIECES) + lost,))
    for timestamp in range(0, 5 * 90_000, 90_000):
        camera.send(PIECES, timestamp)
    assert set(listener.payloads) == {XML}
    assert len(listener.payloads) >= 2, "what comes after the loss is whole again"


def test_a_document_past_its_bound_is_dropped_and_counted(listener: Listener) -> None:
    depacketizer = metadata(listener, most_bytes=100)
    camera = Camera(depacketizer)
    camera.send(PIECES, 0)
    camera.send([b"<small/>"], 90_000)
    assert listener.payloads == [b"<small/>"]
    assert depacketizer.strange_packets == 1


@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 2), st.booleans(), st.booleans()), max_size=40))
def test_nonsense_never_raises_and_never_outgrows_its_bound(packets: list[tuple[bytes, int, bool, bool]]) -> None:
    listener = Listener()
    camera = Camera(metadata(listener, most_bytes=100))
    for body, timestamp, marker, lost in packets:
        camera.lose = (camera.sent,) if lost else ()
        camera.send([body], timestamp, mark=marker)
    assert all(0 < len(payload) <= 100 for payload in listener.payloads)
