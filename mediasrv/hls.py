"""Live LL-HLS: hub -> viewers, by playlists and parts (RFC 8216bis; section numbers are its own).

A stream is *watched* from the first request for it until `linger_s` after the last: only then are its parts made
and kept. Blocking requests wait here for the part that answers them; what they get is made once for all of them.
Everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import NotFound, Unavailable
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import HLS_AUDIO, AudioFormat, Format, Part, Session, StreamRef, TrackKind, VideoFormat
from mediasrv.media.live_window import LiveWindow, target_duration_s
from mediasrv.media.vod import VodVariant, multivariant_playlist
from mediasrv.settings import HlsSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
Ensure = Callable[[StreamRef], Awaitable[None]]

_LINGER_CHECKS: Final = 4


class HlsService:
    """The door for HTTP. `run` drops what nobody watches any more; without it nothing is ever dropped.

    `ensure` starts an on-demand stream and returns when it is live, or raises Unavailable with the reason.
    Every method may raise NotFound or Unavailable; `media_playlist` also InvalidRequest.
    """

    def __init__(self, hub: Hub, settings: HlsSettings, clock: Clock, ensure: Ensure | None = None) -> None:
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._ensure = ensure
        self._watched: dict[StreamRef, _Watch] = {}

    async def run(self) -> None:
        """Runs until cancelled; then nothing is watched any more and waiting requests end as Unavailable."""
        try:
            while True:
                await asyncio.sleep(self._settings.linger_s / _LINGER_CHECKS)
                self.drop_unwatched()
        finally:
            for ref in list(self._watched):
                self._drop(ref)

    def drop_unwatched(self) -> None:
        """Lets go of streams that nobody has asked for since `linger_s`, and of those whose camera is gone."""
        oldest = self._clock.monotonic() - self._settings.linger_s
        for ref, watch in list(self._watched.items()):
            if (watch.asked_at < oldest and not watch.waiting) or self._hub.get(ref) is not watch.mountpoint:
                self._drop(ref)

    def watched(self) -> list[StreamRef]:
        """The streams of which parts are kept now."""
        return list(self._watched)

    async def master(self, ref: StreamRef) -> bytes:
        """The multivariant playlist; URIs are relative to `/hls/{camera}/`. Waits for the first part."""
        watch = await self._watch(ref)
        await watch.until(lambda: watch.window.has(TrackKind.VIDEO) or None)
        window, stream = watch.window, str(ref.stream)
        video, audio = window.format(TrackKind.VIDEO), watch.audio_format()
        assert isinstance(video, VideoFormat)  # noqa: S101 - what `has` just said
        peak_bps, average_bps = window.bits_per_second()
        codecs = [video.rfc6381] if audio is None else [video.rfc6381, audio.rfc6381]
        audio_uri = None if audio is None else f"{stream}/audio.m3u8"
        variant = VodVariant(
            f"{stream}/video.m3u8", audio_uri, video.width, video.height, codecs, peak_bps, average_bps
        )
        return multivariant_playlist(variant)

    async def media_playlist(
        self, ref: StreamRef, track: TrackKind, msn: int | None, part: int | None, skip: bool
    ) -> bytes:
        """A track's playlist; with `msn` and `part` not before it holds that part (6.2.5.2).

        Raises InvalidRequest for what lies too far ahead, Unavailable where it did not come within `blocking_s`,
        NotFound for the audio of a camera whose audio HLS cannot carry.
        """
        watch = await self._watch(ref)
        window = watch.window
        await watch.until(lambda: window.has(TrackKind.VIDEO) or None)
        if track is TrackKind.AUDIO and watch.audio_format() is None:
            raise NotFound("This camera has no audio that HLS can carry.", code="audio_not_available")
        await watch.until(lambda: (window.complete_first(watch.tracks()) and window.has(track)) or None)
        if msn is not None:
            await watch.until(lambda: window.reached(track, msn, part) or None)
        return window.playlist(track, skip=skip)

    async def part(self, ref: StreamRef, track: TrackKind, msn: int, part: int) -> bytes:
        """A part; the one that playlists hint at is waited for (6.2.6)."""
        watch = self._known(ref)
        return await watch.until(lambda: watch.window.part(track, msn, part))

    async def segment(self, ref: StreamRef, track: TrackKind, msn: int) -> bytes:
        """A complete segment."""
        return self._known(ref).window.segment(track, msn)

    def init(self, ref: StreamRef, track: TrackKind, version: int) -> bytes:
        """An init segment (EXT-X-MAP)."""
        return self._known(ref).window.init(track, version)

    async def _watch(self, ref: StreamRef) -> _Watch:
        """The watch of a stream, begun if need be."""
        watch = self._watched.get(ref)
        if watch is None or self._hub.get(ref) is not watch.mountpoint:
            if self._ensure is not None:
                await self._ensure(ref)
            watch = self._begin(ref)
        watch.asked_at = self._clock.monotonic()
        return watch

    def _begin(self, ref: StreamRef) -> _Watch:
        mountpoint = self._hub.get(ref)
        if mountpoint is None:
            raise NotFound("There is no such stream.", code="stream_not_found")
        watch = self._watched.get(ref)
        if watch is not None and watch.mountpoint is mountpoint:
            return watch  # somebody else began it while this one waited for the stream
        if watch is not None:
            self._drop(ref)
        # There are fewer than ten segments a second, so numbers that begin with the time never come twice.
        first_number = self._clock.wall_us() * 10 // SECOND_US
        self._watched[ref] = watch = _Watch(mountpoint, self._settings, first_number)
        return watch

    def _known(self, ref: StreamRef) -> _Watch:
        watch = self._watched.get(ref)
        if watch is None:
            raise NotFound("There is no such segment, or there is none any more.", code="segment_not_found")
        watch.asked_at = self._clock.monotonic()
        return watch

    def _drop(self, ref: StreamRef) -> None:
        self._watched.pop(ref).close()
        log.info("%s: is not watched by HLS any more", ref)


class _Watch:
    """A stream that is watched: its window, and the requests that wait for it."""

    def __init__(self, mountpoint: Mountpoint, settings: HlsSettings, first_number: int) -> None:
        self.mountpoint = mountpoint
        self.asked_at = 0.0
        self.waiting = 0
        target_s = target_duration_s(mountpoint.gop_duration_s)
        self.window = LiveWindow(settings.window_s, target_s, mountpoint.part_s, first_number)
        self._blocking_s = settings.blocking_s
        self._ended = "stalled"
        self._closed = False
        self._changed = asyncio.Event()
        self._subscription = mountpoint.subscribe_parts(self)

    def audio_format(self) -> AudioFormat | None:
        """The audio that HLS can carry: what was seen of it, else what the camera sends now."""
        found = self.window.format(TrackKind.AUDIO) or self.mountpoint.audio_format
        return found if isinstance(found, AudioFormat) and found.codec in HLS_AUDIO else None

    def tracks(self) -> tuple[TrackKind, ...]:
        """The tracks that playlists are made of."""
        return (TrackKind.VIDEO,) if self.audio_format() is None else (TrackKind.VIDEO, TrackKind.AUDIO)

    async def until(self, ready: Callable[[], T | None]) -> T:
        """Waits until `ready` gives a value; Unavailable after `blocking_s`, or when the watch ends."""
        found = ready()
        if found is not None:
            return found
        self.waiting += 1
        try:
            async with asyncio.timeout(self._blocking_s):
                while found is None and not self._closed:
                    await self._changed.wait()
                    found = ready()
        except TimeoutError as late:
            raise Unavailable("The camera sends no video at the moment.", code=self._ended) from late
        finally:
            self.waiting -= 1
        if found is None:
            raise Unavailable("The stream is not watched any more.", code="not_watched")
        return found

    def on_part(self, part: Part) -> None:
        self.window.add(part, followed_by=self._format_behind(part))
        self._ended = "stalled"
        self._tell()

    def _format_behind(self, part: Part) -> Format | None:
        """The format of the keyframe that follows a video part at once, which the hub knows by now."""
        if part.format.kind is not TrackKind.VIDEO or not self.mountpoint.gop:
            return None
        keyframe = self.mountpoint.gop[0]
        follows = keyframe.session is part.session and keyframe.dts == part.decode_time + part.duration
        return keyframe.format if follows else None

    def on_session_ended(self, session: Session, reason: str) -> None:
        self._ended = reason
        self.window.end_session()
        self._tell()

    def close(self) -> None:
        self._closed = True
        self._subscription.close()
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
