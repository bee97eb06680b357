"""A viewer from its first check to its goodbye, in simulated time."""

from __future__ import annotations

import pytest

from mediasrv.errors import ProtocolError
from mediasrv.wire import rtcp
from mediasrv.wire.ice import Address
from mediasrv.wire.packet_ring import PacketRing
from mediasrv.wire.srtp import OVERHEAD_BYTES
from tests.unit.wire.peer_rig import ADDRESS, Rig, sequence, timestamp

AWAY: Address = ("198.51.100.9", 6000)


def gop(rig: Rig, pictures: int, packets: int = 3) -> None:
    for number in range(pictures):
        rig.push([100] * packets, keyframe=number == 0)
        rig.timers.advance(0.04)


def test_nothing_is_sent_before_the_handshake_is_done() -> None:
    rig = Rig()
    rig.check()
    rig.outbox.take()
    gop(rig, 3)
    assert rig.outbox.take() == []
    assert not rig.peer.connected


def test_a_joiner_gets_the_cached_pictures_squeezed_before_the_live_one() -> None:
    rig = Rig()
    gop(rig, 5)
    rig.connect()
    media = rig.media()
    assert [sequence(each) - sequence(media[0]) & 0xFFFF for each in media] == list(range(15))
    times = [timestamp(each) - timestamp(media[0]) & 0xFFFFFFFF for each in media]
    # 3 packets a picture at 30 packets in 30 ms: 3 ms apart, the time they take to be sent.
    assert sorted(set(times)) == [0, 270, 540, 810, 1080]
    rig.push([100], keyframe=False)
    [live] = rig.media()
    # The next picture keeps its true distance to the last cached one.
    assert timestamp(live) - timestamp(media[-1]) & 0xFFFFFFFF == 3600


def test_without_cached_pictures_a_viewer_waits_for_the_keyframe() -> None:
    rig = Rig()
    rig.connect()
    rig.push([100], keyframe=False)
    assert rig.media() == []
    assert rig.peer.waiting
    rig.push([100, 50], keyframe=True)
    first, last = rig.media()
    assert (first[1] & 0x80, last[1] & 0x80) == (0, 0x80)
    assert (len(first), len(last)) == (100 + OVERHEAD_BYTES, 50 + OVERHEAD_BYTES)


def test_a_large_keyframe_leaves_in_bursts_and_later_pictures_wait_behind_it() -> None:
    rig = Rig(burst_packets=10)
    rig.connect()
    rig.push([100] * 25, keyframe=True)
    assert len(rig.media()) == 10
    rig.push([100] * 2, keyframe=False)
    assert rig.media() == []
    rig.timers.advance(0.03)
    assert len(rig.media()) == 10
    rig.timers.advance(0.03)
    assert len(rig.media()) == 7
    rig.push([100] * 2, keyframe=False)
    assert len(rig.media()) == 2


def test_a_stream_faster_than_the_bursts_still_drains() -> None:
    rig = Rig(burst_packets=10)
    rig.connect()
    rig.push([100] * 60, keyframe=True)
    for _ in range(100):
        rig.timers.advance(0.04)
        rig.push([100] * 60, keyframe=False)
    rig.timers.advance(0.2)
    assert len(rig.media()) == 101 * 60
    assert rig.counters.overruns == 0


def test_an_overrun_drops_to_the_next_keyframe_without_a_hole() -> None:
    rig = Rig(burst_packets=2)
    rig.connect()
    rig.push([100] * 20, keyframe=True)
    for _ in range(400):
        rig.push([100], keyframe=False)
    assert rig.counters.overruns == 1
    assert rig.peer.waiting
    before = rig.media()
    rig.timers.advance(1.0)
    assert rig.media() == []
    rig.push([100] * 2, keyframe=True)
    after = rig.media()
    assert sequence(after[0]) == sequence(before[-1]) + 1 & 0xFFFF
    assert len(after) == 2


def test_a_lost_packet_is_sent_again_to_the_bit_while_the_ring_holds_it() -> None:
    rig = Rig(PacketRing(1.0))
    rig.connect()
    gop(rig, 10)
    sent = rig.media()
    rig.nack(sequence(sent[4]), sequence(sent[29]))
    assert rig.media() == [sent[4], sent[29]]
    rig.ring.end_gop()
    rig.timers.advance(5.0)
    rig.push([100], keyframe=True)
    rig.media()
    rig.nack(sequence(sent[4]))
    assert rig.media() == []
    assert rig.counters.resends_refused == 1


def test_numbers_that_were_never_sent_are_not_answered() -> None:
    rig = Rig()
    rig.connect()
    gop(rig, 2)
    sent = rig.media()
    rig.nack(sequence(sent[-1]) + 1 & 0xFFFF, sequence(sent[0]) - 1 & 0xFFFF)
    assert rig.media() == []


def test_a_greedy_peer_is_sent_only_so_much_again() -> None:
    rig = Rig()
    rig.connect()
    gop(rig, 2)
    wanted = sequence(rig.media()[0])
    for _ in range(6):
        rig.nack(*[wanted] * 100)
    assert len(rig.media()) == 500
    rig.peer.tick()
    rig.nack(wanted)
    assert len(rig.media()) == 1


