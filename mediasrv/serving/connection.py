"""One RTSP connection of a reader, from its first byte to its end: requests in order, and what they lead to.

Closed by default: DESCRIBE, SETUP and PLAY go through `_admit` (who, then whether this camera exists for them), and no
media leaves before the access is durable in the log. What else may be asked says nothing of any camera.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import MediasrvError, NotAuthenticated, NotFound, ProtocolError, TooManyRequests
from mediasrv.media.access_unit import StreamRef, TrackKind
from mediasrv.security.rtsp_access import Visitor
from mediasrv.serving.description import describe
from mediasrv.serving.feed import StreamFeed, first_packets
from mediasrv.serving.identity import IdentityDesk
from mediasrv.serving.link import Link
from mediasrv.serving.readers import Reader
from mediasrv.serving.surroundings import Address, Surroundings, make_reader
from mediasrv.serving.urls import CONTROL, base_url, parse_stream_url
from mediasrv.wire.rtcp import ReceiverReport, SenderReport, parse_compound
from mediasrv.wire.rtsp_messages import build_response
from mediasrv.wire.rtsp_server import PacketReceived, ProtocolBroken, RequestReceived, RtspRefused, RtspServer
from mediasrv.wire.rtsp_session import ReaderSession, SessionState
from mediasrv.wire.sdp import build_sdp

log = logging.getLogger(__name__)

MOST_REASON_CHARACTERS: Final = 300
MOST_STRANGER_REQUESTS: Final = 20
"""Of somebody who has not logged in: a client needs three."""
AUDIO_WAIT_S: Final = 0.5
"""How long a new session's sound may follow its first picture and still stand in the description."""
_STEP_S: Final = 0.05
_METHODS: Final = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
_NOT_HERE: Final = frozenset(("ANNOUNCE", "RECORD", "REDIRECT"))


@dataclass(slots=True)
class Playing:
    """A reader at work."""

    reader: Reader
    feed: StreamFeed
    rtcp_address: Address | None = None


