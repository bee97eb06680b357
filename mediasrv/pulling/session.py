"""One RTSP connection to one stream, from its handshake to its end: describe, set up, play, watch, leave.

Interleaved packets go from `connection` straight to the depacketizers of `media.intake`, which publishes; over UDP they
pass `udp.UdpTrack`, which restores their order. When to try again, and where, is the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from mediasrv.clock import Clock
from mediasrv.errors import CameraError, MediasrvError, ProtocolError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import Session
from mediasrv.media.camera_clock import CameraClock
from mediasrv.media.intake import SECOND_US, Intake
from mediasrv.pulling.address import Target, resolve_allowed
from mediasrv.pulling.connection import RtspConnection
from mediasrv.pulling.gather import Gatherer
from mediasrv.pulling.refusals import (
    AGGREGATE_REFUSED,
    OK,
    UNAUTHORIZED,
    connect_failure,
    refusal,
)
from mediasrv.pulling.report import PullReport
from mediasrv.pulling.tls import TlsTrust
from mediasrv.pulling.tracks import AudioTrack, choose_audio, choose_metadata, choose_video
from mediasrv.pulling.transports import Tracks
from mediasrv.pulling.watch import StallWatch
from mediasrv.settings import PullSettings
from mediasrv.waiting import Turns, wait_for_event
from mediasrv.wire.rtcp import RtcpPacket, SenderReport, ntp_to_us
from mediasrv.wire.rtsp import ResponseReceived, RtspClient
from mediasrv.wire.rtsp_auth import Authenticator
from mediasrv.wire.rtsp_headers import parse_scale, resolve_control
from mediasrv.wire.sdp import MediaDescription, SessionDescription, parse_sdp

log = logging.getLogger(__name__)

TEARDOWN_S: Final = 1.0
KEEPALIVE_SHARE: Final = 0.4
"""Of the session's timeout: one answer may be lost, and there is time for another."""
KEEPALIVE_LEAST_S: Final = 2.0
CHECK_S: Final = 1.0
STAMP_US: Final = 1000
"""Cameras stamp a report a little before or after they send it."""
_LEFT_OUT: Final = frozenset(("rtsp_refused", "camera_busy", "stream_not_found", "transport_refused"))
"""Refusals of a track beside the pictures."""


@dataclass(frozen=True, slots=True)
class PullContext:
    """What all connections of a pull share. `on_connected` is called once a host has taken the connection. `gate`
    bounds the handshakes at once, in all and with one host: recorders are slow and have many channels, and a server
    that starts 200 cameras answers each in time or none. A handshake begins once the connection stands, so that dead
    hosts hold no place, and ends with PLAY. Without a gate they are not bounded."""

    mountpoint: Mountpoint
    new_session: Callable[[], Session]
    clock: Clock
    settings: PullSettings
    gatherer: Gatherer
    on_connected: Callable[[], None]
    gate: Turns | None = None


