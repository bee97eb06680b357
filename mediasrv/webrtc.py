"""WebRTC fan-out (WHEP): hub -> viewers, over one UDP and one TCP port.

A `Fanout` subscribes once per watched stream and packetises each access unit once. Each viewer then costs a
header, one AES-GCM call a packet and one GSO send a picture (`wire.webrtc_peer`). The protocols are sans-IO cores
in `wire/`; what is here is the socket, the timers and the lives of viewers, all on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mediasrv.clock import Clock, from_us
from mediasrv.errors import NotAcceptable, NotFound, TooManyRequests, Unavailable
from mediasrv.fanout.admission import JoinRate, check_handshakes
from mediasrv.fanout.port import WebRtcPort
from mediasrv.fanout.signalling import Restarted, entity_tag, make_credentials, read_patch
from mediasrv.fanout.stream import Fanout, Viewer, ViewerInfo, is_narrow_g711
from mediasrv.hub import Hub
from mediasrv.media.access_unit import Codec, StreamRef
from mediasrv.settings import WebRtcSettings
from mediasrv.wire.dtls import DtlsIdentity, DtlsServer
from mediasrv.wire.ice import IceLite
from mediasrv.wire.sdp_fragment import build_fragment
from mediasrv.wire.webrtc_peer import Counters, Host, WebRtcPeer
from mediasrv.wire.whep_sdp import LocalTransport, Offer, build_answer, candidate_lines, parse_offer

log = logging.getLogger(__name__)

_TICK_S: Final = 0.5
_REPORT_TICKS: Final = 4


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
    ) -> None:
        self.counters = Counters()
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._ensure = ensure
        self._port = WebRtcPort(settings, clock, self.counters, self._drop)
        self._identity = DtlsIdentity(from_us(clock.wall_us()))
        self._rate = JoinRate(settings.joins_per_minute)
        self._fanouts: dict[StreamRef, Fanout] = {}
        self._viewers: dict[str, Viewer] = {}
        self._ticks = 0

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
        async with self._port.open():
            try:
                while True:
                    await asyncio.sleep(_TICK_S)
                    self._tick()
            finally:
                self.leave_where(lambda _: True)

    async def join(self, ref: StreamRef, offer_sdp: str, principal_id: str) -> Joined:
        """Takes a WHEP offer. The stream is subscribed from here on, so that an on-demand one stays up.

        Raises InvalidRequest or NotAcceptable for the offer, TooManyRequests, Unavailable, or what `ensure` raises.
        """
        self._check_room(principal_id)
        parse_offer(offer_sdp)
        with self._hold(ref) as fanout:
            if self._ensure is not None:
                await self._ensure(ref)
            if self._port.host is None:
                raise Unavailable("WebRTC is not running.", code="webrtc_down")
            return self._admit(fanout, offer_sdp, principal_id, self._port.host)

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
        self._port.restart(viewer, make_credentials(restart.fragment))
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

    def _admit(self, fanout: Fanout, offer_sdp: str, principal_id: str, host: Host) -> Joined:
        # Read again: by now the stream may have said what it is.
        video = fanout.video_format
        if video is not None and video.codec is not Codec.H264:
            raise NotAcceptable("WebRTC carries H.264 here, and this stream is H.265.", code="webrtc_codec_unsupported")
        profile = video.rfc6381.partition(".")[2] if video else ""
        audible = fanout.audio_format is None or is_narrow_g711(fanout.audio_format)
        offer = parse_offer(offer_sdp, profile, audio=audible)
        ice = IceLite(make_credentials(offer.ice_fragment))
        peer = WebRtcPeer(offer, ice, DtlsServer(self._identity, offer.fingerprints), fanout.ring, host)
        viewer = Viewer(
            secrets.token_urlsafe(16), principal_id, peer, fanout, self._clock.monotonic(), self._clock.wall_us()
        )
        self._viewers[viewer.viewer_id] = viewer
        self._port.add(viewer)
        fanout.viewers.append(viewer)
        return Joined(viewer.viewer_id, self._answer(offer, peer), entity_tag(ice))

    def _answer(self, offer: Offer, peer: WebRtcPeer) -> str:
        return build_answer(
            offer,
            LocalTransport(
                ice_fragment=peer.ice.credentials.fragment,
                ice_password=peer.ice.credentials.password,
                fingerprint=self._identity.fingerprint,
                candidates=self._port.candidates,
                video_ssrc=peer.video_ssrc,
                audio_ssrc=peer.audio_ssrc,
                cname=peer.cname,
            ),
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
        # A new list: the fan-out may be walking the old one.
        viewer.fanout.viewers = [other for other in viewer.fanout.viewers if other is not viewer]
        self._close_if_idle(viewer.fanout)

    def _on_viewer_failed(self, viewer: Viewer) -> None:
        log.exception("%s: viewer %s failed and is dropped", viewer.fanout.ref, viewer.principal_id)
        self.counters.viewer_failures += 1
        self._drop(viewer)

    @contextmanager
    def _hold(self, ref: StreamRef) -> Iterator[Fanout]:
        """The stream's fan-out, subscribed, kept at least until the end of the block."""
        fanout = self._fanouts.get(ref)
        if fanout is None:
            fanout = Fanout(self._hub.mountpoint(ref), self._settings, self._on_viewer_failed)
            self._fanouts[ref] = fanout
        fanout.joining += 1
        try:
            yield fanout
        finally:
            fanout.joining -= 1
            self._close_if_idle(fanout)

    def _close_if_idle(self, fanout: Fanout) -> None:
        if not fanout.viewers and not fanout.joining:
            fanout.close()
            del self._fanouts[fanout.ref]

    # -- what time brings

    def _tick(self) -> None:
        self._ticks += 1
        now_s = self._clock.monotonic()
        removed = {ref for ref, fanout in self._fanouts.items() if self._hub.get(ref) is not fanout.mountpoint}
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
        fanout = viewer.fanout
        viewer.peer.send_reports(fanout.video_clock.at(now_s), fanout.audio_clock.at(now_s))

    def _keep(self, viewer: Viewer, now_s: float) -> None:
        """Ends a viewer that did not finish its handshake or lost consent; else forgets addresses it has left."""
        peer, settings = viewer.peer, self._settings
        if not peer.connected and now_s - viewer.joined_s > settings.handshake_s:
            self.counters.handshakes_failed += 1
            self._drop(viewer)
        elif peer.ice.consent_lost(now_s, settings.consent_s):
            self.counters.consent_lost += 1
            self._drop(viewer)
        else:
            peer.tick()
            self._port.forget_paths(viewer, now_s - settings.consent_s)