class ReaderConnection:
    """`run` serves it to its end. The rest is for whoever watches over all connections, and never waits."""

    def __init__(self, around: Surroundings, sock: socket.socket, remote: str, tls: ssl.SSLContext | None) -> None:
        now = around.clock.monotonic()
        self.remote = remote
        self.visitor: Visitor | None = None
        self.playing: Playing | None = None
        self._around = around
        self._link = Link(sock, tls)
        self._core = RtspServer()
        self._desk = IdentityDesk(around.access, around.clock, remote, secured=tls is not None)
        self._session: ReaderSession | None = None
        self._feed: StreamFeed | None = None
        self._opened = now
        self._seen = now
        self._logged = False
        self._requests = 0

    @property
    def ref(self) -> StreamRef | None:
        """The stream it is concerned with, and whose camera is kept up for it."""
        return self._feed.ref if self._feed else None

    @property
    def way(self) -> str:
        """`tcp`, `udp` or `tls`."""
        if self._link.is_tls:
            return "tls"
        return "udp" if self._session is not None and self._session.is_udp else "tcp"

    async def run(self) -> None:
        """Serves requests until the peer leaves, breaks the protocol, or is ended. Never raises but CancelledError."""
        try:
            await self._link.open(self._around.settings.stranger_s)
            while await self._serve_some():
                pass
        except (OSError, ProtocolError) as error:
            log.debug("%s: the RTSP connection ended: %s", self.remote, error)
        except Exception:
            self._around.counters.failures += 1
            log.exception("%s: an RTSP connection failed", self.remote)
        finally:
            self.leave()
            await self._link.close()

    def expire(self, now: float) -> None:
        """Ends it where it has been silent, or has taken nothing, for too long."""
        settings = self._around.settings
        if self.visitor is None:
            if now - self._opened > settings.stranger_s:
                self._link.dismiss(build_response(408, ""))
            return
        playing = self.playing
        if playing is not None and playing.reader.look(now) > settings.stall_s:
            self._around.counters.stalled += 1
            self.end("reader_stalled")
        elif (playing is None or self.way == "udp") and now - self._seen > settings.session_s:
            self.end("session_expired")
        # Over TCP, a reader that takes its pictures lives; one that does not, stalls.

    def end(self, why: str) -> None:
        """Ends it at once, without a word: what waits for it is dropped."""
        if self.visitor is not None:
            log.info("%s: the RTSP connection of %s is ended: %s", self.remote, self.visitor.login, why)
        self.leave()
        self._link.abort()

    def leave(self) -> None:
        """Takes it off its feed. Twice does no harm."""
        self._stop_playing()
        self._session = None
        feed, self._feed = self._feed, None
        if feed is not None:
            self._around.feeds.release(feed)

    # -- requests

    async def _serve_some(self) -> bool:
        """What comes next; False at the end."""
        data = await self._link.read()
        if not data:
            return False
        for event in self._core.receive(data):
            if isinstance(event, PacketReceived):
                self._on_rtcp(event.data)
            elif isinstance(event, ProtocolBroken):
                self._around.counters.protocol_errors += 1
                self._link.send(build_response(event.status, ""))
                return False
            elif not await self._serve(event):
                return False
        return True

    async def _serve(self, request: RequestReceived) -> bool:
        """Answers one request; False where the connection is over with it."""
        self._seen = self._around.clock.monotonic()
        self._requests += 1
        try:
            await self._answer(request)
        except RtspRefused as refused:
            self._write(request, refused.rtsp_status, _why(refused))
        except NotAuthenticated as refused:
            stale = refused.code == "nonce_stale"
            self._write(request, 401, [("WWW-Authenticate", one) for one in self._desk.challenges(stale=stale)])
        except TooManyRequests as refused:
            self._write(request, 503, [*_why(refused), ("Retry-After", str(refused.retry_after_s))])
            return False
        except MediasrvError as refused:
            status = refused.status if refused.status in (403, 404) else 503
            self._write(request, status, _why(refused))
        await self._link.drain()
        return self._link.is_open and (self.visitor is not None or self._requests < MOST_STRANGER_REQUESTS)

    def _write(
        self, request: RequestReceived, status: int = 200, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        session = self._session
        if session is not None:
            headers = [*headers, ("Session", f"{session.session_id};timeout={self._around.settings.session_s:.0f}")]
        self._link.send(build_response(status, request.cseq, headers, body))

    async def _answer(self, request: RequestReceived) -> None:
        if not request.cseq:
            raise RtspRefused(400, "Every request needs a CSeq.")
        if request.header("require"):
            raise RtspRefused(551, "None of the options that are required is known here.")
        handler = _HANDLERS.get(request.method)
        if handler is not None:
            await handler(self, request)
        elif request.method in _NOT_HERE:
            self._write(request, 405, [("Allow", _METHODS)])
        else:
            self._write(request, 501, [("Public", _METHODS)])

    async def _options(self, request: RequestReceived) -> None:
        self._check_session(request)
        self._write(request, 200, [("Public", _METHODS)])

    async def _describe(self, request: RequestReceived) -> None:
        accepted = request.header("accept").lower()
        if accepted and not any(word in accepted for word in ("application/sdp", "application/*", "*/*")):
            raise RtspRefused(406, "A description is application/sdp.")
        _, ref, _ = await self._admit(request)
        feed = await self._hold(ref)
        body = build_sdp(describe(feed.tracks), secrets.randbits(31), str(ref))
        headers = [("Content-Type", "application/sdp"), ("Content-Base", f"{base_url(request.url)}/")]
        self._write(request, 200, headers, body)

    async def _set_up(self, request: RequestReceived) -> None:
        _, ref, track = await self._admit(request)
        self._check_session(request)
        feed = await self._hold(ref)
        if track not in feed.tracks:
            raise NotFound("There is no such track.", code="track_not_found")
        session = self._session
        if session is None:
            udp = self._around.udp
            ports = udp.ports if udp is not None and not self._link.is_tls else None
            session = ReaderSession(secrets.token_hex(12), ports)
        told = session.set_up(int(track), request.header("transport"))
        self._session = session
        self._write(request, 200, [("Transport", f"{told};ssrc={feed.tracks[track].ssrc:08X}")])

    async def _play(self, request: RequestReceived) -> None:
        visitor, ref, _ = await self._admit(request)
        session, feed = self._present(request), self._feed
        if feed is None or feed.ref != ref:
            raise RtspRefused(454, "Nothing of this stream is set up.")
        if session.state is SessionState.PLAYING:
            self._write(request, 200, [("Range", "npt=now-")])
            return
        if session.state is not SessionState.INIT and not self._logged:
            await self._around.access.started(visitor, ref, "rtsps" if self._link.is_tls else "rtsp")
            self._logged = True
        session.play()
        if self._feed is feed:  # it was not ended meanwhile
            self._start_playing(request, feed, session)

    async def _pause(self, request: RequestReceived) -> None:
        self._present(request).pause()
        self._stop_playing()
        self._write(request)

    async def _tear_down(self, request: RequestReceived) -> None:
        self._present(request)
        self.leave()
        self._logged = False
        self._write(request)

    async def _parameters(self, request: RequestReceived) -> None:
        """Without parameters they keep a session alive; no parameter is known here."""
        self._check_session(request)
        if request.body.strip():
            raise RtspRefused(451, "No parameter is known here.")
        self._write(request)

    def _check_session(self, request: RequestReceived) -> None:
        if request.header("session"):
            self._present(request)

    def _present(self, request: RequestReceived) -> ReaderSession:
        if self._session is None:
            raise RtspRefused(454, "There is no such session on this connection.")
        self._session.check(request.header("session"))
        return self._session

    # -- who, and what

    async def _admit(self, request: RequestReceived) -> tuple[Visitor, StreamRef, TrackKind | None]:
        """Who asks, and for what. Raises NotAuthenticated before anything else, then NotFound or NotPermitted."""
        visitor = self.visitor = await self._desk.identify(request, self.visitor)
        asked = parse_stream_url(request.url)
        if asked is None:
            raise NotFound("There is no such camera.", code="camera_not_found")
        ref, track = asked
        await self._around.access.admit(visitor, ref.camera_id)
        return visitor, ref, track

    async def _hold(self, ref: StreamRef) -> StreamFeed:
        """The stream's feed, held until the connection leaves it, once it is known what goes out on it."""
        feed = self._feed
        if feed is None or feed.ref != ref:
            if self._session is not None:
                raise RtspRefused(459, "One session is of one stream.")
            self.leave()
            feed = self._feed = self._around.feeds.hold(ref)
        await self._around.ensure(ref)
        await _wait_for_tracks(feed, self._around.clock)
        if TrackKind.VIDEO not in feed.tracks or self._feed is not feed:
            raise MediasrvError("The camera has sent no picture yet.", code="waiting_keyframe")
        return feed

    # -- media

    def _start_playing(self, request: RequestReceived, feed: StreamFeed, session: ReaderSession) -> None:
        around, settings = self._around, self._around.settings
        cached = feed.cached(settings.most_waiting_bytes) if settings.start_cached else ()
        writer = self._link.writer
        if writer is None:
            raise ProtocolError("The connection has ended.")
        reader, rtcp_address = make_reader(around, session, writer, self._on_rtcp, self.end)
        first = {kind: found for kind, found in first_packets(cached).items() if int(kind) in session.tracks}
        base = base_url(request.url)
        info = ",".join(f"url={base}/{CONTROL}{int(kind)};seq={at[0]};rtptime={at[1]}" for kind, at in first.items())
        self._write(request, 200, [("Range", "npt=now-"), *([("RTP-Info", info)] if info else [])])
        self.playing = Playing(reader, feed, rtcp_address)
        around.counters.readers += 1
        feed.join(reader, cached)

    def _stop_playing(self) -> None:
        playing, self.playing = self.playing, None
        if playing is None:
            return
        playing.feed.leave(playing.reader)
        playing.reader.close()
        if playing.rtcp_address is not None and self._around.udp is not None:
            self._around.udp.unlisten(playing.rtcp_address)

    def _on_rtcp(self, data: bytes) -> None:
        """Reports of the reader are a sign of life."""
        with contextlib.suppress(ProtocolError):
            if any(isinstance(packet, ReceiverReport | SenderReport) for packet in parse_compound(data)):
                self._seen = self._around.clock.monotonic()


async def _wait_for_tracks(feed: StreamFeed, clock: Clock) -> None:
    """The picture is there; sound of a session that has just begun may follow."""
    session = feed.mountpoint.session
    until = (session.started_monotonic if session else clock.monotonic()) + AUDIO_WAIT_S
    feed.learn_tracks()
    while TrackKind.AUDIO not in feed.tracks and clock.monotonic() < until:
        await asyncio.sleep(_STEP_S)
        feed.learn_tracks()


def _why(refused: MediasrvError) -> list[tuple[str, str]]:
    """For whoever looks at the traffic: RTSP has no other place for it. A sentence may quote a camera."""
    return [("X-Reason", re.sub(r"[^ -~]", "?", f"{refused.code}: {refused.sentence}")[:MOST_REASON_CHARACTERS])]


_Handler = Callable[[ReaderConnection, RequestReceived], Awaitable[None]]
_HANDLERS: Final[dict[str, _Handler]] = {
    "OPTIONS": ReaderConnection._options,
    "DESCRIBE": ReaderConnection._describe,
    "SETUP": ReaderConnection._set_up,
    "PLAY": ReaderConnection._play,
    "PAUSE": ReaderConnection._pause,
    "TEARDOWN": ReaderConnection._tear_down,
    "GET_PARAMETER": ReaderConnection._parameters,
    "SET_PARAMETER": ReaderConnection._parameters,
}
