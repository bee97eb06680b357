"""What a camera does with RTSP requests (RFC 2326, 10): description, one media session, its beginning and end."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from load_tests.camera_farm.counts import CallCounts
from load_tests.camera_farm.http_auth import Authenticator
from load_tests.camera_farm.on_air import StreamOnAir
from load_tests.camera_farm.rtsp.carriers import Carrier, InterleavedCarrier, UdpCarrier
from load_tests.camera_farm.rtsp.line import Line
from load_tests.camera_farm.rtsp.media_session import (
    KINDS,
    MediaSession,
    SentLog,
    SessionTrack,
    new_track,
    wrap_soon,
)
from load_tests.camera_farm.rtsp.messages import Request, build_answer
from load_tests.camera_farm.rtsp.sdp import SdpStyle, build_sdp
from load_tests.camera_farm.rtsp.urls import stream_of, track_of, track_url
from load_tests.camera_farm.tracks.metadata import METADATA_CLOCK_RATE, METADATA_PAYLOAD_TYPE
from load_tests.camera_farm.tracks.rtp_unit import VIDEO_PAYLOAD_TYPE
from load_tests.camera_farm.troubles import Troubles

_METHODS: Final = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER")
_INTERLEAVED: Final = re.compile(r"interleaved=(\d{1,3})-(\d{1,3})")
_CLIENT_PORTS: Final = re.compile(r"client_port=(\d{1,5})(?:-(\d{1,5}))?")
_TRACK_AT_END: Final = re.compile(r"[/?&]?trackID=.*")
_RENUMBERED_BY: Final = 10
_EARLY_MEDIA_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class RtspStyle:
    """How a camera speaks RTSP.

    `transports` are `tcp` and `udp`. `renumber_channels`: other interleaved channels than the client asked for.
    `early_media`: packets come before the answer to PLAY. `per_track`: PLAY of the whole session is refused. Methods
    in `refused_methods` are unknown to the camera.
    """

    session_timeout_s: int = 60
    transports: frozenset[str] = frozenset({"tcp", "udp"})
    sdp: SdpStyle = field(default_factory=SdpStyle)
    renumber_channels: bool = False
    early_media: bool = False
    rtp_info: bool = True
    per_track: bool = False
    refused_methods: frozenset[str] = frozenset()
    most_sessions: int | None = None

    @property
    def public(self) -> str:
        return ", ".join(method for method in _METHODS if method not in self.refused_methods)


class RtspCamera(Protocol):
    """What the server asks of its camera."""

    @property
    def rtsp_style(self) -> RtspStyle: ...

    @property
    def sessions_open(self) -> int:
        """From SETUP on."""

    rtsp_auth: Authenticator | None
    troubles: Troubles
    counts: CallCounts

    def stream(self, name: str) -> StreamOnAir | None: ...


class RtspService:
    """The requests of one connection; at most one media session, as cameras have it. `on_heard`: see UdpCarrier."""

    def __init__(
        self, camera: RtspCamera, transport: asyncio.Transport, host: str, on_heard: Callable[[], None], *, tls: bool
    ) -> None:
        self._camera, self._style = camera, camera.rtsp_style
        self._transport, self._host, self._tls = transport, host, tls
        self._on_heard = on_heard
        self._late_answer: asyncio.TimerHandle | None = None
        self.session: MediaSession | None = None
        self._stream: StreamOnAir | None = None
        self._handlers: dict[str, Callable[[Request], None]] = {
            "OPTIONS": lambda request: self._reply(request, "200 OK", [f"Public: {self._style.public}"]),
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "GET_PARAMETER": self._keep_alive,
            "SET_PARAMETER": self._keep_alive,
            "TEARDOWN": self._teardown,
        }

    def answer(self, request: Request) -> None:
        self._camera.counts.rtsp[request.method] += 1
        if request.method != "OPTIONS" and not self._authorised(request):
            return
        troubles = self._camera.troubles
        handler = self._handlers.get(request.method)
        if troubles.status is not None:
            self._reply(request, troubles.status)
        elif handler is None or request.method in self._style.refused_methods:
            self._reply(request, "501 Not Implemented", [f"Public: {self._style.public}"])
        else:
            handler(request)

    def end(self) -> None:
        """Ends the session, if there is one."""
        if self._late_answer is not None:
            self._late_answer.cancel()
        if self.session is not None:
            if self._stream is not None:
                self._stream.detach(self.session)
            self.session.close()
        self.session = self._stream = None

    def _authorised(self, request: Request) -> bool:
        """False once the request is answered with 401."""
        authorization = request.headers.get("authorization", "")
        auth = self._camera.rtsp_auth
        if auth is None:
            return True
        if auth.accepts(authorization, request.method, request.url) and not self._camera.troubles.wrong_password:
            return True
        if authorization and not auth.is_stale(authorization):
            self._camera.counts.auth_failures["rtsp"] += 1
        challenges = [f"WWW-Authenticate: {value}" for value in auth.challenges(authorization)]
        self._reply(request, "401 Unauthorized", challenges)
        return False

    def _describe(self, request: Request) -> None:
        name = stream_of(request.url)
        stream = self._camera.stream(name)
        if stream is None:
            self._reply(request, "404 Not Found")
            return
        redirect = self._camera.troubles.redirect
        if redirect is not None:
            self._reply(request, redirect.status, [f"Location: {redirect.urls[name]}"])
            return
        base = request.url.rstrip("/")
        body = build_sdp(stream, base, self._style.sdp)
        self._reply(request, "200 OK", [f"Content-Base: {base}/", "Content-Type: application/sdp"], body)

    def _setup(self, request: Request) -> None:
        number = track_of(request.url)
        stream = self._camera.stream(stream_of(request.url))
        known = self.session.session_id if self.session else ""
        if stream is None or number is None or number >= len(KINDS) or not _has(stream, KINDS[number]):
            self._reply(request, "404 Not Found")
        elif _session_of(request) not in ("", known):
            self._reply(request, "454 Session Not Found")
        elif self._playing(KINDS[number]) or (self._stream is not None and stream is not self._stream):
            self._reply(request, "455 Method Not Valid in This State")
        elif self.session is None and self._too_many():
            self._reply(request, "453 Not Enough Bandwidth")
        else:
            self._set_up(request, stream, number)

    def _playing(self, kind: str) -> bool:
        track = self.session.tracks.get(kind) if self.session else None
        return track is not None and track.playing

    def _too_many(self) -> bool:
        limits = (self._style.most_sessions, self._camera.troubles.most_sessions)
        return any(most is not None and self._camera.sessions_open >= most for most in limits)

    def _set_up(self, request: Request, stream: StreamOnAir, number: int) -> None:
        """The first transport of the client's that the camera has."""
        for wish in request.headers.get("transport", "").split(","):
            add = self._adder(wish)
            if add is not None:
                self._stream = stream
                session = self.session or self._new_session(stream)
                answer = add(session, stream, number, wish)
                timeout = f"timeout={self._style.session_timeout_s}"
                self._reply(request, "200 OK", [f"Transport: {answer}", f"Session: {session.session_id};{timeout}"])
                return
        self._reply(request, "461 Unsupported Transport")

    def _adder(self, wish: str) -> Callable[[MediaSession, StreamOnAir, int, str], str] | None:
        """What sets up a track with this transport (RFC 2326, 12.39), where the camera has it."""
        offers = self._style.transports - self._camera.troubles.refused_transports
        if wish.strip().startswith("RTP/AVP/TCP"):
            return self._add_interleaved if "tcp" in offers else None
        # Media beside a secured connection would go in the clear.
        possible = wish.strip().startswith("RTP/AVP") and _CLIENT_PORTS.search(wish) and not self._tls
        return self._add_udp if possible and "multicast" not in wish and "udp" in offers else None

    def _new_session(self, stream: StreamOnAir) -> MediaSession:
        session_id = secrets.token_hex(4).upper()
        log = SentLog(session=session_id, run=stream.run, started_us=time.time_ns() // 1000)
        self.session = MediaSession(session_id, log, self._transport.abort)
        self.session.stall(self._camera.troubles.stalled)
        return self.session

    def _add_interleaved(self, session: MediaSession, stream: StreamOnAir, number: int, wish: str) -> str:
        asked = _INTERLEAVED.search(wish)
        channel = int(asked[1]) & 0xFE if asked else number * 2
        if self._style.renumber_channels:
            channel = (channel + _RENUMBERED_BY) & 0xFE
        carrier = InterleavedCarrier(self._transport)
        added = self._add_track(session, stream, number, channel, carrier)
        return f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1};ssrc={added.rtp.ssrc:08X}"

    def _add_udp(self, session: MediaSession, stream: StreamOnAir, number: int, wish: str) -> str:
        found = _CLIENT_PORTS.search(wish)
        assert found is not None
        ports = (int(found[1]), int(found[2] or int(found[1]) + 1))
        carrier = UdpCarrier(self._host, self._transport.get_extra_info("peername")[0], ports, self._on_heard)
        added = self._add_track(session, stream, number, 0, carrier)
        numbers = f"client_port={ports[0]}-{ports[1]};server_port={carrier.ports[0]}-{carrier.ports[1]}"
        return f"RTP/AVP;unicast;{numbers};source={self._host};ssrc={added.rtp.ssrc:08X}"

    def _add_track(
        self, session: MediaSession, stream: StreamOnAir, number: int, channel: int, carrier: Carrier
    ) -> SessionTrack:
        kind = KINDS[number]
        former = session.tracks.get(kind)
        if former is not None:
            former.line.close()
        rtp = new_track(channel, *_rtp_form(stream, kind))
        wrap = self._camera.troubles.wrap
        if wrap is not None:
            wrap_soon(rtp, stream.media_s(), *wrap)
        ordered = isinstance(carrier, InterleavedCarrier)
        transport = ("tls" if self._tls else "tcp") if ordered else "udp"
        track = SessionTrack(rtp, Line(carrier, self._camera.troubles.line, ordered=ordered), transport)
        session.add(kind, track)
        return track

    def _play(self, request: Request) -> None:
        session, stream = self.session, self._stream
        if session is None or stream is None or _session_of(request) != session.session_id:
            self._reply(request, "454 Session Not Found")
            return
        number = track_of(request.url)
        if self._style.per_track and number is None:
            self._reply(request, "459 Aggregate Operation Not Allowed")
            return
        kinds = [kind for kind in session.tracks if number is None or KINDS.index(kind) == number]
        headers = [f"Session: {session.session_id}", "Range: npt=now-"]
        if self._style.rtp_info:
            headers.append(f"RTP-Info: {self._rtp_info(request.url, session, stream, kinds)}")
        if self._style.early_media:
            loop = asyncio.get_running_loop()
            self._late_answer = loop.call_later(_EARLY_MEDIA_S, self._reply, request, "200 OK", headers)
        else:
            self._reply(request, "200 OK", headers)
        self._begin(session, stream, kinds)

    def _rtp_info(self, url: str, session: MediaSession, stream: StreamOnAir, kinds: list[str]) -> str:
        base, media_s = _TRACK_AT_END.sub("", url).rstrip("/"), stream.media_s()
        return ",".join(
            f"url={track_url(base, KINDS.index(kind), self._style.sdp.control)};"
            f"seq={session.tracks[kind].rtp.sequence & 0xFFFF};rtptime={session.tracks[kind].rtp.timestamp(media_s)}"
            for kind in kinds
        )

    def _begin(self, session: MediaSession, stream: StreamOnAir, kinds: list[str]) -> None:
        fresh = [kind for kind in kinds if not session.tracks[kind].playing]
        for kind in fresh:
            session.tracks[kind].playing = True
        if session.session_id not in stream.sessions:
            stream.attach(session)
        if "metadata" in fresh:
            stream.tell_states(session)

    def _keep_alive(self, request: Request) -> None:
        known = self.session.session_id if self.session else ""
        if _session_of(request) not in ("", known):
            self._reply(request, "454 Session Not Found")
        else:
            self._reply(request, "200 OK", [f"Session: {known}"] if known else [])

    def _teardown(self, request: Request) -> None:
        self.end()
        self._reply(request, "200 OK")
        self._transport.close()

    def _reply(self, request: Request, status: str, headers: Iterable[str] = (), body: str = "") -> None:
        self._transport.write(build_answer(request, status, headers, body))


def _session_of(request: Request) -> str:
    return request.headers.get("session", "").partition(";")[0].strip()


def _has(stream: StreamOnAir, kind: str) -> bool:
    return kind == "video" or (stream.audio if kind == "audio" else stream.events) is not None


def _rtp_form(stream: StreamOnAir, kind: str) -> tuple[int, int]:
    """Payload type and clock rate."""
    if kind == "audio" and stream.audio is not None:
        return stream.audio.format.payload_type, stream.audio.clock_rate
    if kind == "metadata":
        return METADATA_PAYLOAD_TYPE, METADATA_CLOCK_RATE
    return VIDEO_PAYLOAD_TYPE, 90_000
