"""RTP packets to access units: whole, fragmented, aggregated, lost, marked oddly, and plain nonsense."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.rtp import (
    AacDepacketizer,
    Depacketizer,
    G711Depacketizer,
    H264Depacketizer,
    OpusDepacketizer,
    packetize_h264,
    packets_between,
)

SPS, PPS, SEI = b"\x67\x42\xc0\x1f\xda", b"\x68\xce\x3c\x80", b"\x06\x05\x10sei"
IDR = b"\x65" + bytes(range(256)) * 12
SLICE = b"\x41" + bytes(range(256)) * 3
VIDEO_PT, AUDIO_PT = 96, 97


def avcc(*nals: bytes) -> bytes:
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def rtp(payload: bytes, sequence: int, timestamp: int, *, marker: bool = False, payload_type: int = VIDEO_PT) -> bytes:
    second = payload_type | (0x80 if marker else 0)
    return struct.pack("!BBHII", 0x80, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 0xABCD) + payload


@dataclass
class Listener:
    units: list[tuple[int, bool, bytes, float]] = field(default_factory=list)
    damages: list[float] = field(default_factory=list)

    def deliver(self, timestamp: int, keyframe: bool, payload: bytes, now: float) -> None:
        self.units.append((timestamp, keyframe, payload, now))

    @property
    def payloads(self) -> list[bytes]:
        return [unit[2] for unit in self.units]


@dataclass
class Camera:
    """Numbers the packets of a stream; `lose` names packets, by their place in the stream, that never arrive."""

    depacketizer: Depacketizer
    sequence: int = 0
    sent: int = 0
    lose: tuple[int, ...] = ()
    marks: bool = True

    def send(self, payloads: list[bytes], timestamp: int, now: float = 0.0, mark: bool | None = None) -> None:
        marks = self.marks if mark is None else mark
        for index, payload in enumerate(payloads):
            last = marks and index == len(payloads) - 1
            self.packet(rtp(payload, self.sequence, timestamp, marker=last), now)

    def packet(self, packet: bytes, now: float = 0.0) -> None:
        if self.sent not in self.lose:
            assert self.depacketizer.receive(b"$before" + packet + b"after", 7, 7 + len(packet), now) == 7 + len(packet)
        self.sequence += 1
        self.sent += 1

    def picture(self, timestamp: int, *nals: bytes, now: float = 0.0) -> None:
        self.send(packetize_h264(avcc(*nals), 1172), timestamp, now)


def h264(listener: Listener, most_bytes: int = 1 << 20) -> H264Depacketizer:
    return H264Depacketizer(VIDEO_PT, listener.deliver, listener.damages.append, most_bytes=most_bytes)


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_pictures_survive_packetizing_to_the_bit(listener: Listener) -> None:
    camera = Camera(h264(listener))
    camera.picture(1000, SPS, PPS, SEI, IDR, now=1.5)
    camera.picture(4600, SEI, SLICE, now=1.6)
    assert listener.units == [
        (1000, True, avcc(SPS, PPS, SEI, IDR), 1.5),
        (4600, False, avcc(SEI, SLICE), 1.6),
    ]
    assert listener.damages == []


def test_sequence_and_timestamp_wrap_without_damage(listener: Listener) -> None:
    camera = Camera(h264(listener), sequence=65_534)
    for index in range(4):
        camera.picture(0xFFFFFFFF - 3600 + 3600 * index, SPS, PPS, IDR)
    assert [unit[0] for unit in listener.units] == [0xFFFFF1EF, 0xFFFFFFFF, 3599, 7199]
    assert listener.damages == []


def test_a_delimiter_is_dropped_and_a_one_byte_nal_does_no_harm(listener: Listener) -> None:
    camera = Camera(h264(listener))
    camera.send([b"\x09\xf0", b"\x0a", SLICE], 0)
    assert listener.payloads == [avcc(SLICE)]


def test_a_new_timestamp_ends_a_picture_whose_marker_never_came(listener: Listener) -> None:
    camera = Camera(h264(listener), marks=False)
    camera.picture(0, SPS, PPS, IDR)
    camera.picture(3600, SLICE)
    camera.picture(7200, SLICE)
    assert listener.payloads == [avcc(SPS, PPS, IDR), avcc(SLICE)]
    assert listener.damages == []


def test_parameter_sets_with_a_marker_of_their_own_join_the_next_picture(listener: Listener) -> None:
    camera = Camera(h264(listener))
    camera.send([SPS], 0)
    camera.send([PPS], 0)
    camera.picture(0, IDR)
    camera.picture(3600, SLICE)
    assert listener.payloads == [avcc(SPS, PPS, IDR), avcc(SLICE)]


def test_a_camera_that_marks_each_slice_is_understood_after_one_picture(listener: Listener) -> None:
    camera = Camera(h264(listener))
    for index in range(3):
        camera.send([SLICE], 3600 * index, mark=True)
        camera.send([SLICE], 3600 * index, mark=True)
    camera.send([SLICE], 10_800)
    assert listener.payloads == [avcc(SLICE), avcc(SLICE, SLICE), avcc(SLICE, SLICE)]
    assert len(listener.damages) == 1


@pytest.mark.parametrize("lost", range(6))
def test_a_picture_that_lost_any_packet_is_dropped_and_the_damage_told_at_once(listener: Listener, lost: int) -> None:
    depacketizer = h264(listener)
    camera = Camera(depacketizer)
    camera.picture(0, SPS, PPS, SEI, IDR)
    first = camera.sent
    camera.lose = (first + lost,)
    for index in range(1, 4):
        camera.picture(3600 * index, SPS, PPS, SEI, IDR, now=float(index))
    assert first == 4
    assert depacketizer.lost_packets == 1
    assert len(listener.damages) == 1
    assert set(listener.payloads) == {avcc(SPS, PPS, SEI, IDR)}
    assert len(listener.units) == 3 - (lost == 3), "a lost last packet takes the next picture with it, too"


def test_loss_in_a_stream_without_markers_does_not_last(listener: Listener) -> None:
    camera = Camera(h264(listener), marks=False, lose=(1,))
    for index in range(4):
        camera.picture(3600 * index, SPS, PPS, IDR)
    assert [unit[0] for unit in listener.units] == [3600, 7200]


def test_joining_inside_a_fragmented_picture_drops_it(listener: Listener) -> None:
    camera = Camera(h264(listener), lose=(0, 1))
    camera.picture(0, SPS, PPS, SEI, IDR)
    camera.picture(3600, SLICE)
    assert listener.payloads == [avcc(SLICE)]


def test_loss_counts_the_packets_missing_and_a_restarted_sender_as_one() -> None:
    assert packets_between(10, 13) == 3
    assert packets_between(65_535, 1) == 2
    assert packets_between(1000, 3) == 1


def test_a_picture_over_the_bound_is_dropped_while_it_comes(listener: Listener) -> None:
    camera = Camera(h264(listener, most_bytes=2000))
    camera.picture(0, IDR)
    camera.picture(3600, SLICE)
    assert listener.payloads == [avcc(SLICE)]
    assert len(listener.damages) == 1


def test_endless_middle_fragments_hold_no_memory(listener: Listener) -> None:
    depacketizer = h264(listener, most_bytes=10_000)
    camera = Camera(depacketizer, marks=False)
    camera.send([b"\x7c\x85" + bytes(1000)] + [b"\x7c\x05" + bytes(1000)] * 100, 0)
    assert sum(map(len, depacketizer._pieces)) == 0
    assert len(listener.damages) == 1


def test_the_stream_s_own_parameter_sets_win_before_their_keyframe_is_delivered(listener: Listener) -> None:
    seen: list[object] = []
    depacketizer = H264Depacketizer(
        VIDEO_PT,
        lambda *_: seen.append(depacketizer.parameter_sets),
        listener.damages.append,
        most_bytes=1 << 20,
        parameter_sets=(b"\x67old", b"\x68old"),
    )
    camera = Camera(depacketizer)
    camera.picture(0, IDR)
    camera.picture(3600, SPS, PPS, b"\x68second", IDR)
    camera.picture(7200, SPS, PPS, b"\x68second", IDR)
    assert seen == [(b"\x67old", b"\x68old"), (SPS, PPS), (SPS, PPS)]
    assert seen[1] is seen[2], "the same object until it changes"


def test_csrc_extension_and_padding_are_cut_off(listener: Listener) -> None:
    depacketizer = h264(listener)
    header = struct.pack("!BBHII", 0x80 | 0x20 | 0x10 | 2, 0x80 | VIDEO_PT, 7, 900, 1) + bytes(8)
    packet = header + struct.pack("!HH", 0xBEDE, 1) + b"\x10\xff\0\0" + SLICE + b"\0\0\3"
    assert depacketizer.receive(packet, 0, len(packet), 0.0) == len(packet)
    assert listener.payloads == [avcc(SLICE)]


@pytest.mark.parametrize(
    "packet",
    [
        bytes((0x9F,)) + rtp(b"", 1, 0)[1:],
        bytes((0x90,)) + rtp(b"\0\0\xff\xff", 1, 0)[1:],
        bytes((0xA0,)) + rtp(b"\xff", 1, 0)[1:],
        bytes((0xA0,)) + rtp(b"\0", 1, 0)[1:],
        rtp(b"", 1, 0),
        rtp(SLICE, 1, 0, payload_type=33),
    ],
)
def test_packets_that_claim_more_than_they_hold_are_counted_and_passed_over(listener: Listener, packet: bytes) -> None:
    for depacketizer in (h264(listener), G711Depacketizer(VIDEO_PT, listener.deliver)):
        assert depacketizer.receive(packet, 0, len(packet), 0.0) == len(packet)
        assert depacketizer.strange_packets == 1
    assert listener.units == []


def test_what_is_no_rtp_is_said_to_be_none(listener: Listener) -> None:
    for depacketizer in (h264(listener), G711Depacketizer(VIDEO_PT, listener.deliver)):
        assert depacketizer.receive(bytes(40), 0, 40, 0.0) < 0
        assert depacketizer.receive(b"\x80" * 40, 0, 11, 0.0) < 0


def test_an_aggregate_longer_than_its_packet_is_damage(listener: Listener) -> None:
    camera = Camera(h264(listener))
    camera.send([b"\x78\x00\x05" + SPS + b"\xff\xff" + PPS], 0)
    camera.picture(3600, SLICE)
    assert len(listener.damages) == 1
    assert listener.payloads == [avcc(SLICE)]


def test_junk_around_a_picture_in_progress_damages_it_and_none_between_pictures(listener: Listener) -> None:
    depacketizer = h264(listener)
    camera = Camera(depacketizer)
    camera.picture(0, SLICE)
    depacketizer.disturb(1.0)
    assert listener.damages == []
    camera.send([SLICE], 3600, mark=False)
    depacketizer.disturb(2.0)
    assert listener.damages == [2.0]
    camera.send([SLICE], 3600)
    camera.picture(7200, SLICE)
    assert [unit[0] for unit in listener.units] == [0, 7200]


def framed(packets: list[bytes]) -> bytes:
    return b"".join(struct.pack("!BBH", 0x24, 0, len(packet)) + packet for packet in packets)


def feed_framed(depacketizer: Depacketizer, stream: bytes) -> None:
    """What wire.rtsp does, in a few lines: the depacketizer may take packets behind the one that it is given."""
    at = 0
    while at < len(stream):
        start = at + 4
        at = depacketizer.receive(stream, start, start + int.from_bytes(stream[at + 2 : start], "big"), 0.0)
        assert at >= start


STEPS = st.sampled_from([IDR, SLICE, SEI, b"\x09\xf0"])


@given(
    st.lists(st.lists(STEPS, min_size=1, max_size=3), max_size=5), st.sets(st.integers(0, 40), max_size=2), st.data()
)
def test_packets_side_by_side_give_what_single_packets_give(
    pictures: list[list[bytes]], lost: set[int], data: st.DataObject
) -> None:
    packets: list[bytes] = []
    for index, nals in enumerate(pictures):
        payloads = packetize_h264(avcc(*nals), data.draw(st.integers(60, 400)))
        for place, payload in enumerate(payloads):
            packets.append(rtp(payload, 65_530 + len(packets), index * 3600, marker=place == len(payloads) - 1))
    packets = [packet for index, packet in enumerate(packets) if index not in lost]
    together, single = Listener(), Listener()
    taker, feeder = h264(together), h264(single)
    feed_framed(taker, framed(packets))
    for packet in packets:
        feed_framed(feeder, framed([packet]))
    assert together == single
    assert (taker.packets, taker.lost_packets) == (feeder.packets, feeder.lost_packets) == (len(packets), ANY)


def test_a_run_of_fragments_stops_where_anything_but_the_sequence_differs() -> None:
    payloads = packetize_h264(avcc(IDR), 300)
    whole = [rtp(payload, index, 0, marker=payload is payloads[-1]) for index, payload in enumerate(payloads)]
    for index in range(2, len(whole) - 1):
        for offset, what in ((1, "payload type"), (4, "timestamp"), (8, "SSRC"), (12, "indicator"), (13, "FU header")):
            listener = Listener()
            changed = bytearray(whole[index])
            changed[offset] ^= 0x01
            feed_framed(h264(listener), framed([*whole[:index], bytes(changed), *whole[index + 1 :]]))
            single = Listener()
            depacketizer = h264(single)
            for packet in [*whole[:index], bytes(changed), *whole[index + 1 :]]:
                depacketizer.receive(packet, 0, len(packet), 0.0)
            assert listener == single, what


def test_fragments_that_came_in_another_order_are_damage_within_a_run_too(listener: Listener) -> None:
    payloads = packetize_h264(avcc(IDR), 300)
    packets = [rtp(payload, index, 0, marker=payload is payloads[-1]) for index, payload in enumerate(payloads)]
    packets[4], packets[5] = packets[5], packets[4]
    feed_framed(h264(listener), framed(packets))
    assert listener.units == []
    assert len(listener.damages) == 1


def test_a_run_begins_behind_a_fragment_only(listener: Listener) -> None:
    start, delimiter, end = b"\x7c\x85" + bytes(50), b"\x09\x10longer", b"\x7c\x45" + bytes(50)
    packets = [rtp(payload, index, 0) for index, payload in enumerate((start, delimiter, delimiter, end))]
    feed_framed(h264(listener), framed([*packets, rtp(SLICE, 4, 3600)]))
    assert listener.payloads == [avcc(b"\x65" + bytes(100))]


@given(st.lists(st.binary(max_size=80), max_size=30))
def test_no_bytes_at_all_raise_or_deliver_a_broken_unit(packets: list[bytes]) -> None:
    listener = Listener()
    subjects: list[Depacketizer] = [h264(listener), AacDepacketizer(AUDIO_PT, listener.deliver)]
    for subject in subjects:
        for packet in packets:
            subject.receive(packet, 0, len(packet), 0.0)
            subject.receive(b"\x80\xe0" + packet, 0, len(packet) + 2, 0.0)


@given(st.lists(st.tuples(st.binary(min_size=2, max_size=60), st.booleans()), max_size=40))
def test_whatever_the_payloads_delivered_units_are_well_formed(payloads: list[tuple[bytes, bool]]) -> None:
    listener = Listener()
    camera = Camera(h264(listener))
    for index, (payload, mark) in enumerate(payloads):
        camera.send([payload], index // 3, mark=mark)
    for payload in listener.payloads:
        at = 0
        while at < len(payload):
            size = int.from_bytes(payload[at : at + 4], "big")
            assert size > 0
            at += 4 + size
        assert at == len(payload)


def test_g711_packets_are_access_units_as_they_are(listener: Listener) -> None:
    depacketizer = G711Depacketizer(8, listener.deliver)
    for sequence in (5, 6, 9):
        packet = rtp(bytes((sequence,)) * 160, sequence, sequence * 160, payload_type=8)
        depacketizer.receive(packet, 0, len(packet), 2.0)
    assert [unit[0] for unit in listener.units] == [800, 960, 1440]
    assert listener.units[0] == (800, True, b"\x05" * 160, 2.0)
    assert depacketizer.lost_packets == 2


def aac_packet(units: list[bytes], sequence: int, timestamp: int, sizes: list[int] | None = None) -> bytes:
    headers = b"".join((size << 3).to_bytes(2, "big") for size in sizes or [len(unit) for unit in units])
    payload = (len(headers) * 8).to_bytes(2, "big") + headers + b"".join(units)
    return rtp(payload, sequence, timestamp, marker=True, payload_type=AUDIO_PT)


def test_several_aac_access_units_of_one_packet_get_a_timestamp_each(listener: Listener) -> None:
    depacketizer = AacDepacketizer(AUDIO_PT, listener.deliver)
    packet = aac_packet([b"one", b"three", b"x"], 1, 0xFFFFFFFF)
    depacketizer.receive(packet, 0, len(packet), 0.5)
    assert [(unit[0], unit[2]) for unit in listener.units] == [(0xFFFFFFFF, b"one"), (1023, b"three"), (2047, b"x")]


def test_a_fragmented_aac_access_unit_is_joined_and_dropped_when_a_piece_is_lost(listener: Listener) -> None:
    depacketizer = AacDepacketizer(AUDIO_PT, listener.deliver)
    pieces = [b"a" * 400, b"b" * 400, b"c" * 200]
    for sequence, piece in enumerate(pieces + pieces[:1] + pieces[2:]):
        number = sequence if sequence < 4 else sequence + 1
        packet = aac_packet([piece], number, sequence // 3 * 1024, [1000])
        depacketizer.receive(packet, 0, len(packet), 0.0)
    assert listener.payloads == [b"".join(pieces)]


def test_aac_low_bit_rate_headers_are_read_by_their_own_widths(listener: Listener) -> None:
    depacketizer = AacDepacketizer(AUDIO_PT, listener.deliver, size_bits=6, index_bits=2)
    packet = rtp(b"\x00\x10" + bytes((3 << 2, 2 << 2)) + b"abcde", 0, 0, payload_type=AUDIO_PT)
    depacketizer.receive(packet, 0, len(packet), 0.0)
    assert listener.payloads == [b"abc", b"de"]


def test_parameter_sets_are_picked_out_of_an_sdp_s_list() -> None:
    assert H264Depacketizer.pick_sets([SEI, PPS, SPS, b""]) == (SPS, PPS)
    assert H264Depacketizer.pick_sets([SPS]) is None


RECOVERY = b"\x06\x06\x01\x84\x80"
"""A recovery point of which the first picture is whole already."""
GRADUAL, TOO_GRADUAL = b"\x06\x06\x01\x24\x80", b"\x06\x06\x02\x06\xc0\x80"
"""Recovery points that are whole after 3 and after 26 pictures."""


@pytest.mark.parametrize(("sei", "keyframe"), [(RECOVERY, True), (GRADUAL, True), (TOO_GRADUAL, False), (SEI, False)])
def test_a_recovery_point_soon_reached_is_a_keyframe(listener: Listener, sei: bytes, keyframe: bool) -> None:
    camera = Camera(h264(listener))
    camera.send([SPS, PPS, sei, SLICE], 0)
    camera.send([b"\x78" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in (sei, SLICE))], 3600)
    camera.send([SLICE], 7200)
    assert [unit[1] for unit in listener.units] == [keyframe, keyframe, False]


def test_opus_packets_are_access_units_as_they_are(listener: Listener) -> None:
    camera = Camera(OpusDepacketizer(VIDEO_PT, listener.deliver))
    camera.send([b"\xfc" + bytes(80)], 960, 1.0)
    camera.send([b"\xfc"], 1920, 1.02)
    assert listener.units == [(960, True, b"\xfc" + bytes(80), 1.0), (1920, True, b"\xfc", 1.02)]
