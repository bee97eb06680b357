"""Offers of real browsers and broken ones; answers that a browser takes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import InvalidRequest, NotAcceptable
from mediasrv.wire.dtls import Fingerprint
from mediasrv.wire.whep_sdp import Candidate, LocalTransport, build_answer, parse_offer

# The form of Chromium's offer: session lines, several H.264 payloads with and without packetization-mode=1.
CHROMIUM = """v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS
m=video 9 UDP/TLS/RTP/SAVPF 96 97 103 104 107 108 109 114 115 39 127
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:kQ7p
a=ice-pwd:3s4vEbXlSfGrBgzMsVlQ2jDh
a=ice-options:trickle
a=fingerprint:sha-256 AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:toffset
a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=recvonly
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:103 H264/90000
a=rtcp-fb:103 goog-remb
a=rtcp-fb:103 transport-cc
a=rtcp-fb:103 ccm fir
a=rtcp-fb:103 nack
a=rtcp-fb:103 nack pli
a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
a=rtpmap:104 rtx/90000
a=fmtp:104 apt=103
a=rtpmap:107 H264/90000
a=fmtp:107 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f
a=rtpmap:109 H264/90000
a=rtcp-fb:109 ccm fir
a=rtcp-fb:109 nack
a=rtcp-fb:109 nack pli
a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtpmap:115 H264/90000
a=rtcp-fb:115 nack
a=rtcp-fb:115 nack pli
a=fmtp:115 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f
a=rtpmap:39 AV1/90000
a=rtpmap:127 H264/90000
a=fmtp:127 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=f4001f
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:kQ7p
a=ice-pwd:3s4vEbXlSfGrBgzMsVlQ2jDh
a=ice-options:trickle
a=fingerprint:sha-256 AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89
a=setup:actpass
a=mid:1
a=recvonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
""".replace("\n", "\r\n")

LOCAL = LocalTransport(
    ice_fragment="ours",
    ice_password="our-password",
    fingerprint=Fingerprint("sha-256", bytes(range(32))),
    candidates=[Candidate("192.0.2.1", 8189), Candidate("2001:db8::1", 8189), Candidate("192.0.2.1", 8190, "tcp")],
    video_ssrc=11,
    repair_ssrc=12,
    audio_ssrc=22,
    cname="name",
)


def sections(answer: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in answer.split("\r\n"):
        if line.startswith("m="):
            parts.append([])
        parts[-1].append(line)
    return parts


def test_chromiums_offer_is_read() -> None:
    offer = parse_offer(CHROMIUM)
    assert offer.ice_fragment == "kQ7p"
    assert offer.fingerprints == (Fingerprint("sha-256", bytes.fromhex("ABCDEF0123456789" * 4)),)
    assert offer.audio == {"OPUS": 111, "PCMU": 0, "PCMA": 8}
    assert set(offer.video) == {"H264"}
    assert offer.video["H264"].feedback == ("ccm fir", "nack", "nack pli")


@pytest.mark.parametrize(
    ("profile_level_id", "payload_type"),
    [
        ("", 109),
        ("42e01f", 109),
        ("42c01e", 109),
        ("420029", 103),
        ("4d0028", 115),
        ("4d401f", 115),
        ("640028", 109),
    ],
    ids=["unknown", "constrained", "other constraints", "baseline", "main", "main with constraints", "high"],
)
def test_the_payload_type_is_the_one_nearest_to_the_stream(profile_level_id: str, payload_type: int) -> None:
    assert parse_offer(CHROMIUM, profile_level_id).video["H264"].payload_type == payload_type


def test_the_answer_takes_video_and_audio_on_one_transport() -> None:
    session, video, audio = sections(build_answer(parse_offer(CHROMIUM, "4d401f"), LOCAL))
    assert "a=group:BUNDLE 0 1" in session
    assert "a=ice-lite" in session
    assert video[0] == "m=video 8189 UDP/TLS/RTP/SAVPF 115"
    assert audio[0] == "m=audio 8189 UDP/TLS/RTP/SAVPF 111 0 8"
    assert {"a=rtpmap:111 opus/48000/2", "a=rtpmap:8 PCMA/8000", "a=fmtp:111 stereo=1"} <= set(audio)
    assert "a=fmtp:115 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f" in video
    for section in (video, audio):
        assert {"a=sendonly", "a=rtcp-mux", "a=setup:passive", "a=ice-ufrag:ours"} <= set(section)
    assert "a=rtcp-fb:115 nack" in video
    assert not any("transport-cc" in line for line in video)
    assert "a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host" in video
    assert "a=candidate:2 1 udp 2130706175 2001:db8::1 8189 typ host" in video


REPAIR = "a=rtpmap:116 rtx/90000\r\na=fmtp:116 apt=115\r\na=rtpmap:39"
H265 = "a=rtpmap:49 H265/90000\r\na=fmtp:49 level-id=93;profile-id={};tier-flag=0;tx-mode=SRST\r\na=rtpmap:39"
DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"


def test_repair_is_bound_to_what_it_repairs() -> None:
    _, video, audio = sections(build_answer(parse_offer(CHROMIUM.replace("a=rtpmap:39", REPAIR), "4d401f"), LOCAL))
    assert video[0] == "m=video 8189 UDP/TLS/RTP/SAVPF 115 116"
    assert {"a=rtpmap:116 rtx/90000", "a=fmtp:116 apt=115", "a=ssrc-group:FID 11 12", "a=ssrc:12 cname:name"} <= set(
        video
    )
    assert not any("ssrc-group" in line for line in audio)


def test_h265_is_taken_beside_h264_for_a_viewer_may_be_moved_between_streams() -> None:
    offer = parse_offer(CHROMIUM.replace("a=rtpmap:39", H265.format(1)))
    assert {name: payload.payload_type for name, payload in offer.video.items()} == {"H264": 109, "H265": 49}
    [line] = [line for line in sections(build_answer(offer, LOCAL))[1] if line.startswith("a=fmtp:49")]
    assert "profile-id=1" in line


def test_other_profiles_of_h265_than_main_are_passed_over() -> None:
    assert set(parse_offer(CHROMIUM.replace("a=rtpmap:39", H265.format(2))).video) == {"H264"}


@pytest.mark.parametrize(("number", "taken"), [("5", 5), ("15", 0), ("200", 0)])
def test_the_header_extension_is_taken_where_one_byte_can_name_it(number: str, taken: int) -> None:
    offer = parse_offer(CHROMIUM.replace("a=mid:0", f"a=mid:0\r\na=extmap:{number} {DELAY}"))
    assert offer.playout_delay == taken
    answered = f"a=extmap:{number} {DELAY}" in build_answer(offer, LOCAL)
    assert answered is bool(taken)


def test_audio_that_cannot_be_passed_on_is_refused_in_its_place() -> None:
    session, video, audio = sections(build_answer(parse_offer(CHROMIUM, audio=False), LOCAL))
    assert "a=group:BUNDLE 0" in session
    assert video[0].startswith("m=video 8189 ")
    assert audio[0].startswith("m=audio 0 ")
    assert "a=inactive" in audio


def test_audio_outside_the_bundle_is_refused() -> None:
    apart = CHROMIUM.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0")
    assert parse_offer(apart).audio == {}


def test_the_answer_keeps_the_order_of_the_offer() -> None:
    head, video, audio = ("\r\n".join(part) for part in sections(CHROMIUM))
    swapped = "\r\n".join((head, audio.strip(), video.strip(), ""))
    assert [part[0][:8] for part in sections(build_answer(parse_offer(swapped), LOCAL))[1:]] == ["m=audio ", "m=video "]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("packetization-mode=1", "packetization-mode=0", "codec_unsupported"),
        ("H264", "VP8", "codec_unsupported"),
        ("m=video 9", "m=video 0", "no_video"),
        ("a=recvonly", "a=sendonly", "no_video"),
        ("UDP/TLS/RTP/SAVPF", "RTP/AVP", "no_video"),
        ("a=setup:actpass", "a=setup:passive", "transport_refused"),
        ("a=setup:actpass\r\n", "", "transport_refused"),
        ("a=rtcp-mux\r\n", "", "transport_refused"),
        ("a=ice-ufrag:kQ7p\r\n", "", "transport_refused"),
        ("fingerprint:sha-256", "fingerprint:sha-1", "transport_refused"),
    ],
)
def test_an_offer_that_cannot_be_served_says_why(old: str, new: str, code: str) -> None:
    assert old in CHROMIUM
    with pytest.raises(NotAcceptable) as refused:
        parse_offer(CHROMIUM.replace(old, new))
    assert refused.value.code == code
    assert refused.value.sentence.endswith(".")


@pytest.mark.parametrize(
    "text",
    ["", "hello", "m=video", "v=x", CHROMIUM.replace(":AB:CD", ""), CHROMIUM.replace("apt=96", "apt=x"), "a" * 70_000],
)
def test_what_is_no_offer_is_an_invalid_request(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_offer(text)
    assert refused.value.code == "sdp_invalid"


@given(st.integers(0, 2**32))
def test_a_garbled_offer_raises_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    lines = CHROMIUM.split("\r\n")
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(lines))
        line = lines[place]
        cut = chance.randint(0, len(line))
        lines[place] = chance.choice(
            [line[:cut], line[cut:], line[:cut] + chr(chance.randrange(32, 300)), line * 2, ""]
        )
    try:
        offer = parse_offer("\r\n".join(lines))
    except (InvalidRequest, NotAcceptable):
        return
    assert build_answer(offer, LOCAL).count("m=") >= 1
