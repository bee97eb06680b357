"""Pulls one camera's stream over RTSP into its mountpoint: once, over one TCP connection, until it ends.

`pulling.connection` is the asyncio shell around `wire.rtsp`; packets go from there straight to the depacketizers of
`media.intake`, which publishes. `RtspPull` goes through the steps: resolve, connect, describe, set up, play, watch,
leave. `RtspPull.run` ends by raising CameraError with a code of docs/reasons.md; when to try again is its caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn
from urllib.parse import urlsplit

from mediasrv.clock import Clock
from mediasrv.errors import CameraError, ProtocolError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import AudioFormat, Session, VideoFormat
from mediasrv.media.camera_clock import CameraClock
from mediasrv.media.intake import SECOND_US, Intake
from mediasrv.media.rtp import NO_RTP
from mediasrv.pulling.connection import RtspConnection
from mediasrv.pulling.gather import Gatherer
from mediasrv.pulling.tracks import AudioTrack, choose_audio, choose_metadata, choose_video
from mediasrv.settings import PullSettings
from mediasrv.wire.addresses import is_allowed
from mediasrv.wire.rtcp import SenderReport, ntp_to_us, parse_compound
from mediasrv.wire.rtsp import ResponseReceived, RtspClient, Sink, interleaved_channels, resolve_control
from mediasrv.wire.rtsp_auth import Authenticator
from mediasrv.wire.sdp import MediaDescription, SessionDescription, parse_sdp

log = logging.getLogger(__name__)

RTSP_PORT: Final = 554
TEARDOWN_S: Final = 1.0
KEEPALIVE_SHARE: Final = 0.4
"""Of the session's timeout: one answer may be lost, and there is time for another."""
KEEPALIVE_LEAST_S: Final = 2.0
CHECK_S: Final = 1.0
STAMP_US: Final = 1000
"""Cameras stamp a report a little before or after they send it."""

_CHANNELS: Final = {"video": 0, "audio": 2}
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = frozenset((404, 410, 454))


@dataclass(frozen=True, slots=True)
class RtspSource:
    """Where a stream is. `url` is `rtsp://host[:port]/…` and holds no credentials; the password is never shown."""

    url: str
    username: str = ""
    password: str = field(repr=False, default="")


@dataclass(slots=True)
class PullReport:
    """How a pull stands. Counters run over the connection; those of the keyframe over the current session.

    `camera_offset_us` is the camera's clock minus the server's, by its RTCP sender reports so far, true to within
    `camera_uncertainty_us`; None before the first. `peer` is the address and port that was connected to. `notes` are
    plain sentences about what was left out.
    """

    packets: int = 0
    reads: int = 0
    received_bytes: int = 0
    video_units: int = 0
    audio_units: int = 0
    metadata_units: int = 0
    units_before_keyframe: int = 0
    first_keyframe_us: int | None = None
    lost_packets: int = 0
    damaged: int = 0
    resyncs: int = 0
    camera_offset_us: int | None = None
    camera_uncertainty_us: int | None = None
    video_format: VideoFormat | None = None
    audio_format: AudioFormat | None = None
    peer: str = ""
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Watch:
    """When a playing session was looked at last; monotonic seconds."""

    playing_at: float
    keepalive_s: float
    checked_at: float = field(init=False)
    kept_at: float = field(init=False)
    timer: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self.checked_at = self.kept_at = self.playing_at


