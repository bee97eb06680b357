"""Units of the simulated cameras as interleaved RTP."""

from __future__ import annotations

import struct

import pytest

from load_tests import media
from load_tests.camera_farm.counters import read_audio_counter
from load_tests.camera_farm.tracks.rtp_unit import MARKER, PAYLOAD_BYTES, Track, one_packet, pack_unit, sender_report
from load_tests.camera_farm.tracks.shapes import AudioKind, VideoCodec
from load_tests.camera_farm.tracks.sound import AudioSource

SPS, PPS, SEI = b"\x67\x42\xc0\x1e", b"\x68\xce\x38\x80", b"\x06\x05\x01\x00\x80"
SLICE = b"\x65" + bytes(range(256)) * 20


def track(channel: int = 0, payload_type: int = 96, clock_rate: int = 90_000) -> Track:
    return Track(channel, payload_type, clock_rate, ssrc=0xDEADBEEF, sequence=65_534, first_timestamp=2**32 - 100)


def split(data: bytes) -> list[tuple[int, tuple[int, ...], bytes]]:
    """(channel, RTP header fields, payload) of each interleaved packet."""
    packets, at = [], 0
    while at < len(data):
        magic, channel, size = struct.unpack_from(">BBH", data, at)
        assert magic == 0x24
        packets.append((channel, struct.unpack_from(">BBHII", data, at + 4), data[at + 16 : at + 4 + size]))
        at += 4 + size
    return packets


def test_sequence_numbers_run_on_and_wrap_and_only_the_last_packet_is_marked() -> None:
    sent = split(pack_unit([SPS, PPS, SLICE]).packets(SEI, one := track(), 12345))
    assert [header[2] for _, header, _ in sent] == [(65_534 + index) & 0xFFFF for index in range(len(sent))]
    assert [bool(header[1] & 0x80) for _, header, _ in sent] == [False] * (len(sent) - 1) + [True]
    assert {header[3] for _, header, _ in sent} == {12345}
    assert {header[4] for _, header, _ in sent} == {0xDEADBEEF}
    assert one.sequence == 65_534 + len(sent)
    assert one.packets == len(sent)
    assert one.payload_bytes == sum(len(payload) for _, _, payload in sent)


def test_the_counter_stands_between_parameter_sets_and_slices() -> None:
    payloads = [payload for _, _, payload in split(pack_unit([SPS, PPS, SLICE]).packets(SEI, track(), 0))]
    assert payloads[0][0] & 31 == 24  # STAP-A of SPS and PPS
    assert payloads[1] == SEI
    fragments = payloads[2:]
    assert len(fragments) > 1
    assert SLICE[:1] + b"".join(fragment[2:] for fragment in fragments) == SLICE
    assert max(map(len, payloads)) <= PAYLOAD_BYTES


def test_packing_twice_leaves_the_unit_as_it_was() -> None:
    unit = pack_unit([SLICE])
    assert unit.packets(SEI, track(), 1) == unit.packets(SEI, track(), 1)


def test_lost_packets_take_their_sequence_numbers_with_them() -> None:
    whole = split(pack_unit([SLICE]).packets(SEI, track(), 0))
    rest = split(pack_unit([SLICE]).packets(SEI, track(), 0, skip=2))
    assert rest == whole[2:]


def test_another_channel_is_written_into_every_packet() -> None:
    sent = split(pack_unit([SPS, PPS, SLICE]).packets(SEI, track(channel=6), 0))
    assert {channel for channel, _, _ in sent} == {6}


def test_one_packet_bears_the_marker_where_it_is_told_to() -> None:
    for marker in (0, MARKER):
        [(channel, header, payload)] = split(one_packet(b"\x21" * 100, track(2, 97, 48_000), 7, marker))
        assert (channel, header[1], header[3], payload) == (2, marker | 97, 7, b"\x21" * 100)


def test_aac_travels_behind_its_header_and_g711_bare() -> None:
    aac = AudioSource(AudioKind.AAC, 1, counted=True).frame(3)
    raw = media.aac_frames(4.0, 275)[3]
    assert aac == struct.pack(">HH", 16, len(raw) << 3) + raw
    assert AudioSource(AudioKind.PCMU, 1, counted=False).frame(3) == media.ulaw_frames(4.0, 275)[3]
    counted = AudioSource(AudioKind.PCMA, 7, counted=True).frame(3)
    assert len(counted) == media.ALAW_FRAME_BYTES
    assert read_audio_counter(counted) == (7, 3)


def test_pictures_without_marker_or_parameter_sets() -> None:
    sent = split(pack_unit([SPS, PPS, SLICE], marker=False).packets(SEI, track(), 0))
    assert not any(header[1] & 0x80 for _, header, _ in sent)
    unit = pack_unit([SPS, PPS, SLICE], in_band_sets=False)
    assert unit.parameter_sets == (SPS, PPS)
    assert split(unit.packets(SEI, track(), 0))[0][2] == SEI


@pytest.mark.parametrize(
    ("nals", "codec", "keyframe"),
    [
        ([b"\x65\x88"], VideoCodec.H264, True),
        ([b"\x06\x06\x01\xc4\x80", b"\x41\x9a"], VideoCodec.H264, True),
        ([b"\x06\x05\x01\xc4\x80", b"\x41\x9a"], VideoCodec.H264, False),
        ([b"\x26\x01\xaf"], VideoCodec.H265, True),
        ([b"\x2a\x01\xaf"], VideoCodec.H265, True),
        ([b"\x02\x01\xaf"], VideoCodec.H265, False),
    ],
)
def test_keyframes_by_idr_recovery_point_and_cra(nals: list[bytes], codec: VideoCodec, keyframe: bool) -> None:
    assert pack_unit(nals, codec).keyframe == keyframe


def test_rtp_time_wraps() -> None:
    assert track().timestamp(1.0) == 90_000 - 100


def test_a_sender_report_ties_wall_time_to_rtp_time() -> None:
    report = sender_report(track(channel=2), 3_900_000_000.5, 77)
    assert report[:4] == struct.pack(">BBH", 0x24, 3, len(report) - 4)
    assert struct.unpack_from(">IIII", report, 8) == (0xDEADBEEF, 3_900_000_000, 1 << 31, 77)
    # A compound packet (RFC 3550, 6.1): the description follows, and its length fits.
    assert report[32:36] == b"\x81\xca\x00\x04"
    assert len(report) == 32 + 4 * (4 + 1)
