"""Session descriptions: those of real cameras, and nonsense."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.wire.sdp import (
    MOST_BYTES,
    MediaDescription,
    SessionDescription,
    build_sdp,
    parse_sdp,
    sprop_parameter_sets,
)

CAMERA = b"""v=0\r
o=- 1109162014219182 1109162014219192 IN IP4 192.0.2.10\r
s=Media Presentation\r
e=NONE\r
b=AS:5100\r
t=0 0\r
a=control:rtsp://192.0.2.10:554/Streaming/Channels/101/?transportmode=unicast\r
m=video 0 RTP/AVP 96\r
b=AS:5000\r
a=recvonly\r
a=control:rtsp://192.0.2.10:554/Streaming/Channels/101/trackID=1?transportmode=unicast\r
a=rtpmap:96 H264/90000\r
a=fmtp:96 profile-level-id=420029; packetization-mode=1; sprop-parameter-sets=Z00AKY2NQDwBE/LgLcBA,aO44gA==\r
m=audio 0 RTP/AVP 8\r
a=recvonly\r
a=control:trackID=2\r
m=application 0 RTP/AVP 107\r
a=rtpmap:107 vnd.onvif.metadata/90000\r
"""


def test_a_camera_s_description_is_read() -> None:
    session = parse_sdp(CAMERA)
    video, audio, metadata = session.media
    assert session.control.endswith("/101/?transportmode=unicast")
    assert (video.kind, video.payload_type, video.encoding, video.clock_rate) == ("video", 96, "H264", 90_000)
    assert video.parameters["packetization-mode"] == "1"
    assert video.control.endswith("trackID=1?transportmode=unicast")
    assert (audio.encoding, audio.clock_rate, audio.channels, audio.control) == ("PCMA", 8000, 1, "trackID=2")
    assert metadata.kind == "application"


def test_parameter_sets_are_decoded_with_and_without_padding() -> None:
    sps, pps = sprop_parameter_sets(parse_sdp(CAMERA).media[0])
    assert sps[0] & 31 == 7
    assert pps == base64.b64decode("aO44gA==")
    bare = parse_sdp(CAMERA.replace(b"aO44gA==", b"aO44gA")).media[0]
    assert sprop_parameter_sets(bare)[1] == pps


def test_broken_parameter_sets_are_as_if_absent() -> None:
    assert sprop_parameter_sets(parse_sdp(CAMERA.replace(b"aO44gA==", b"%%%,=,")).media[0]) != []
    assert sprop_parameter_sets(parse_sdp(CAMERA.replace(b"aO44gA==", "aÔ44gÂ".encode())).media[0]) != []
    assert sprop_parameter_sets(parse_sdp(CAMERA).media[1]) == []


def test_channels_and_aac_parameters_are_read() -> None:
    body = b"v=0\nm=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/48000/2\na=fmtp:97 mode=AAC-hbr;SizeLength=13\n"
    (audio,) = parse_sdp(body).media
    assert (audio.encoding, audio.clock_rate, audio.channels) == ("MPEG4-GENERIC", 48_000, 2)
    assert audio.parameters["sizelength"] == "13"
    assert audio.control == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n\r\n",
        b"<html>404</html>",
        b"v=0\r\nm=video\r\n",
        b"v=0\r\nm=video 0 RTP/AVP x\r\n",
        b"v=0\r\nm=video 0 RTP/AVP 128\r\n",
        b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/fast\r\n",
        b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/99999999999999999999\r\n",
        b"v=0\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 L16/8000/999\r\n",
        b"v=0\r\n" + b"m=video 0 RTP/AVP 96\r\n" * 33,
        b"v=0\r\n" + b"s=" * MOST_BYTES,
    ],
)
def test_what_is_no_session_description_is_refused_in_a_plain_sentence(body: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_sdp(body)
    assert refused.value.sentence.endswith(".")


@given(st.binary(max_size=400) | st.builds(lambda tail: CAMERA[: len(CAMERA) // 2] + tail, st.binary(max_size=300)))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    try:
        session = parse_sdp(body)
    except ProtocolError:
        return
    for media in session.media:
        assert all(sprop_parameter_sets(media))


@given(
    st.lists(
        st.sampled_from(CAMERA.splitlines()) | st.from_regex(rb"a=(rtpmap|fmtp|control):[ -~]{0,40}", fullmatch=True)
    )
)
def test_any_order_of_plausible_lines_is_parsed_or_refused(lines: list[bytes]) -> None:
    with contextlib.suppress(ProtocolError):
        parse_sdp(b"v=0\r\n" + b"\r\n".join(lines))


_WORD = st.text(st.sampled_from("abcXYZ019+/=-"), min_size=1, max_size=12)
_MEDIA = st.builds(
    MediaDescription,
    kind=st.sampled_from(["video", "audio", "application"]),
    payload_type=st.integers(0, 127),
    encoding=st.sampled_from(["H264", "MPEG4-GENERIC", "VND.ONVIF.METADATA"]),
    clock_rate=st.integers(1, 1_000_000),
    channels=st.integers(1, 16),
    parameters=st.dictionaries(st.text(st.sampled_from("abc-"), min_size=1, max_size=8), _WORD, max_size=4),
    control=_WORD,
)


@given(st.lists(_MEDIA, max_size=4), st.sampled_from(["", "*"]))
def test_what_is_built_reads_back(media: list[MediaDescription], control: str) -> None:
    described = SessionDescription(control, tuple(media))
    assert parse_sdp(build_sdp(described, 1, "gate-1/main")) == described
