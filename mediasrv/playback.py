"""Playback: what a person asks of recorded footage (camera, stream, span) as a timeline and as HLS VOD.

The question is answered from the catalogue and from the spool: footage is there as soon as it is locally
durable. A playlist lists cuts (`storage.cuts`) whose URLs name an object and the numbers of its parts, so that
they stay right when the object moves from the spool to storage. All URLs are relative to
`/playback/{camera}/`; an object of another camera is not found, so a right to the camera is all they need.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection

from mediasrv.catalogue import Catalogue, footage_queries
from mediasrv.catalogue.footage_queries import SEAM_US, GapRow, StoredObject
from mediasrv.catalogue.spans import Span, clip, merge, subtract
from mediasrv.clock import SECOND_US, Clock, from_us
from mediasrv.errors import FootageError, FootageRefused, InvalidRequest, NotFound
from mediasrv.media.access_unit import HLS_AUDIO, Format, StreamRef, TrackKind, VideoFormat
from mediasrv.media.dvr import SEAM_S, Entries, Recorded, Stretch
from mediasrv.media.fmp4 import read_format
from mediasrv.media.playlist import DateRange, LiveSegment
from mediasrv.media.vod import GAP_URI, VodSegment, VodVariant, media_playlist, multivariant_playlist
from mediasrv.settings import HlsSettings
from mediasrv.storage.cuts import Cut, CutPair, cut_object
from mediasrv.storage.footage import Footage, FootageIndex
from mediasrv.storage.sealing import Descriptor

log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")
A = TypeVar("A")

_MOST_CUT_OBJECTS: Final = 512
_PARALLEL_READS: Final = 8
_BEHIND_US: Final = 2 * SECOND_US
_NEAR_US: Final = 3600 * SECOND_US


# --- answers -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TimelineGap:
    """`cause` is a code of docs/reasons.md; `ended_us` is None while it lasts."""

    started_us: int
    ended_us: int | None
    cause: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is known of a span: where footage is, where none is and why, what is held. Sorted, cut to the span."""

    coverage: list[Span]
    gaps: list[TimelineGap]
    holds: list[Span]