class PullSession:
    """`transports` may be used, the preferred one first; `patience_s` is how long the first packet may take."""

    def __init__(
        self,
        context: PullContext,
        target: Target,
        trust: TlsTrust | None,
        authenticator: Authenticator,
        transports: Sequence[str],
        patience_s: float,
    ) -> None:
        self._context = context
        self._settings = context.settings
        self._clock = context.clock
        self._mountpoint = context.mountpoint
        self._target = target
        self._trust = trust
        self._transports = tuple(transports)
        self._patience_s = patience_s
        self._authenticator = authenticator
        self._intake = Intake(context.mountpoint, self._begin_session, context.settings.access_unit_bytes)
        self._client = RtspClient(authenticator, self._intake.disturb, context.settings.receive_buffer_bytes)
        self._connection = self._new_connection()
        self._tracks = self._new_tracks("")
        self._controls: list[str] = []
        """What PLAY and TEARDOWN are sent for: the aggregate, or each track."""
        self._notes: list[str] = []
        self._keepalives = ["GET_PARAMETER", "OPTIONS"]
        self._camera_clock = CameraClock()

    @property
    def report(self) -> PullReport:
        """A snapshot, made when it is asked for."""
        intake, connection, udp = self._intake, self._connection, self._tracks.udp.values()
        tracks = [track for track in (intake.video, intake.audio, intake.metadata) if track is not None]
        return PullReport(
            packets=sum(track.packets for track in tracks),
            reads=connection.reads + sum(track.reads for track in udp),
            received_bytes=connection.received_bytes + sum(track.received_bytes for track in udp),
            video_units=intake.video_units,
            audio_units=intake.audio_units,
            metadata_units=intake.metadata_units,
            units_before_keyframe=intake.units_before_keyframe,
            first_keyframe_us=intake.first_keyframe_us,
            lost_packets=sum(track.lost_packets for track in tracks),
            late_packets=sum(track.reordering.late_packets for track in udp),
            damaged=intake.video.damaged_units if intake.video else 0,
            resyncs=self._client.resyncs,
            camera_offset_us=self._camera_clock.offset_us,
            camera_uncertainty_us=self._camera_clock.uncertainty_us,
            video_format=intake.video_format,
            audio_format=intake.audio_format,
            peer=self._connection.peer,
            transport="tls" if self._tracks.transport and self._target.tls else self._tracks.transport,
            gathered=connection.gathered and all(track.gathered for track in udp),
            notes=tuple(self._notes),
        )

    async def run(self, stop_reason: Callable[[], str]) -> NoReturn:
        """Pulls until the connection ends, then raises CameraError; call once. `stop_reason` is asked for what ends the
        session where this is cancelled."""
        await self._connect()
        reason = "camera_failed"
        demand = self._mountpoint.on_demand_change(self._gather)
        try:
            async with self._turn():
                await self._connection.start(self._trust, self._settings.connect_timeout_s)
                await self._play()
            await self._watch()
        except asyncio.CancelledError:
            reason = stop_reason()
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
            await self._leave()

    # --- the handshake -----------------------------------------------------------------------------------

    async def _connect(self) -> None:
        """Connects to the first address that answers. Raises CameraError of the last that did not."""
        host, port, settings = self._target.host, self._target.port, self._settings
        failure = CameraError("The camera's host name has no address.", code="name_unresolved")
        for address in await resolve_allowed(host, port, settings):
            try:
                async with asyncio.timeout(settings.connect_timeout_s):
                    await self._connection.connect(address, port)
            except OSError as error:
                failure = connect_failure(error, settings.connect_timeout_s)
                failure.__cause__ = error
                self._connection = self._new_connection()
                continue
            self._context.on_connected()
            self._tracks = self._new_tracks(address)
            return
        raise failure

    def _new_connection(self) -> RtspConnection:
        return RtspConnection(self._client, self._clock, self._settings.response_timeout_s)

    def _new_tracks(self, peer_host: str) -> Tracks:
        return Tracks(
            self._connection,
            peer_host,
            self._transports,
            self._clock,
            self._settings,
            has_credentials=self._authenticator.has_credentials,
        )

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._context.gate is None:
            yield
        else:
            async with self._context.gate.turn(self._target.host):
                yield

    async def _play(self) -> None:
        if self._trust is not None and not self._trust.is_checked:
            self._notes.append("The camera's certificate is not checked.")
        description, base = await self._describe()
        self._controls = [resolve_control(base, description.control)]
        video = choose_video(description.media)
        audio, note = choose_audio(description.media)
        if note:
            self._notes.append(note)
        depacketizer = self._intake.add_video(video.codec, video.media.payload_type, video.parameter_sets)
        url = resolve_control(base, video.media.control)
        await self._tracks.set_up(url, video.media, depacketizer.receive, self._on_rtcp)
        if audio is not None:
            await self._set_up_audio(base, audio)
        metadata = choose_metadata(description.media)
        if metadata is not None:
            await self._set_up_metadata(base, metadata)
        await self._begin(self._controls[0])
        self._intake.begin()
        log.info("%s: playing from %s over %s", self._mountpoint.ref, self._connection.peer, self.report.transport)

    async def _describe(self) -> tuple[SessionDescription, str]:
        """What the stream holds, and the URL that its control attributes are relative to (RFC 2326, C.1.1)."""
        options = await self._connection.ask("OPTIONS", self._target.url)
        if options.status == UNAUTHORIZED:
            raise refusal(options, self._authenticator.has_credentials)  # asking on would count as another attempt
        methods = [method.strip().upper() for method in options.header("public").split(",")]
        if options.status == OK and "GET_PARAMETER" not in methods:
            self._keepalives.remove("GET_PARAMETER")
        answer = await self._request("DESCRIBE", self._target.url, [("Accept", "application/sdp")])
        base = answer.header("content-base") or answer.header("content-location")
        if not base.lower().startswith(("rtsp://", "rtsps://")):
            base = self._target.url
        return parse_sdp(answer.body), base

    async def _set_up_audio(self, base: str, audio: AudioTrack) -> None:
        """Pictures without sound are better than nothing: a refusal is a note."""
        depacketizer = self._intake.add_audio(audio.format, audio.make)
        try:
            url = resolve_control(base, audio.media.control)
            await self._tracks.set_up(url, audio.media, depacketizer.receive, _ignore_rtcp)
        except CameraError as error:
            if error.code not in _LEFT_OUT:
                raise
            self._intake.audio = self._intake.audio_format = None
            self._notes.append(f"The audio is left out. {error.sentence}")

    async def _set_up_metadata(self, base: str, media: MediaDescription) -> None:
        """As with the audio: pictures without it are better than nothing."""
        depacketizer = self._intake.add_metadata(media.payload_type)
        try:
            await self._tracks.set_up(resolve_control(base, media.control), media, depacketizer.receive, _ignore_rtcp)
        except CameraError as error:
            if error.code not in _LEFT_OUT:
                raise
            self._intake.metadata = None
            self._notes.append(f"The metadata is left out. {error.sentence}")

    async def _begin(self, aggregate: str) -> None:
        """PLAY of all tracks together, or of each where the camera wants that (RFC 2326, 11.3.10)."""
        now = [("Range", "npt=0.000-")]
        answer = await self._connection.ask("PLAY", aggregate, now)
        if answer.status != AGGREGATE_REFUSED:
            self._note_playing(answer)
            return
        self._controls = list(self._tracks.urls)
        for url in self._controls:
            self._note_playing(await self._connection.ask("PLAY", url, now))

    def _note_playing(self, answer: ResponseReceived) -> None:
        if answer.status != OK:
            raise refusal(answer, self._authenticator.has_credentials)
        scale = parse_scale(answer.header("scale"))
        if scale != 1.0:
            raise CameraError(f"The camera plays at {scale:g} times the speed, not live.", code="rtsp_refused")
        self._tracks.expect(answer.header("rtp-info"))

    async def _request(self, method: str, url: str, headers: Sequence[tuple[str, str]] = ()) -> ResponseReceived:
        """A 200 answer. Raises CameraError for any other."""
        answer = await self._connection.ask(method, url, headers)
        if answer.status != OK:
            raise refusal(answer, self._authenticator.has_credentials)
        return answer

    # --- while it plays ------------------------------------------------------------------------------------

    async def _watch(self) -> NoReturn:
        """Keeps the session alive and looks at the clocks once a second, until the connection ends."""
        now = self._checked_at = self._kept_at = self._clock.monotonic()
        stall_timeout_s = self._settings.stall_timeout_s
        watch = StallWatch(
            self._intake, self._tracks.transport, now, patience_s=self._patience_s, stall_timeout_s=stall_timeout_s
        )
        self._gather()
        self._check_later(watch)
        try:
            await self._connection.ended
        finally:
            self._timer.cancel()
        raise self._connection.failure or CameraError("The connection to the camera was lost.", code="camera_lost")

    def _check_later(self, watch: StallWatch) -> None:
        loop = asyncio.get_running_loop()
        due = self._context.gatherer.next_beat(loop.time() + CHECK_S)
        self._timer = loop.call_at(due, self._connection.guard, lambda: self._check(watch))

    def _check(self, watch: StallWatch) -> None:
        now = self._clock.monotonic()
        self._intake.check_clock(self._clock.wall_us(), now)
        if now - self._checked_at < 2 * CHECK_S:  # else this process stood still: what came meanwhile is still unread
            stall = watch.find_stall(now)
            if stall is not None:
                self._connection.fail(stall)
                return
        self._checked_at = now
        self._gather()
        if now - self._kept_at >= max(KEEPALIVE_LEAST_S, KEEPALIVE_SHARE * self._client.timeout_s):
            self._kept_at = now
            self._keep_alive()
        self._tracks.report_when_due()
        self._check_later(watch)

    def _keep_alive(self) -> None:
        methods = [one for one in self._keepalives if one not in self._connection.unknown_methods]
        self._connection.send(methods[0] if methods else "OPTIONS", self._controls[0])

    def _gather(self) -> None:
        """Who only records can have the pictures of many cameras in one wake; who watches live cannot wait."""
        waits = not self._mountpoint.watched and not self._intake.is_settling(self._clock.monotonic())
        self._tracks.gather(self._context.gatherer if waits else None)

    def _begin_session(self) -> Session:
        self._tracks.gather(None)  # by what arrives first the session's clock is set (docs/time.md, 2)
        return self._context.new_session()

    def _on_rtcp(self, packets: Sequence[RtcpPacket], now: float) -> None:
        """Keeps the offset of the camera's clock by its sender reports (RFC 3550, 6.4.1)."""
        wall_us = self._intake.wall_us(now)
        for packet in packets:
            if isinstance(packet, SenderReport) and packet.ntp and wall_us is not None:
                # It is as old as its way here, at most the shortest round trip, and as it waited to be read.
                trip_s = self._connection.round_trip_s or 0.0
                on_beat = self._connection.gathered and not self._tracks.udp  # over UDP reports have their own socket
                waited_s = self._context.gatherer.interval_s if on_beat else 0.0
                offset_us = ntp_to_us(packet.ntp) - wall_us
                age_us = (trip_s + waited_s) * SECOND_US
                self._camera_clock.observe(now, offset_us - STAMP_US, offset_us + age_us + STAMP_US)
                self._intake.note_camera_clock(self._camera_clock)

    # --- the end -------------------------------------------------------------------------------------------

    async def _leave(self) -> None:
        """Frees the camera's session: many allow only a few, and keep a dead one for minutes."""
        self._client.detach()
        self._connection.gather(None)  # the answer to TEARDOWN is waited for
        self._tracks.close()
        try:
            if self._connection.failure is None and self._client.session_id:
                async with asyncio.timeout(TEARDOWN_S):
                    for url in self._controls:
                        await self._connection.ask("TEARDOWN", url)
        except (MediasrvError, TimeoutError):
            log.debug("%s: the camera did not answer TEARDOWN", self._mountpoint.ref)
        finally:
            self._connection.abort()
            await wait_for_event(self._connection.closed, TEARDOWN_S)


def _ignore_rtcp(packets: Sequence[RtcpPacket], now: float) -> None:
    """Of sound: the camera's clock is known by the reports of the pictures."""
