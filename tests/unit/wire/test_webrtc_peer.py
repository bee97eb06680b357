"""A viewer from its first check to its goodbye, in simulated time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from mediasrv.errors import ProtocolError
from mediasrv.wire import rtcp, stun
from mediasrv.wire.ice import Address
from mediasrv.wire.packet_ring import PacketRing
from mediasrv.wire.srtp import EXTENSION_BYTES, OVERHEAD_BYTES
from tests.unit.wire.peer_rig import ADDRESS, REPAIRED, REPAIRED_OFFER, Rig, sequence, timestamp

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
    rig.timers.advance(0.04)
    media = rig.media()
    assert [sequence(each) - sequence(media[0]) & 0xFFFF for each in media] == list(range(15))
    times = [timestamp(each) - timestamp(media[0]) & 0xFFFFFFFF for each in media]
    # 3 packets each 40 ms, sent four times as fast: 10.7 ms apart, the time they take to be sent.
    assert sorted(set(times)) == [0, 720, 1440, 2160, 2880]
    rig.push([100], keyframe=False)
    [live] = rig.media()
    # The next picture keeps its true distance to the last cached one.
    assert timestamp(live) - timestamp(media[-1]) & 0xFFFFFFFF == 7200


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
    for number in range(100):
        rig.timers.advance(0.04)
        rig.push([100] * 60, keyframe=False)
        if number % 12 == 0:
            rig.peer.tick(rig.timers.now_s)
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
    gop(rig, 30)
    sent = [sequence(each) for each in rig.media()]
    rig.nack(*sent)
    assert len(rig.media()) == 20
    rig.peer.tick(rig.timers.now_s)  # of the 96 packets sent since the last tick, half
    rig.timers.advance(0.2)
    rig.nack(*sent)
    assert len(rig.media()) == 48
    assert rig.counters.resends_refused == 2 * len(sent) - 68


def test_what_is_on_its_way_again_already_is_not_sent_a_third_time() -> None:
    rig = Rig()
    rig.connect()
    gop(rig, 2)
    wanted = sequence(rig.media()[0])
    for _ in range(3):
        rig.nack(wanted)
        rig.timers.advance(0.04)
    assert len(rig.media()) == 1
    rig.timers.advance(0.1)
    rig.nack(wanted)
    assert len(rig.media()) == 1


def test_a_request_for_a_keyframe_replays_the_gop_under_new_numbers_before_the_next_picture() -> None:
    rig = Rig()
    rig.connect()
    gop(rig, 10)
    sent = rig.media()
    rig.request_keyframe()
    rig.timers.advance(0.06)
    replayed = rig.media()
    assert len(replayed) == len(sent)
    assert sequence(replayed[0]) == sequence(sent[-1]) + 1 & 0xFFFF
    rig.push([100], keyframe=False)
    [live] = rig.media()
    times = [timestamp(each) - timestamp(sent[-1]) & 0xFFFFFFFF for each in [*replayed, live]]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-2] < 3600
    assert times[-1] == 9000
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
    rig.peer.send_reports((1_700_000_000_000_000, live + 900), (1_700_000_000_000_000, 8080), rig.timers.now_s)
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
    rig.peer.send_reports((1, 1), (1, 1), 0.0)
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


def test_reports_tell_how_much_is_lost() -> None:
    rig = Rig()
    rig.connect()
    for highest, lost in ((0, 0), (100, 25)):
        rig.report(rtcp.build_receiver_report(1, [rtcp.ReportBlock(rig.peer.video_ssrc, 0, lost, highest, 0, 0, 0)]))
        rig.timers.advance(0.5)
    assert rig.peer.line.loss == 0.25


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
    peers = [Rig().peer for _ in range(50)]
    assert all(len({peer.video_ssrc, peer.repair_ssrc, peer.audio_ssrc}) == 3 for peer in peers)


# --- repair, and the header extension -------------------------------------------------------------------


def test_what_is_asked_for_again_comes_from_the_source_of_repair_where_it_was_offered() -> None:
    rig = Rig(offer=REPAIRED_OFFER)
    rig.connect()
    gop(rig, 3)
    sent = rig.media()
    rig.nack(sequence(sent[4]), sequence(sent[8]))
    media, [first, second] = rig.media_and_repairs()
    assert media == []
    assert first[8:12] == second[8:12] == rig.peer.repair_ssrc.to_bytes(4, "big")
    assert sequence(second) == sequence(first) + 1 & 0xFFFF
    assert (first[1] & 0x7F, second[1]) == (103, 103 | 0x80)
    assert [timestamp(first), timestamp(second)] == [timestamp(sent[4]), timestamp(sent[8])]


def test_keyframes_tell_how_long_pictures_may_be_held_back() -> None:
    rig = Rig(offer=REPAIRED_OFFER)
    rig.connect()
    rig.push([100] * 3 + [40], keyframe=True)
    rig.push([100], keyframe=False)
    *keyframe, picture = rig.media()
    # RFC 8285, 4.2: one element, number 6, three bytes; 0 and 100 times 10 ms.
    assert {each[12:20] for each in keyframe} == {b"\xbe\xde\0\1" + b"\x62\x00\x00\x64"}
    assert [each[0] for each in keyframe] == [0x90] * 4
    assert [len(each) for each in keyframe] == [100 + OVERHEAD_BYTES + EXTENSION_BYTES] * 3 + [76]
    assert (picture[0], len(picture)) == (0x80, 100 + OVERHEAD_BYTES)


# --- two streams ----------------------------------------------------------------------------------------


def test_a_viewer_is_moved_to_another_stream_without_a_hole_and_can_still_ask_for_packets_of_the_first() -> None:
    rig = Rig(burst_packets=2)
    rig.connect()
    rig.push([100] * 12, keyframe=True)
    sent = rig.media()
    other = PacketRing(4.0, "H265")
    now = round(rig.timers.now_s * 90_000)
    unit = other.push([b"x" * 50] * 2, now + 900, keyframe=True, arrived_s=rig.timers.now_s)
    rig.peer.move_to(other, [unit])
    rig.timers.advance(1.0)
    moved = rig.media()
    assert len(moved) == 2, "what was queued of the first stream came as well"
    assert [each[1] & 0x7F for each in moved] == [104, 104]
    assert sequence(moved[0]) == sequence(sent[-1]) + 1 & 0xFFFF
    assert moved[0][8:12] == sent[0][8:12]
    assert 0 < timestamp(moved[0]) - timestamp(sent[0]) & 0xFFFFFFFF < 1 << 31
    rig.nack(sequence(sent[1]), sequence(moved[1]))
    assert rig.media() == [sent[1], moved[1]]


def test_a_viewer_of_h265_alone_is_connected_before_it_is_known_what_the_stream_is() -> None:
    video = replace(REPAIRED_OFFER.media[0], video={"H265": REPAIRED["H265"]})
    rig = Rig(PacketRing(4.0, ""), offer=replace(REPAIRED_OFFER, media=(video,)))
    rig.connect()
    assert rig.peer.connected
    rig.peer.probe(100_000)
    rig.timers.advance(0.1)
    rig.nack(1)
    assert rig.media_and_repairs() == ([], [])
    rig.ring = PacketRing(4.0, "H265")
    rig.peer.follow(rig.ring)
    rig.push([100], keyframe=True)
    rig.timers.advance(0.1)
    assert [each[1] & 0x7F for each in rig.media_and_repairs()[0]] == [104]


def test_of_a_stream_that_is_gone_nothing_is_answered() -> None:
    rig = Rig()
    rig.connect()
    gop(rig, 2)
    sent = rig.media()
    other = PacketRing(4.0)
    rig.peer.move_to(other, [other.push([b"x"], 1, keyframe=True, arrived_s=rig.timers.now_s)])
    rig.media()
    rig.ring.close()
    rig.nack(sequence(sent[0]))
    assert rig.media() == []


# --- weak lines -----------------------------------------------------------------------------------------


def congest(rig: Rig, seconds: float = 2.0) -> None:
    """Reports that half of what was sent is lost, while pictures go on."""
    first = rig.peer.video.packets if rig.peer.video else 0
    for step in range(round(seconds / 0.04)):
        rig.push([1000] * 4, keyframe=step % 50 == 0)
        rig.timers.advance(0.04)
        if step % 5 == 0 and rig.peer.video is not None:
            sent = rig.peer.video.packets - first
            block = rtcp.ReportBlock(rig.peer.video_ssrc, 128, sent // 2, sent, 0, 0, 0)
            rig.report(rtcp.build_receiver_report(1, [block]))
        if step % 12 == 0:
            rig.peer.tick(rig.timers.now_s)


def test_a_line_that_loses_half_is_sent_about_half_and_whole_pictures_only() -> None:
    rig = Rig()
    rig.connect()
    congest(rig, 5.5)
    rig.media()
    rig.timers.advance(0.04)
    whole = 8 * 4 * 1000 * 25
    sent_bits, packets = 0, Counter[int]()
    for step in range(100):
        rig.push([1000] * 4, keyframe=step % 50 == 0)
        rig.timers.advance(0.04)
        media = rig.media()
        sent_bits += sum(8 * len(each) for each in media)
        packets.update(timestamp(each) for each in media)
    assert 0.1 * whole < sent_bits / 4 < 0.75 * whole
    assert rig.counters.thinned > 0
    assert set(list(packets.values())[1:-1]) == {4}, "some of the first was sent before, some of the last comes later"


def test_what_one_stream_was_too_large_for_is_not_held_against_a_smaller_one() -> None:
    rig = Rig()
    rig.connect()
    congest(rig, 5.5)
    assert rig.peer._allowance.bits_per_s is not None
    other = PacketRing(4.0)
    now = round(rig.timers.now_s * 90_000)
    rig.peer.move_to(other, [other.push([b"x"], now, keyframe=True, arrived_s=rig.timers.now_s)])
    rig.timers.advance(1.0)
    rig.media()
    for number in range(1, 26):
        unit = other.push([b"x" * 1000] * 4, now + 3600 * number, keyframe=False, arrived_s=rig.timers.now_s)
        rig.peer.send_video(unit)
        rig.timers.advance(0.04)
    assert len(rig.media()) == 100


def test_sound_goes_on_while_pictures_are_left_out() -> None:
    rig = Rig()
    rig.connect()
    congest(rig, 5.5)
    while not rig.peer.waiting:
        rig.push([1000] * 4, keyframe=False)
    rig.outbox.take()
    rig.peer.send_audio("PCMA", b"a" * 320, 8000)
    assert [data[1] for data in rig.outbox.take()] == [8]


def test_a_congested_line_is_not_sent_a_gop_once_more() -> None:
    rig = Rig()
    rig.connect()
    congest(rig)
    rig.media()
    rig.request_keyframe()
    rig.timers.advance(1.0)
    assert rig.counters.replays == 0
    assert rig.peer.waiting


def test_a_trial_fills_the_line_with_packets_of_repair_and_ends_at_the_first_sign_of_congestion() -> None:
    rig = Rig(offer=REPAIRED_OFFER)
    rig.connect()
    gop(rig, 50)
    rig.outbox.take()
    rig.peer.probe(400_000)
    rig.timers.advance(1.0)
    media, repairs = rig.media_and_repairs()
    assert media == []
    assert 0.8 * 400_000 < sum(8 * len(each) for each in repairs) < 1.2 * 400_000
    for highest, lost in ((0, 0), (100, 60)):
        block = rtcp.ReportBlock(rig.peer.video_ssrc, 128, lost, highest, 0, 0, 0)
        rig.report(rtcp.build_receiver_report(1, [block]))
        rig.timers.advance(0.1)
    rig.outbox.take()
    rig.timers.advance(1.0)
    assert rig.outbox.take() == []


def answer_questions(rig: Rig, took_s: float) -> int:
    """Answers what the peer has asked since the last call, so much later; how much that was."""
    questions = [stun.parse_message(data) for data in rig.outbox.take() if data[0] <= 3]
    rig.timers.advance(took_s)
    for question in questions:
        answer = stun.build_success(question, (ADDRESS[0], ADDRESS[1]), b"their-password")
        rig.peer.on_answer(stun.parse_message(answer), (ADDRESS, b""), rig.timers.now_s)
    return len(questions)


def test_while_a_line_is_filled_it_is_asked_ten_times_a_second_and_filled_no_more_once_it_queues() -> None:
    rig = Rig(offer=REPAIRED_OFFER)
    rig.connect()
    gop(rig, 50)
    rig.outbox.take()
    for _ in range(3):
        rig.peer.ask(rig.timers.now_s)
        assert answer_questions(rig, 0.02) == 1
    rig.peer.probe(400_000)
    assert 9 <= sum(answer_questions(rig, 0.02) for _ in range(50)) <= 11
    rig.timers.advance(0.2)
    assert answer_questions(rig, 0.3) >= 1
    rig.outbox.take()
    rig.timers.advance(1.0)
    assert rig.outbox.take() == []


def delay_asked_for(datagram: bytes) -> tuple[int, int]:
    """The least and the most of the header extension, in 10 ms."""
    assert datagram[0] & 0x10, "no header extension"
    value = int.from_bytes(datagram[17:20], "big")
    return value >> 12, value & 0xFFF


def test_who_loses_packets_is_asked_to_hold_pictures_back_and_after_a_while_no_more() -> None:
    rig = Rig(offer=REPAIRED_OFFER)
    rig.connect()
    highest = lost = 0

    def gop_of(loss: float) -> bytes:
        """Two seconds of a line that loses so many, eight if it loses any; the keyframe at their end."""
        nonlocal highest, lost
        for _ in range(4 if loss < 0.01 else 16):
            highest, lost = highest + 100, lost + round(100 * loss)
            block = rtcp.ReportBlock(rig.peer.video_ssrc, 0, lost, highest, 0, 0, 0)
            rig.report(rtcp.build_receiver_report(1, [block]))
            rig.timers.advance(0.5)
            rig.peer.tick(rig.timers.now_s)
        rig.outbox.take()
        rig.push([100], keyframe=True)
        rig.push([100], keyframe=False)
        first, second = rig.media()
        assert sequence(second) == sequence(first) + 1 & 0xFFFF
        assert not second[0] & 0x10
        return first

    good = gop_of(0)
    assert delay_asked_for(good) == (0, 100)
    lossy = gop_of(0.02)
    assert delay_asked_for(lossy) == (7, 100)
    assert sequence(lossy) == sequence(good) + 2 & 0xFFFF
    assert [delay_asked_for(gop_of(0))[0] for _ in range(20)] == [13, *[20] * 15, *[0] * 4]
