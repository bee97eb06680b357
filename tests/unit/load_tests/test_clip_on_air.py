"""What a picture of the load tests tells of itself."""

from __future__ import annotations

import argparse

import pytest

from load_tests import fanout
from load_tests.clip_on_air import build_stamp, read_stamp
from load_tests.measure import percentile
from mediasrv.media.nal import join_avcc
from mediasrv.media.rtp import packetize_h264

DUE, PUBLISHED = 1_795_853_882_958_007_123, 1_795_853_882_958_107_456


@pytest.mark.parametrize("size", [1, 500, 5000, 70_000])
def test_the_last_packet_of_a_picture_tells_when_it_was_due(size: int) -> None:
    picture = join_avcc([b"\x67sps", b"\x65" + bytes(size) + build_stamp(DUE, PUBLISHED)])
    assert read_stamp(packetize_h264(picture, 1172)[-1]) == (DUE, PUBLISHED)


def test_a_stamp_holds_no_start_code() -> None:
    assert b"\0" not in build_stamp(0, 1)


@pytest.mark.parametrize("payload", [b"", b"\x41", bytes(36), bytes(2000)])
def test_other_payloads_tell_nothing(payload: bytes) -> None:
    assert read_stamp(payload) is None


def test_percentiles() -> None:
    assert [percentile(range(1000), percent) for percent in (0, 50, 99.9, 100)] == [0, 500, 999, 999]


def test_servers_are_named_and_strangers_refused() -> None:
    assert fanout._names("janus,mediamtx") == ["janus", "mediamtx"]
    with pytest.raises(argparse.ArgumentTypeError, match="unknown: nginx"):
        fanout._names("janus,nginx")
