"""Live HLS: hub -> viewers, by playlists and parts (RFC 8216bis; section numbers are its own).

A stream is *watched* from the first request for it until `linger_s` after the last: only then are its parts made
and kept. Blocking requests wait here for the part that answers them; what they get is made once for all of them.
Sound that HLS cannot carry is made into AAC meanwhile (`Renditions`); where that is not to be had the video is alone.
Everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import MediasrvError, NotFound, Unavailable
from mediasrv.hub import Hub, Mountpoint, Renditions
from mediasrv.media.access_unit import (
    HLS_AUDIO,
    AudioFormat,
    Codec,
    Format,
    Part,
    Rendition,
    Session,
    StreamRef,
    TrackKind,
    VideoFormat,
)
from mediasrv.media.dvr import Recorded, Stretch
from mediasrv.media.live_segment import bits_per_second, pictures_per_second
from mediasrv.media.live_window import LIVE, Beginning, LiveWindow, target_duration_s
from mediasrv.media.playlist import MadeText, Manner
from mediasrv.media.vod import VodVariant, multivariant_playlist
from mediasrv.settings import HlsSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
Ensure = Callable[[StreamRef], Awaitable[None]]

SOUND_S: Final = 2.0
"""How long the first multivariant playlist waits for sound that is being transcoded: it has to name it."""

SILENT: Final = "org.mediasrv.silent"
"""EXT-X-SESSION-DATA (4.4.6.4) by this name holds the reason code why there is no sound."""

_NO_DVR: Final = "dvr_not_available"
_LINGER_CHECKS: Final = 4
_RECALL_TRIES: Final = 8
_RECALL_S: Final = 0.25


class RecordedSource(Protocol):
    """What was recorded of a stream. Raises StorageError, KeyUnavailable."""

    async def before(self, ref: StreamRef, session_id: str, from_s: float, start_us: int, end_us: int) -> Recorded:
        """All from `start_us` to `end_us`, and of that session nothing that lies at `from_s` or later."""

    async def stretch(self, ref: StreamRef, track: TrackKind, stretch: Stretch) -> bytes:
        """The fragments of a stretch, all of them. Raises NotFound `segment_not_found`."""


class HlsService:
    """The door for HTTP. `run` drops what nobody watches any more; without it nothing is ever dropped.

    `ensure` starts an on-demand stream and returns when it is live, or raises Unavailable with the reason.
    Every method may raise NotFound or Unavailable; `media_playlist` also InvalidRequest.
    """

    def __init__(
        self,
        hub: Hub,
        settings: HlsSettings,
        clock: Clock,
        ensure: Ensure | None = None,
        recorded: RecordedSource | None = None,
        renditions: Renditions | None = None,
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._ensure = ensure
        self._recorded = recorded
        self._renditions = renditions
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

    async def master(self, ref: StreamRef, manner: Manner = LIVE) -> MadeText:
        """The multivariant playlist; URIs are relative to `/hls/{camera}/`. Waits for the first part."""
        watch = await self._watch(ref)
        await watch.until(lambda: watch.window.has(TrackKind.VIDEO) or None)
        await watch.until_heard()
        await self._recall(watch, manner)
        await watch.until(lambda: watch.window.has(TrackKind.VIDEO) or None)  # it may have been forgotten meanwhile
        return watch.master(manner)

    async def media_playlist(
        self, ref: StreamRef, track: TrackKind, msn: int | None, part: int | None, manner: Manner = LIVE
    ) -> MadeText:
        """A track's playlist; with `msn` and `part` not before it holds that part (6.2.5.2).

        Raises InvalidRequest for what lies too far ahead, Unavailable where it did not come within `blocking_s`,
        NotFound for the audio of a camera whose audio HLS cannot carry, and where nothing is recorded that
        `manner.dvr_s` could show (`dvr_not_available`).
        """
        watch = await self._watch(ref)
        window = watch.window
        if not (window.is_shown and window.has(track)):
            await watch.until(lambda: window.has(TrackKind.VIDEO) or None)
            if track is TrackKind.AUDIO and watch.audio_format() is None:
                raise NotFound("This camera has no audio that HLS can carry.", code="audio_not_available")
            await watch.until(lambda: (window.complete_first(watch.tracks()) and window.has(track)) or None)
        if manner.dvr_s:
            await self._recall(watch, manner)
        if msn is not None and not window.reached(track, msn, part):
            await watch.until(lambda: window.reached(track, msn, part) or None)
        return window.playlist(track, manner)

    async def part(self, ref: StreamRef, track: TrackKind, msn: int, part: int) -> bytes:
        """A part; the one that playlists hint at is waited for (6.2.6)."""
        watch = self._known(ref)
        found = watch.window.part(track, msn, part)
        return found if found is not None else await watch.until(lambda: watch.window.part(track, msn, part))

    async def segment(self, ref: StreamRef, track: TrackKind, msn: int) -> bytes:
        """A complete segment that memory still holds."""
        return self._known(ref).window.segment(track, msn)

    async def past_segment(self, ref: StreamRef, track: TrackKind, msn: int) -> bytes:
        """A segment that memory holds no more: the same bytes, out of what was recorded."""
        stretch = self._known(ref).window.past(track, msn)
        if stretch is None or self._recorded is None:
            raise NotFound("There is no such segment, or there is none any more.", code="segment_not_found")
        return await self._recorded.stretch(ref, track, stretch)

    def init(self, ref: StreamRef, track: TrackKind, version: int) -> bytes:
        """An init segment (EXT-X-MAP)."""
        return self._known(ref).window.init(track, version)

    async def _recall(self, watch: _Watch, manner: Manner) -> None:
        """Sees to it that the window knows what was recorded before it, where that is to be shown."""
        if not manner.dvr_s:
            return
        await watch.until(lambda: watch.window.began_with)
        async with watch.recalling:
            began = watch.window.began_with
            if self._recorded is not None and began is not None and watch.recalled_for is not began:
                watch.is_recorded = await self._begin_with_recorded(watch, began, self._recorded)
                watch.recalled_for = began
        if not watch.is_recorded:
            raise NotFound("This stream is not being recorded, so there is nothing to go back to.", code=_NO_DVR)

    async def _begin_with_recorded(self, watch: _Watch, began: Beginning, recorded: RecordedSource) -> bool:
        """Whether the stream is recorded. What came last before the window may still be on its way to the disk."""
        session, from_s, started_us = began
        start_us = self._clock.wall_us() - round(self._settings.dvr_most_s * SECOND_US)
        for left in reversed(range(_RECALL_TRIES)):
            found = await recorded.before(watch.mountpoint.ref, session.session_id, from_s, start_us, started_us)
            if found.joins(session, from_s) or found.begins_with(from_s) or not left:
                break
            await asyncio.sleep(_RECALL_S)
        if found.session_from_s is None:
            return False
        if watch.window.began_with is began:  # else it was forgotten meanwhile: the next one asks anew
            watch.window.begin_with(found)
        return True

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
        mountpoint = self._hub.find(ref)
        watch = self._watched.get(ref)
        if watch is not None and watch.mountpoint is mountpoint:
            return watch  # somebody else began it while this one waited for the stream
        if watch is not None:
            self._drop(ref)
        # There are fewer than ten segments a second, so numbers that begin with the time never come twice.
        first_number = self._clock.wall_us() * 10 // SECOND_US
        self._watched[ref] = watch = _Watch(mountpoint, self._settings, first_number, self._renditions)
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
    """A stream that is watched: its window, and the requests that wait for it.

    `mountpoint` is the stream's own; its parts may be those of a rendition of it.
    """

    def __init__(
        self, mountpoint: Mountpoint, settings: HlsSettings, first_number: int, renditions: Renditions | None
    ) -> None:
        self.mountpoint = mountpoint
        self.asked_at = 0.0
        self.waiting = 0
        self.recalling = asyncio.Lock()
        self.is_recorded = False
        self.recalled_for: Beginning | None = None
        """The beginning of the window for which it was asked what was recorded before. That very one: a window may
        forget all and begin anew with the same picture."""
        target_s = target_duration_s(mountpoint.gop_duration_s)
        self.window = LiveWindow(
            settings.window_s, target_s, mountpoint.part_s, first_number, dvr_s=settings.dvr_most_s
        )
        self._renditions = renditions
        self._origin = mountpoint
        self._silent: MediasrvError | None = None
        self._tried: Session | None = None
        self._blocking_s = settings.blocking_s
        self._ended = "stalled"
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        if _needs_transcoding(mountpoint.audio_format) and renditions is not None and mountpoint.session is not None:
            self._try_rendition(renditions, mountpoint.session)
        self._subscription = self._origin.subscribe_parts(self)

    def audio_format(self) -> AudioFormat | None:
        """The audio that HLS can carry: what was seen of it, else what the camera sends now."""
        found = self.window.format(TrackKind.AUDIO) or self._origin.audio_format
        return found if isinstance(found, AudioFormat) and found.codec in HLS_AUDIO else None

    def tracks(self) -> tuple[TrackKind, ...]:
        """The tracks that playlists are made of."""
        return (TrackKind.VIDEO,) if self.audio_format() is None else (TrackKind.VIDEO, TrackKind.AUDIO)

    def master(self, manner: Manner) -> MadeText:
        """The multivariant playlist; there is a video part."""
        window, stream = self.window, str(self.mountpoint.ref.stream)
        video = window.format(TrackKind.VIDEO)
        # Sound that is transcoded is kept in memory only, and players stop where it ends: further back none is shown.
        made = self._origin is not self.mountpoint
        audio = None if manner.dvr_s and made else self.audio_format()
        assert isinstance(video, VideoFormat)  # noqa: S101 - what the caller saw to
        peak_bps, average_bps = bits_per_second(window.listed)
        variant = VodVariant(
            video_uri=f"{stream}/video.m3u8{manner.query}",
            audio_uri=None if audio is None else f"{stream}/audio.m3u8{manner.query}",
            width=video.width,
            height=video.height,
            codecs=[video.rfc6381] if audio is None else [video.rfc6381, audio.rfc6381],
            peak_bps=peak_bps,
            average_bps=average_bps,
            frame_rate=pictures_per_second(window.listed),
            session_data={SILENT: self._silent.code} if self._silent is not None and audio is None else {},
        )
        return MadeText(multivariant_playlist([variant]))

    async def until_heard(self) -> None:
        """Waits, for a moment, until sound that is being transcoded is there."""
        if self._origin is not self.mountpoint and self.audio_format() is None:
            with contextlib.suppress(Unavailable):
                await self.until(self.audio_format, SOUND_S)

    async def until(self, ready: Callable[[], T | None], most_s: float | None = None) -> T:
        """Waits until `ready` gives a value; Unavailable after `blocking_s`, or when the watch ends."""
        found = ready()
        if found is not None:
            return found
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._blocking_s if most_s is None else min(most_s, self._blocking_s))
        self.waiting += 1
        try:
            while found is None and not self._closed and loop.time() < deadline:
                await self._next_change(loop, deadline)
                found = ready()
        finally:
            self.waiting -= 1
        if found is not None:
            return found
        if self._closed:
            raise Unavailable("The stream is not watched any more.", code="not_watched")
        raise Unavailable("The camera sends no video at the moment.", code=self._ended)

    async def _next_change(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Until something came, or a deadline is near. One timer for all who wait: there are hundreds, and what they
        wait for nearly always comes.
        """
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(deadline, self._tell)
        changed = loop.create_future()
        self._waiters.append(changed)
        await changed

    def on_part(self, part: Part) -> None:
        if self._renditions is not None and self._may_be_heard(part) and self._change_origin(self._renditions, part):
            return  # it comes again, from there
        self.window.add(part, followed_by=self._format_behind(part))
        self._ended = "stalled"
        self._tell()

    def _format_behind(self, part: Part) -> Format | None:
        """The format of the keyframe that follows a video part at once, which the hub knows by now."""
        if part.format.kind is not TrackKind.VIDEO or not self._origin.gop:
            return None
        keyframe = self._origin.gop[0]
        follows = keyframe.session is part.session and keyframe.dts == part.decode_time + part.duration
        return keyframe.format if follows else None

    def on_session_ended(self, session: Session, reason: str) -> None:
        self._ended = reason
        self.window.end_session()
        self._tell()

    def _may_be_heard(self, part: Part) -> bool:
        """Whether there is sound that must be transcoded, and nobody has tried to in this session."""
        sound = part.format if part.format.kind is TrackKind.AUDIO else self.mountpoint.audio_format
        return self._origin is self.mountpoint and part.session is not self._tried and _needs_transcoding(sound)

    def _change_origin(self, renditions: Renditions, part: Part) -> bool:
        """Whether parts come from a rendition from now on: as a rule before any was shown, so that nothing is lost."""
        self._try_rendition(renditions, part.session)
        if self._origin is self.mountpoint:
            return False
        self._subscription.close()
        self.window.end_session()
        self._subscription = self._origin.subscribe_parts(self)
        return True

    def _try_rendition(self, renditions: Renditions, session: Session) -> None:
        """Once a session: where no transcoder is free now, the next session may find one."""
        self._tried = session
        try:
            self._origin, self._silent = renditions(self.mountpoint.ref, Rendition(audio=Codec.AAC)), None
        except MediasrvError as refused:
            self._silent = refused
            log.warning("%s: HLS is without sound: %s", self.mountpoint.ref, refused.sentence)

    def close(self) -> None:
        self._closed = True
        self._subscription.close()
        self._tell()

    def _tell(self) -> None:
        """Wakes all who wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiters, self._waiters = self._waiters, []
        for changed in waiters:
            if not changed.done():
                changed.set_result(None)


def _needs_transcoding(format: Format | None) -> bool:
    return isinstance(format, AudioFormat) and format.codec not in HLS_AUDIO
