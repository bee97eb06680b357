"""Which of two streams a viewer is sent, against a simulated line: a rate, a buffer before it, and chance loss."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

from mediasrv.fanout.choice import Choice, Situation, StreamChoice
from mediasrv.wire.congestion import Line
from mediasrv.wire.rtcp import ReportBlock

MAIN, SUB = 2_000_000.0, 300_000.0
PACKET_BITS = 9600.0
STEP_S = 0.1
TICK_STEPS = 5
REPORT_STEPS = 10
GOP_S = 2.0


@dataclass
class Link:
    """What a sender of bits sees of it. `rate_bps` may change at any time."""

    rate_bps: float
    buffer_s: float = 0.4
    loss: float = 0.0
    delay_s: float = 0.03
    queued_bits: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(1))

    def carry(self, bits: float) -> float:
        """The share of these bits that gets lost on the way."""
        room = self.buffer_s * self.rate_bps - self.queued_bits + self.rate_bps * STEP_S
        dropped = max(0.0, bits - room)
        self.queued_bits = max(0.0, self.queued_bits + bits - dropped - self.rate_bps * STEP_S)
        by_chance = sum(self.random.random() < self.loss for _ in range(round((bits - dropped) / PACKET_BITS)))
        return min(1.0, (dropped + by_chance * PACKET_BITS) / bits) if bits else 0.0

    @property
    def round_trip_s(self) -> float:
        return self.delay_s + self.queued_bits / self.rate_bps


class Viewing:
    """An `auto` viewer behind a link, twice a second asked as the service does; it moves at the next keyframe."""

    def __init__(self, link: Link, *, can_probe: bool = True, answers: bool = True) -> None:
        self.link = link
        self.can_probe = can_probe
        self.answers_at_once = answers
        """Whether it answers what it is asked, or reports tell of round trips, once a second."""
        self.now_s = 100.0
        self.line = Line()
        self.choice = StreamChoice(self.now_s)
        self.on_main = False
        self.probe_bps = 0.0
        self.moves: list[tuple[float, bool]] = []
        self.worst_queue_s = 0.0
        self.lost_bits = 0.0
        self._packets = self._lost = 0.0
        self._wanted = False
        self._answers: list[tuple[float, int]] = []
        self._questions: list[tuple[float, float]] = []
        """When each is answered, and when it was asked."""

    def run(self, seconds: float) -> None:
        for step in range(round(seconds / STEP_S)):
            if step % TICK_STEPS == 0:
                self._tick()
            if step % round(GOP_S / STEP_S) == 0 and self._wanted is not self.on_main:
                self.on_main = self._wanted
                self.line.restart()
                self.moves.append((self.now_s, self.on_main))
            if self.answers_at_once and (self.probe_bps or step % TICK_STEPS == 0):
                self._questions.append((self.now_s + self.link.round_trip_s, self.now_s))
            self._send()
            if step % REPORT_STEPS == 0:
                self._report()
            for answered_s, asked_s in [each for each in self._questions if each[0] <= self.now_s]:
                self._questions.remove((answered_s, asked_s))
                self.line.on_round_trip(asked_s, answered_s)
            if self.probe_bps and not self.line.clear:
                self.probe_bps = 0.0  # as the peer does, at once
            self.now_s += STEP_S

    def _tick(self) -> None:
        ntp = round(self.now_s * 65536)
        self.line.note_sender_report(ntp << 16, self.now_s)
        self._answers.append((self.now_s + self.link.round_trip_s, ntp & 0xFFFFFFFF))
        sent = MAIN if self.on_main else SUB
        decided: Choice = self.choice.decide(
            self.line, Situation(self.on_main, sent, MAIN, SUB, self.can_probe, self.now_s)
        )
        self._wanted = decided.main
        self.probe_bps = decided.probe_bps

    def _send(self) -> None:
        media = (MAIN if self.on_main else SUB) * STEP_S
        share = self.link.carry(media + self.probe_bps * STEP_S)
        self._packets += media / PACKET_BITS
        self._lost += share * media / PACKET_BITS
        self.lost_bits += share * media
        self.worst_queue_s = max(self.worst_queue_s, self.link.queued_bits / self.link.rate_bps)

    def _report(self) -> None:
        due = [answer for answer in self._answers if answer[0] <= self.now_s]
        self._answers = [answer for answer in self._answers if answer[0] > self.now_s]
        last_sr = due[-1][1] if due else 0
        delay = round((self.now_s - due[-1][0]) * 65536) if due else 0
        self.line.on_block(ReportBlock(1, 0, int(self._lost), int(self._packets), 0, last_sr, delay), self.now_s)


def test_a_good_line_has_the_main_stream_within_seconds_and_keeps_it() -> None:
    viewing = Viewing(Link(20e6))
    viewing.run(60)
    [(at_s, on_main)] = viewing.moves
    assert on_main
    assert at_s - 100 <= 6
    assert viewing.lost_bits == 0


def test_who_answers_nothing_is_served_by_what_its_reports_say() -> None:
    good, narrow = Viewing(Link(20e6), answers=False), Viewing(Link(500e3, loss=0.02), answers=False)
    good.run(60)
    assert [on_main for _, on_main in good.moves] == [True]
    assert good.lost_bits == 0
    narrow.run(300)
    assert narrow.moves == []
    assert narrow.lost_bits < 0.05 * 300 * SUB


def test_chance_loss_alone_keeps_nobody_from_the_main_stream() -> None:
    viewing = Viewing(Link(20e6, loss=0.03))
    viewing.run(120)
    assert viewing.on_main
    assert len(viewing.moves) == 1


def test_a_line_for_the_substream_alone_keeps_it_and_trials_do_not_hurt() -> None:
    viewing = Viewing(Link(500e3, loss=0.02))
    viewing.run(300)
    assert viewing.moves == []
    assert viewing.worst_queue_s < 0.25
    assert viewing.lost_bits < 0.05 * 300 * SUB


def test_a_line_that_becomes_narrow_is_left_the_substream_and_gets_the_main_stream_back() -> None:
    viewing = Viewing(Link(20e6))
    viewing.run(60)
    viewing.link.rate_bps = 500e3
    viewing.run(10)
    assert not viewing.on_main
    assert viewing.moves[-1][0] - 160 < 5
    viewing.run(60)
    assert not viewing.on_main
    viewing.link.rate_bps = 20e6
    viewing.run(130)
    assert viewing.on_main


def test_a_line_just_too_narrow_is_not_tried_all_the_time() -> None:
    viewing = Viewing(Link(1.9e6))
    viewing.run(600)
    assert len(viewing.moves) <= 8


def test_who_takes_no_repair_is_moved_on_trial_and_ever_more_seldom_back() -> None:
    viewing = Viewing(Link(500e3), can_probe=False)
    viewing.run(600)
    rises = [at_s for at_s, on_main in viewing.moves if on_main]
    assert 2 <= len(rises) <= 8
    waits = [later - earlier for earlier, later in pairwise(rises)]
    assert waits == sorted(waits)


class Asked:
    """A choice asked twice a second about a line whose every round trip takes as long as it is told to."""

    def __init__(self) -> None:
        self.line = Line()
        self.now_s = 100.0
        self.choice = StreamChoice(self.now_s)

    def after(self, seconds: float, *, round_trip_s: float | None = 0.02, on_main: bool = False) -> list[Choice]:
        """What is chosen in that time; None for a line that answers nothing any more."""
        chosen = []
        for _ in range(round(2 * seconds)):
            self.now_s += 0.5
            if round_trip_s is not None:
                self.line.on_round_trip(self.now_s - 0.1, self.now_s - 0.1 + round_trip_s)
            sent = MAIN if on_main else SUB
            chosen.append(self.choice.decide(self.line, Situation(on_main, sent, MAIN, SUB, True, self.now_s)))
        return chosen

    def until_main(self) -> float:
        """Seconds from now to the choice of the main stream."""
        began_s = self.now_s
        while not self.after(0.5)[0].main:
            assert self.now_s - began_s < 300
        return self.now_s - began_s

    def until_tried(self) -> tuple[float, float]:
        """Seconds from now to the next trial, and the rate that is tried first."""
        began_s = self.now_s
        while not (chosen := self.after(0.5)[0]).probe_bps:
            assert self.now_s - began_s < 300
        return self.now_s - began_s, chosen.probe_bps + SUB


def test_a_main_stream_that_is_not_to_be_had_is_tried_again_after_the_hold() -> None:
    asked = Asked()
    assert asked.until_main() < 5
    asked.choice.failed(asked.now_s)
    waited_s, tried_bps = asked.until_tried()
    assert 7.5 <= waited_s <= 8.5
    assert tried_bps == 2 * SUB


def test_a_queue_without_any_loss_moves_a_viewer_down_once_it_is_seen_twice() -> None:
    asked = Asked()
    asked.until_main()
    assert all(choice.main for choice in asked.after(10, on_main=True))
    assert [choice.main for choice in asked.after(1, round_trip_s=0.9, on_main=True)] == [True, False]


def test_one_long_round_trip_moves_nobody() -> None:
    asked = Asked()
    asked.until_main()
    for _ in range(5):
        assert all(choice.main for choice in asked.after(0.5, round_trip_s=0.9, on_main=True))
        assert all(choice.main for choice in asked.after(0.5, on_main=True))


def test_after_a_trial_that_queued_the_next_one_comes_later_and_begins_lower() -> None:
    asked = Asked()
    asked.until_tried()
    for hold_s in (16, 30, 30):
        assert not asked.after(0.5, round_trip_s=0.1)[0].probe_bps, "50 ms of queue are too much"
        assert asked.line.queue_s == 0.0, "what a trial left is not held against the stream"
        waited_s, tried_bps = asked.until_tried()
        assert hold_s - 0.5 <= waited_s <= hold_s + 0.5
        assert abs(tried_bps - 1.4 * SUB) < 1


def test_a_trial_that_no_round_trip_tells_of_is_given_up() -> None:
    asked = Asked()
    asked.until_tried()
    silent = asked.after(10, round_trip_s=None)
    assert not any(choice.main or choice.probe_bps for choice in silent)
    waited_s, tried_bps = asked.until_tried()
    assert waited_s + 10 > 16
    assert abs(tried_bps - 1.4 * SUB) < 1


def test_a_line_that_queues_by_itself_is_tried_a_hold_later_and_no_longer() -> None:
    asked = Asked()
    asked.after(1)
    assert not any(choice.probe_bps for choice in asked.after(5, round_trip_s=0.2))
    assert asked.until_tried()[0] <= 8.5


def test_a_main_stream_that_stood_long_was_no_failed_trial() -> None:
    for stood_s, hold_s in ((40, 8), (5, 16)):
        asked = Asked()
        asked.until_main()
        asked.after(stood_s, on_main=True)
        asked.after(1, round_trip_s=0.9, on_main=True)
        asked.line.restart()
        waited_s, _ = asked.until_tried()
        assert hold_s - 1 <= waited_s <= hold_s + 1
