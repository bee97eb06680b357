"""Footage for an export: each access unit once, from storage and spool alike, also where it moves meanwhile."""

from __future__ import annotations

from typing import cast

import pytest

from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US
from mediasrv.exporting import collect
from mediasrv.exporting.collect import Collector
from mediasrv.media.access_unit import AccessUnit, TrackKind
from mediasrv.media.fmp4 import read_samples
from mediasrv.storage.footage import Footage
from tests.unit.house import House
from tests.unit.media.streams import REF, STARTED_US, audio_units, interleave, session, video_units

WITHIN = Span(STARTED_US, STARTED_US + 60 * SECOND_US)


def units_of(name: str, start_s: float, seconds: float) -> list[AccessUnit]:
    one = session(name, STARTED_US + round(start_s * SECOND_US))
    return interleave(video_units(one, seconds), audio_units(one, seconds))


async def collected(house: House) -> list[bytes]:
    """The pictures, in the order in which they come."""
    collector = Collector(house.archive.catalogue, cast(Footage, house.footage))
    found: list[bytes] = []
    async for batch in collector.batches(await collector.plan(REF, WITHIN)):
        for pair in batch.pairs:
            cut = pair.video
            for number in range(cut.first, cut.last + 1):
                descriptor = batch.index.entries[number].descriptor
                if descriptor.track == TrackKind.VIDEO and not descriptor.is_init:
                    found += [sample.payload for sample in read_samples(batch.parts[number])]
    return found


def payloads(units: list[AccessUnit]) -> list[bytes]:
    return [unit.payload for unit in units if unit.format.kind is TrackKind.VIDEO]


async def test_stored_waiting_and_just_moved_is_all_there_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "BATCH_BYTES", 20_000)
    units = units_of("one", 0, 40)
    sealed = house.archive.seal(units)
    for one in sealed[:2]:
        await house.archive.keep(one)
    house.footage.waiting = sealed[2:]
    house.footage.leaving = sealed[2:3]
    assert await collected(house) == payloads(units)
    assert house.footage.leaving == []


async def test_sessions_that_overlap_are_not_interleaved(house: House) -> None:
    first, second = units_of("one", 0, 30), units_of("two", 15, 30)
    for run in (second, first):
        await house.archive.record(run)
    assert await collected(house) == payloads(first) + payloads(second)
