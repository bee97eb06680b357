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
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection

from mediasrv.catalogue import Catalogue, footage_queries
from mediasrv.catalogue.footage_queries import SEAM_US, StoredObject
from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import FootageError, FootageRefused, InvalidRequest, NotFound
from mediasrv.media.access_unit import AudioFormat, Codec, Format, StreamRef, TrackKind, VideoFormat
from mediasrv.media.dvr import SEAM_S, Entries, Recorded, Stretch
from mediasrv.media.fmp4 import ReadSample, Samples, fragment_pieces, init_segment, read_format, read_samples
from mediasrv.media.playlist import DateRange, LiveSegment
from mediasrv.media.vod import GAP_URI, VodSegment
from mediasrv.retrieval.plan import Chosen, CutObject, Entry, choose, link
from mediasrv.retrieval.playlists import Choice, Making, Rendition, render_master, render_track, segment_of
from mediasrv.retrieval.timeline import Timeline, build_timeline, doubtful_spans
from mediasrv.settings import HlsSettings
from mediasrv.storage.cuts import Cut, CutPair, audio_cut, cut_object
from mediasrv.storage.footage import Footage, FootageIndex
from mediasrv.storage.sealing import Descriptor
from mediasrv.transcoding.recorded import MadeCut, RecordedTranscoder
from mediasrv.transcoding.wishes import audio_made

log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")
A = TypeVar("A")

_MOST_CUT_OBJECTS: Final = 512
_PARALLEL_READS: Final = 8
_BEHIND_US: Final = 2 * SECOND_US
AROUND_S: Final = 0.25
"""So much of the sound around a cut its AAC needs: the frames before, and the one that reaches behind it."""


