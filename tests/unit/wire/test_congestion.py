"""What reports tell of a line, and what it is sent then."""

from __future__ import annotations

from itertools import pairwise

from mediasrv.wire.congestion import Allowance, Line
from mediasrv.wire.rtcp import ReportBlock


def block(highest: int, lost: int, *, last_sr: int = 0, delay_s: float = 0.0) -> ReportBlock:
    return ReportBlock(1, 0, lost, highest, 0, last_sr, round(delay_s * 65536))


def round_trip(line: Line, sent_s: float, took_s: float, highest: int = 0) -> None:
    """A sender report and the receiver report that answers it, held back by 100 ms at the far end."""
    ntp = round(sent_s * 65536) << 16
    line.note_sender_report(ntp, sent_s)
    line.on_block(block(highest, 0, last_sr=ntp >> 16 & 0xFFFFFFFF, delay_s=0.1), sent_s + took_s + 0.1)


def lossy(line: Line, share: float, *, packets_a_report: int = 50, reports: int = 20) -> float:
    """Reports each 200 ms; the time of the last."""
    for number in range(reports):
        sent = number * packets_a_report
        line.on_block(block(sent, round(sent * share)), number * 0.2)
    return (reports - 1) * 0.2


def test_loss_is_of_the_last_second() -> None:
    line = Line()
    end_s = lossy(line, 0.2)
    assert abs(line.loss - 0.2) < 0.02
    assert abs(line.received_per_s - 200) < 20
    assert line.congested
    for number in range(1, 9):
        line.on_block(block(950 + 50 * number, 190), end_s + 0.2 * number)
    assert line.loss == 0.0
    assert line.clear


def test_of_a_few_packets_it_is_not_said_how_many_get_lost() -> None:
    line = Line()
    for number, lost in enumerate((0, 1, 2, 2)):
        line.on_block(block(5 * number, lost), 0.2 * number)
    assert not line.congested
    slow = Line()
    for number in range(12):  # 6 packets a report, of which a bad second loses three in twenty
        slow.on_block(block(6 * number, 3 if number >= 10 else 0), 0.2 * number)
    assert slow.loss < 0.06
    for number in range(12, 30):
        slow.on_block(block(6 * number, 3 + 2 * (number - 10)), 0.2 * number)
    assert abs(slow.loss - 1 / 3) < 0.05
    assert abs(slow.received_per_s - 20) < 2


def test_loss_of_one_report_is_not_that_of_the_second() -> None:
    line = Line()
    for number in range(10):
        line.on_block(block(50 * number, 20 if number == 9 else 0), 0.2 * number)
    assert abs(line.loss - 20 / 250) < 0.02


def test_what_was_reported_of_another_stream_is_forgotten() -> None:
    line = Line()
    end_s = lossy(line, 0.5)
    line.on_estimate(100_000)
    line.restart()
    assert (line.loss, line.received_per_s, line.estimate_bps) == (0.0, 0.0, None)
    for number in range(1, 4):
        line.on_block(block(950 + 50 * number, 475), end_s + 0.2 * number)
    assert line.loss == 0.0


def test_one_in_twenty_is_no_congestion_even_where_the_estimate_is_a_little_low() -> None:
    line = Line()
    lossy(line, 0.05)
    line.on_estimate(1_400_000)
    assert line.clear
    assert not line.is_short_of(2_000_000)
    line.on_estimate(900_000)
    assert line.is_short_of(2_000_000)


def test_an_estimate_alone_proves_nothing() -> None:
    line = Line()
    line.on_estimate(100_000)
    assert not line.is_short_of(2_000_000)


def test_a_queue_shows_as_a_round_trip_above_the_least_one() -> None:
    line = Line()
    for number in range(3):
        round_trip(line, float(number), 0.05)
    assert line.queue_s < 0.001
    assert line.clear
    round_trip(line, 3.0, 0.40)
    assert abs(line.queue_s - 0.35) < 0.01
    assert line.congested
    assert line.answered_at_s == 3.0
    round_trip(line, 4.0, 0.05)
    assert line.clear


def test_a_line_that_has_become_longer_is_no_queue_for_ever() -> None:
    line = Line()
    round_trip(line, 0.0, 0.05)
    for number in range(1, 120):
        round_trip(line, number / 2, 0.40)
    assert line.queue_s < 0.1


def test_an_answer_to_no_report_of_ours_is_no_round_trip() -> None:
    line = Line()
    line.note_sender_report(5 << 16, 1.0)
    line.on_block(block(0, 0, last_sr=6), 2.0)
    line.on_block(block(0, 0), 2.1)
    assert line.round_trips == 0
    assert line.queue_s == 0.0


def test_lies_end_in_bounds() -> None:
    line = Line()
    for number, (highest, lost) in enumerate([(0, 0), (0xFFFFFFFF, 0x7FFFFF), (5, -0x800000), (100, 0x7FFFFF)]):
        line.on_block(block(highest, lost), 0.3 * number)
        assert 0.0 <= line.loss <= 1.0
        assert line.received_per_s >= 0.0