class Playback:
    """Answers for all cameras. Whether somebody may ask is the caller's business, before it calls.

    Spans are wall time in microseconds. All methods may raise StorageError and KeyUnavailable.
    """

    def __init__(self, catalogue: Catalogue, footage: Footage, settings: HlsSettings, clock: Clock) -> None:
        self._catalogue = catalogue
        self._footage = footage
        self._settings = settings
        self._clock = clock
        self._cut: _Recent[str, _CutObject] = _Recent(_MOST_CUT_OBJECTS)

    async def timeline(self, ref: StreamRef, start_us: int, end_us: int) -> Timeline:
        """Raises InvalidRequest for an empty span."""
        within = _span(start_us, end_us)
        # The spool first: an object that is stored in between is then in both, not in neither.
        waiting = [_coverage_of(one) for one in self._footage.spooled(ref, within)]
        gaps, stored, holds = await asyncio.gather(
            self._catalogue.read(footage_queries.gaps, ref, within),
            self._catalogue.read(footage_queries.coverage, ref, within, SEAM_US),
            self._catalogue.read(footage_queries.active_holds, ref.camera_id, self._clock.wall_us()),
        )
        shown_gaps = [_clip_gap(row, within) for row in gaps]
        doubtful = _doubtful(shown_gaps, stored, within)
        exact = await self._catalogue.read(_exact_coverage, ref, doubtful) if doubtful else []
        covered = _coverage([*stored, *waiting], [*exact, *waiting], shown_gaps, within)
        return Timeline(covered, shown_gaps, clip(merge(holds), within))

    async def master(self, ref: StreamRef, start_us: int, end_us: int) -> bytes:
        """The multivariant playlist. Raises NotFound `no_footage`, InvalidRequest."""
        within = _span(start_us, end_us)
        objects = await self._objects(ref, within)
        # In a thread, as below: a span of hours has ten thousand entries, and live viewers share this loop.
        return await asyncio.to_thread(_render_master, ref, within, objects)

    async def media_playlist(self, ref: StreamRef, track: TrackKind, start_us: int, end_us: int) -> bytes:
        """One track's playlist of the span, widened to whole cuts. Raises NotFound `no_footage`, InvalidRequest."""
        within = _span(start_us, end_us)
        objects = await self._objects(ref, within)
        return await asyncio.to_thread(_render_track, track, within, objects)

    async def segment(self, camera_id: str, object_id: str, track: TrackKind, first: int, last: int) -> bytes:
        """The fragments of that track among parts `first` to `last`. Raises NotFound `segment_not_found`."""
        numbers, parts = await self._read(camera_id, object_id, track, first, last, is_init=False)
        return b"".join([parts[number - first] for number in numbers])

    async def init(self, camera_id: str, object_id: str, track: TrackKind, index: int) -> bytes:
        """The init segment that is part `index`. Raises NotFound `segment_not_found`."""
        _, parts = await self._read(camera_id, object_id, track, index, index, is_init=True)
        return parts[0]

    # --- behind what is live ---------------------------------------------------------------------

    async def before(self, ref: StreamRef, session_id: str, from_s: float, start_us: int, end_us: int) -> Recorded:
        """What was recorded in a span, as a live playlist lists it: URIs are relative to `/hls/{camera}/{stream}/`.

        Of the session `session_id` nothing that lies at `from_s` or later, so that what is live can follow.
        """
        within = Span(start_us, max(end_us, start_us + 1))
        # A little longer: whether the session is recorded may show only in what came behind that.
        objects = await self._objects(ref, Span(within.start_us, within.end_us + _BEHIND_US))
        mine = [one for one in objects if one.session == session_id]
        starts_s = [pair.video.start_s for one in mine for pair in one.pairs]
        ended = [self._until(one, from_s) if one.session == session_id else one for one in objects]
        entries, last = await asyncio.to_thread(_list_live, ended, within)
        gaps = await self._catalogue.read(footage_queries.gaps, ref, within)
        return Recorded(
            entries,
            [DateRange(max(row.started_us, start_us), min(row.ended_us or end_us, end_us), row.cause) for row in gaps],
            (last.source.session, last.pair.video.end_s) if last is not None else None,
            min(starts_s, default=None),
        )

    def _until(self, source: _CutObject, end_s: float) -> _CutObject:
        """Without what lies at `end_s` of its session or later.

        A cut that reaches over it is cut anew in the spool only: there lies what has just been live.
        """
        index = self._footage.find_spooled(source.object_id)
        pairs = source.pairs
        if index is not None:
            early = [(one.length, one.descriptor) for one in index.entries if _lies_before(one.descriptor, end_s)]
            pairs = tuple(cut_object(early))
        kept = tuple(pair for pair in pairs if pair.video.end_s <= end_s + SEAM_S)
        return replace(source, pairs=kept)

    async def stretch(self, ref: StreamRef, track: TrackKind, stretch: Stretch) -> bytes:
        """The fragments of one track between two times of a session, all of them.

        Raises NotFound `segment_not_found`.
        """
        return await _once_more_if_moved(lambda: self._stretch(ref, track, stretch))

    async def _stretch(self, ref: StreamRef, track: TrackKind, stretch: Stretch) -> bytes:
        """Raises FootageError `footage_moved`, too."""
        within = Span(stretch.started_us - SECOND_US, stretch.ended_us + SECOND_US)
        rows, waiting = await self._rows_and_waiting(ref, within)
        stored = await _in_parallel(_unless_refused(self._footage.index), rows)
        indexes = [one for one in (*stored, *waiting) if one is not None and one.header.session == stretch.session_id]
        pieces: list[bytes] = []
        position, end = stretch.decode_time, stretch.decode_time + stretch.duration
        for index in sorted(indexes, key=lambda one: one.header.seq):
            numbers, position = _run_in(index, track, position, end)
            if numbers:
                # With what lies between of the other track: one request for all costs less than one for each part.
                parts = await self._footage.parts(index, numbers[0], numbers[-1])
                pieces += [parts[number - numbers[0]] for number in numbers]
        if position < end:
            raise NotFound("There is no such segment, or there is none any more.", code="segment_not_found")
        return b"".join(pieces)

    async def _read(
        self, camera_id: str, object_id: str, track: TrackKind, first: int, last: int, *, is_init: bool
    ) -> tuple[list[int], list[bytes]]:
        """Plain parts `first` to `last`, and the numbers of those among them that were asked for: one at least."""
        for look in (self._find_spooled, self._find_stored):
            found = await look(camera_id, object_id)
            if found is None or not 0 <= first <= last < len(found.entries):
                continue
            descriptors = [entry.descriptor for entry in found.entries[first : last + 1]]
            wanted = [
                number for number, one in enumerate(descriptors, first) if one.track == track and one.is_init == is_init
            ]
            if not wanted:
                break
            try:
                return wanted, await self._footage.parts(found, first, last)
            except FootageError as error:
                # It has left the spool while it was read: it is in the catalogue by now.
                if error.code != "footage_moved":
                    raise
        raise NotFound("There is no such segment of this camera.", code="segment_not_found")

    # --- objects ---------------------------------------------------------------------------------

    async def _objects(self, ref: StreamRef, within: Span) -> list[_CutObject]:
        """All objects that may have footage in the span, cut. Raises InvalidRequest for one that is too long."""
        if within.end_us - within.start_us > self._settings.playback_most_s * SECOND_US:
            hours = self._settings.playback_most_s / 3600
            raise InvalidRequest(f"A playback covers at most {hours:g} hours.", code="span_too_long")
        return await _once_more_if_moved(lambda: self._cut_objects(ref, within))

    async def _cut_objects(self, ref: StreamRef, within: Span) -> list[_CutObject]:
        """Raises FootageError `footage_moved` when an object left the spool meanwhile."""
        rows, waiting = await self._rows_and_waiting(ref, within)
        stored = await _in_parallel(_unless_refused(self._cut_stored), rows)
        fresh = await _in_parallel(self._cut_index, waiting)
        return [one for one in stored if one is not None] + fresh

    async def _rows_and_waiting(self, ref: StreamRef, within: Span) -> tuple[list[StoredObject], list[FootageIndex]]:
        """Each object that may have footage in the span: what is stored, and what lies in the spool alone.

        The spool is asked first, as in `timeline`.
        """
        waiting = self._footage.spooled(ref, within)
        rows = await self._catalogue.read(footage_queries.objects_in_span, ref, within)
        ids = {row.object_id for row in rows}
        return rows, [one for one in waiting if one.header.object_id not in ids]

    async def _cut_stored(self, row: StoredObject) -> _CutObject:
        found = self._cut.get(row.object_id)
        if found is None:
            found = await self._cut_index(await self._footage.index(row))
            self._cut.put(row.object_id, found)
        return found

    async def _cut_index(self, index: FootageIndex) -> _CutObject:
        pairs = await asyncio.to_thread(_cut_pairs, index)
        formats = {}
        for number in sorted({cut.init for pair in pairs for cut in pair if cut is not None}):
            (plain,) = await self._footage.parts(index, number, number)
            formats[number] = read_format(plain)
        header = index.header
        return _CutObject(header.object_id, header.session, header.seq, pairs, formats)

    async def _find_spooled(self, camera_id: str, object_id: str) -> FootageIndex | None:
        found = self._footage.find_spooled(object_id)
        return found if found is not None and found.header.camera == camera_id else None

    async def _find_stored(self, camera_id: str, object_id: str) -> FootageIndex | None:
        row = await self._catalogue.read(footage_queries.find_object, object_id)
        if row is None or row.ref.camera_id != camera_id:
            return None
        return await self._footage.index(row)


