"""WebRTC fan-out (WHEP): hub -> viewers, over one UDP and one TCP port.

A `Fanout` subscribes once per watched stream and packetises each access unit once. Each viewer then costs a
header, one AES-GCM call a packet and one GSO send a picture (`wire.webrtc_peer`). The protocols are sans-IO cores
in `wire/`; what is here is the lives of viewers, all on the event loop's thread.

What a viewer's browser cannot decode comes from a rendition of the stream, made once for all who need it. An `auto`
viewer is moved between a camera's two streams as its line allows (`fanout.choice`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from mediasrv.clock import Clock, from_us
from mediasrv.errors import MediasrvError, NotAcceptable, NotFound, TooManyRequests, Unavailable
from mediasrv.fanout.admission import JoinRate, check_handshakes
from mediasrv.fanout.choice import Situation, StreamChoice
from mediasrv.fanout.port import WebRtcPort
from mediasrv.fanout.signalling import Restarted, entity_tag, make_credentials, read_patch
from mediasrv.fanout.stream import (
    AutoViewing,
    Fanout,
    FanoutKey,
    Viewer,
    ViewerInfo,
    audio_encoding,
    video_encoding,
)
from mediasrv.hub import Hub, Mountpoint, Renditions
from mediasrv.media.access_unit import AudioFormat, Codec, Rendition, StreamRef
from mediasrv.settings import WebRtcSettings
from mediasrv.wire.dtls import DtlsIdentity, DtlsServer
from mediasrv.wire.ice import IceLite
from mediasrv.wire.sdp_fragment import build_fragment
from mediasrv.wire.webrtc_peer import Counters, Host, WebRtcPeer
from mediasrv.wire.whep_sdp import Candidate, LocalTransport, Offer, build_answer, candidate_lines, parse_offer

log = logging.getLogger(__name__)

_TICK_S: Final = 0.5
_REPORT_TICKS: Final = 4
_OPUS: Final = "OPUS"


@dataclass(frozen=True, slots=True)
class Joined:
    """What the HTTP side needs for its 201. `etag` is quoted, as the header wants it (RFC 9725, 4.3.1)."""

    viewer_id: str
    answer_sdp: str
    etag: str


class WebRtcService:
    """The door. `run` owns the port; `join` and `leave` are called by the HTTP side.

    `ensure` starts an on-demand stream and waits until it is there; it raises what keeps it away.
    """

    def __init__(
        self,
        hub: Hub,
        settings: WebRtcSettings,
        clock: Clock,
        ensure: Callable[[StreamRef], Awaitable[None]] | None = None,
        renditions: Renditions | None = None,
    ) -> None:
        self.counters = Counters()
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._ensure = ensure
        self._renditions = renditions
        self._port = WebRtcPort(settings, clock, self.counters, self._drop)
        self._identity = DtlsIdentity(from_us(clock.wall_us()), srtp_sha1=settings.srtp_sha1)
        self._rate = JoinRate(settings.joins_per_minute)
        self._fanouts: dict[FanoutKey, Fanout] = {}
        self._viewers: dict[str, Viewer] = {}
        self._ticks = 0
        self._moves: asyncio.TaskGroup | None = None

    @property
    def port(self) -> int:
        """The bound UDP port, 0 while there is none."""
        return self._port.port

    @property
    def tcp_port(self) -> int:
        """The bound TCP port, 0 while there is none."""
        return self._port.tcp_port

    @property
    def connections(self) -> int:
        """Open TCP connections of viewers and of those who may become one."""
        return self._port.connections

    @property
    def bound(self) -> asyncio.Event:
        """Set while the port is open."""
        return self._port.bound

    async def run(self) -> None:
        """Binds the ports and serves them until cancelled; all viewers leave at the end. Raises SettingsError."""
        async with self._port.open(), asyncio.TaskGroup() as self._moves:
            try:
                while True:
                    await asyncio.sleep(_TICK_S)
                    self._tick()
            finally:
                self.leave_where(lambda _: True)

    async def join(self, ref: StreamRef, offer_sdp: str, principal_id: str, *, auto: StreamRef | None = None) -> Joined:
        """Takes a WHEP offer. The stream is subscribed from here on, so that an on-demand one stays up.

        With `auto` the viewer begins with `ref`, the substream, and is moved between that and the main stream `auto`.
        Raises InvalidRequest or NotAcceptable for the offer, TooManyRequests, Unavailable, or what `ensure` raises.
        """
        self._check_room(principal_id)
        offer = parse_offer(offer_sdp)
        async with self._live(ref) as stream:
            with self._fit(stream, offer) as fanout:
                if self._port.host is None:
                    raise Unavailable("WebRTC is not running.", code="webrtc_down")
                viewer, joined = self._admit(fanout, offer_sdp, principal_id, self._port.host)
                if auto is not None:
                    viewer.auto = AutoViewing(ref, auto, StreamChoice(viewer.joined_s))
                return joined

    def trickle(self, viewer_id: str, fragment: str, if_match: str | None) -> Restarted | None:
        """Takes trickled candidates (None), or restarts ICE.

        Raises NotFound, PreconditionRequired, PreconditionFailed, InvalidRequest, and TooManyRequests for a restart.
        """
        viewer = self._viewer(viewer_id)
        ice = viewer.peer.ice
        restart = read_patch(ice, fragment, if_match)
        if restart is None:
            return None
        self._rate.take(viewer.principal_id, self._clock.monotonic())
        self._port.restart(viewer, make_credentials(restart.fragment, restart.password))
        lines = candidate_lines(self._port.candidates)
        return Restarted(build_fragment(restart.section, ice.credentials, lines), entity_tag(ice))

    def leave(self, viewer_id: str) -> None:
        """Raises NotFound for a viewer that is not (or no longer) there."""
        self._drop(self._viewer(viewer_id))

    def leave_principal(self, principal_id: str) -> int:
        """Ends all viewers of a principal, as when a grant is revoked; their number."""
        return self.leave_where(lambda info: info.principal_id == principal_id)

    def leave_where(self, predicate: Callable[[ViewerInfo], bool]) -> int:
        """Ends all viewers for whom `predicate` holds; their number."""
        leaving = [viewer for viewer in self._viewers.values() if predicate(viewer.info())]
        for viewer in leaving:
            self._drop(viewer)
        return len(leaving)

    def viewers(self) -> list[ViewerInfo]:
        return [viewer.info() for viewer in self._viewers.values()]

    # -- lives of viewers

    def _check_room(self, principal_id: str) -> None:
        self._rate.take(principal_id, self._clock.monotonic())
        joining = sum(fanout.joining for fanout in self._fanouts.values())
        if len(self._viewers) + joining >= self._settings.most_viewers:
            raise TooManyRequests("As many viewers as this server serves are watching.", code="viewers_full")
        connecting = [viewer.principal_id for viewer in self._viewers.values() if not viewer.peer.connected]
        check_handshakes(connecting, principal_id, self._settings.handshakes)

    def _admit(self, fanout: Fanout, offer_sdp: str, principal_id: str, host: Host) -> tuple[Viewer, Joined]:
        # Read again: by now the stream may have said what it is.
        video = fanout.video_format
        profile = video.rfc6381.partition(".")[2] if video and video.codec is Codec.H264 else ""
        audio = fanout.mountpoint.audio_format
        audible = not isinstance(audio, AudioFormat) or audio_encoding(audio) is not None
        offer = parse_offer(offer_sdp, profile, audio=audible)
        ice = IceLite(make_credentials(offer.ice_fragment, offer.ice_password))
        peer = WebRtcPeer(offer, ice, DtlsServer(self._identity, offer.fingerprints), fanout.ring, host)
        now_s, now_us = self._clock.monotonic(), self._clock.wall_us()
        viewer = Viewer(secrets.token_urlsafe(16), principal_id, peer, fanout, fanout, now_s, now_us)
        self._viewers[viewer.viewer_id] = viewer
        self._port.add(viewer)
        fanout.add(viewer)
        return viewer, Joined(
            viewer.viewer_id, _answer(offer, peer, self._identity, self._port.candidates), entity_tag(ice)
        )

    def _viewer(self, viewer_id: str) -> Viewer:
        viewer = self._viewers.get(viewer_id)
        if viewer is None:
            raise NotFound("There is no such viewer; it may have ended.", code="viewer_not_found")
        return viewer

    def _drop(self, viewer: Viewer) -> None:
        if self._viewers.pop(viewer.viewer_id, None) is None:
            return
        viewer.peer.close()
        self._port.remove(viewer)
        for fanout in viewer.fanouts:
            fanout.remove(viewer)
            self._close_if_idle(fanout)

    def _on_viewer_failed(self, viewer: Viewer) -> None:
        log.exception("%s: viewer %s failed and is dropped", viewer.fanout.ref, viewer.principal_id)
        self.counters.viewer_failures += 1
        self._drop(viewer)

    # -- streams

    @asynccontextmanager
    async def _live(self, ref: StreamRef) -> AsyncIterator[Fanout]:
        """A stream that is live, as it comes, held until the end of the block."""
        with self._hold((ref, None)) as fanout:
            if self._ensure is not None:
                await self._ensure(ref)
            yield fanout

    @contextmanager
    def _fit(self, fanout: Fanout, offer: Offer) -> Iterator[Fanout]:
        """The stream, or what is made of it for this viewer. A picture without sound is better than none."""
        rendition = _rendition_for(fanout, offer)
        with ExitStack() as stack:
            fit = fanout
            try:
                if rendition is not None:
                    fit = stack.enter_context(self._hold((fanout.ref, rendition)))
            except (NotAcceptable, TooManyRequests):
                if rendition is not None and rendition.video is not None:
                    raise
            yield fit

    @contextmanager
    def _hold(self, key: FanoutKey) -> Iterator[Fanout]:
        """The stream's fan-out, subscribed, kept at least until the end of the block."""
        fanout = self._fanouts.get(key)
        if fanout is None:
            source = self._hub.mountpoint(key[0])
            callbacks = self._on_viewer_failed, self._drop, self._on_sound
            fanout = Fanout(key, self._mountpoint(*key), source, self._settings, *callbacks)
            self._fanouts[key] = fanout
        fanout.joining += 1
        try:
            yield fanout
        finally:
            fanout.joining -= 1
            self._close_if_idle(fanout)

    def _mountpoint(self, ref: StreamRef, rendition: Rendition | None) -> Mountpoint:
        if rendition is None:
            return self._hub.mountpoint(ref)
        if self._renditions is None:
            raise NotAcceptable("WebRTC carries H.264 here, and this stream is H.265.", code="webrtc_codec_unsupported")
        return self._renditions(ref, rendition)

    def _on_sound(self, fanout: Fanout) -> None:
        """Sound began, or changed, under viewers who have joined: a stream that starts for the first of them shows its
        picture before it is heard. Who does not take it hears what is made of it; without a transcoder, nothing.
        """
        made = Rendition(audio=Codec.OPUS)
        for viewer in fanout.listeners:
            rendition = _rendition_for(fanout, viewer.peer.offer)
            if rendition is not None and rendition.audio is not None:
                with suppress(MediasrvError), self._hold((fanout.ref, made)) as audible:
                    audible.sound_for(viewer)

    def _close_if_idle(self, fanout: Fanout) -> None:
        if fanout.idle and self._fanouts.get(fanout.key) is fanout:
            del self._fanouts[fanout.key]
            fanout.close()

    # -- what time brings

    def _tick(self) -> None:
        self._ticks += 1
        now_s = self._clock.monotonic()
        fanouts = list(self._fanouts.values())
        for fanout in fanouts:
            self._close_if_idle(fanout)  # one that an auto viewer has left
        removed = {each.ref for each in fanouts if self._hub.get(each.ref) is not each.source}
        if removed:
            self.leave_where(lambda info: info.ref in removed)
        for number, viewer in enumerate(list(self._viewers.values())):
            try:
                self._keep(viewer, now_s)
                # A quarter of them each tick, so that reports do not come in one lump.
                if (number + self._ticks) % _REPORT_TICKS == 0:
                    self._report(viewer, now_s)
            except Exception:  # one bad viewer never stops another
                self._on_viewer_failed(viewer)

    def _report(self, viewer: Viewer, now_s: float) -> None:
        viewer.peer.send_reports(viewer.fanout.video_clock.at(now_s), viewer.sound.audio_clock.at(now_s), now_s)

    def _keep(self, viewer: Viewer, now_s: float) -> None:
        """Ends a viewer that did not finish its handshake or lost consent; else looks after it."""
        peer, settings = viewer.peer, self._settings
        if not peer.connected and now_s - viewer.joined_s > settings.handshake_s:
            self.counters.handshakes_failed += 1
            self._drop(viewer)
        elif peer.ice.consent_lost(now_s, settings.consent_s):
            self.counters.consent_lost += 1
            self._drop(viewer)
        else:
            peer.tick(now_s)
            if viewer.auto is not None and peer.connected:
                self._choose(viewer, viewer.auto, now_s)
            self._port.forget_paths(viewer, now_s - settings.consent_s)

    # -- two streams

    def _choose(self, viewer: Viewer, auto: AutoViewing, now_s: float) -> None:
        """Asks which stream the viewer should have, and sends it there."""
        # Round trips tell of queues, so they are measured at each tick; a report serves who answers no question.
        viewer.peer.ask(now_s)
        self._report(viewer, now_s)
        on_main = viewer.fanout.ref == auto.main
        situation = Situation(
            on_main=on_main,
            sent_bps=viewer.peer.sent_bps,
            main_bps=self._bits_per_s(auto.main) or self._settings.main_kbps * 1000,
            sub_bps=self._bits_per_s(auto.sub),
            can_probe=viewer.peer.can_probe,
            now_s=now_s,
        )
        choice = auto.choice.decide(viewer.peer.line, situation)
        viewer.peer.probe(choice.probe_bps)
        if choice.main is on_main:
            viewer.stay()
        elif viewer.bound_for is None and not auto.moving and self._moves is not None:
            auto.moving = True
            self._moves.create_task(self._move(viewer, auto, auto.main if choice.main else auto.sub))

    def _bits_per_s(self, ref: StreamRef) -> float:
        mountpoint = self._hub.get(ref)
        return mountpoint.bits_per_s if mountpoint else 0.0

    async def _move(self, viewer: Viewer, auto: AutoViewing, ref: StreamRef) -> None:
        """Sends a viewer to the other stream; it stays where it is if that cannot be had or decoded."""
        try:
            async with self._live(ref) as fanout:
                if viewer.viewer_id not in self._viewers:
                    return
                rendition = _rendition_for(fanout, viewer.peer.offer)
                if rendition is not None and rendition.video is not None:
                    viewer.auto = None  # nobody transcodes for a choice
                    return
                with self._fit(fanout, viewer.peer.offer) as fit:
                    fit.expect(viewer)
        except MediasrvError as error:
            log.info("%s: an auto viewer stays where it is: %s", ref, error.sentence)
            auto.choice.failed(self._clock.monotonic())
        except Exception:  # one bad viewer never stops another
            self._on_viewer_failed(viewer)
        finally:
            auto.moving = False


def _rendition_for(fanout: Fanout, offer: Offer) -> Rendition | None:
    """What must be made of a stream so that this viewer can decode it; None where nothing."""
    video, audio = fanout.video_format, fanout.mountpoint.audio_format
    made_video = Codec.H264 if video is not None and video_encoding(video) not in offer.video else None
    silent = isinstance(audio, AudioFormat) and audio_encoding(audio) not in offer.audio
    made_audio = Codec.OPUS if silent and _OPUS in offer.audio else None
    return Rendition(made_video, made_audio) if made_video or made_audio else None


def _answer(offer: Offer, peer: WebRtcPeer, identity: DtlsIdentity, candidates: Sequence[Candidate]) -> str:
    return build_answer(
        offer,
        LocalTransport(
            ice_fragment=peer.ice.credentials.fragment,
            ice_password=peer.ice.credentials.password,
            fingerprint=identity.fingerprint,
            candidates=candidates,
            video_ssrc=peer.video_ssrc,
            repair_ssrc=peer.repair_ssrc,
            audio_ssrc=peer.audio_ssrc,
            cname=peer.cname,
        ),
    )