class Playback:
    """Answers for all cameras. Whether somebody may ask is the caller's business, before it calls.

    Spans are wall time in microseconds. Without a `maker` only what was recorded is given.
    All methods may raise StorageError and KeyUnavailable.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        footage: Footage,
        settings: HlsSettings,
        clock: Clock,
        maker: RecordedTranscoder | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._footage = footage
        self._settings = settings
        self._clock = clock
        self._maker = maker
        self._cut: _Recent[str, CutObject] = _Recent(_MOST_CUT_OBJECTS)

    async def timeline(self, ref: StreamRef, start_us: int, end_us: int, resolution_us: int = 0) -> Timeline:
        """What is finer than `resolution_us` is told as one. Raises InvalidRequest for an empty span."""
        within = _span(start_us, end_us)
        # The spool first: an object that is stored in between is then in both, not in neither.
        waiting = [_coverage_of(one) for one in self._footage.spooled(ref, within)]
        gaps, stored, holds = await asyncio.gather(
            self._catalogue.read(footage_queries.gaps, ref, within),
            self._catalogue.read(footage_queries.coverage, ref, within, SEAM_US),
            self._catalogue.read(footage_queries.active_holds, ref.camera_id, self._clock.wall_us()),
        )
        doubtful = doubtful_spans(gaps, stored, within)
        exact = await self._catalogue.read(_exact_coverage, ref, doubtful) if doubtful else []
        # In a thread: a month of a camera that comes and goes is ten thousands of each.
        return await asyncio.to_thread(
            build_timeline, [*stored, *waiting], [*exact, *waiting], gaps, holds, within, resolution_us
        )

    async def master(
        self, ref: StreamRef, start_us: int, end_us: int, choice: Choice = Choice.ANY, *, keys_only: bool = False
    ) -> bytes:
        """The multivariant playlist. Raises NotFound `no_footage`, InvalidRequest."""
        within = _span(start_us, end_us)
        objects = await self._objects(ref, within)
        maker = self._maker
        making = None if maker is None else Making(maker.height, maker.kbps, maker.h264_codecs)
        # In a thread, as below: a span of hours has ten thousand entries, and live viewers share this loop.
        return await asyncio.to_thread(render_master, ref, within, objects, making, choice, keys_only=keys_only)

    async def media_playlist(self, ref: StreamRef, rendition: Rendition, start_us: int, end_us: int) -> bytes:
        """One rendition's playlist of the span, widened to whole cuts. Raises NotFound `no_footage`, InvalidRequest."""
        within = _span(start_us, end_us)
        objects = await self._objects(ref, within)
        return await asyncio.to_thread(render_track, rendition, within, objects)

    async def segment(self, camera_id: str, object_id: str, rendition: Rendition, first: int, last: int) -> bytes:
        """Of parts `first` to `last` what the rendition has. Raises NotFound `segment_not_found`, and what making it
        raises (`RecordedTranscoder`).
        """
        if rendition.is_made:
            made = await _once_more_if_moved(lambda: self._make(camera_id, object_id, rendition, first, last))
            return made.fragment
        if rendition.is_keys:
            return await _once_more_if_moved(lambda: self._key(camera_id, object_id, first, last))
        numbers, parts = await self._read(camera_id, object_id, rendition.track, first, last, is_init=False)
        return b"".join([parts[number - first] for number in numbers])

    async def init(
        self, camera_id: str, object_id: str, rendition: Rendition, first: int, last: int | None = None
    ) -> bytes:
        """The init segment that is part `first`, or that of what is made of it; with `last` that of what is made of
        the pictures of this cut. Raises as `segment` does.
        """
        if last is not None and rendition.is_made:
            until = last
            made = await _once_more_if_moved(lambda: self._make(camera_id, object_id, rendition, first, until))
            return init_segment(_known(made.format))
        if last is not None or (rendition.is_made and rendition is not Rendition.AAC):
            raise _no_segment()
        _, parts = await self._read(camera_id, object_id, rendition.track, first, first, is_init=True)
        if rendition is not Rendition.AAC:
            return parts[0]
        source = read_format(parts[0])
        if not isinstance(source, AudioFormat) or rendition.carries(source.codec):
            raise _no_segment()
        return init_segment(audio_made(source, Codec.AAC))

    async def thumbnail(self, ref: StreamRef, at_us: int, width: int) -> bytes:
        """The keyframe with which what was recorded at that time begins, as JPEG of at most that width.

        Raises NotFound `no_footage`, and what making it raises (`RecordedTranscoder`).
        """
        within = Span(at_us, at_us + 1)
        chosen = choose(await self._objects(ref, within), within)
        if not chosen or self._maker is None:
            raise NotFound("Nothing was recorded at this time.", code="no_footage")
        source, cut = chosen[-1].source, chosen[-1].pair.video
        media = source.formats[cut.init]
        assert isinstance(media, VideoFormat)  # noqa: S101 - of a cut of pictures
        key = source.object_id, "jpeg", cut.first, width
        return await self._maker.still(key, media, lambda: self._keyframe(ref.camera_id, source.object_id, cut), width)

    # --- what is made of footage -----------------------------------------------------------------

    async def _make(self, camera_id: str, object_id: str, rendition: Rendition, first: int, last: int) -> MadeCut:
        if self._maker is None:
            raise _no_segment()
        index = await self._find(camera_id, object_id)
        cut = _find_cut(index, rendition.track, first, last)
        (plain,) = await self._footage.parts(index, cut.init, cut.init)
        source, key = read_format(plain), (object_id, rendition, first, last)
        if rendition.carries(source.codec):
            raise _no_segment()
        if isinstance(source, AudioFormat):
            span = cut.decode_time, cut.decode_time + cut.duration
            return await self._maker.sound(key, source, lambda: self._sound_around(camera_id, index, cut), span)
        assert isinstance(source, VideoFormat)  # noqa: S101 - the cut is of one of the two
        if not rendition.is_keys:
            return await self._maker.video(key, source, lambda: self._cut_samples(camera_id, object_id, cut))
        return await self._maker.video(key, source, lambda: self._keyframe(camera_id, object_id, cut), cut.duration)

    async def _cut_samples(self, camera_id: str, object_id: str, cut: Cut) -> list[ReadSample]:
        numbers, parts = await self._read(camera_id, object_id, cut.track, cut.first, cut.last, is_init=False)
        return await asyncio.to_thread(_samples_of, [parts[number - cut.first] for number in numbers])

    async def _keyframe(self, camera_id: str, object_id: str, cut: Cut) -> list[ReadSample]:
        """Out of the first part alone: a part begins with its keyframe, and is the least that can be unsealed."""
        _, parts = await self._read(camera_id, object_id, cut.track, cut.first, cut.first, is_init=False)
        return read_samples(parts[0])[:1]

    async def _key(self, camera_id: str, object_id: str, first: int, last: int) -> bytes:
        index = await self._find(camera_id, object_id)
        cut = _find_cut(index, TrackKind.VIDEO, first, last)
        (plain,) = await self._footage.parts(index, cut.init, cut.init)
        (one,) = await self._keyframe(camera_id, object_id, cut)
        samples = Samples([one.payload], [cut.duration], [one.keyframe], [one.composition_offset])
        return b"".join(fragment_pieces(0, read_format(plain), one.decode_time, samples))

    async def _sound_around(self, camera_id: str, index: FootageIndex, cut: Cut) -> list[ReadSample]:
        """The sound of a cut, and a little before and behind it, also where that lies in the next object."""
        ref, around_us = StreamRef(camera_id, index.header.ref.stream), round(AROUND_S * SECOND_US)
        within = Span(cut.started_us - around_us - SECOND_US, cut.ended_us + around_us + SECOND_US)
        indexes = [one for one in await self._indexes(ref, within) if one.header.session == index.header.session]
        found: list[ReadSample] = []
        for one in sorted(indexes, key=lambda each: each.header.seq):
            numbers = _numbers_around(one, cut)
            if numbers:
                parts = await self._footage.parts(one, numbers[0], numbers[-1])
                found += _samples_of([parts[number - numbers[0]] for number in numbers])
        return found

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

    def _until(self, source: CutObject, end_s: float) -> CutObject:
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
        indexes = [one for one in await self._indexes(ref, within) if one.header.session == stretch.session_id]
        pieces: list[bytes] = []
        position, end = stretch.decode_time, stretch.decode_time + stretch.duration
        for index in sorted(indexes, key=lambda one: one.header.seq):
            numbers, position = _run_in(index, track, position, end)
            if numbers:
                # With what lies between of the other track: one request for all costs less than one for each part.
                parts = await self._footage.parts(index, numbers[0], numbers[-1])
                pieces += [parts[number - numbers[0]] for number in numbers]
        if position < end:
            raise _no_segment()
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
        raise _no_segment()

    # --- objects ---------------------------------------------------------------------------------

    async def _objects(self, ref: StreamRef, within: Span) -> list[CutObject]:
        """All objects that may have footage in the span, cut. Raises InvalidRequest for one that is too long."""
        if within.end_us - within.start_us > self._settings.playback_most_s * SECOND_US:
            hours = self._settings.playback_most_s / 3600
            raise InvalidRequest(f"A playback covers at most {hours:g} hours.", code="span_too_long")
        return await _once_more_if_moved(lambda: self._cut_objects(ref, within))

    async def _cut_objects(self, ref: StreamRef, within: Span) -> list[CutObject]:
        """Raises FootageError `footage_moved` when an object left the spool meanwhile."""
        rows, waiting = await self._rows_and_waiting(ref, within)
        stored = await _in_parallel(_unless_refused(self._cut_stored), rows)
        fresh = await _in_parallel(self._cut_index, waiting)
        return [one for one in stored if one is not None] + fresh

    async def _indexes(self, ref: StreamRef, within: Span) -> list[FootageIndex]:
        """Of all objects that may have footage in the span; those that are refused are left out."""
        rows, waiting = await self._rows_and_waiting(ref, within)
        stored = await _in_parallel(_unless_refused(self._footage.index), rows)
        return [one for one in (*stored, *waiting) if one is not None]

    async def _rows_and_waiting(self, ref: StreamRef, within: Span) -> tuple[list[StoredObject], list[FootageIndex]]:
        """Each object that may have footage in the span: what is stored, and what lies in the spool alone.

        The spool is asked first, as in `timeline`.
        """
        waiting = self._footage.spooled(ref, within)
        rows = await self._catalogue.read(footage_queries.objects_in_span, ref, within)
        ids = {row.object_id for row in rows}
        return rows, [one for one in waiting if one.header.object_id not in ids]

    async def _cut_stored(self, row: StoredObject) -> CutObject:
        found = self._cut.get(row.object_id)
        if found is None:
            found = await self._cut_index(await self._footage.index(row))
            self._cut.put(row.object_id, found)
        return found

    async def _cut_index(self, index: FootageIndex) -> CutObject:
        pairs = await asyncio.to_thread(_cut_pairs, index)
        formats = {}
        for number in sorted({cut.init for pair in pairs for cut in pair if cut is not None}):
            (plain,) = await self._footage.parts(index, number, number)
            formats[number] = read_format(plain)
        header = index.header
        return CutObject(header.object_id, header.session, header.seq, pairs, formats)

    async def _find(self, camera_id: str, object_id: str) -> FootageIndex:
        """Raises NotFound `segment_not_found`."""
        spooled = await self._find_spooled(camera_id, object_id)
        found = spooled or await self._find_stored(camera_id, object_id)
        if found is None:
            raise _no_segment()
        return found

    async def _find_spooled(self, camera_id: str, object_id: str) -> FootageIndex | None:
        found = self._footage.find_spooled(object_id)
        return found if found is not None and found.header.camera == camera_id else None

    async def _find_stored(self, camera_id: str, object_id: str) -> FootageIndex | None:
        row = await self._catalogue.read(footage_queries.find_object, object_id)
        if row is None or row.ref.camera_id != camera_id:
            return None
        return await self._footage.index(row)


