"""One stream on its way to RTSP readers: packetised once, handed to each of them.

Packets carry the same SSRC, sequence and time for all readers, so whoever joins is simply sent what is cached since the
last keyframe, and goes on from there. Sound and documents wait for the picture behind them (at most `GATHER_S`): a
write a picture is most of what a reader costs.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mediasrv.clock import Clock
from mediasrv.hub import GOP_CACHE_LIMIT, Mountpoint
from mediasrv.media.access_unit import METADATA, AccessUnit, Codec, Format, Session, TrackKind, VideoFormat
from mediasrv.media.rtp.outgoing import OutgoingTrack
from mediasrv.serving.batch import Batch, Entry
from mediasrv.serving.readers import Reader
from mediasrv.wire.rtcp import SenderReport, build_sender_report, ntp_from_us

log = logging.getLogger(__name__)

GATHER_S: Final = 0.05
MOST_CACHED_BYTES: Final = 16 * 1024 * 1024
"""A longer GOP is not cached: its readers begin at the next keyframe."""
_STATIC_TYPES: Final = {Codec.PCMU: 0, Codec.PCMA: 8}
_DYNAMIC_TYPES: Final = {TrackKind.VIDEO: 96, TrackKind.AUDIO: 97, TrackKind.METADATA: 98}
_NARROW: Final = (8000, 1)

CallLater = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class StreamFeed:
    """An `AccessUnitSink` of the hub. `users` are counted by its owner, who closes it after the last."""

    def __init__(self, mountpoint: Mountpoint, payload_bytes: int, clock: Clock, call_later: CallLater) -> None:
        self.ref = mountpoint.ref
        self.mountpoint = mountpoint
        self.tracks: dict[TrackKind, OutgoingTrack] = {}
        self.users = 0
        self.is_broken = False
        """Whether it failed and takes nothing any more: whoever comes needs a new one."""
        self._cname = secrets.token_hex(8)
        self._payload_bytes = payload_bytes
        self._clock = clock
        self._call_later = call_later
        self._readers: tuple[Reader, ...] = ()
        self._gathered: list[Entry] = []
        self._timer: asyncio.TimerHandle | None = None
        self._cached: list[Batch] = []
        self._cached_bytes = 0
        for unit in mountpoint.gop:
            self.on_access_unit(unit)
        self._subscription = mountpoint.subscribe(self)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._subscription.close()

    def learn_tracks(self) -> None:
        """Tracks of which the hub knows, but nothing has come here yet."""
        if self.mountpoint.audio_format is not None:
            self._track(self.mountpoint.audio_format)
        if self.mountpoint.has_metadata:
            self._track(METADATA)

    def cached(self, most_bytes: int) -> Sequence[Batch]:
        """What a reader may be sent at once, from the last keyframe on; empty where that is more than `most_bytes`."""
        self._flush()
        return tuple(self._cached) if self._cached_bytes <= most_bytes else ()

    def join(self, reader: Reader, cached: Sequence[Batch]) -> None:
        """From here on the reader is sent everything; call in the turn of the loop in which `cached` was asked for."""
        reader.start(self._reports(), cached)
        self._readers += (reader,)

    def leave(self, reader: Reader) -> None:
        """A new tuple: the feed may be walking the old one."""
        self._readers = tuple(other for other in self._readers if other is not reader)

    def on_access_unit(self, unit: AccessUnit) -> None:
        """Hot: once a unit. What fails here fails for all: readers are ended, and the hub drops this sink."""
        try:
            self._take(unit)
        except Exception:
            self.is_broken = True
            self._end_readers("feed_failed")
            raise

    def _take(self, unit: AccessUnit) -> None:
        track = self._track(unit.format)
        if track is None:
            return
        if unit.keyframe and unit.format.kind is TrackKind.VIDEO:
            self._flush()
        packets = track.packetize(unit)
        if not packets:
            return
        self._gathered.append(Entry(unit.format.kind, packets))
        if unit.format.kind is TrackKind.VIDEO:
            self._flush(keyframe=unit.keyframe)
        elif self._timer is None:
            self._timer = self._call_later(GATHER_S, self._flush)

    def on_session_ended(self, session: Session, reason: str) -> None:
        """Readers stay: the camera's next session goes on under their SSRCs, from its first keyframe."""
        self._flush()
        self._forget_cached()

    def send_reports(self) -> None:
        """Sender reports to everybody (RFC 3550, 6.4.1)."""
        reports = self._reports()
        for reader in self._readers:
            try:
                reader.send_reports(reports)
            except Exception:
                self._fail(reader)

    def _track(self, form: Format) -> OutgoingTrack | None:
        """The track that this format goes out on; a change that readers cannot follow ends them, and they ask anew."""
        track = self.tracks.get(form.kind)
        if track is not None and (track.format is form or _is_followed(track.format, form)):
            track.format = form
            return track
        if track is not None:
            self._end_readers("format_changed")
        self.tracks[form.kind] = OutgoingTrack(
            form,
            _payload_type(form),
            ssrc=secrets.randbits(32),
            first_sequence=secrets.randbits(16),
            timestamp_offset=secrets.randbits(32),
            payload_bytes=self._payload_bytes,
        )
        return self.tracks[form.kind]

    def _end_readers(self, why: str) -> None:
        readers, self._readers = self._readers, ()
        for reader in readers:
            reader.end(why)

    def _flush(self, *, keyframe: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._gathered:
            return
        batch, self._gathered = Batch(self._gathered, keyframe=keyframe), []
        self._cache(batch)
        now = self._clock.monotonic()
        for reader in self._readers:
            try:
                reader.send(batch, now)
            except Exception:  # one bad reader never stops another
                self._fail(reader)

    def _fail(self, reader: Reader) -> None:
        log.exception("%s: a reader failed and is dropped", self.ref)
        self.leave(reader)
        reader.end("reader_failed")

    def _cache(self, batch: Batch) -> None:
        if batch.keyframe:
            self._cached, self._cached_bytes = [batch], batch.size_bytes
        elif self._cached:
            self._cached.append(batch)
            self._cached_bytes += batch.size_bytes
            if self._cached_bytes > MOST_CACHED_BYTES or len(self._cached) > 4 * GOP_CACHE_LIMIT:
                self._forget_cached()

    def _forget_cached(self) -> None:
        self._cached, self._cached_bytes = [], 0

    def _reports(self) -> Batch:
        now, entries = self._clock.monotonic(), []
        for kind, track in self.tracks.items():
            at = track.at(now)
            if at is not None:
                wall_us, timestamp = at
                report = SenderReport(track.ssrc, ntp_from_us(wall_us), timestamp, track.packets, track.octets)
                entries.append(Entry(kind, [build_sender_report(report, self._cname)], is_rtcp=True))
        return Batch(entries)


def first_packets(batches: Iterable[Batch]) -> dict[TrackKind, tuple[int, int]]:
    """(Sequence, RTP timestamp) of the first packet of each track, as RTP-Info tells them."""
    first: dict[TrackKind, tuple[int, int]] = {}
    for batch in batches:
        for entry in batch.entries:
            if entry.kind not in first and entry.packets and not entry.is_rtcp:
                packet = entry.packets[0]
                first[entry.kind] = int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[4:8], "big")
    return first


def _payload_type(form: Format) -> int:
    static = _STATIC_TYPES.get(form.codec)
    if static is not None and (form.clock_rate, getattr(form, "channels", 0)) == _NARROW:
        return static
    return _DYNAMIC_TYPES[form.kind]


def _is_followed(old: Format, new: Format) -> bool:
    """Whether a reader of the old format can read the new one: parameter sets stand in the stream itself."""
    if isinstance(new, VideoFormat):
        return old.codec is new.codec
    return old == new