class RtspPull:
    """One RTSP connection to one stream. `stop_reason` is what ends the session if `run` is cancelled."""

    def __init__(
        self,
        source: RtspSource,
        mountpoint: Mountpoint,
        new_session: Callable[[], Session],
        clock: Clock,
        settings: PullSettings,
        gatherer: Gatherer,
    ) -> None:
        self.stop_reason = "server_down"
        self._source = source
        self._ref = mountpoint.ref
        self._mountpoint = mountpoint
        self._gatherer = gatherer
        self._clock = clock
        self._settings = settings
        self._new_session = new_session
        self._intake = Intake(mountpoint, self._begin_session, settings.access_unit_bytes)
        self._authenticator = Authenticator(source.username, source.password)
        self._client = RtspClient(self._authenticator, self._intake.disturb, settings.receive_buffer_bytes)
        self._connection: RtspConnection | None = None
        self._notes: list[str] = []
        self._keepalive_method = "GET_PARAMETER"
        self._control_url = source.url
        self._camera_clock = CameraClock()

    @property
    def report(self) -> PullReport:
        """A snapshot, made when it is asked for."""
        intake, client, connection = self._intake, self._client, self._connection
        tracks = [track for track in (intake.video, intake.audio, intake.metadata) if track is not None]
        return PullReport(
            packets=sum(track.packets for track in tracks),
            reads=connection.reads if connection else 0,
            received_bytes=connection.received_bytes if connection else 0,
            video_units=intake.video_units,
            audio_units=intake.audio_units,
            metadata_units=intake.metadata_units,
            units_before_keyframe=intake.units_before_keyframe,
            first_keyframe_us=intake.first_keyframe_us,
            lost_packets=sum(track.lost_packets for track in tracks),
            damaged=intake.video.damaged_units if intake.video else 0,
            resyncs=client.resyncs,
            camera_offset_us=self._camera_clock.offset_us,
            camera_uncertainty_us=self._camera_clock.uncertainty_us,
            video_format=intake.video_format,
            audio_format=intake.audio_format,
            peer=connection.peer if connection else "",
            notes=tuple(self._notes),
        )

    async def run(self) -> NoReturn:
        """Pulls until the connection ends, then raises CameraError; call once."""
        host, port = parse_rtsp_url(self._source.url)
        addresses = await resolve_allowed(host, port, self._settings)
        connection = self._connection = await self._connect(addresses, port)
        reason = "camera_failed"
        demand = self._mountpoint.on_demand_change(lambda: self._gather(connection))
        try:
            await self._play(connection)
            await self._watch(connection)
        except asyncio.CancelledError:
            reason = self.stop_reason
            raise
        except CameraError as error:
            reason = error.code
            raise
        except ProtocolError as error:
            reason = error.code
            raise CameraError(error.sentence, code=error.code) from error
        finally:
            demand.close()
            self._intake.end(reason)
            await self._leave(connection)

    async def _connect(self, addresses: Sequence[str], port: int) -> RtspConnection:
        """Connects to the first address that answers. Raises CameraError of the last that did not."""
        failure = CameraError("The camera's host name has no address.", code="name_unresolved")
        for address in addresses:
            connection = RtspConnection(self._client, self._clock, self._settings.response_timeout_s)
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s):
                    await connection.open(address, port)
            except OSError as error:
                failure = _connect_failure(error, self._settings.connect_timeout_s)
                failure.__cause__ = error
                continue
            return connection
        raise failure

    async def _play(self, connection: RtspConnection) -> None:
        description, base = await self._describe(connection)
        video = choose_video(description.media)
        audio, note = choose_audio(description.media)
        if note:
            self._notes.append(note)
        depacketizer = self._intake.add_video(video.codec, video.media.payload_type, video.parameter_sets)
        await self._set_up(connection, base, video.media, depacketizer.receive)
        if audio is not None:
            await self._set_up_audio(connection, base, audio)
        metadata = choose_metadata(description.media)
        if metadata is not None:
            await self._set_up_metadata(connection, base, metadata)
        self._control_url = resolve_control(base, description.control)
        await self._request(connection, "PLAY", self._control_url, [("Range", "npt=0.000-")])
        self._intake.begin()
        log.info("%s: playing from %s", self._ref, connection.peer)

    async def _describe(self, connection: RtspConnection) -> tuple[SessionDescription, str]:
        """What the stream holds, and the URL that its control attributes are relative to (RFC 2326, C.1.1)."""
        options = await connection.ask("OPTIONS", self._source.url)
        if options.status == _UNAUTHORIZED:
            raise refusal(options, self._authenticator.has_credentials)  # asking on would count as another attempt
        methods = [method.strip() for method in options.header("public").split(",")]
        if options.status == _OK and "GET_PARAMETER" not in methods:
            self._keepalive_method = "OPTIONS"
        answer = await self._request(connection, "DESCRIBE", self._source.url, [("Accept", "application/sdp")])
        base = answer.header("content-base") or answer.header("content-location")
        if not base.lower().startswith(("rtsp://", "rtsps://")):
            base = self._source.url
        return parse_sdp(answer.body), base

    async def _set_up(self, connection: RtspConnection, base: str, media: MediaDescription, sink: Sink) -> None:
        """Sets up one track and hands its packets to `sink`, on the channels that the camera gives."""
        wanted = _CHANNELS.get(media.kind, 4)
        answer = await self._request(
            connection,
            "SETUP",
            resolve_control(base, media.control),
            [("Transport", f"RTP/AVP/TCP;unicast;interleaved={wanted}-{wanted + 1}")],
        )
        transport = answer.header("transport")
        channels = interleaved_channels(transport)
        if channels is None and "tcp" not in transport.lower():
            raise CameraError("The camera does not send media over its RTSP connection (TCP).", code="rtsp_refused")
        rtp, rtcp = channels or (wanted, wanted + 1)
        self._client.attach(rtp, sink)
        self._client.attach(rtcp, self._on_rtcp if media.kind == "video" else _ignore)

    async def _set_up_audio(self, connection: RtspConnection, base: str, audio: AudioTrack) -> None:
        """Pictures without sound are better than nothing: a refusal is a note."""
        depacketizer = self._intake.add_audio(audio.format, audio.make)
        try:
            await self._set_up(connection, base, audio.media, depacketizer.receive)
        except CameraError as error:
            if error.code not in ("rtsp_refused", "stream_not_found"):
                raise
            self._intake.audio = self._intake.audio_format = None
            self._notes.append(f"The audio is left out. {error.sentence}")

    async def _set_up_metadata(self, connection: RtspConnection, base: str, media: MediaDescription) -> None:
        """As with the audio: pictures without it are better than nothing."""
        depacketizer = self._intake.add_metadata(media.payload_type)
        try:
            await self._set_up(connection, base, media, depacketizer.receive)
        except CameraError as error:
            if error.code not in ("rtsp_refused", "stream_not_found"):
                raise
            self._intake.metadata = None
            self._notes.append(f"The metadata is left out. {error.sentence}")

    async def _request(
        self, connection: RtspConnection, method: str, url: str, headers: Sequence[tuple[str, str]] = ()
    ) -> ResponseReceived:
        """A 200 answer. Raises CameraError for any other."""
        answer = await connection.ask(method, url, headers)
        if answer.status != _OK:
            raise refusal(answer, self._authenticator.has_credentials)
        return answer

    async def _watch(self, connection: RtspConnection) -> NoReturn:
        """Keeps the session alive and looks at the clocks once a second, until the connection ends."""
        watch = _Watch(self._clock.monotonic(), max(KEEPALIVE_LEAST_S, KEEPALIVE_SHARE * self._client.timeout_s))
        self._gather(connection)
        self._check_later(connection, watch)
        try:
            await connection.ended
        finally:
            if watch.timer is not None:
                watch.timer.cancel()
        raise connection.failure or CameraError("The connection to the camera was lost.", code="camera_lost")

    def _check_later(self, connection: RtspConnection, watch: _Watch) -> None:
        loop = asyncio.get_running_loop()
        due = self._gatherer.next_beat(loop.time() + CHECK_S)
        watch.timer = loop.call_at(due, connection.guard, lambda: self._check(connection, watch))

    def _check(self, connection: RtspConnection, watch: _Watch) -> None:
        now = self._clock.monotonic()
        self._intake.check_clock(self._clock.wall_us(), now)
        if now - watch.checked_at < 2 * CHECK_S:  # else this process stood still: what came meanwhile is still unread
            silent_s = now - (self._intake.last_picture_at or watch.playing_at)
            if silent_s > self._settings.stall_timeout_s:
                sentence = f"The camera is connected but has sent no picture for {silent_s:.0f} s."
                connection.fail(CameraError(sentence, code="stalled"))
                return
        watch.checked_at = now
        self._gather(connection)
        if now - watch.kept_at >= watch.keepalive_s:
            watch.kept_at = now
            connection.send(self._keepalive_method, self._control_url)
        self._check_later(connection, watch)

    def _gather(self, connection: RtspConnection) -> None:
        """Who only records can have the pictures of many cameras in one wake; who watches live cannot wait."""
        waits = not self._mountpoint.watched and not self._intake.is_settling(self._clock.monotonic())
        connection.gather(self._gatherer if waits else None)

    def _begin_session(self) -> Session:
        if self._connection is not None:
            self._connection.gather(None)  # by what arrives first the session's clock is set (docs/time.md, 2)
        return self._new_session()

    async def _leave(self, connection: RtspConnection) -> None:
        """Frees the camera's session: many allow only a few, and keep a dead one for minutes."""
        self._client.detach()
        connection.gather(None)  # the answer to TEARDOWN is waited for
        try:
            if connection.failure is None and self._client.session_id:
                async with asyncio.timeout(TEARDOWN_S):
                    await connection.ask("TEARDOWN", self._control_url)
        except (CameraError, TimeoutError):
            log.debug("%s: the camera did not answer TEARDOWN", self._ref)
        finally:
            connection.abort()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TEARDOWN_S):
                    await connection.closed.wait()

    def _on_rtcp(self, data: bytes, start: int, stop: int, now: float) -> int:
        """Keeps the offset of the camera's clock by its sender reports (RFC 3550, 6.4.1)."""
        try:
            packets = parse_compound(data[start:stop])
        except ProtocolError:
            return _ignore(data, start, stop, now)
        wall_us = self._intake.wall_us(now)
        for packet in packets:
            if isinstance(packet, SenderReport) and packet.ntp and wall_us is not None:
                # It is as old as its way here, at most the shortest round trip, and as it waited to be read.
                trip_s = (self._connection.round_trip_s if self._connection else None) or 0.0
                age_us = (
                    trip_s + (self._gatherer.interval_s if self._connection and self._connection.gathered else 0.0)
                ) * SECOND_US
                offset_us = ntp_to_us(packet.ntp) - wall_us
                self._camera_clock.observe(now, offset_us - STAMP_US, offset_us + age_us + STAMP_US)
                self._intake.note_camera_clock(self._camera_clock)
        return stop


