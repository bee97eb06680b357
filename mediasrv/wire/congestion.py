"""What one viewer's reports say of its line: how much is lost, how long packets queue, what gets through.

Sources: receiver reports (RFC 3550, 6.4.1 and 6.4.4), answers to STUN (RFC 8445, 7.3), REMB
(draft-alvestrand-rmcat-remb-03). A REMB alone proves little: it follows what is sent, and bursts of keyframes deceive
it; it counts beside loss or queues. Pure: `now_s` is monotonic.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from mediasrv.wire.rtcp import ReportBlock

_WINDOW_S: Final = 1.0
_WINDOW_PACKETS: Final = 60
_MOST_WINDOW_S: Final = 4.0
"""Loss is of the last second, or of longer until it is of so many packets: of a few, 5 % may look like 20 %."""
_REPORTS_KEPT: Final = 32
_STEADY_S: Final = 6.0
_STEADY_STEP_S: Final = 0.5
"""Reports closer together than this are not kept for it: some viewers send one with each packet they ask for."""
_BASE_RISES: Final = 0.02
"""The share of the difference by which the least round trip follows a line that has become longer, each sample."""
_FEWEST_PACKETS: Final = 10
_UNKNOWN_ROUND_TRIP_S: Final = 0.15

_LOSSY: Final = 0.15
"""Beyond this share lost it is no bad radio any more, and asking again does not keep up."""
_QUEUED_S: Final = 0.25
_FULL_LOSS: Final = 0.08
_FULL_QUEUE_S: Final = 0.05
"""Both at once is a short queue that overflows: radio loses without one."""
_SUSPECT_LOSS: Final = 0.02
_SUSPECT_QUEUE_S: Final = 0.1
_CLEAR_LOSS: Final = 0.1
_SHORT_SHARE: Final = 0.6
"""An estimate follows what is sent at a distance; only far below it does it tell."""

_LEAST_BPS: Final = 64_000.0
_BACK_OFF: Final = 0.85
_FALL: Final = 0.75
_GROWTH: Final = 1.2
_GROWTH_NEAR: Final = 1.02
_FITS: Final = 1.2
_SHORT_TIMES: Final = 2
_SETTLING_TIMES: Final = 4
"""So long a queue of before is not held against what is sent now."""
_DEPTH_S: Final = 0.6
"""So much of what a line carries may be on its way at once."""


@dataclass(frozen=True, slots=True)
class _Report:
    at_s: float
    highest: int
    lost: int


def _between(first: _Report, last: _Report) -> tuple[int, int]:
    """Packets that were sent between two reports and how many of them got lost; none where that is too few to tell."""
    expected = (last.highest - first.highest) & 0xFFFFFFFF
    if expected < _FEWEST_PACKETS or expected >= 1 << 31:
        return 0, 0
    return expected, min(max(0, last.lost - first.lost), expected)


class Line:
    """The way to one viewer. `loss` is a share, `queue_s` by how much the round trip exceeds the least one."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.queue_s = 0.0
        self.received_per_s = 0.0
        """Packets of the media source that arrived, by the last reports; 0 before they tell."""
        self.estimate_bps: int | None = None
        """The newest REMB."""
        self.round_trip_s = _UNKNOWN_ROUND_TRIP_S
        self.round_trips = 0
        self.answered_at_s = 0.0
        """When that was sent which the newest round trip was measured with."""
        self.steady_loss = 0.0
        """Of the last six seconds, whatever was sent: what only arrives late is no loss in the long run."""
        self._reports: deque[_Report] = deque(maxlen=_REPORTS_KEPT)
        self._history: deque[_Report] = deque(maxlen=_REPORTS_KEPT)
        self._least_s: float | None = None
        self._sent: deque[tuple[int, float]] = deque(maxlen=_REPORTS_KEPT)

    @property
    def congested(self) -> bool:
        """Whether more is sent than gets through."""
        full = self.loss > _FULL_LOSS and self.queue_s > _FULL_QUEUE_S
        return full or self.loss > _LOSSY or self.queue_s > _QUEUED_S

    @property
    def clear(self) -> bool:
        """Whether nothing speaks of congestion; a few lost packets do not."""
        return self.loss <= _CLEAR_LOSS and self.queue_s <= _SUSPECT_QUEUE_S

    def is_short_of(self, sent_bps: float) -> bool:
        """Whether what was sent is more than the line carries, as far as reports tell."""
        suspect = self.loss > _SUSPECT_LOSS or self.queue_s > _SUSPECT_QUEUE_S
        estimate = self.estimate_bps
        return self.congested or (suspect and estimate is not None and estimate < _SHORT_SHARE * sent_bps)

    def note_sender_report(self, ntp: int, now_s: float) -> None:
        """Round trips are measured from here on. `ntp` is the report's 64-bit time."""
        self._sent.append((ntp >> 16 & 0xFFFFFFFF, now_s))

    def on_round_trip(self, asked_s: float, now_s: float) -> None:
        """What was asked then is answered now."""
        self._note_round_trip(asked_s, now_s - asked_s)

    def on_block(self, block: ReportBlock, now_s: float) -> None:
        self._measure_round_trip(block, now_s)
        self._reports.append(_Report(now_s, block.highest_sequence, block.packets_lost))
        self._measure_steady_loss(self._reports[-1])
        self._forget_old(now_s)
        first, last = self._reports[0], self._reports[-1]
        expected, lost = _between(first, last)
        if not expected:
            return
        self.loss = lost / expected
        self.received_per_s = (expected - lost) / max(0.1, last.at_s - first.at_s)

    def _forget_old(self, now_s: float) -> None:
        reports = self._reports
        while len(reports) > 2:
            age_s, packets = now_s - reports[1].at_s, reports[-1].highest - reports[1].highest
            if age_s < _WINDOW_S or (packets < _WINDOW_PACKETS and age_s < _MOST_WINDOW_S):
                return
            reports.popleft()

    def _measure_steady_loss(self, report: _Report) -> None:
        history = self._history
        if not history or report.at_s - history[-1].at_s >= _STEADY_STEP_S:
            history.append(report)
        while len(history) > 2 and report.at_s - history[1].at_s >= _STEADY_S:
            history.popleft()
        expected, lost = _between(history[0], report)
        if report.at_s - history[0].at_s >= _STEADY_S and expected:
            self.steady_loss = lost / expected

    def on_estimate(self, bits_per_s: int) -> None:
        self.estimate_bps = bits_per_s

    def restart(self) -> None:
        """Something else is sent from now on: what was lost before says nothing of it."""
        self.loss = self.queue_s = self.received_per_s = 0.0
        self.estimate_bps = None
        self._reports.clear()

    def _measure_round_trip(self, block: ReportBlock, now_s: float) -> None:
        sent_s = next((at_s for middle, at_s in self._sent if middle == block.last_sr), None)
        if sent_s is not None:
            self._note_round_trip(sent_s, now_s - sent_s - block.delay_65536 / 65536)

    def _note_round_trip(self, sent_s: float, round_trip_s: float) -> None:
        if sent_s <= self.answered_at_s:
            return  # known, or older than what is
        self.answered_at_s = sent_s
        self.round_trips += 1
        self.round_trip_s = round_trip_s = max(0.0, round_trip_s)
        least_s = round_trip_s if self._least_s is None else self._least_s
        self._least_s = min(round_trip_s, least_s + _BASE_RISES * (round_trip_s - least_s))
        self.queue_s = round_trip_s - self._least_s


