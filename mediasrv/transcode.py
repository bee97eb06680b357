"""Renditions on demand: a stream in the codecs that a viewer knows, made once for all of them.

Each track that must be transcoded has a worker process (`transcoding.worker`), so neither codecs nor what they decode
reach this process. A rendition works from the moment it is asked for until `linger_s` after its last subscriber left;
all run on the event loop's thread. At most `most_video` and `most_audio` workers run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import TooManyRequests, Unavailable
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import Codec, Rendition, StreamRef, TrackKind
from mediasrv.reasons import reason
from mediasrv.settings import TranscodeSettings
from mediasrv.transcoding.process import StartWorker, WorkerCounts, start_worker
from mediasrv.transcoding.rendition import RenditionFeed
from mediasrv.transcoding.track import TrackListener, TrackTranscode, kind_of

_CHECK_S: Final = 0.5
_GRACE_S: Final = 2.0
"""Who asks for a rendition has as long to subscribe, before others may have its worker."""

_RETRY_AFTER_S: Final = 10
_NAMES: Final = {TrackKind.VIDEO: "video", TrackKind.AUDIO: "audio"}


class Transcoder:
    """The door. `run` owns the workers; `mountpoint` is what is handed out as `Renditions`."""

    def __init__(self, hub: Hub, settings: TranscodeSettings, clock: Clock, start: StartWorker = start_worker) -> None:
        self.counts: Mapping[str, WorkerCounts] = {name: WorkerCounts() for name in _NAMES.values()}
        """By what is transcoded."""
        self.refused = 0
        """How often a rendition could not be had because enough were made."""
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._start = start
        self._most = {TrackKind.VIDEO: settings.most_video, TrackKind.AUDIO: settings.most_audio}
        self._feeds: dict[tuple[Mountpoint, Rendition], RenditionFeed] = {}
        self._since: dict[RenditionFeed, float | None] = {}
        """All that are started: since when each is not watched; None while it is."""
        self._transcodes: dict[tuple[Mountpoint, Codec], tuple[TrackTranscode, asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Runs until cancelled; then every rendition has ended and no worker is left."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    await asyncio.sleep(_CHECK_S)
                    self.check()
            finally:
                self._group = None
                for feed in list(self._since):
                    self._stop(feed)

    def mountpoint(self, ref: StreamRef, rendition: Rendition) -> Mountpoint:
        """`hub.Renditions`. The source itself where nothing is asked of it. Raises Unavailable while `run` does not."""
        source = self._hub.find(ref)
        if rendition == Rendition():
            return source
        feed = self._feeds.get((source, rendition))
        if feed is None:
            feed = RenditionFeed(source, rendition, self._clock, self._acquire, self._release)
            feed.start()
            self._watch(feed)
        if not feed.mountpoint.subscribers:
            self._since[feed] = self._clock.monotonic()
        return feed.mountpoint

    def check(self) -> None:
        """Ends what nobody has wanted for `linger_s`, and workers that hang."""
        now_s = self._clock.monotonic()
        for feed, since_s in list(self._since.items()):
            if since_s is not None and now_s - since_s > self._settings.linger_s:
                self._stop(feed)
        for transcode, _ in list(self._transcodes.values()):
            transcode.check(now_s)

    # -- renditions

    def _watch(self, feed: RenditionFeed) -> None:
        """Keeps a rendition until it is stopped; one that somebody held on to works again once it is subscribed to."""

        def demand_changed() -> None:
            watched = bool(feed.mountpoint.subscribers)
            if feed.started:
                self._since[feed] = None if watched else self._clock.monotonic()
            elif watched and self._group is not None:
                self._since[feed] = None
                self._feeds.setdefault((feed.source, feed.rendition), feed)
                feed.resume()

        self._feeds[feed.source, feed.rendition] = feed
        feed.mountpoint.on_demand_change(demand_changed)

    def _stop(self, feed: RenditionFeed) -> None:
        self._since.pop(feed, None)
        key = feed.source, feed.rendition
        if self._feeds.get(key) is feed:  # not another that came while nobody wanted this one
            del self._feeds[key]
        feed.stop()

    # -- workers

    def _acquire(self, source: Mountpoint, target: Codec, listener: TrackListener) -> TrackTranscode:
        found = self._transcodes.get((source, target))
        if found is None:
            found = self._transcodes[source, target] = self._begin(source, target)
        found[0].listeners.append(listener)
        return found[0]

    def _begin(self, source: Mountpoint, target: Codec) -> tuple[TrackTranscode, asyncio.Task[None]]:
        if self._group is None:
            raise Unavailable("Nothing is transcoded at the moment.", code="transcoder_down")
        kind = kind_of(target)
        if not (self._has_room(kind) or self._make_room(kind)):
            self.refused += 1
            code = "transcoders_full"
            raise TooManyRequests(reason(code).sentence, code=code, retry_after_s=_RETRY_AFTER_S)
        counts = self.counts[_NAMES[kind]]
        transcode = TrackTranscode(source, target, self._settings, self._clock, counts, self._start)
        return transcode, self._group.create_task(transcode.run(), name=f"transcode {source.ref} {target}")

    def _release(self, transcode: TrackTranscode, listener: TrackListener) -> None:
        transcode.listeners.remove(listener)
        if not transcode.listeners:
            _, task = self._transcodes.pop((transcode.source, transcode.target))
            task.cancel()

    def _has_room(self, kind: TrackKind) -> bool:
        return sum(transcode.kind is kind for transcode, _ in self._transcodes.values()) < self._most[kind]

    def _make_room(self, kind: TrackKind) -> bool:
        """Takes a worker from renditions that only linger: the ones that have done so for longest first."""
        before_s = self._clock.monotonic() - _GRACE_S
        lingering = {
            feed: since_s for feed, since_s in self._since.items() if since_s is not None and since_s < before_s
        }
        for feed in sorted(lingering, key=lingering.__getitem__):
            for transcode, _ in list(self._transcodes.values()):
                if transcode.kind is kind and feed.holds(transcode) and lingering.keys() >= set(transcode.listeners):
                    for listener in [feed for feed in lingering if feed.holds(transcode)]:
                        self._stop(listener)
                    return self._has_room(kind)
        return False
