"""The offer and the answer of WHEP (RFC 9725's rules for SDP, RFC 8829, RFC 8866).

An offer is read by `aiortc.sdp`, on the cold path; the answer is ours. One bundled transport, ICE-lite, DTLS
passive; video is H.264 and H.265, audio G.711 and Opus. Every encoding that both sides know is in the answer, since a
viewer may be moved between streams that differ.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aiortc.sdp import MediaDescription, SessionDescription, parameters_to_sdp

from mediasrv.errors import InvalidRequest, NotAcceptable, ProtocolError
from mediasrv.wire.dtls import Fingerprint, parse_fingerprint

OFFER_BYTES: Final = 65_536
_MOST_MEDIA: Final = 16
_BUNDLE_ONLY: Final = re.compile(r"(?m)^a=bundle-only\r?$")
_PORT_0: Final = re.compile(r"\A(m=\w+) 0 ")
_PROFILES: Final = ("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP")
_AUDIO: Final = {"PCMA": (8000, 1), "PCMU": (8000, 1), "OPUS": (48_000, 2)}
"""Clock rate and channels, as SDP names them (RFC 3551, 6; RFC 7587, 7)."""
_AUDIO_MAPS: Final = {"PCMA": "PCMA/8000", "PCMU": "PCMU/8000", "OPUS": "opus/48000/2"}
_FEEDBACK: Final = {"nack", "nack pli", "ccm fir", "goog-remb"}
PLAYOUT_DELAY: Final = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
# Type preferences of host candidates (RFC 8445, 5.1.2.2); what comes by TCP is lower, as RFC 6544, 4.2 wants it.
_UDP_PREFERENCE: Final = 126
_TCP_PREFERENCE: Final = 90
_PASSIVE: Final = 4 << 13


@dataclass(frozen=True, slots=True)
class VideoPayload:
    """The payload type that was chosen for an encoding: its number, its fmtp as offered, the feedback both sides know.

    `repair_type` is the payload type of its repair (RTX, RFC 4588), where the viewer offered one.
    """

    payload_type: int
    parameters: str
    feedback: tuple[str, ...]
    repair_type: int | None = None


@dataclass(frozen=True, slots=True)
class OfferedMedia:
    """One m-section. Where it is accepted, `video` (by encoding) or `audio` (payload type by encoding) is filled.

    `playout_delay` is the number under which the viewer takes that header extension, 0 where it does not.
    """

    kind: str
    profile: str
    formats: str
    mid: str
    video: dict[str, VideoPayload] = field(default_factory=dict)
    audio: dict[str, int] = field(default_factory=dict)
    playout_delay: int = 0

    @property
    def accepted(self) -> bool:
        return bool(self.video or self.audio)


@dataclass(frozen=True, slots=True)
class Offer:
    """What matters of a viewer's offer. Exactly one section has video, at most one audio."""

    media: tuple[OfferedMedia, ...]
    ice_fragment: str
    ice_password: str
    fingerprints: tuple[Fingerprint, ...]

    @property
    def video(self) -> dict[str, VideoPayload]:
        return self._video_section.video

    @property
    def playout_delay(self) -> int:
        return self._video_section.playout_delay

    @property
    def _video_section(self) -> OfferedMedia:
        return next(media for media in self.media if media.video)

    @property
    def audio(self) -> dict[str, int]:
        return next((media.audio for media in self.media if media.audio), {})


class Candidate(NamedTuple):
    """An address that peers may send to. `transport` is `udp`, or `tcp` where we wait for their connection."""

    host: str
    port: int
    transport: str = "udp"


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """Our side of the transport, for the answer. `candidates` stand best first."""

    ice_fragment: str
    ice_password: str
    fingerprint: Fingerprint
    candidates: Sequence[Candidate]
    video_ssrc: int
    repair_ssrc: int
    audio_ssrc: int
    cname: str


