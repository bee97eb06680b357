"""The signed counter of the simulated cameras, which most proofs of completeness stand on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from load_tests.camera_farm.counters import (
    CounterSigner,
    make_audio_counter,
    make_sei,
    read_audio_counter,
    read_counters,
    verify,
)
from load_tests.camera_farm.tracks.shapes import VideoCodec
from load_tests.media import join_avcc

KEY = bytes(range(32))
RUN = "0011223344556677"
UNITS_AROUND = {
    VideoCodec.H264: (b"\x67\x42", b"\x65\x88\x80"),
    VideoCodec.H265: (b"\x42\x01\x01", b"\x26\x01\xaf\x06\x05\x80"),
}


@given(
    counter=st.integers(0, 2**64 - 1),
    wall_us=st.integers(0, 2**64 - 1),
    keyframe=st.booleans(),
    key=st.binary(min_size=1),
    codec=st.sampled_from(VideoCodec),
)
def test_what_was_signed_is_read_back_and_verified(
    counter: int, wall_us: int, keyframe: bool, key: bytes, codec: VideoCodec
) -> None:
    sei = CounterSigner(key, "cam-1/main", RUN, codec).sei(counter, keyframe, wall_us)
    sets, picture = UNITS_AROUND[codec]
    unit = join_avcc([sets, sei, picture])
    found = read_counters(unit)
    assert found is not None
    assert (found.camera, found.run, found.counter) == ("cam-1/main", RUN, counter)
    assert (found.keyframe, found.wall_us) == (keyframe, wall_us)
    assert verify(found, key)
    assert not verify(found, key + b"x")


@given(counter=st.integers(0, 2**64 - 1), wall_us=st.integers(0, 2**32))
def test_a_counter_never_contains_a_start_code(counter: int, wall_us: int) -> None:
    sei = make_sei(KEY, "cam-1/main", RUN, counter, False, wall_us)
    assert not any(sei.find(b"\x00\x00" + bytes((last,))) >= 0 for last in range(3))


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_byte_is_never_verified_as_another_counter(position: int, flip: int) -> None:
    sei = bytearray(make_sei(KEY, "cam-1/main", RUN, 0x0123456789ABCDEF, True, 0x1122334455667788))
    sei[position % len(sei)] ^= flip
    found = read_counters(join_avcc([bytes(sei)]))
    genuine = found is not None and verify(found, KEY)
    assert not genuine or found.counter == 0x0123456789ABCDEF  # type: ignore[union-attr]


@given(st.binary(max_size=300))
def test_reading_survives_any_bytes(data: bytes) -> None:
    read_counters(data)
    read_counters(join_avcc([b"\x06" + data]))
    read_audio_counter(data)


def test_a_unit_without_a_counter_has_none() -> None:
    foreign = b"\x06\x05\x10" + bytes(16) + b"\x80"
    assert read_counters(join_avcc([foreign, b"\x41\x9a"])) is None


def test_a_signer_makes_what_make_sei_makes() -> None:
    signer = CounterSigner(KEY, "cam-2/sub", RUN)
    assert signer.sei(7, True, 8) == make_sei(KEY, "cam-2/sub", RUN, 7, True, 8)


def test_h265_carries_it_in_a_prefix_sei() -> None:
    sei = CounterSigner(KEY, "cam-2/sub", RUN, VideoCodec.H265).sei(7, True, 8)
    assert sei[0] >> 1 == 39
    assert sei[1] == 1
    assert sei[2:] == make_sei(KEY, "cam-2/sub", RUN, 7, True, 8)[1:]


def test_audio_counters_name_the_camera() -> None:
    assert read_audio_counter(make_audio_counter(3, 2**32 + 5) + bytes(152)) == (3, 5)
    assert read_audio_counter(bytes(160)) is None
