"""The pure parts of pulling: addresses, what is chosen from a description, and which words each refusal gets."""

from __future__ import annotations

import base64

import pytest

from mediasrv.errors import CameraError
from mediasrv.media.access_unit import Codec
from mediasrv.media.rtp import AacDepacketizer, G711Depacketizer, OpusDepacketizer
from mediasrv.pulling.address import parse_rtsp_url
from mediasrv.pulling.refusals import Redirected, refusal
from mediasrv.pulling.tracks import choose_audio, choose_metadata, choose_video
from mediasrv.rtsp_pull import RtspSource, follow, is_at_home
from mediasrv.wire.addresses import is_allowed
from mediasrv.wire.rtsp import Request, ResponseReceived
from mediasrv.wire.sdp import MediaDescription, parse_sdp


def media(*lines: str) -> tuple[MediaDescription, ...]:
    return parse_sdp("\r\n".join(("v=0", *lines)).encode()).media


H264 = ("m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000")
H265 = ("m=video 0 RTP/AVP 98", "a=rtpmap:98 H265/90000")
PCMU = ("m=audio 0 RTP/AVP 0",)
G726 = ("m=audio 0 RTP/AVP 97", "a=rtpmap:97 G726-32/8000")
AAC = ("m=audio 0 RTP/AVP 97", "a=rtpmap:97 mpeg4-generic/48000", "a=fmtp:97 mode=AAC-hbr;config=1190;sizelength=13")


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("rtsp://192.0.2.10/cam?channel=1", "192.0.2.10", 554, False),
        ("RTSP://camera.example:8554/", "camera.example", 8554, False),
        ("rtsp://[2001:db8::1]:1/x", "2001:db8::1", 1, False),
        ("rtsps://camera.example/", "camera.example", 322, True),
    ],
)
def test_host_and_port_of_a_stream(url: str, host: str, port: int, tls: bool) -> None:
    target = parse_rtsp_url(url)
    assert (target.host, target.port, target.tls) == (host, port, tls)


@pytest.mark.parametrize(
    "url",
    ["", "http://192.0.2.10/", "rtsp:///cam", "rtsp://h:99999/", "rtsp://h/a b", "rtsp://h/\r\nX: y", "rtsp://u:pw@h/"],
)
def test_what_is_no_address_of_a_stream_is_refused(url: str) -> None:
    with pytest.raises(CameraError) as refused:
        parse_rtsp_url(url)
    assert refused.value.code == "address_invalid"
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("127.0.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:169.254.169.254", False),
        ("fc00::1%eth0", True),
        ("::1", False),
    ],
)
def test_only_configured_networks_are_allowed(address: str, allowed: bool) -> None:
    assert is_allowed(address, ("10.0.0.0/8", "fc00::/7")) is allowed


VPS, SPS, PPS = b"\x40\x01v", b"\x42\x01s", b"\x44\x01p"
SPROP_H265 = ";".join(
    f"sprop-{name}={base64.b64encode(nal).decode()}" for name, nal in (("pps", PPS), ("vps", VPS), ("sps", SPS))
)


def test_h264_is_taken_before_h265_and_either_where_it_is_alone() -> None:
    both = choose_video(media(*PCMU, *H265, *H264))
    assert (both.codec, both.media.payload_type) == (Codec.H264, 96)
    alone = choose_video(media(*PCMU, *H265, f"a=fmtp:98 {SPROP_H265}"))
    assert (alone.codec, alone.media.payload_type) == (Codec.H265, 98)
    assert alone.parameter_sets == (VPS, SPS, PPS)
    assert choose_video(media(*H265)).parameter_sets is None


@pytest.mark.parametrize(
    "lines",
    [
        (*H264, "a=fmtp:96 packetization-mode=2"),
        (*H265, "a=fmtp:98 sprop-max-don-diff=1"),
    ],
)
def test_interleaved_pictures_are_refused_plainly_and_passed_over_where_there_are_others(
    lines: tuple[str, ...],
) -> None:
    with pytest.raises(CameraError) as refused:
        choose_video(media(*lines))
    assert refused.value.code == "interleaving_unsupported"
    assert choose_video(media(*lines, "m=video 0 RTP/AVP 99", "a=rtpmap:99 H265/90000")).media.payload_type == 99


def test_no_decoding_order_numbers_are_no_interleaving() -> None:
    assert choose_video(media(*H265, "a=fmtp:98 sprop-max-don-diff=0")).codec is Codec.H265


VP8 = ("m=video 0 RTP/AVP 98", "a=rtpmap:98 VP8/90000")


@pytest.mark.parametrize(("lines", "named"), [(VP8, "VP8"), (PCMU, "no video at all"), ((), "no video at all")])
def test_a_stream_without_a_known_codec_is_refused_by_the_name_of_what_it_holds(
    lines: tuple[str, ...], named: str
) -> None:
    with pytest.raises(CameraError) as refused:
        choose_video(media(*lines))
    assert refused.value.code == "codec_unsupported"
    assert named in refused.value.sentence


