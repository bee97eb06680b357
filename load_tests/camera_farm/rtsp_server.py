"""A camera's RTSP server: RTSP/1.0 over TCP with interleaved RTP (RFC 2326), as much of it as cameras do."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

from load_tests.camera_farm.http_auth import Authenticator
from load_tests.camera_farm.media_session import MediaSession, SentLog
from load_tests.camera_farm.on_air import StreamOnAir
from load_tests.camera_farm.rtp_unit import AAC_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE, Track
from load_tests.media import AAC_CONFIG

_MOST_HEAD_BYTES: Final = 64 * 1024
_METHODS: Final = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
_TRACK: Final = re.compile(r"/trackID=([01])$")
_INTERLEAVED: Final = re.compile(r"interleaved=(\d{1,3})-(\d{1,3})")


class RtspCamera(Protocol):
    """What the server asks of its camera."""

    rtsp_auth: Authenticator | None
    session_timeout_s: int

    def stream(self, name: str) -> StreamOnAir | None: ...

    def refuses_credentials(self) -> bool: ...

    def rtsp_status(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: str
    headers: dict[str, str]


class RtspConnection(asyncio.Protocol):
    """One client connection; at most one media session, as cameras have it."""

    def __init__(self, camera: RtspCamera, connections: set[RtspConnection]) -> None:
        self._camera = camera
        self._connections = connections
        self._received = bytearray()
        self._session: MediaSession | None = None
        self._stream: StreamOnAir | None = None
        self._playing = False
        self._heard = time.monotonic()
        self._watch: asyncio.TimerHandle | None = None
        self._handlers: dict[str, Callable[[Request], None]] = {
            "OPTIONS": lambda request: self._reply(request, "200 OK", [f"Public: {_METHODS}"]),
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "GET_PARAMETER": self._keep_alive,
            "SET_PARAMETER": self._keep_alive,
            "TEARDOWN": self._teardown,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._end_session()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._heard = time.monotonic()
        self._received += data
        while (size := self._one_message()) > 0:
            del self._received[:size]

    def _one_message(self) -> int:
        """Handles the first message of what was received and returns its size, or 0 while it is not whole."""
        received = self._received
        if received.startswith(b"$"):
            # RTCP of the client: heard, and nothing else.
            size = 4 + int.from_bytes(received[2:4], "big") if len(received) >= 4 else 1 << 16
            return size if len(received) >= size else 0
        end = received.find(b"\r\n\r\n")
        if end < 0:
            if len(received) > _MOST_HEAD_BYTES:
                self._transport.abort()
            return 0
        request = _parse_request(bytes(received[:end]))
        if request is None:
            self._transport.abort()
            return len(received)
        size = end + 4 + int(request.headers.get("content-length", "0"))
        if len(received) < size:
            return 0
        self._handle(request)
        return size

    def _handle(self, request: Request) -> None:
        authorization = request.headers.get("authorization", "")
        auth = self._camera.rtsp_auth
        if auth is not None and request.method != "OPTIONS":
            accepted = auth.accepts(authorization, request.method, request.url)
            if not accepted or self._camera.refuses_credentials():
                challenges = [f"WWW-Authenticate: {value}" for value in auth.challenges(authorization)]
                self._reply(request, "401 Unauthorized", challenges)
                return
        status = self._camera.rtsp_status()
        if status is not None:
            self._reply(request, status)
            return
        handler = self._handlers.get(request.method)
        if handler is None:
            self._reply(request, "501 Not Implemented", [f"Public: {_METHODS}"])
        else:
            handler(request)

    def _describe(self, request: Request) -> None:
        stream = self._camera.stream(urlsplit(request.url).path.strip("/"))
        if stream is None:
            self._reply(request, "404 Not Found")
            return
        base = request.url.rstrip("/") + "/"
        body = build_sdp(stream)
        self._reply(request, "200 OK", [f"Content-Base: {base}", "Content-Type: application/sdp"], body)

    def _setup(self, request: Request) -> None:
        path = urlsplit(request.url).path
        track = _TRACK.search(path)
        stream = self._camera.stream(path[: track.start()].strip("/")) if track else None
        transport = request.headers.get("transport", "")
        if track is None or stream is None or (track[1] == "1" and stream.audio is None):
            self._reply(request, "404 Not Found")
        elif "RTP/AVP/TCP" not in transport:
            self._reply(request, "461 Unsupported Transport")
        elif self._playing or (self._stream is not None and stream is not self._stream):
            self._reply(request, "455 Method Not Valid in This State")
        else:
            self._stream = stream
            self._answer_setup(request, stream, int(track[1]), transport)

    def _answer_setup(self, request: Request, stream: StreamOnAir, number: int, transport: str) -> None:
        if self._session is None:
            session_id = secrets.token_hex(4).upper()
            log = SentLog(session=session_id, run=stream.run, started_us=time.time_ns() // 1000)
            self._session = MediaSession(session_id, self._transport, log)
        asked = _INTERLEAVED.search(transport)
        channel = int(asked[1]) & 0xFE if asked else number * 2
        added = self._add_track(self._session, stream, number, channel)
        answer = f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1};ssrc={added.ssrc:08X}"
        timeout = f"timeout={self._camera.session_timeout_s}"
        self._reply(request, "200 OK", [f"Transport: {answer}", f"Session: {self._session.session_id};{timeout}"])

    @staticmethod
    def _add_track(session: MediaSession, stream: StreamOnAir, number: int, channel: int) -> Track:
        if number == 1 and stream.audio is not None:
            return session.add_audio(channel, stream.audio.payload_type, stream.audio.clock_rate)
        return session.add_video(channel, VIDEO_PAYLOAD_TYPE, 90_000)

    def _play(self, request: Request) -> None:
        session, stream = self._session, self._stream
        if (
            session is None
            or stream is None
            or request.headers.get("session", "").partition(";")[0] != session.session_id
        ):
            self._reply(request, "454 Session Not Found")
            return
        if not self._playing:
            media_s = stream.media_s()
            base = request.url.rstrip("/")
            tracks = [(number, track) for number, track in ((0, session.video), (1, session.audio)) if track]
            information = ",".join(
                f"url={base}/trackID={number};seq={track.sequence & 0xFFFF};rtptime={track.timestamp(media_s)}"
                for number, track in tracks
            )
            self._reply(
                request, "200 OK", [f"Session: {session.session_id}", "Range: npt=now-", f"RTP-Info: {information}"]
            )
            self._playing = True
            stream.attach(session)
            self._watch_session()
        else:
            self._reply(request, "200 OK", [f"Session: {session.session_id}"])

    def _keep_alive(self, request: Request) -> None:
        self._reply(request, "200 OK", [f"Session: {self._session.session_id}"] if self._session else [])

    def _teardown(self, request: Request) -> None:
        self._end_session()
        self._reply(request, "200 OK")
        self._transport.close()

    def _watch_session(self) -> None:
        """A client that says nothing for the session timeout, and two seconds of grace, is gone."""
        if time.monotonic() - self._heard > self._camera.session_timeout_s + 2:
            self._transport.abort()
            return
        self._watch = asyncio.get_running_loop().call_later(1.0, self._watch_session)

    def _end_session(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._stream is not None and self._session is not None:
            self._stream.detach(self._session)
        self._session, self._playing = None, False

    def _reply(self, request: Request, status: str, headers: Iterable[str] = (), body: str = "") -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {request.headers.get('cseq', '0')}", "Server: camera-farm", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())


def build_sdp(stream: StreamOnAir) -> str:
    """The session description (RFC 8866) of a stream; audio is a second medium."""
    sps, pps = stream.source.parameter_sets
    sets = ",".join(base64.b64encode(nal).decode() for nal in (sps, pps))
    kind = VIDEO_PAYLOAD_TYPE
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        f"s={stream.name}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        f"m=video 0 RTP/AVP {kind}",
        f"a=rtpmap:{kind} H264/90000",
        f"a=fmtp:{kind} packetization-mode=1;profile-level-id={sps[1:4].hex()};sprop-parameter-sets={sets}",
        f"a=framerate:{stream.source.shape.rate}",
        "a=control:trackID=0",
        *_audio_lines(stream),
    ]
    return "\r\n".join(lines) + "\r\n"


def _audio_lines(stream: StreamOnAir) -> list[str]:
    audio = stream.audio
    if audio is None:
        return []
    kind = audio.payload_type
    lines = [f"m=audio 0 RTP/AVP {kind}"]
    if kind == AAC_PAYLOAD_TYPE:
        form = "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3"
        lines += [
            f"a=rtpmap:{kind} MPEG4-GENERIC/{audio.clock_rate}/1",
            f"a=fmtp:{kind} {form};config={AAC_CONFIG.hex()}",
        ]
    else:
        lines.append(f"a=rtpmap:{kind} PCMA/{audio.clock_rate}")
    return [*lines, "a=control:trackID=1"]


def _parse_request(head: bytes) -> Request | None:
    first, *rest = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("RTSP/"):
        return None
    pairs = (line.partition(":") for line in rest)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if not headers.get("content-length", "0").isdigit():
        return None
    return Request(words[0], words[1], headers)