def test_a_request_for_a_keyframe_replays_the_gop_under_new_numbers_before_the_next_picture() -> None:
    rig = Rig()
    rig.connect()
    gop(rig, 10)
    sent = rig.media()
    rig.request_keyframe()
    replayed = rig.media()
    assert len(replayed) == len(sent)
    assert sequence(replayed[0]) == sequence(sent[-1]) + 1 & 0xFFFF
    rig.push([100], keyframe=False)
    [live] = rig.media()
    times = [timestamp(each) - timestamp(sent[-1]) & 0xFFFFFFFF for each in [*replayed, live]]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] == 3600
    rig.nack(sequence(sent[7]), sequence(replayed[7]))
    assert rig.media() == [sent[7], replayed[7]]


def test_requests_for_keyframes_are_answered_rarely() -> None:
    rig = Rig()
    rig.connect()
    gop(rig, 3)
    rig.media()
    for _ in range(5):
        rig.request_keyframe()
    assert rig.counters.replays == 1
    rig.timers.advance(2.0)
    rig.request_keyframe()
    assert rig.counters.replays == 2
    assert rig.counters.keyframe_requests == 6


def test_audio_begins_with_the_picture_and_goes_under_its_payload_type() -> None:
    rig = Rig()
    rig.connect()
    rig.outbox.take()
    rig.peer.send_audio("PCMA", b"a" * 160, 0)
    assert rig.outbox.take() == []
    gop(rig, 1)
    rig.outbox.take()
    for encoding, at in [("PCMA", 160), ("PCMU", 320), ("OPUS", 480)]:
        rig.peer.send_audio(encoding, b"a" * 160, at)
    first, second = rig.outbox.take()
    assert (first[1], second[1]) == (8, 0)
    assert sequence(second) == sequence(first) + 1 & 0xFFFF
    assert timestamp(second) - timestamp(first) & 0xFFFFFFFF == 160
    assert first[8:12] == second[8:12] != rig.peer.video_ssrc.to_bytes(4, "big")


def test_sender_reports_tie_both_tracks_to_the_wall_clock() -> None:
    rig = Rig()
    rig.connect()
    gop(rig, 2, packets=3)
    last_video = timestamp(rig.media()[-1])
    live = round((rig.timers.now_s - 0.04) * 90_000)
    rig.peer.send_audio("PCMA", b"a" * 160, 8000)
    first_audio = timestamp(rig.outbox.take()[0])
    rig.peer.send_reports((1_700_000_000_000_000, live + 900), (1_700_000_000_000_000, 8080))
    reports = {packet.ssrc: packet for packet in rig.rtcp() if isinstance(packet, rtcp.SenderReport)}
    video, audio = reports[rig.peer.video_ssrc], reports[rig.peer.audio_ssrc]
    assert video.ntp == audio.ntp == rtcp.ntp_from_us(1_700_000_000_000_000)
    assert video.rtp_timestamp == last_video + 900 & 0xFFFFFFFF
    assert audio.rtp_timestamp == first_audio + 80 & 0xFFFFFFFF
    assert (video.packets, video.octets, audio.packets, audio.octets) == (6, 600, 1, 160)


def test_no_reports_before_anything_was_sent() -> None:
    rig = Rig()
    rig.connect()
    rig.outbox.take()
    rig.peer.send_reports((1, 1), (1, 1))
    assert rig.outbox.take() == []


def test_media_follows_the_viewer_only_after_authentic_rtcp_from_the_new_address() -> None:
    rig = Rig()
    rig.connect()
    gop(rig, 1)
    rig.check(AWAY)
    rig.outbox.take()
    rig.push([100], keyframe=False)
    assert [address for _, address in rig.outbox.sent] == [ADDRESS]
    path = rig.ice.path((AWAY, b""))
    assert path is not None
    with pytest.raises(ProtocolError):
        rig.peer.on_rtcp(b"\x80\xc9\x00\x01" + bytes(40), path, 0.0)
    rig.report(rtcp.build_receiver_report(1), AWAY)
    rig.outbox.take()
    rig.push([100], keyframe=False)
    assert [address for _, address in rig.outbox.sent] == [AWAY]


def test_a_report_tells_how_much_is_lost() -> None:
    rig = Rig()
    rig.connect()
    rig.report(rtcp.build_receiver_report(1, [rtcp.ReportBlock(rig.peer.video_ssrc, 64, 5, 0, 0, 0, 0)]))
    assert rig.peer.lost_fraction == 0.25


def test_leaving_says_goodbye_and_stops_the_pacer() -> None:
    rig = Rig(burst_packets=2)
    rig.connect()
    rig.push([100] * 20, keyframe=True)
    rig.outbox.take()
    rig.peer.close()
    assert any(isinstance(packet, rtcp.Goodbye) for packet in rig.rtcp())
    rig.timers.advance(1.0)
    rig.push([100], keyframe=True)
    assert rig.outbox.take() == []


def test_the_sources_of_one_transport_differ() -> None:
    rigs = [Rig() for _ in range(50)]
    assert all(rig.peer.video_ssrc != rig.peer.audio_ssrc for rig in rigs)
