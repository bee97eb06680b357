"""Transport, RTP-Info, Scale and control URLs as cameras write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.wire.rtsp_headers import Transport, parse_rtp_info, parse_scale, parse_transport, resolve_control


@pytest.mark.parametrize(
    ("base", "control", "url"),
    [
        ("rtsp://h/cam/", "trackID=0", "rtsp://h/cam/trackID=0"),
        ("rtsp://h/cam", "trackID=0", "rtsp://h/cam/trackID=0"),
        ("rtsp://h/cam", "*", "rtsp://h/cam"),
        ("rtsp://h/cam", "", "rtsp://h/cam"),
        ("rtsp://h/cam", "rtsp://other/x?y", "rtsp://other/x?y"),
        ("rtsp://h/cam?channel=1", "track1", "rtsp://h/cam?channel=1/track1"),
        ("rtsp://h:8554/a/b?c=1", "/d/track1", "rtsp://h:8554/d/track1"),
        ("rtsp://h/cam/", "track1?transport=unicast", "rtsp://h/cam/track1?transport=unicast"),
    ],
)
def test_control_urls_are_resolved_as_cameras_expect(base: str, control: str, url: str) -> None:
    assert resolve_control(base, control) == url


@pytest.mark.parametrize("control", ["a b", "a\r\nInjected: yes", "\u00e9", "x" * 3000])
def test_control_urls_that_cannot_stand_in_a_request_are_refused(control: str) -> None:
    with pytest.raises(ProtocolError):
        resolve_control("rtsp://h/cam", control)


@pytest.mark.parametrize(
    ("header", "transport"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=4-5;ssrc=1", Transport(True, (4, 5))),
        ("RTP/AVP/TCP;interleaved=2", Transport(True, (2, 3))),
        ("RTP/AVP;unicast;interleaved=0-1", Transport(True, (0, 1))),
        ("RTP/AVP/TCP;unicast;interleaved=300-301", Transport(True)),
        ("RTP/AVP;unicast;client_port=1-2", Transport(False)),
        ("RTP/AVP/UDP;unicast;client_port=1-2;server_port=5000-5001", Transport(False, None, (5000, 5001))),
        ("RTP/AVP;unicast;source=192.0.2.9;server_port=5000", Transport(False, None, (5000, 5001), "192.0.2.9")),
        ('RTP/AVP;source="2001:db8::1";SERVER_PORT = 6 - 7', Transport(False, None, (6, 7), "2001:db8::1")),
        ("RTP/AVP;server_port=70000-70001", Transport(False)),
        ("RTP/AVP;server_port=1-2, RTP/AVP/TCP;interleaved=0-1", Transport(False, None, (1, 2))),
        ("", Transport(False)),
    ],
)
def test_transport_headers_tell_the_way_of_the_media(header: str, transport: Transport) -> None:
    assert parse_transport(header) == transport


@pytest.mark.parametrize(
    ("header", "entries"),
    [
        (
            "url=rtsp://h/a;seq=9810092;rtptime=3450012,url=rtsp://h/b;seq=30211;rtptime=1",
            [("rtsp://h/a", None), ("rtsp://h/b", 30211)],
        ),
        ("url=rtsp://h/a?x=1,2;y=3/track1;seq=5", [("rtsp://h/a?x=1,2;y=3/track1", 5)]),
        ('URL="trackID=0" ; seq = 7 ; rtptime = 4294967296', [("trackID=0", 7)]),
        ("seq=1;rtptime=2", []),
        ("", []),
    ],
)
def test_rtp_info_tells_where_each_track_begins(header: str, entries: list[object]) -> None:
    assert parse_rtp_info(header) == entries


@pytest.mark.parametrize(("header", "scale"), [("", 1.0), ("1.0", 1.0), ("2.5", 2.5), ("-1", -1.0), ("fast", 1.0)])
def test_scale_is_one_unless_the_camera_says_otherwise(header: str, scale: float) -> None:
    assert parse_scale(header) == scale


@given(st.text(max_size=300))
def test_any_header_is_read_without_complaint(header: str) -> None:
    parse_transport(header)
    parse_rtp_info(header)
    parse_scale(header)