class Allowance:
    """How much a line is sent that is too small for its stream: whole pictures, then none up to the next keyframe.

    So a viewer without a smaller stream keeps a picture, and its latency stays where it is: what would only queue is
    left out. It grows by a share, slowly near what was full, falls by a larger one, and is off again when the stream
    fits.
    """

    def __init__(self) -> None:
        self.bits_per_s: float | None = None
        """None: without a bound."""
        self._full_bps = 0.0
        """What got through when the line was full: near it, growth is slow."""
        self._short = self._settling = 0
        self._owed_bits = 0.0
        self._owed_at_s = 0.0

    def review(self, line: Line, stream_bps: float, through_bps: float) -> None:
        """To be asked twice a second, with the bit rates of the whole stream and of what arrives (0: unknown).
        Congestion counts when it is seen twice. What the viewer estimates does not: it sinks with what it is sent.
        """
        self._settling = max(0, self._settling - 1)
        self._short = self._short + 1 if line.congested else 0
        if self._short >= _SHORT_TIMES and not self._settling:
            self._fall(stream_bps, through_bps or stream_bps / 2)
            line.restart()
        elif self.bits_per_s is not None and line.clear:
            near = 0.9 * self._full_bps < self.bits_per_s < 1.2 * self._full_bps
            grown = self.bits_per_s * (_GROWTH_NEAR if near else _GROWTH)
            self.bits_per_s = grown if grown < _FITS * stream_bps else None

    def _fall(self, stream_bps: float, through_bps: float) -> None:
        """The first time to what got through; later not so far, since what gets through follows what is let through."""
        if self.bits_per_s is None:
            self.bits_per_s = _BACK_OFF * min(through_bps, stream_bps)
        else:
            self.bits_per_s = max(_FALL * self.bits_per_s, _BACK_OFF * min(through_bps, self.bits_per_s))
        self.bits_per_s = max(_LEAST_BPS, self.bits_per_s)
        self._full_bps = max(self.bits_per_s, min(through_bps, stream_bps))
        self._settling, self._short = _SETTLING_TIMES, 0

    def admit(self, octets: int, now_s: float) -> bool:
        """Whether a picture may be sent now; counts it if so. Only while there is a bound."""
        rate = self.bits_per_s or 0.0
        self._owed_bits = max(0.0, self._owed_bits - (now_s - self._owed_at_s) * rate)
        self._owed_at_s = now_s
        if self._owed_bits > _DEPTH_S * rate:
            return False
        self._owed_bits += 8 * octets
        return True
