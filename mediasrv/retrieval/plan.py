"""What plays for a span, in order: from the cuts of objects to the entries of playlists. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mediasrv.catalogue.spans import Span
from mediasrv.errors import NotFound
from mediasrv.media.access_unit import Format
from mediasrv.storage.cuts import Cut, CutPair


@dataclass(frozen=True, slots=True)
class CutObject:
    """An object as far as playlists need it. `formats` are those of its init parts, by their number."""

    object_id: str
    session: str
    seq: int
    pairs: tuple[CutPair, ...]
    formats: Mapping[int, Format]


class Chosen(NamedTuple):
    """A cut that plays."""

    source: CutObject
    pair: CutPair

    def follows(self, before: Chosen) -> bool:
        return self.source.session == before.source.session and self.pair.video.continues(before.pair.video)


@dataclass(frozen=True, slots=True)
class Init:
    """The init part of a run of cuts: the first one that says what all of them need.

    `cut` is the first of the run: what is made of the run has its init segment from there.
    """

    object_id: str
    cut: Cut
    format: Format


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of all playlists; `audio_init` is None where there is no sound."""

    object_id: str
    pair: CutPair
    video_init: Init
    audio_init: Init | None
    discontinuity: bool


def choose(objects: Iterable[CutObject], within: Span) -> list[Chosen]:
    """The cuts that touch the span, session after session in the order in which they begin.

    Sessions are not interleaved where they overlap (a clock that was set back, a change of owner): each plays
    whole, and nothing of it is left out.
    """
    runs: dict[str, list[Chosen]] = {}
    for one in sorted(objects, key=lambda item: item.seq):
        for pair in one.pairs:
            if Span(pair.video.started_us, pair.video.ended_us).overlaps(within):
                runs.setdefault(one.session, []).append(Chosen(one, pair))
    in_order = sorted(runs.values(), key=lambda run: run[0].pair.video.started_us)
    return [chosen for run in in_order for chosen in run]


def link(chosen: Sequence[Chosen]) -> Iterator[Entry]:
    """Each object has init segments of its own; another one is named only where it says something new."""
    video_init: Init | None = None
    audio_init: Init | None = None
    before: Chosen | None = None
    for one in chosen:
        last_init, video_init = video_init, _init_of(one.source, one.pair.video, video_init)
        audio = one.pair.audio
        if audio is not None:
            audio_init = _init_of(one.source, audio, audio_init)
        broken = before is not None and (video_init is not last_init or not one.follows(before))
        yield Entry(one.source.object_id, one.pair, video_init, audio_init if audio is not None else None, broken)
        before = one


def _init_of(source: CutObject, cut: Cut, current: Init | None) -> Init:
    needed = source.formats[cut.init]
    if current is not None and current.format == needed:
        return current
    return Init(source.object_id, cut, needed)


def plan(objects: Iterable[CutObject], within: Span) -> list[Entry]:
    """What plays for the span, in order. Raises NotFound rather than give nothing."""
    entries = list(link(choose(objects, within)))
    if not entries:
        raise NotFound("Nothing was recorded in this span.", code="no_footage")
    return entries
