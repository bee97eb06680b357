"""What is fuzzed: each target feeds bytes to one parser and raises where the parser breaks a promise.

A parser may answer or raise what it declares; nothing else, not without end, and not with more memory than its input
accounts for. Targets of media take interleaved RTP as it comes from a camera: `$`, channel, length, packet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from mediasrv.errors import CameraError, InvalidRequest, NotAcceptable, ProtocolError
from mediasrv.hub import Mountpoint
from mediasrv.media import fmp4, nal, nal_h265
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Part, Session, StreamName, StreamRef
from mediasrv.media.camera_clock import CameraClock
from mediasrv.media.intake import Intake
from mediasrv.media.live_window import LiveWindow
from mediasrv.media.rtp import (
    NO_RTP,
    AacDepacketizer,
    Depacketizer,
    G711Depacketizer,
    H264Depacketizer,
    H265Depacketizer,
    MetadataDepacketizer,
    OpusDepacketizer,
    packetize_h264,
)
from mediasrv.onvif import parse_devices, parse_table, parse_targets
from mediasrv.onvif.camera_time import parse_date_and_time
from mediasrv.onvif.envelope import SoapFault, parse_envelope
from mediasrv.onvif.media import parse_profiles, parse_uri
from mediasrv.onvif.notifications import parse_notifications
from mediasrv.onvif.ptz import parse_nodes, parse_presets
from mediasrv.onvif.services import parse_capabilities, parse_services
from mediasrv.pulling.address import parse_rtsp_url
from mediasrv.pulling.tracks import choose_audio, choose_metadata, choose_video
from mediasrv.serving.urls import base_url, parse_stream_url
from mediasrv.wire import ice, rtcp, srtp, stun, tcp
from mediasrv.wire.addresses import is_allowed
from mediasrv.wire.dtls import Fingerprint
from mediasrv.wire.reception import Reception
from mediasrv.wire.reorder import ReorderBuffer
from mediasrv.wire.rtsp import RtspClient
from mediasrv.wire.rtsp_auth import Authenticator, parse_challenges
from mediasrv.wire.rtsp_challenge import Challenger, parse_authorization
from mediasrv.wire.rtsp_headers import parse_rtp_info, parse_scale, parse_transport, resolve_control
from mediasrv.wire.rtsp_server import ProtocolBroken, RequestReceived, RtspRefused, RtspServer
from mediasrv.wire.rtsp_session import ReaderSession, ServerPorts
from mediasrv.wire.sdp import parse_sdp
from mediasrv.wire.sdp_fragment import build_fragment, parse_fragment
from mediasrv.wire.whep_sdp import Candidate, LocalTransport, build_answer, parse_offer

Target = Callable[[bytes], None]

PAYLOAD_TYPE: Final = 96
MOST_UNIT_BYTES: Final = 2048
_LONGEST_NAL_HEADER: Final = 6
_REF: Final = StreamRef("gate-1", StreamName.MAIN)
_START_US: Final = 1_800_000_000_000_000
_KEYS: Final = srtp.SrtpKeys(bytes(16), bytes(12))


def _frames(data: bytes, receive: Callable[[bytes, int, int, int], int]) -> None:
    """Calls `receive(data, start, stop, channel)` for each packet that is framed in `data`."""
    at = data.find(b"$")
    while 0 <= at <= len(data) - 4:
        start = at + 4
        stop = min(len(data), start + int.from_bytes(data[at + 2 : start], "big"))
        end = receive(data, start, stop, data[at + 1])
        assert end == NO_RTP or stop <= end <= len(data), "a packet ends where it ends, or behind others that it took"
        at = data.find(b"$", start if end == NO_RTP else end)


def _depacketize(depacketizer: Depacketizer, data: bytes) -> None:
    _frames(data, lambda data, start, stop, _: depacketizer.receive(data, start, stop, 1.0))


def _nothing(*_: object) -> None:
    pass


def _bounded(timestamp: int, keyframe: bool, payload: bytes, now: float) -> None:
    assert 0 <= timestamp < 1 << 32
    assert len(payload) <= MOST_UNIT_BYTES + _LONGEST_NAL_HEADER


def _pictures(make: type[H264Depacketizer] | type[H265Depacketizer], data: bytes) -> None:
    def deliver(timestamp: int, keyframe: bool, payload: bytes, now: float) -> None:
        _bounded(timestamp, keyframe, payload, now)
        units = list(nal.iter_avcc(payload))
        assert units, "an access unit holds a picture"
        sets = depacketizer.parameter_sets
        assert sets is None or all(sets)

    depacketizer = make(PAYLOAD_TYPE, deliver, _nothing, most_bytes=MOST_UNIT_BYTES)
    _depacketize(depacketizer, data)


def _aac(data: bytes) -> None:
    for size_bits, index_bits in ((13, 3), (6, 2)):
        _depacketize(AacDepacketizer(PAYLOAD_TYPE, _nothing, size_bits=size_bits, index_bits=index_bits), data)


def _sound(data: bytes) -> None:
    _depacketize(G711Depacketizer(PAYLOAD_TYPE, _nothing), data)
    _depacketize(OpusDepacketizer(PAYLOAD_TYPE, _nothing), data)


def _metadata(data: bytes) -> None:
    _depacketize(MetadataDepacketizer(PAYLOAD_TYPE, _bounded, most_bytes=MOST_UNIT_BYTES), data)


class _Watcher:
    """A subscriber of units and of parts, who checks their times."""

    def __init__(self) -> None:
        self.now = 100.0
        self.window = LiveWindow(12.0, 2, 0.48)
        self._last: dict[tuple[Session, int], AccessUnit] = {}

    def on_access_unit(self, unit: AccessUnit) -> None:
        key = (unit.session, int(unit.format.kind))
        before = self._last.get(key)
        assert before is None or (unit.dts > before.dts and unit.arrived_us >= before.arrived_us)
        assert unit.arrived_us <= _START_US + (self.now - 100.0) * 1e6 + 1, "nothing arrives in the future"
        self._last[key] = unit

    def on_part(self, part: Part) -> None:
        assert 0 <= part.duration_s <= self.now - 100.0 + 20, "no duration is longer than what has passed"
        samples = fmp4.read_samples(part.fragment)
        assert len(samples) == part.access_units
        assert sum(one.duration for one in samples) == part.duration
        self.window.add(part)

    def on_session_ended(self, session: Session, reason: str) -> None:
        self.window.end_session()


def _intake(codec: Codec, data: bytes) -> None:
    """Video on channels 0, 3, 6, …, audio and metadata beside it. What is left of the channel is time, in 10 ms."""
    watcher, mountpoint = _Watcher(), Mountpoint(_REF, 0.48)
    intake = Intake(mountpoint, lambda: Session("s", _REF, 1, _START_US, 100.0), 1 << 20)
    mountpoint.subscribe(watcher)
    mountpoint.subscribe_parts(watcher)
    receivers = [
        intake.add_video(codec, PAYLOAD_TYPE, None).receive,
        intake.add_audio(AudioFormat(Codec.OPUS, 48_000, 1), partial(OpusDepacketizer, PAYLOAD_TYPE)).receive,
        intake.add_metadata(PAYLOAD_TYPE).receive,
    ]

    def receive(data: bytes, start: int, stop: int, channel: int) -> int:
        watcher.now += channel // 3 / 100
        return receivers[channel % 3](data, start, stop, watcher.now)

    with contextlib.suppress(CameraError):
        _frames(data, receive)
    intake.end("camera_lost")
    assert mountpoint.dropped_sinks == 0, "a subscriber failed"


def _h264_nals(data: bytes) -> None:
    nals = nal.split_annexb(data)
    assert list(nal.iter_avcc(nal.join_avcc(nals))) == nals
    for one in (data, *nals):
        nal.recovery_frame_count(one)
        with contextlib.suppress(ProtocolError):
            nal.video_format(one, b"\x68\xce")
    with contextlib.suppress(ProtocolError):
        list(nal.iter_sei_unregistered(data))
    assert all(len(payload) <= 100 for payload in packetize_h264(data, 100))
    assert nal.unescape(nal.escape(data + b"\x80")) == data + b"\x80"


def _sets(data: bytes) -> Iterator[bytes]:
    """`data` as up to three parts, each behind its length in a byte."""
    for _ in range(3):
        size = data[0] if data else 0
        yield data[1 : 1 + size]
        data = data[1 + size :]


def _formats(data: bytes) -> None:
    """Parameter sets that are taken are written, and read back as they were."""
    first, second, third = _sets(data)
    for make in (lambda: nal.video_format(first, second), lambda: nal_h265.h265_video_format(first, second, third)):
        with contextlib.suppress(ProtocolError):
            video = make()
            assert 0 < video.width <= 1 << 14
            assert 0 < video.height <= 1 << 15
            assert 0 <= video.reorder <= 16
            assert fmp4.read_format(fmp4.init_segment(video)) == video


def _init_segment(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        found = fmp4.read_format(data)
        assert fmp4.read_format(fmp4.init_segment(found)) == found


def _segment(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        samples = fmp4.read_samples(data)
        assert sum(len(one.payload) for one in samples) <= len(data)
        assert len(samples) <= 1 << 20


def _rtsp(data: bytes) -> None:
    """The first byte says how finely the rest is cut."""
    client = RtspClient(Authenticator("admin", "secret"), _nothing, 4096)
    step = max(1, data[0] if data else 1)
    with contextlib.suppress(ProtocolError):
        for attached in (False, True):
            for method in ("OPTIONS", "DESCRIBE", "SETUP"):
                client.request(method, "rtsp://192.0.2.1/cam", 0.0)
            if attached:
                client.attach(0, G711Depacketizer(PAYLOAD_TYPE, _nothing).receive)
                client.attach(1, lambda data, start, stop, now: stop)
            for at in range(1, len(data), step):
                client.receive(data[at : at + step], 1.0)
            client.data_to_send()


def _rtsp_auth(data: bytes) -> None:
    headers = data.decode("utf-8", "replace").split("\n")
    list(parse_challenges(headers))
    authenticator = Authenticator("admin", "secret")
    for header in headers:
        authenticator.adopt([header], authorised=False)
        authorization = authenticator.authorization("DESCRIBE", "rtsp://192.0.2.1/cam")
        assert authorization is None or not set(authorization) & {"\r", "\n"}, "a header is one line"


def _sdp(data: bytes) -> None:
    try:
        description = parse_sdp(data)
    except ProtocolError:
        return
    with contextlib.suppress(CameraError):
        choose_video(description.media)
    choose_audio(description.media)
    choose_metadata(description.media)
    for media in description.media:
        with contextlib.suppress(ProtocolError):
            resolve_control("rtsp://192.0.2.1/cam", media.control)


def _rtcp(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        clock = CameraClock()
        for packet in rtcp.parse_compound(data):
            if isinstance(packet, rtcp.SenderReport) and packet.ntp:
                offset_us = rtcp.ntp_to_us(packet.ntp) - _START_US
                clock.observe(1.0, offset_us, offset_us + 1000)
        assert (clock.uncertainty_us or 0) >= 0


def _stun(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        message = stun.parse_message(data)
        message.is_authentic(b"password")
        agent = ice.IceLite(ice.Credentials("ours", "password", "theirs", "their-password"))
        key = (("192.0.2.1", 1), b"")
        with contextlib.suppress(ProtocolError):
            agent.take_answer(message, key)
        agent.check(message, key, _Nowhere(), 0.0)


class _Nowhere:
    """A Transport."""

    send = send_run = _nothing


def _ice_tcp(data: bytes) -> None:
    """However a stream is cut, the same datagrams come out of it, and what is framed comes out as it went in."""

    def read(cut: int) -> tuple[list[bytes], bool]:
        deframer, found = tcp.Deframer(), list[bytes]()
        try:
            for at in range(0, len(data), cut):
                found += deframer.receive(data[at : at + cut])
        except ProtocolError:
            return found, False
        return found, True

    whole, sound = read(max(1, len(data)))
    for cut in (1, 7):
        in_pieces, still_sound = read(cut)
        # A stream that breaks ends at the read that it breaks in.
        assert in_pieces[: len(whole)] == whole[: len(in_pieces)]
        assert still_sound == sound
    for datagram in whole:
        assert list(tcp.Deframer().receive(tcp.frame_run(datagram, len(datagram)))) == [datagram]


def _sdp_fragment(data: bytes) -> None:
    credentials = ice.Credentials("ours", "password", "theirs", "their-password")
    with contextlib.suppress(InvalidRequest):
        description = parse_fragment(data.decode("utf-8", "replace"))
        answer = build_fragment(description.section, credentials, ["a=end-of-candidates"])
        assert len(description.section) <= 2
        assert answer.count("\r\n") == len(answer.splitlines()) <= 6, "a peer's line is one line of ours"


def _srtcp(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        srtp.SrtcpReceiver(_KEYS).unprotect(data)


def _whep(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest, NotAcceptable):
        offer = parse_offer(data.decode("utf-8", "replace"), "42e01f")
        local = LocalTransport("f", "p", Fingerprint("sha-256", bytes(32)), [Candidate("192.0.2.1", 1)], 1, 2, 3, "c")
        build_answer(offer, local)


def _addresses(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        is_allowed(text, ("10.0.0.0/8", "fc00::/7"))
    with contextlib.suppress(ProtocolError):
        resolve_control("rtsp://192.0.2.1/cam?a=b", text)
    with contextlib.suppress(CameraError):
        target = parse_rtsp_url(text)
        assert target.host
        assert 0 < target.port < 1 << 16


def _rtsp_headers(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    transport = parse_transport(text)
    assert all(0 <= one <= 255 for one in transport.channels or ())
    assert all(0 <= one < 1 << 16 for one in transport.server_ports or ())
    assert all(sequence is None or 0 <= sequence < 1 << 16 for _, sequence in parse_rtp_info(text))
    parse_scale(text)


def _reorder(data: bytes) -> None:
    """Datagrams as framed packets; what is left of the channel is time, in 10 ms."""
    taken, now = 0, 1.0

    def take(data: bytes, start: int, stop: int, now: float) -> int:
        nonlocal taken
        taken += 1
        return stop

    buffer, reception, given = ReorderBuffer(take, most_packets=16, wait_s=0.1), Reception(90_000), 0

    def receive(data: bytes, start: int, stop: int, channel: int) -> int:
        nonlocal given, now
        given, now = given + 1, now + channel / 100
        packet = data[start:stop]
        if len(packet) >= 12:
            reception.receive(packet, now)
        buffer.receive(packet, now)
        return stop

    _frames(data, receive)
    buffer.release(now + 1.0)
    reception.report(now)
    assert not buffer.waiting, "nothing is kept longer than it may be"
    assert taken <= given


def _onvif_answers(data: bytes) -> None:
    """Every reading of whatever a camera answers to anything."""
    with contextlib.suppress(ProtocolError, SoapFault):
        answer = parse_envelope(data)
        parse_services(answer)
        parse_capabilities(answer)
        assert all(profile.token is not None for profile in parse_profiles(answer))
        assert isinstance(parse_uri(answer), str)
        parse_date_and_time(answer)
        list(parse_notifications(answer))
        parse_nodes(answer)
        parse_presets(answer)


def _camera_lists(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (parse_targets, parse_devices, parse_table):
        with contextlib.suppress(InvalidRequest):
            assert 0 < len(parse(text, 50)) <= 50


def _rtsp_server(data: bytes) -> None:
    """The first byte says how finely the rest is cut; every request is taken for each that it could be."""
    core, step = RtspServer(), max(1, data[0] if data else 1)
    session = ReaderSession("s", ServerPorts(5000, 5001))
    challenger = Challenger("mediasrv", lambda: "nonce", 300.0)
    broken = False
    for at in range(1, len(data), step):
        for event in core.receive(data[at : at + step]):
            assert not broken, "nothing comes behind the end"
            broken = isinstance(event, ProtocolBroken)
            if isinstance(event, RequestReceived):
                _request(event, session, challenger)
    assert len(set(session.tracks.values())) == len(session.tracks)


def _request(request: RequestReceived, session: ReaderSession, challenger: Challenger) -> None:
    if parse_stream_url(request.url) is not None:
        assert "@" not in base_url(request.url), "a login is not told again"
    challenger.challenges(1.0, basic=True)
    credentials = parse_authorization(request.header("authorization"))
    if credentials is not None:
        challenger.check_nonce(credentials, 2.0)
        assert not challenger.proves(credentials, request.method, request.url, "a password that nobody guesses")
    with contextlib.suppress(RtspRefused):
        session.check(request.header("session"))
        session.set_up(len(session.tracks), request.header("transport"))


TARGETS: Final[Mapping[str, Target]] = {
    "rtp_h264": partial(_pictures, H264Depacketizer),
    "rtp_h265": partial(_pictures, H265Depacketizer),
    "rtp_aac": _aac,
    "rtp_sound": _sound,
    "rtp_metadata": _metadata,
    "intake_h264": partial(_intake, Codec.H264),
    "intake_h265": partial(_intake, Codec.H265),
    "nals": _h264_nals,
    "formats": _formats,
    "init_segment": _init_segment,
    "segment": _segment,
    "rtsp": _rtsp,
    "rtsp_auth": _rtsp_auth,
    "rtsp_headers": _rtsp_headers,
    "rtsp_server": _rtsp_server,
    "reorder": _reorder,
    "sdp": _sdp,
    "rtcp": _rtcp,
    "stun": _stun,
    "srtcp": _srtcp,
    "ice_tcp": _ice_tcp,
    "whep": _whep,
    "sdp_fragment": _sdp_fragment,
    "addresses": _addresses,
    "onvif_answers": _onvif_answers,
    "camera_lists": _camera_lists,
}
"""By name, which is also that of its folder in corpus/."""