# --- from indexes --------------------------------------------------------------------------------


def _cut_pairs(index: FootageIndex) -> tuple[CutPair, ...]:
    return tuple(cut_object((entry.length, entry.descriptor) for entry in index.entries))


def _coverage_of(source: FootageIndex) -> Span:
    """Of the durable parts of an object in the spool; empty where there are none yet."""
    media = [entry.descriptor for entry in source.entries if not entry.descriptor.is_init]
    video = [one for one in media if one.track == TrackKind.VIDEO] or media
    return Span(video[0].started_us, video[-1].ended_us) if video else Span(0, 0)


def _find_cut(index: FootageIndex, track: TrackKind, first: int, last: int) -> Cut:
    """The cut with these parts. Raises NotFound `segment_not_found` for what is none: only cuts are made anew.

    In the spool a cut may have grown since: what was listed is what came until part `last`.
    """
    until = [(entry.length, entry.descriptor) for entry in index.entries[: last + 1]]
    cut = audio_cut(until, first) if track is TrackKind.AUDIO else _last_video_cut(until)
    if cut is None or (cut.first, cut.last) != (first, last):
        raise _no_segment()
    return cut


def _last_video_cut(parts: Sequence[tuple[int, Descriptor]]) -> Cut | None:
    pairs = cut_object(parts)
    return pairs[-1].video if pairs else None