def parse_offer(text: str, profile_level_id: str = "", *, audio: bool = True) -> Offer:
    """Reads an offer and chooses what may be sent. `profile_level_id` is the stream's (H.264), empty while unknown.

    Raises InvalidRequest (`sdp_invalid`) for what is no offer, and NotAcceptable for one that cannot be served.
    """
    session = _parse_session(text)
    section = _video_section(session)
    video = _choose_video(section, profile_level_id)
    sound = _audio_section(session, section) if audio else None
    media = [
        OfferedMedia(
            kind=each.kind,
            profile=each.profile,
            formats=" ".join(str(item) for item in each.fmt),
            mid=each.rtp.muxId,
            video=video if each is section else {},
            audio=_audio_payloads(each) if each is sound else {},
            playout_delay=_extension_number(each, PLAYOUT_DELAY) if each is section else 0,
        )
        for each in session.media
    ]
    return Offer(tuple(media), *_ice_credentials(section), _fingerprints(section))


def build_answer(offer: Offer, local: LocalTransport) -> str:
    """The answer: accepted sections bundled and `sendonly`, all others refused with port 0 (RFC 3264, 6)."""
    accepted = [media.mid for media in offer.media if media.accepted]
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {' '.join(accepted)}",
        "a=ice-lite",
        # Of all sections, refused ones too: GStreamer takes no answer with a section that has none.
        f"a=fingerprint:{local.fingerprint}",
        "a=msid-semantic: WMS *",
    ]
    for media in offer.media:
        lines += _answer_media(media, local) if media.accepted else _refuse_media(media)
    return "\r\n".join(lines) + "\r\n"


def _parse_session(text: str) -> SessionDescription:
    if len(text) > OFFER_BYTES:
        raise InvalidRequest("The offer is too long.", code="sdp_invalid")
    try:
        session = SessionDescription.parse(_open_bundled(text))
    except (ArithmeticError, AssertionError, AttributeError, LookupError, StopIteration, TypeError, ValueError) as bad:
        # The parser has no error of its own; these are what its assumptions break with.
        raise InvalidRequest("The body is not a session description of WebRTC.", code="sdp_invalid") from bad
    if not 0 < len(session.media) <= _MOST_MEDIA:
        raise InvalidRequest("The offer holds no media, or too many.", code="sdp_invalid")
    return session


def _open_bundled(text: str) -> str:
    """What is offered in the bundle alone has port 0, as if it were refused (RFC 9143, 7.2.1): here it gets port 9."""
    sections = re.split(r"(?m)^(?=m=)", text)
    return "".join(_PORT_0.sub(r"\1 9 ", one) if _BUNDLE_ONLY.search(one) else one for one in sections)


def _video_section(session: SessionDescription) -> MediaDescription:
    section = next((media for media in session.media if media.kind == "video" and _wanted(media)), None)
    if section is None:
        raise NotAcceptable("The offer asks for no video.", code="no_video")
    if not section.rtcp_mux or not all(_ice_credentials(section)) or not section.rtp.muxId:
        raise NotAcceptable("The offer's video lacks ICE credentials, a=mid or a=rtcp-mux.", code="transport_refused")
    if section.dtls is None or section.dtls.role == "server":
        raise NotAcceptable("The offer must leave the active DTLS role to the viewer.", code="transport_refused")
    return section


def _ice_credentials(section: MediaDescription) -> tuple[str, str]:
    """Fragment and password, each empty where it is not there."""
    return (section.ice.usernameFragment or "", section.ice.password or "") if section.ice else ("", "")


def _wanted(media: MediaDescription) -> bool:
    return media.port != 0 and media.profile in _PROFILES and media.direction in (None, "recvonly", "sendrecv")


def _choose_video(section: MediaDescription, profile_level_id: str) -> dict[str, VideoPayload]:
    """A payload type for each encoding that both sides know. Raises NotAcceptable where there is none."""
    codecs = section.rtp.codecs
    h264, h265 = _choose_h264(codecs, profile_level_id), _choose_h265(codecs)
    found = {encoding: codec for encoding, codec in (("H264", h264), ("H265", h265)) if codec is not None}
    if not found:
        raise NotAcceptable("The viewer does not offer H.264 with packetization-mode=1.", code="codec_unsupported")
    return {encoding: _video_payload(codec, codecs) for encoding, codec in found.items()}


