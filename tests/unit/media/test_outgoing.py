"""Tracks as they go out: one run of sequence numbers and one time line, whatever becomes of the camera's sessions."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.access_unit import (
    METADATA,
    AccessUnit,
    AudioFormat,
    Codec,
    Session,
    StreamName,
    StreamRef,
    VideoFormat,
)
from mediasrv.media.nal import join_avcc
from mediasrv.media.rtp.outgoing import OutgoingTrack, with_parameter_sets

REF = StreamRef("gate-1", StreamName.MAIN)
H264 = VideoFormat(Codec.H264, (b"\x67sps", b"\x68pps"), 640, 360, "avc1.4d401f", 2)
H265 = VideoFormat(Codec.H265, (b"\x40\x01v", b"\x42\x01s", b"\x44\x01p"), 640, 360, "hvc1.1.6.L93.B0")
IDR = {Codec.H264: b"\x65", Codec.H265: b"\x26\x01"}


def session(started_s: float = 100.0) -> Session:
    return Session("s", REF, 1, round(started_s * 1e6), started_s)


def picture(of: Session, at: int, offset: int = 0, *, size: int = 3000, form: VideoFormat = H264) -> AccessUnit:
    payload = join_avcc([IDR[form.codec] + bytes(size)])
    return AccessUnit(of, form, at, at + offset, of.started_us + at * 100 // 9, True, payload)


def track(form: VideoFormat | AudioFormat | type[METADATA] = H264, payload_bytes: int = 1200) -> OutgoingTrack:  # type: ignore[valid-type]
    return OutgoingTrack(form, 96, ssrc=7, first_sequence=65_530, timestamp_offset=1 << 31, payload_bytes=payload_bytes)


def heads(packets: list[bytes]) -> list[tuple[int, int, int, int]]:
    """Marker, sequence, timestamp, SSRC."""
    unpacked = (struct.unpack_from("!BBHII", packet) for packet in packets)
    return [(second >> 7, sequence, timestamp, ssrc) for _, second, sequence, timestamp, ssrc in unpacked]


def test_sequence_goes_on_over_its_wrap_and_over_sessions_and_time_maps_through_arrival() -> None:
    out = track()
    first = heads(out.packetize(picture(session(), 0)))
    second = heads(out.packetize(picture(session(), 3600)))
    after_restart = heads(out.packetize(picture(session(110.0), 0)))
    sequences = [head[1] for head in first + second + after_restart]
    assert sequences == [(65_530 + index) & 0xFFFF for index in range(len(sequences))]
    assert [head[0] for head in first] == [0] * (len(first) - 1) + [1]
    assert {head[3] for head in first + second + after_restart} == {7}
    assert after_restart[0][2] - first[0][2] == pytest.approx(10 * 90_000, abs=2)
    assert (out.packets, out.sequence) == (len(sequences), (sequences[-1] + 1) & 0xFFFF)


def test_pictures_travel_under_the_time_at_which_they_are_shown() -> None:
    out, one = track(), session()
    times = [heads(out.packetize(picture(one, at, offset)))[0][2] for at, offset in ((0, 7200), (3600, 0), (7200, 0))]
    assert [time - times[0] for time in times] == [0, -3600, 0]


def test_a_report_ties_the_packets_time_to_the_wall() -> None:
    out, one = track(), session()
    timestamp = heads(out.packetize(picture(one, 0)))[0][2]
    assert out.at(101.0) == (101_000_000, (timestamp + 90_000) & 0xFFFFFFFF)
    assert track().at(101.0) is None


@pytest.mark.parametrize("form", [H264, H265])
def test_a_keyframe_without_parameter_sets_gets_those_of_its_format_and_one_with_them_keeps_its_own(
    form: VideoFormat,
) -> None:
    bare = picture(session(), 0, form=form)
    whole = with_parameter_sets(bare)
    assert whole == join_avcc(form.parameter_sets) + bare.payload
    assert with_parameter_sets(AccessUnit(bare.session, form, 0, 0, 0, True, whole)) == whole
    assert with_parameter_sets(AccessUnit(bare.session, form, 0, 0, 0, False, bare.payload)) == bare.payload


@given(st.integers(1, 4000), st.integers(200, 1500), st.integers(1, 2))
def test_sound_that_takes_several_packets_is_timed_sample_by_sample(size: int, most: int, channels: int) -> None:
    form, one = AudioFormat(Codec.PCMA, 8000, channels), session()
    packets = track(form, most).packetize(AccessUnit(one, form, 0, 0, one.started_us, True, bytes(size * channels)))
    sent = heads(packets)
    samples = 0
    for packet, head in zip(packets, sent, strict=True):
        assert (head[2] - sent[0][2]) & 0xFFFFFFFF == samples
        assert head[0] == 0, "a marker would say that talk begins"
        samples += (len(packet) - 12) // channels


def test_a_document_is_cut_and_marked_at_its_end() -> None:
    one = session()
    packets = track(METADATA, 200).packetize(AccessUnit(one, METADATA, 0, 0, one.started_us, True, b"x" * 450))  # type: ignore[arg-type]
    assert [head[0] for head in heads(packets)] == [0, 0, 1]
    assert b"".join(packet[12:] for packet in packets) == b"x" * 450
