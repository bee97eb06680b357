"""What a session lets be set up: never media for anybody but the peer, never two tracks on one channel."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.wire.rtsp_headers import parse_transport
from mediasrv.wire.rtsp_server import RtspRefused
from mediasrv.wire.rtsp_session import Interleaved, ReaderSession, ServerPorts, SessionState, UdpPorts

PORTS = ServerPorts(5000, 5001)
TCP = "RTP/AVP/TCP;unicast;interleaved=0-1"


def session(udp: ServerPorts | None = PORTS) -> ReaderSession:
    return ReaderSession("abc", udp)


def refused(call: object, *arguments: object) -> int:
    with pytest.raises(RtspRefused) as found:
        call(*arguments)  # type: ignore[operator]
    return found.value.rtsp_status


def test_from_set_up_over_play_and_pause_to_play() -> None:
    one = session()
    assert refused(one.play) == 455
    assert refused(one.pause) == 455
    one.set_up(1, TCP)
    assert one.state is SessionState.READY
    one.play()
    assert refused(one.set_up, 2, TCP) == 455
    one.pause()
    one.play()
    assert one.state is SessionState.PLAYING


def test_the_answer_reads_back_as_a_client_reads_it() -> None:
    one = session()
    assert parse_transport(one.set_up(1, TCP)).channels == (0, 1)
    two = session()
    told = parse_transport(two.set_up(1, "RTP/AVP;unicast;client_port=6000-6001"))
    assert (told.is_tcp, told.server_ports) == (False, (5000, 5001))
    assert two.tracks == {1: UdpPorts(6000, 6001)}
    assert two.is_udp


def test_udp_is_refused_where_media_may_not_leave_in_plain() -> None:
    assert refused(session(None).set_up, 1, "RTP/AVP;unicast;client_port=6000-6001") == 461


def test_another_session_is_refused() -> None:
    one = session()
    one.check("")
    one.check("abc;timeout=60")
    assert refused(one.check, "abcd") == 454


@pytest.mark.parametrize(
    "transport",
    [
        "RTP/AVP;unicast;client_port=6000-6001;destination=192.0.2.9",
        "RTP/AVP;unicast; Destination =192.0.2.9;client_port=6000-6001",
        "RTP/AVP/TCP;unicast;interleaved=0-1;destination=192.0.2.9",
        "RTP/AVP;multicast;client_port=6000-6001",
        "RTP/AVP;unicast;client_port=1023-1024",
        "RTP/AVP;unicast;client_port=6000-80",
        "RTP/AVP;unicast;client_port=6000-6000",
        "RTP/AVP;unicast;client_port=65535",
        "RTP/AVP;unicast;mode=record;client_port=6000-6001",
        "RTP/SAVP;unicast;client_port=6000-6001",
        "RTP/AVP;unicast",
    ],
)
def test_what_is_not_for_the_peer_itself_is_refused(transport: str) -> None:
    assert refused(session().set_up, 1, transport) == 461


def test_channels_and_ports_are_not_given_twice() -> None:
    one = session()
    one.set_up(1, "RTP/AVP/TCP;unicast;interleaved=0-1")
    for wanted in ("0-1", "1-2"):
        told = one.set_up(2, f"RTP/AVP/TCP;unicast;interleaved={wanted}")
        assert parse_transport(told).channels == (2, 3)
    two = session()
    two.set_up(1, "RTP/AVP;unicast;client_port=6000-6001")
    assert refused(two.set_up, 2, "RTP/AVP;unicast;client_port=6001-6002") == 461
    assert refused(two.set_up, 2, TCP) == 461


PROFILES = st.sampled_from(["RTP/AVP", "RTP/AVP", "RTP/AVP/TCP", "RTP/AVP/TCP", "RTP/AVP/UDP", "RTP/SAVP", "RAW"])
PLACES = st.sampled_from(
    [
        *("client_port=6000-6001", "client_port=6001-6002", "client_port=7000", "client_port=80-81"),
        *("interleaved=0-1", "interleaved=1-2", "interleaved=4-9", "interleaved=255-256", ""),
    ]
)
OTHERS = st.lists(
    st.sampled_from(["unicast", "mode=play", 'mode="PLAY"', "destination=192.0.2.9", "multicast", "ttl=1", "="]),
    max_size=2,
)
ALTERNATIVES = st.builds(lambda profile, place, others: ";".join([profile, *others, place]), PROFILES, PLACES, OTHERS)
HEADERS = st.lists(ALTERNATIVES, min_size=1, max_size=3).map(",".join)


@given(st.lists(st.tuples(st.integers(1, 3), HEADERS), max_size=6), st.booleans())
def test_whatever_is_asked_for_channels_are_apart_and_ports_are_the_peers_own(
    asked: list[tuple[int, str]], over_tls: bool
) -> None:
    one, refusals = session(None if over_tls else PORTS), {461}
    for track, transport in asked:
        try:
            told = one.set_up(track, transport)
        except RtspRefused as error:
            refusals.add(error.rtsp_status)
            continue
        assert "destination" not in told
        assert "192.0.2.9" not in told
        chosen = one.tracks[track]
        accepted = [each for each in transport.split(",") if "destination" not in each and "multicast" not in each]
        assert accepted, "an alternative that names a destination is never taken"
        if isinstance(chosen, UdpPorts):
            assert not over_tls
            assert min(chosen.rtp, chosen.rtcp) >= 1024
    assert refusals == {461}
    ways = list(one.tracks.values())
    assert len({type(way) for way in ways}) <= 1
    channels = list(chain.from_iterable((way.channel, way.channel + 1) for way in ways if isinstance(way, Interleaved)))
    assert len(channels) == len(set(channels))
    assert all(0 <= channel <= 255 for channel in channels)