# --- from objects to entries ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _CutObject:
    """An object as far as playlists need it. `formats` are those of its init parts, by their number."""

    object_id: str
    session: str
    seq: int
    pairs: tuple[CutPair, ...]
    formats: Mapping[int, Format]


class _Chosen(NamedTuple):
    """A cut that plays."""

    source: _CutObject
    pair: CutPair

    def follows(self, before: _Chosen) -> bool:
        return self.source.session == before.source.session and self.pair.video.continues(before.pair.video)


@dataclass(frozen=True, slots=True)
class _Init:
    """The init segment of a run of cuts: the first one that says what all of them need."""

    uri: str
    format: Format


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of both playlists; `audio_init` is None where there is nothing that HLS can carry."""

    object_id: str
    pair: CutPair
    video_init: _Init
    audio_init: _Init | None
    discontinuity: bool


def _cut_pairs(index: FootageIndex) -> tuple[CutPair, ...]:
    return tuple(cut_object((entry.length, entry.descriptor) for entry in index.entries))


def _coverage_of(source: FootageIndex) -> Span:
    """Of the durable parts of an object in the spool; empty where there are none yet."""
    media = [entry.descriptor for entry in source.entries if not entry.descriptor.is_init]
    video = [one for one in media if one.track == TrackKind.VIDEO] or media
    return Span(video[0].started_us, video[-1].ended_us) if video else Span(0, 0)


def _choose(objects: Iterable[_CutObject], within: Span) -> list[_Chosen]:
    """The cuts that touch the span, session after session in the order in which they begin.

    Sessions are not interleaved where they overlap (a clock that was set back, a change of owner): each plays
    whole, and nothing of it is left out.
    """
    runs: dict[str, list[_Chosen]] = {}
    for one in sorted(objects, key=lambda item: item.seq):
        for pair in one.pairs:
            if Span(pair.video.started_us, pair.video.ended_us).overlaps(within):
                runs.setdefault(one.session, []).append(_Chosen(one, pair))
    in_order = sorted(runs.values(), key=lambda run: run[0].pair.video.started_us)
    return [chosen for run in in_order for chosen in run]


def _link(chosen: Sequence[_Chosen]) -> Iterator[_Entry]:
    """Each object has init segments of its own; another one is named only where it says something new."""
    video_init: _Init | None = None
    audio_init: _Init | None = None
    before: _Chosen | None = None
    for one in chosen:
        last_init, video_init = video_init, _init_of(one.source, one.pair.video, video_init)
        audio = one.pair.audio
        playable = audio is not None and _is_playable(one.source.formats[audio.init])
        if audio is not None and playable:
            audio_init = _init_of(one.source, audio, audio_init)
        broken = before is not None and (video_init is not last_init or not one.follows(before))
        yield _Entry(one.source.object_id, one.pair, video_init, audio_init if playable else None, broken)
        before = one


def _init_of(source: _CutObject, cut: Cut, current: _Init | None) -> _Init:
    needed = source.formats[cut.init]
    if current is not None and current.format == needed:
        return current
    return _Init(f"{source.object_id}/{_track_name(cut.track)}/init-{cut.init}.mp4", needed)


def _plan(objects: Iterable[_CutObject], within: Span) -> list[_Entry]:
    """What plays for the span, in order. Raises NotFound rather than give nothing."""
    entries = list(_link(_choose(objects, within)))
    if not entries:
        raise NotFound("Nothing was recorded in this span.", code="no_footage")
    return entries


def _render_master(ref: StreamRef, within: Span, objects: Sequence[_CutObject]) -> bytes:
    entries = _plan(objects, within)
    query = f"start={_iso(within.start_us)}&end={_iso(within.end_us)}&stream={ref.stream}"
    video = list(dict.fromkeys(one.video_init.format for one in entries))
    audio = list(dict.fromkeys(one.audio_init.format for one in entries if one.audio_init is not None))
    peak_bps, average_bps = _bit_rates(entries)
    variant = VodVariant(
        video_uri=f"video.m3u8?{query}",
        audio_uri=f"audio.m3u8?{query}" if audio else None,
        width=max(one.width for one in video if isinstance(one, VideoFormat)),
        height=max(one.height for one in video if isinstance(one, VideoFormat)),
        codecs=list(dict.fromkeys(one.rfc6381 for one in [*video, *audio])),
        peak_bps=peak_bps,
        average_bps=average_bps,
    )
    return multivariant_playlist(variant)


def _render_track(track: TrackKind, within: Span, objects: Sequence[_CutObject]) -> bytes:
    entries = _plan(objects, within)
    video, audio = ([_segment(one, kind) for one in entries] for kind in (TrackKind.VIDEO, TrackKind.AUDIO))
    segments = video if track is TrackKind.VIDEO else audio
    if all(one.uri is None for one in segments):
        raise NotFound("Nothing of this track was recorded in the span.", code="no_footage")
    start_s = max(0, within.start_us - entries[0].pair.video.started_us) / SECOND_US
    return media_playlist(segments, start_s, max(one.duration_s for one in [*video, *audio]))


def _is_playable(audio: Format) -> bool:
    return audio.codec in HLS_AUDIO


def _segment(entry: _Entry, track: TrackKind) -> VodSegment:
    """Where the audio has nothing, it is a gap as long as the video, so that both playlists stay in step."""
    cut, init = entry.pair.video, entry.video_init
    if track is TrackKind.AUDIO:
        if entry.pair.audio is None or entry.audio_init is None:
            return VodSegment(None, None, cut.duration_s, cut.started_us, entry.discontinuity)
        cut, init = entry.pair.audio, entry.audio_init
    uri = f"{entry.object_id}/{_track_name(track)}/{cut.first}-{cut.last}.m4s"
    return VodSegment(uri, init.uri, cut.duration_s, cut.started_us, entry.discontinuity)


def _bit_rates(entries: Sequence[_Entry]) -> tuple[int, int]:
    """Peak and average of both tracks together, in bits a second."""
    sizes = [
        one.pair.video.size_bytes + (one.pair.audio.size_bytes if one.pair.audio and one.audio_init else 0)
        for one in entries
    ]
    durations_s = [one.pair.video.duration_s for one in entries]
    peak = max(8 * size / duration_s for size, duration_s in zip(sizes, durations_s, strict=True))
    return round(peak), round(8 * sum(sizes) / sum(durations_s))


# --- behind what is live -------------------------------------------------------------------------


def _list_live(objects: Iterable[_CutObject], within: Span) -> tuple[list[Entries], _Chosen | None]:
    """The entries of a live playlist for what touches the span, and the last cut among them."""
    chosen = _choose(objects, within)
    return [_live_entries(entry) for entry in _link(chosen)], chosen[-1] if chosen else None


def _live_entries(entry: _Entry) -> Entries:
    return {kind: _live_segment(_segment(entry, kind)) for kind in (TrackKind.VIDEO, TrackKind.AUDIO)}


def _live_segment(one: VodSegment) -> LiveSegment:
    def below(uri: str | None) -> str | None:
        return None if uri is None else f"recorded/{uri}"

    return LiveSegment(
        uri=below(one.uri) or GAP_URI,
        init_uri=below(one.init_uri),
        started_us=one.started_us,
        duration_s=one.duration_s,
        discontinuity=one.discontinuity,
        complete=True,
        parts=(),
        gap=one.uri is None,
    )


def _lies_before(part: Descriptor, end_s: float) -> bool:
    return part.is_init or (part.decode_time + part.duration / 2) / part.clock_rate < end_s


def _run_in(index: FootageIndex, track: TrackKind, position: int, end: int) -> tuple[list[int], int]:
    """The numbers of the parts that continue a track at `position`, as far as `end`, and where they end."""
    numbers = []
    for number, entry in enumerate(index.entries):
        part = entry.descriptor
        if part.track == track and not part.is_init and part.decode_time == position < end:
            numbers.append(number)
            position += part.duration
    return numbers, position


# --- small things --------------------------------------------------------------------------------


class _Recent(Generic[K, V]):
    """The most recently used values, up to a bound."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: K, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)