def parse_rtsp_url(url: str) -> tuple[str, int]:
    """Host and port. Raises CameraError (`address_invalid`) for anything but `rtsp://host[:port]/…`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or RTSP_PORT
    except ValueError as error:
        raise CameraError("The stream's address is no rtsp:// URL.", code="address_invalid") from error
    if parts.scheme.lower() != "rtsp" or not host or not all("!" <= letter <= "~" for letter in url):
        raise CameraError("The stream's address is no rtsp:// URL.", code="address_invalid")
    if parts.username is not None or parts.password is not None:
        raise CameraError("User name and password do not belong into the stream's address.", code="address_invalid")
    return host, port


async def resolve_allowed(host: str, port: int, settings: PullSettings) -> list[str]:
    """The numeric addresses of a host that lie in `allowed_networks`. Raises CameraError where there is none.

    What is connected to is an address from here, never the name again: a name may point elsewhere a moment later.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a timeout is an OSError too
        raise CameraError("The camera's host name has no address.", code="name_unresolved") from error
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    allowed = [address for address in addresses if is_allowed(address, settings.allowed_networks)]
    if not allowed:
        raise CameraError(
            "The camera's address lies outside the networks this server may connect to.", code="address_refused"
        )
    return allowed


def _ignore(data: bytes, start: int, stop: int, now: float) -> int:
    return stop if stop > start and data[start] >> 6 == 2 else NO_RTP


def _connect_failure(error: OSError, timeout_s: float) -> CameraError:
    if isinstance(error, ConnectionRefusedError):
        return CameraError("The host answers, but nothing listens on this port.", code="port_closed")
    if isinstance(error, TimeoutError):
        return CameraError(f"The camera did not answer within {timeout_s:g} s.", code="host_unreachable")
    return CameraError("The camera's address cannot be reached.", code="host_unreachable")


def refusal(answer: ResponseReceived, has_credentials: bool) -> CameraError:
    """The reason of a status that is not 200. The camera's own words are printable by then."""
    method = answer.request.method
    if answer.status == _UNAUTHORIZED and has_credentials:
        return CameraError("The camera refused the user name or the password.", code="credentials_wrong")
    if answer.status == _UNAUTHORIZED:
        return CameraError("The camera asks for a user name and a password.", code="credentials_missing")
    said = f"The camera answered {method} with {answer.status} {answer.reason}".rstrip(" .")
    return CameraError(f"{said}.", code="stream_not_found" if answer.status in _NOT_FOUND else "rtsp_refused")