def _numbers_around(index: FootageIndex, cut: Cut) -> list[int]:
    """The parts of the cut's track and format in it, and within AROUND_S of it."""
    found: list[int] = []
    init: int | None = None
    for number, entry in enumerate(index.entries):
        part = entry.descriptor
        if part.track != cut.track:
            continue
        if part.is_init:
            init = number
        elif _is_around(part, cut) and init is not None:
            found.append(number)
    return found


def _is_around(part: Descriptor, cut: Cut) -> bool:
    around = AROUND_S * cut.clock_rate
    before_end = part.decode_time < cut.decode_time + cut.duration + around
    return (
        part.clock_rate == cut.clock_rate and before_end and part.decode_time + part.duration > cut.decode_time - around
    )


def _samples_of(parts: Sequence[bytes]) -> list[ReadSample]:
    return [sample for part in parts for sample in read_samples(part)]


def _known(format: Format | None) -> Format:
    assert format is not None  # noqa: S101 - of what is no still picture it is known
    return format


def _no_segment() -> NotFound:
    return NotFound("There is no such segment, or there is none any more.", code="segment_not_found")


# --- behind what is live -------------------------------------------------------------------------


def _list_live(objects: Iterable[CutObject], within: Span) -> tuple[list[Entries], Chosen | None]:
    """The entries of a live playlist for what touches the span, and the last cut among them."""
    chosen = choose(objects, within)
    return [_live_entries(entry) for entry in link(chosen)], chosen[-1] if chosen else None


def _live_entries(entry: Entry) -> Entries:
    return {one.track: _live_segment(segment_of(entry, one)) for one in (Rendition.VIDEO, Rendition.AUDIO)}


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


def _exact_coverage(connection: Connection, ref: StreamRef, spans: Iterable[Span]) -> list[Span]:
    return [one for span in spans for one in footage_queries.coverage(connection, ref, span)]