def _video_payload(codec: Any, codecs: Sequence[Any]) -> VideoPayload:
    feedback = {f"{item.type} {item.parameter or ''}".strip() for item in codec.rtcpFeedback}
    number = int(codec.payloadType or 0)
    repair = next(
        (
            int(other.payloadType or 0)
            for other in codecs
            if other.mimeType.lower() == "video/rtx" and str(other.parameters.get("apt")) == str(number)
        ),
        None,
    )
    return VideoPayload(number, parameters_to_sdp(codec.parameters), tuple(sorted(feedback & _FEEDBACK)), repair)


def _choose_h264(codecs: Sequence[Any], profile_level_id: str) -> Any | None:
    """The payload type nearest to the stream's profile, else constrained baseline.

    Browsers decode more than they say: High sent under constrained baseline plays.
    """
    usable = [codec for codec in codecs if _is_usable_h264(codec)]
    # Profile and constraint flags; the level need not agree (RFC 6184, 8.2.2, level-asymmetry-allowed).
    wanted = profile_level_id[:4].lower()
    return max(usable, key=lambda codec: _profile_rank(_profile(codec), wanted), default=None)


def _choose_h265(codecs: Sequence[Any]) -> Any | None:
    """Main profile, which is the default (RFC 7798, 7.1), in the mode without interleaving."""
    return next(
        (
            codec
            for codec in codecs
            if codec.mimeType.lower() == "video/h265"
            and codec.clockRate == 90_000
            and str(codec.parameters.get("profile-id", "1")) == "1"
            and str(codec.parameters.get("tx-mode", "SRST")).upper() == "SRST"
        ),
        None,
    )


def _is_usable_h264(codec: Any) -> bool:
    return bool(
        codec.mimeType.lower() == "video/h264"
        and codec.clockRate == 90_000
        and codec.parameters.get("packetization-mode") == "1"
    )


def _profile(codec: Any) -> str:
    # Without profile-level-id the payload is Baseline (RFC 6184, 8.1).
    return str(codec.parameters.get("profile-level-id") or "42000a").lower()[:4]


def _profile_rank(profile: str, wanted: str) -> tuple[bool, bool, bool]:
    return profile == wanted, profile[:2] == wanted[:2] and bool(wanted), profile == "42e0"


def _audio_section(session: SessionDescription, video: MediaDescription) -> MediaDescription | None:
    """The first audio section that shares the video's transport."""
    bundles = [group.items for group in session.group if group.semantic == "BUNDLE"]
    shared = next((items for items in bundles if video.rtp.muxId in items), [])
    return next(
        (media for media in session.media if media.kind == "audio" and _wanted(media) and media.rtp.muxId in shared),
        None,
    )


def _audio_payloads(section: MediaDescription) -> dict[str, int]:
    payloads: dict[str, int] = {}
    for codec in section.rtp.codecs:
        encoding = codec.mimeType.partition("/")[2].upper()
        if _AUDIO.get(encoding) == (codec.clockRate, codec.channels):
            payloads.setdefault(encoding, int(codec.payloadType or 0))
    return payloads


def _extension_number(section: MediaDescription, uri: str) -> int:
    """The number of a header extension, 0 where it is not offered or needs the two-byte form (RFC 8285, 4.2)."""
    numbers = [int(each.id) for each in section.rtp.headerExtensions if each.uri == uri]
    return numbers[0] if numbers and 0 < numbers[0] < 15 else 0


def _fingerprints(section: MediaDescription) -> tuple[Fingerprint, ...]:
    offered = section.dtls.fingerprints if section.dtls else []
    try:
        found = [parse_fingerprint(item.algorithm, item.value) for item in offered]
    except ProtocolError as broken:
        raise InvalidRequest(broken.sentence, code="sdp_invalid") from broken
    known = tuple(item for item in found if item is not None)
    if not known:
        raise NotAcceptable("The offer has no certificate fingerprint of SHA-256 or better.", code="transport_refused")
    return known