async def _in_parallel(read: Callable[[A], Awaitable[V]], items: Iterable[A]) -> list[V]:
    """Like map, a few at a time. Raises the first error; what is under way then ends by itself."""
    at_once = asyncio.Semaphore(_PARALLEL_READS)

    async def one(item: A) -> V:
        async with at_once:
            return await read(item)

    return await asyncio.gather(*(one(item) for item in items))


def _unless_refused(
    read: Callable[[StoredObject], Awaitable[V]],
) -> Callable[[StoredObject], Awaitable[V | None]]:
    """`read`, with None for an object that is refused: the rest still plays, and the log says why this does not."""

    async def reading(row: StoredObject) -> V | None:
        try:
            return await read(row)
        except FootageRefused as error:
            log.error("%s: object %s is refused (%s): %s", row.ref, row.object_id, error.code, error.sentence)
            return None

    return reading


async def _once_more_if_moved(read: Callable[[], Awaitable[V]]) -> V:
    """An object that left the spool while it was read is in the catalogue by now."""
    try:
        return await read()
    except FootageError as error:
        if error.code != "footage_moved":
            raise
        return await read()


def _span(start_us: int, end_us: int) -> Span:
    if end_us <= start_us:
        raise InvalidRequest("The end of the span must lie after its start.", code="span_empty")
    return Span(start_us, end_us)