def test_numbers_that_wrap_are_no_loss() -> None:
    line = Line()
    for number in range(10):
        line.on_block(block(0xFFFFFFF0 + 20 * number & 0xFFFFFFFF, 0), 0.2 * number)
    assert line.loss == 0.0
    assert 80 < line.received_per_s < 120


def test_what_is_allowed_falls_to_what_gets_through_and_grows_until_the_stream_fits() -> None:
    line, allowance = Line(), Allowance()
    lossy(line, 0.5)
    allowance.review(line, 2e6, 1e6)
    assert allowance.bits_per_s is None, "seen once it may be chance"
    lossy(line, 0.5)
    allowance.review(line, 2e6, 1.2e6)
    assert allowance.bits_per_s == 0.85 * 1.2e6
    assert not line.congested, "what was lost before says nothing of what is let through now"
    line.restart()
    steps = []
    while allowance.bits_per_s is not None:
        allowance.review(line, 2e6, 1e6)
        steps.append(allowance.bits_per_s or 2.4e6)
    near = [later / earlier for earlier, later in pairwise(steps) if 1.1e6 < earlier < 1.4e6]
    assert max(near) < 1.03, "near what was too much growth is slow"
    assert len(steps) < 30


def test_a_second_fall_does_not_follow_what_is_let_through() -> None:
    line, allowance = Line(), Allowance()
    for through_bps in (1e6, 1e6, *[2e5] * 5):
        lossy(line, 0.5)
        allowance.review(line, 2e6, through_bps)
    assert allowance.bits_per_s == 0.75 * 0.85 * 1e6


def test_what_is_allowed_never_falls_to_nothing() -> None:
    line, allowance = Line(), Allowance()
    for _ in range(100):
        lossy(line, 0.9)
        allowance.review(line, 2e6, 10.0)
    assert allowance.bits_per_s == 64_000


def test_pictures_are_let_through_as_far_as_the_rate_goes() -> None:
    allowance = Allowance()
    allowance.bits_per_s = 80_000.0
    sent = sum(allowance.admit(1000, number * 0.04) for number in range(250))
    assert 95 <= sent <= 110  # 10 s at 10 pictures of 8,000 bits a second


def test_a_round_trip_is_also_what_an_answer_took_and_an_older_one_says_nothing() -> None:
    line = Line()
    for number in range(4):
        line.on_round_trip(10.0 + number, 10.04 + number)
    line.on_round_trip(20.0, 20.54)
    assert line.round_trips == 5
    assert abs(line.queue_s - 0.5) < 0.02
    assert line.congested
    round_trip(line, 15.0, 0.04)
    assert line.congested, "a report of before the queue"
    assert line.answered_at_s == 20.0


def queued(line: Line, queue_s: float) -> None:
    line.on_round_trip(900.0, 900.01)
    line.on_round_trip(901.0, 901.01 + queue_s)


def test_loss_with_a_short_queue_is_a_line_that_is_full_and_loss_without_one_is_bad_radio() -> None:
    for loss, queue_s, congested in ((0.1, 0.0, False), (0.1, 0.08, True), (0.05, 0.2, False), (0.0, 0.2, False)):
        line = Line()
        lossy(line, loss)
        queued(line, queue_s)
        assert line.congested is congested, (loss, queue_s)


def test_what_is_allowed_does_not_grow_while_anything_speaks_of_congestion() -> None:
    line, allowance = Line(), Allowance()
    for _ in range(2):
        lossy(line, 0.5)
        allowance.review(line, 2e6, 1e6)
    allowed_bps = allowance.bits_per_s
    lossy(line, 0.13)
    assert not line.congested
    allowance.review(line, 2e6, 1e6)
    assert allowance.bits_per_s == allowed_bps
    line.restart()
    allowance.review(line, 2e6, 1e6)
    assert (allowance.bits_per_s or 0) > (allowed_bps or 0)


def test_what_only_arrives_late_is_no_steady_loss() -> None:
    late, radio = Line(), Line()
    worst = 0.0
    for number in range(40):
        on_its_way = 4 * (number % 3 == 0)
        late.on_block(block(50 * number, on_its_way), 0.5 * number)
        radio.on_block(block(50 * number, number + on_its_way), 0.5 * number)
        worst = max(worst, late.loss)
        assert late.steady_loss < 0.01
        radio.restart()
    assert worst > 0.02
    assert 0.012 < radio.steady_loss < 0.028


def test_steady_loss_is_known_however_often_a_viewer_reports() -> None:
    line = Line()
    for number in range(400):  # as where each packet that is asked for again comes with a report
        line.on_block(block(5 * number, number // 4), 0.025 * number)
    assert 0.04 < line.steady_loss < 0.06


def test_loss_is_not_steady_before_six_seconds_of_it() -> None:
    line = Line()
    for number in range(12):
        line.on_block(block(50 * number, 5 * number), 0.5 * number)
    assert line.steady_loss == 0.0
    line.on_block(block(600, 60), 6.0)
    assert line.steady_loss == 0.1
