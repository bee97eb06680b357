"""Feeds and readers without a socket: what is shared, what a slow one loses, and that no packet is ever cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import (
    AccessUnit,
    AudioFormat,
    Codec,
    Session,
    StreamName,
    StreamRef,
    TrackKind,
    VideoFormat,
)
from mediasrv.media.nal import join_avcc
from mediasrv.serving.batch import Layout
from mediasrv.serving.feed import GATHER_S, StreamFeed, first_packets
from mediasrv.serving.readers import (
    BURST_BYTES,
    PACE_S,
    Bounds,
    ServeCounters,
    TcpReader,
    UdpReader,
    UdpSockets,
    UdpWay,
)
from mediasrv.wire.ice import Path
from tests.clocks import SimulatedClock

REF = StreamRef("gate-1", StreamName.MAIN)
H264 = VideoFormat(Codec.H264, (b"\x67sps", b"\x68pps"), 640, 360, "avc1.4d401f")
H265 = VideoFormat(Codec.H265, (b"\x40\x01v", b"\x42\x01s", b"\x44\x01p"), 640, 360, "hvc1.1.6.L93.B0")
PCMA = AudioFormat(Codec.PCMA, 8000, 1)
LAYOUT = Layout(0, 2, None)
BOUNDS = Bounds(20_000, 2.0)


@dataclass
class Timers:
    """Runs what is due when it is told to."""

    waiting: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def call_later(self, delay_s: float, work: Callable[[], None]) -> Any:
        entry = (delay_s, work)
        self.waiting.append(entry)
        return SimpleNamespace(cancel=lambda: entry in self.waiting and self.waiting.remove(entry))

    def run(self) -> None:
        due, self.waiting = self.waiting, []
        for _, work in due:
            work()


class Transport:
    """Takes what it is given; `waiting` of it have not left."""

    def __init__(self) -> None:
        self.data = b""
        self.waiting = 0
        self.writes = 0
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.data += data
        self.writes += 1

    def get_write_buffer_size(self) -> int:
        return self.waiting


@dataclass
class World:
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    timers: Timers = field(default_factory=Timers)
    counters: ServeCounters = field(default_factory=ServeCounters)
    failed: list[str] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.mountpoint = Mountpoint(REF, 0.48)
        self.session = Session("s", REF, 1, self.clock.wall_us(), self.clock.now_s)
        self.mountpoint.start_session(self.session)
        self.feed = StreamFeed(self.mountpoint, 1000, self.clock, self.timers.call_later)

    def picture(self, *, keyframe: bool = False, size: int = 3000, form: VideoFormat = H264) -> None:
        at, self.number = self.number * 3600, self.number + 1
        payload = join_avcc([(b"\x65" if keyframe else b"\x41") + bytes(size)])
        self.clock.advance(0.04)
        self.mountpoint.publish(AccessUnit(self.session, form, at, at, self.clock.wall_us(), keyframe, payload))

    def sound(self) -> None:
        at = self.number * 320
        self.mountpoint.publish(AccessUnit(self.session, PCMA, at, at, self.clock.wall_us(), True, bytes(160)))

    def reader(self, layout: Layout = LAYOUT, bounds: Bounds = BOUNDS) -> tuple[TcpReader, Transport]:
        transport = Transport()
        reader = TcpReader(transport, layout, bounds, self.counters, self.failed.append)  # type: ignore[arg-type]
        self.feed.join(reader, self.feed.cached(bounds.waiting_bytes))
        return reader, transport


def packets(data: bytes) -> list[tuple[int, bytes]]:
    """(channel, packet); fails where one is cut."""
    found, at = [], 0
    while at < len(data):
        assert data[at] == 0x24
        stop = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
        assert stop <= len(data)
        found.append((data[at + 1], data[at + 4 : stop]))
        at = stop
    return found


def sequences(data: bytes, channel: int = 0) -> list[int]:
    return [int.from_bytes(packet[2:4], "big") for found, packet in packets(data) if found == channel]


def test_who_joins_is_sent_what_is_cached_in_one_go_and_readers_share_the_bytes() -> None:
    world = World()
    world.picture(keyframe=True)
    world.picture()
    first = first_packets(world.feed.cached(20_000))
    _, one = world.reader()
    _, other = world.reader()
    assert one.writes == 1
    assert sequences(one.data)[0] == first[TrackKind.VIDEO][0]
    world.picture()
    assert one.data == other.data
    batch = world.feed.cached(20_000)[0]
    assert batch.framed(LAYOUT) is batch.framed(Layout(0, 2, None)), "made once"
    assert batch.framed(Layout(8, 2, None))[1] == 8
    numbers = sequences(one.data)
    assert all((later - earlier) & 0xFFFF == 1 for earlier, later in itertools.pairwise(numbers))


def test_sound_waits_for_the_picture_behind_it_but_not_for_long() -> None:
    world = World()
    world.sound()
    world.picture(keyframe=True)
    _, transport = world.reader()
    before = transport.writes
    world.sound()
    world.sound()
    assert transport.writes == before
    world.picture()
    assert transport.writes == before + 1
    assert [channel for channel, _ in packets(transport.data)][-6:] == [2, 2, 0, 0, 0, 0]
    world.sound()
    assert world.timers.waiting[-1][0] == GATHER_S
    world.timers.run()
    assert packets(transport.data)[-1][0] == 2


def test_a_reader_that_set_up_one_track_is_sent_nothing_of_the_other() -> None:
    world = World()
    world.sound()
    world.picture(keyframe=True)
    _, transport = world.reader(Layout(None, 6, None))
    world.sound()
    world.picture()
    assert {channel for channel, _ in packets(transport.data)} == {6, 7}


def test_a_slow_reader_loses_to_the_next_keyframe_alone() -> None:
    world = World()
    world.picture(keyframe=True)
    slow, transport = world.reader()
    _, other = world.reader()
    transport.waiting = 18_000
    world.picture()
    assert (slow.waiting_keyframe, slow.overruns, world.counters.overruns) == (True, 1, 1)
    transport.waiting = 0
    world.picture()
    lost_from = sequences(transport.data)[-1]
    world.picture(keyframe=True)
    assert not slow.waiting_keyframe
    tail = packets(transport.data)[-1]
    assert tail == packets(other.data)[-1]
    numbers = sequences(transport.data)
    hole = numbers.index(lost_from) + 1
    resumed = [packet for found, packet in packets(transport.data) if found == 0][hole]
    assert resumed[12] & 31 in (7, 24), "it goes on with parameter sets"
    assert len(sequences(other.data)) == len(numbers) + 8


def test_who_is_behind_for_long_loses_even_within_the_bound_of_bytes() -> None:
    world = World()
    world.picture(keyframe=True)
    slow, transport = world.reader()
    transport.waiting = 1
    for _ in range(50):
        world.picture(size=10)
    assert not slow.overruns
    world.picture(size=10)
    world.picture(size=10)
    assert slow.overruns == 1
    assert slow.look(world.clock.now_s) > 2.0


def test_a_gop_beyond_the_bound_is_not_poured_out_at_once() -> None:
    world = World()
    world.picture(keyframe=True, size=30_000)
    slow, transport = world.reader()
    assert slow.waiting_keyframe
    assert sequences(transport.data) == []
    world.picture()
    assert sequences(transport.data) == []
    world.picture(keyframe=True)
    assert sequences(transport.data)


def test_readers_stay_over_sessions_of_the_camera_and_begin_with_its_keyframe() -> None:
    world = World()
    world.picture(keyframe=True)
    reader, transport = world.reader()
    world.mountpoint.end_session("camera_lost")
    assert world.feed.cached(20_000) == ()
    world.session, world.number = Session("t", REF, 1, world.clock.wall_us(), world.clock.now_s), 0
    world.mountpoint.start_session(world.session)
    world.picture(keyframe=True)
    numbers = sequences(transport.data)
    assert all((later - earlier) & 0xFFFF == 1 for earlier, later in itertools.pairwise(numbers))
    assert len({packet[8:12] for found, packet in packets(transport.data) if found == 0}) == 1
    assert not world.failed
    assert not reader.waiting_keyframe


def test_another_codec_ends_readers_who_could_not_follow() -> None:
    world = World()
    world.picture(keyframe=True)
    _, transport = world.reader()
    before = transport.data
    world.picture(keyframe=True, form=H265)
    assert world.failed == ["format_changed"]
    assert transport.data == before


def test_a_reader_that_raises_is_dropped_and_the_others_get_their_picture() -> None:
    class Broken(Transport):
        def write(self, data: bytes) -> None:
            if self.writes:
                raise RuntimeError("gone")
            super().write(data)

    world = World()
    world.picture(keyframe=True)
    broken = TcpReader(Broken(), LAYOUT, BOUNDS, world.counters, world.failed.append)  # type: ignore[arg-type]
    world.feed.join(broken, world.feed.cached(20_000))
    _, transport = world.reader()
    before = len(sequences(transport.data))
    world.picture()
    world.picture()
    assert world.failed == ["reader_failed"]
    assert len(sequences(transport.data)) == before + 8


def test_a_peer_that_has_just_left_is_no_failure() -> None:
    world = World()
    world.picture(keyframe=True)
    _, transport = world.reader()
    transport.closing, before = True, transport.writes
    world.picture()
    assert transport.writes == before
    assert not world.failed


def test_a_feed_that_fails_ends_its_readers_rather_than_to_leave_them_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.picture(keyframe=True)
    world.reader()
    monkeypatch.setattr(world.feed.tracks[TrackKind.VIDEO], "packetize", lambda unit: 1 // 0)
    world.picture()
    assert world.feed.is_broken
    assert world.failed == ["feed_failed"]
    assert world.mountpoint.subscribers == 0


@dataclass
class Socket:
    sent: list[bytes] = field(default_factory=list)

    def send_run(self, joined: bytes, size: int, path: Path) -> None:
        self.sent += [joined[at : at + size] for at in range(0, len(joined), size)]

    def send(self, datagram: bytes, path: Path) -> None:
        self.sent.append(datagram)


def test_over_udp_a_burst_is_paced_and_packets_keep_their_order() -> None:
    world, rtp, rtcp = World(), Socket(), Socket()
    world.picture(keyframe=True, size=200_000)
    paths = (Path(("127.0.0.1", 6000), b"", rtp, 0.0), Path(("127.0.0.1", 6001), b"", rtcp, 0.0))
    way = {TrackKind.VIDEO: UdpWay(*paths)}
    sockets = UdpSockets(rtp, rtcp)  # type: ignore[arg-type]
    bounds = Bounds(1 << 20, 2.0)
    reader = UdpReader(sockets, way, bounds, world.counters, world.failed.append, world.timers.call_later)
    world.feed.join(reader, world.feed.cached(1 << 20))
    assert sum(map(len, rtp.sent)) <= BURST_BYTES
    assert len(rtcp.sent) == 1
    world.picture()
    while world.timers.waiting:
        assert world.timers.waiting[-1][0] == PACE_S
        sent = sum(map(len, rtp.sent))
        world.timers.run()
        assert sum(map(len, rtp.sent)) - sent <= BURST_BYTES
    numbers = [int.from_bytes(packet[2:4], "big") for packet in rtp.sent]
    assert all((later - earlier) & 0xFFFF == 1 for earlier, later in itertools.pairwise(numbers))
    assert len(numbers) > 200
    assert reader.waiting_bytes() == 0
    reader.close()
    world.picture()
    assert len(rtp.sent) == len(numbers)