def _doubtful(gaps: Iterable[TimelineGap], joined: Sequence[Span], within: Span) -> list[Span]:
    """Gaps with footage in them: some of what is joined there may be a hole as short as a seam. A few spans of them."""
    spans = merge(_gap_span(one, within) for one in gaps)
    return merge((one for one in spans if subtract([one], joined) != [one]), _NEAR_US)


def _exact_coverage(connection: Connection, ref: StreamRef, spans: Iterable[Span]) -> list[Span]:
    return [one for span in spans for one in footage_queries.coverage(connection, ref, span)]


def _coverage(
    footage: Iterable[Span], in_gaps: Iterable[Span], gaps: Iterable[TimelineGap], within: Span
) -> list[Span]:
    """Joined over seams, which are nothing, but not over a gap as short as one: that has a cause. `in_gaps` is the
    footage in gaps, not joined.
    """
    missing = subtract((_gap_span(one, within) for one in gaps), in_gaps)
    return clip(subtract(merge(footage, SEAM_US), missing), within)


def _gap_span(one: TimelineGap, within: Span) -> Span:
    return Span(one.started_us, one.ended_us or within.end_us)


def _clip_gap(row: GapRow, within: Span) -> TimelineGap:
    ended_us = None if row.ended_us is None else min(row.ended_us, within.end_us)
    return TimelineGap(max(row.started_us, within.start_us), ended_us, row.cause)


def _track_name(track: TrackKind) -> str:
    return track.name.lower()


def _iso(at_us: int) -> str:
    return from_us(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")