def _answer_media(media: OfferedMedia, local: LocalTransport) -> list[str]:
    host, port = _default_address(local.candidates)
    payloads = _video_types(media.video) if media.video else list(media.audio.values())
    return [
        f"m={media.kind} {port} {media.profile} {' '.join(map(str, payloads))}",
        f"c=IN {_address_type(host)} {host}",
        f"a=mid:{media.mid}",
        "a=sendonly",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        f"a=ice-ufrag:{local.ice_fragment}",
        f"a=ice-pwd:{local.ice_password}",
        f"a=fingerprint:{local.fingerprint}",
        "a=setup:passive",
        *([f"a=extmap:{media.playout_delay} {PLAYOUT_DELAY}"] if media.playout_delay else []),
        *(_video_lines(media.video) if media.video else _audio_lines(media.audio)),
        f"a=msid:{local.cname} {media.kind}",
        *_source_lines(media, local),
        *candidate_lines(local.candidates),
    ]


def _video_types(video: dict[str, VideoPayload]) -> list[int]:
    """Media first: the order is that of preference."""
    repairs = [each.repair_type for each in video.values() if each.repair_type is not None]
    return [each.payload_type for each in video.values()] + repairs


def _video_lines(video: dict[str, VideoPayload]) -> list[str]:
    lines = []
    for encoding, payload in video.items():
        number, repair = payload.payload_type, payload.repair_type
        lines += [f"a=rtpmap:{number} {encoding}/90000", f"a=fmtp:{number} {payload.parameters}"]
        lines += [f"a=rtcp-fb:{number} {feedback}" for feedback in payload.feedback]
        if repair is not None:
            lines += [f"a=rtpmap:{repair} rtx/90000", f"a=fmtp:{repair} apt={number}"]
    return lines


def _audio_lines(audio: dict[str, int]) -> list[str]:
    lines = [f"a=rtpmap:{number} {_AUDIO_MAPS[encoding]}" for encoding, number in audio.items()]
    # Without it a receiver plays Opus in mono (RFC 7587, 6.1).
    return lines + [f"a=fmtp:{number} stereo=1" for encoding, number in audio.items() if encoding == "OPUS"]


def _source_lines(media: OfferedMedia, local: LocalTransport) -> list[str]:
    """The sources (RFC 5576); that of repair is bound to that of media (RFC 4588, 8.1)."""
    sources = [local.video_ssrc if media.video else local.audio_ssrc]
    group = []
    if any(each.repair_type is not None for each in media.video.values()):
        sources.append(local.repair_ssrc)
        group = [f"a=ssrc-group:FID {local.video_ssrc} {local.repair_ssrc}"]
    lines = [f"a=ssrc:{source} {what}" for source in sources for what in _source_names(media, local)]
    return group + lines


def _source_names(media: OfferedMedia, local: LocalTransport) -> tuple[str, str]:
    return f"cname:{local.cname}", f"msid:{local.cname} {media.kind}"


def candidate_lines(candidates: Sequence[Candidate]) -> list[str]:
    """Host candidates by falling local preference (RFC 8445, 5.1.2.1; RFC 6544, 4.2 for TCP), and their end."""
    lines = [
        f"a=candidate:{number} 1 {each.transport} {_priority(each.transport, number)} {each.host} {each.port} typ host"
        + (" tcptype passive" if each.transport == "tcp" else "")
        for number, each in enumerate(candidates, 1)
    ]
    return [*lines, "a=end-of-candidates"]


def _priority(transport: str, number: int) -> int:
    if transport == "tcp":
        return _TCP_PREFERENCE << 24 | (_PASSIVE | 8192 - number) << 8 | 255
    return _UDP_PREFERENCE << 24 | (65_536 - number) << 8 | 255


def _default_address(candidates: Sequence[Candidate]) -> tuple[str, int]:
    """For the m-line, which is of UDP: where there is none of that, nothing (RFC 8839, 4.2.1.3)."""
    return next(((each.host, each.port) for each in candidates if each.transport == "udp"), ("0.0.0.0", 9))  # noqa: S104


def _address_type(host: str) -> str:
    return f"IP{ipaddress.ip_address(host).version}"


def _refuse_media(media: OfferedMedia) -> list[str]:
    mid = [f"a=mid:{media.mid}"] if media.mid else []
    return [f"m={media.kind} 0 {media.profile} {media.formats}", "c=IN IP4 0.0.0.0", *mid, "a=inactive"]