def test_g711_and_aac_are_taken_with_their_formats() -> None:
    track, note = choose_audio(media(*G726, *PCMU))
    assert track is not None
    assert (track.format.codec, track.format.clock_rate, track.format.channels, note) == (Codec.PCMU, 8000, 1, "")
    assert isinstance(track.make(lambda *_: None), G711Depacketizer)
    track, note = choose_audio(media(*AAC))
    assert track is not None
    assert (track.format.codec, track.format.clock_rate, track.format.channels) == (Codec.AAC, 48_000, 2)
    assert track.format.config == b"\x11\x90"
    assert isinstance(track.make(lambda *_: None), AacDepacketizer)


@pytest.mark.parametrize("change", [("config=1190", "config=xyz"), ("config=1190", ""), ("AAC-hbr", "generic")])
def test_aac_that_cannot_be_read_is_left_out_with_a_note(change: tuple[str, str]) -> None:
    track, note = choose_audio(media(*(line.replace(*change) for line in AAC)))
    assert track is None
    assert "MPEG4-GENERIC" in note


@pytest.mark.parametrize(("stereo", "channels"), [("", 1), ("a=fmtp:101 sprop-stereo=1;useinbandfec=1", 2)])
def test_opus_is_taken_with_the_channels_that_are_sent(stereo: str, channels: int) -> None:
    lines = ["m=audio 0 RTP/AVP 101", "a=rtpmap:101 opus/48000/2", stereo]
    track, note = choose_audio(media(*filter(None, lines)))
    assert track is not None
    assert (track.format.codec, track.format.clock_rate, track.format.channels, note) == (
        Codec.OPUS,
        48_000,
        channels,
        "",
    )
    assert isinstance(track.make(lambda *_: None), OpusDepacketizer)


def test_plain_onvif_metadata_is_found_and_packed_metadata_is_not() -> None:
    found = choose_metadata(media(*H264, "m=application 0 RTP/AVP 107", "a=rtpmap:107 vnd.onvif.metadata/90000"))
    assert found is not None
    assert found.payload_type == 107
    packed = media(*H264, "m=application 0 RTP/AVP 107", "a=rtpmap:107 vnd.onvif.metadata.gzip/90000")
    assert choose_metadata(packed) is None


def test_unknown_audio_is_a_note_and_none_is_nothing() -> None:
    assert choose_audio(media(*G726)) == (None, "The audio is left out: G726-32 is not supported.")
    assert choose_audio(media(*H264)) == (None, "")


@pytest.mark.parametrize(
    ("status", "has_credentials", "code"),
    [
        (401, True, "credentials_wrong"),
        (401, False, "credentials_missing"),
        (404, True, "stream_not_found"),
        (454, True, "stream_not_found"),
        (403, True, "rtsp_refused"),
        (503, False, "camera_busy"),
        (453, False, "camera_busy"),
    ],
)
def test_each_status_has_its_reason(status: int, has_credentials: bool, code: str) -> None:
    request = Request("DESCRIBE", "rtsp://h/?password=hunter2", (), 0.0)
    error = refusal(ResponseReceived(request, status, "Go Away", {}, b"", 0.0), has_credentials)
    assert error.code == code
    assert "hunter2" not in error.sentence
    if code in ("rtsp_refused", "camera_busy"):
        assert error.sentence == f"The camera answered DESCRIBE with {status} Go Away."


def test_a_source_does_not_show_its_password() -> None:
    assert "hunter2" not in repr(RtspSource("rtsp://h/", "admin", "hunter2"))


SOURCE = parse_rtsp_url("rtsp://192.0.2.10/cam")


@pytest.mark.parametrize(
    ("location", "url", "host", "port"),
    [
        ("rtsp://192.0.2.11:8554/other", "rtsp://192.0.2.11:8554/other", "192.0.2.11", 8554),
        ("rtsp://u:pw@192.0.2.11/other", "rtsp://192.0.2.11/other", "192.0.2.11", 554),
        ("/other", "rtsp://192.0.2.10/other", "192.0.2.10", 554),
    ],
)
def test_a_redirect_leads_to_its_location(location: str, url: str, host: str, port: int) -> None:
    target = follow(SOURCE, Redirected(location))
    assert (target.url, target.host, target.port) == (url, host, port)


def test_a_proxy_is_asked_for_the_same_stream() -> None:
    target = follow(SOURCE, Redirected("rtsp://192.0.2.12:555", by_proxy=True))
    assert (target.url, target.host, target.port) == (SOURCE.url, "192.0.2.12", 555)


@pytest.mark.parametrize("location", ["http://192.0.2.11/", "rtsp:///", "rtsp://h:99999/", "rtsp://h/\u00e9"])
def test_a_redirect_to_no_place_for_rtsp_is_refused(location: str) -> None:
    with pytest.raises(CameraError) as refused:
        follow(SOURCE, Redirected(location))
    assert refused.value.code == "redirect_refused"


@pytest.mark.parametrize(
    ("source", "target", "at_home"),
    [
        ("rtsp://192.0.2.10/a", "rtsp://192.0.2.10:8554/b", True),
        ("rtsp://192.0.2.10/a", "rtsps://192.0.2.10/a", True),
        ("rtsp://192.0.2.10/a", "rtsp://192.0.2.11/a", False),
        ("rtsps://192.0.2.10/a", "rtsp://192.0.2.10/a", False),
    ],
)
def test_the_password_is_for_its_host_and_for_no_less_security(source: str, target: str, at_home: bool) -> None:
    assert is_at_home(parse_rtsp_url(source), parse_rtsp_url(target)) is at_home
