"""RTP timestamps onto a session's own time line, and arrivals into smoothed wall time (docs/time.md, 2 to 5).

Three quantities meet here, all counted from the start of the session:

- the *position*, which is media time: unwrapped RTP timestamps, anchored where the track first arrived;
- the *arrival*, which is the server's monotonic time;
- `dts`, which the rest of mediasrv sees: the position as long as media time is reliable, and the
  smoothed arrival where it is not.

The network only ever delays, so the smallest `arrival - position` over a sliding window is the true offset
between the two clocks. Smoothed wall time is the position plus a correction that follows that smallest
offset slowly, so it carries no jitter, never steps back, and never claims to be later than the arrival itself.
"""

from __future__ import annotations

import math
from heapq import heappush, heappushpop
from typing import Final

MOST_DRIFT: Final = 500e-6
"""By how much media time may run differently from arrival, and how fast the smoothed clock follows."""

JUMP_S: Final = 2.0
"""A step of media time against arrival by more than this is no delay: the camera set its clock."""

_MOST_AHEAD_S: Final = 10.0
"""Media time that has run ahead of arrival by so much, in whatever steps, is nonsense."""

_BUCKET_S: Final = 10.0
_BUCKETS_TO_DECIDE: Final = 3
"""So many buckets on end beyond MOST_DRIFT (30 s) make media time unreliable, as many within it reliable again."""

_FOLLOW_S: Final = 1.0

SETTLE_S: Final = 5.0
"""How long a new track may correct its offset at once: many begin with a late picture or a burst of old ones."""

_REORDER_S: Final = 0.5
"""A timestamp that goes back by no more than this is a reordered picture, by more a camera that set its clock; unless
pictures are so slow that those which come early take longer."""

_REORDER_SLACK: Final = 1.5

_MOST_LEARNT_REORDER: Final = 4

_PULL: Final = 1 / 32
_MOST_STRETCH: Final = 0.25
"""Unreliable media time: a duration takes up 1/32 of the distance to arrival, changed by a quarter at most."""


class SessionTimeline:
    """The time line that the tracks of one session share: each begins where it arrived (rule 5)."""

    def __init__(self, started_us: int, started_monotonic: float) -> None:
        self._started_us = started_us
        self._started_monotonic = started_monotonic

    def track(self, clock_rate: int, reorder: int = 0) -> TrackTimeline:
        """`reorder` is by how many pictures a picture may come early (`Sps.max_num_reorder or 0`)."""
        return TrackTimeline(clock_rate, self._started_us, self._started_monotonic, reorder)


class TrackTimeline:
    """Places the access units of one track. Bounded memory, no clock of its own.

    `reliable` is False while durations come from arrival (rule 3); `reanchored` counts the jumps of
    media time that were put back to where they arrived.
    """

    def __init__(self, clock_rate: int, started_us: int, started_monotonic: float, reorder: int = 0) -> None:
        self.reliable = True
        self.reanchored = 0
        self._rate = clock_rate
        self._started_us = started_us
        self._started_monotonic = started_monotonic
        self._order = _DecodeOrder(reorder, clock_rate // 25)
        self._reordered = reorder > 0
        self._drift = _DriftMeter()
        self._offset = 0.0
        self._settled_at = 0.0
        self._followed_at = 0.0
        self._stalled = False
        self._interval = 0.0
        self._rtp_timestamp: int | None = None
        self._presented = 0
        self._arrival = 0.0
        self._dts = -1
        self._arrived_us = started_us

    def place(self, rtp_timestamp: int, now: float) -> tuple[int, int, int]:
        """(dts, pts, arrived_us) of the access unit with this timestamp, whose last byte arrived at monotonic `now`.

        Call in order of arrival. `dts` rises strictly from call to call and `arrived_us` never falls.
        Hot, for each access unit: what need not be done each time is done once a second, in `_follow`.
        """
        arrival = now - self._started_monotonic
        if self._rtp_timestamp is None:
            self._begin(arrival)
        else:
            waited_s = arrival - self._arrival
            self._interval += (waited_s - self._interval) * _PULL
            step = (rtp_timestamp - self._rtp_timestamp) & 0xFFFF_FFFF
            step_s = step / self._rate
            if step < 0x8000_0000 and -JUMP_S <= step_s - waited_s <= JUMP_S:
                self._presented += step
            else:
                self._advance_oddly(((step + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000, waited_s, arrival)
        self._rtp_timestamp = rtp_timestamp
        presented = self._presented
        position = self._order.decode_position(presented) if self._reordered else presented
        # What `_follow` decides holds from the next access unit on.
        dts = position if self.reliable else self._paced_by_arrival(arrival)
        delay = arrival - position / self._rate
        if delay < self._drift.current or arrival >= self._followed_at:
            self._follow(arrival, delay)
        if dts <= self._dts:
            dts = self._dts + 1
        self._dts = dts
        self._arrival = arrival
        smoothed = dts / self._rate + self._offset
        arrived_us = self._started_us + int((smoothed if smoothed < arrival else arrival) * 1e6)
        if arrived_us > self._arrived_us:
            self._arrived_us = arrived_us
        return dts, dts + presented - position, self._arrived_us

    @property
    def arrived_s(self) -> float:
        """When the newest access unit arrived, smoothed, on the monotonic clock."""
        return self._started_monotonic + (self._arrived_us - self._started_us) / 1e6

    @property
    def interval_s(self) -> float:
        """From one access unit to the next, on average."""
        return self._interval

    def expected_s(self, rtp_timestamp: int) -> float | None:
        """When an access unit with this timestamp arrives, unless something delays it; None where nothing can tell."""
        if self._rtp_timestamp is None or not self.reliable:
            return None
        step = ((rtp_timestamp - self._rtp_timestamp + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
        return self._started_monotonic + (self._presented + step) / self._rate + self._offset

    def _begin(self, arrival: float) -> None:
        self._arrival = arrival = max(0.0, arrival)
        self._settled_at, self._followed_at = arrival + SETTLE_S, arrival
        self._presented = self._order.restart(round(arrival * self._rate))
        self._drift.restart_bucket(arrival)

    def _advance_oddly(self, step: int, waited_s: float, arrival: float) -> None:
        """Moves media time on by a difference of timestamps, or to the arrival if that is a jump."""
        step_s = step / self._rate
        # A leap of media time that only makes up for a delay before it is no jump: the network caught up.
        ahead_s = self._presented / self._rate + step_s + self._offset - arrival
        early_s = self._order.depth * _REORDER_SLACK * waited_s
        most_ahead_s = min(JUMP_S + early_s, _MOST_AHEAD_S)  # the wait may have been a stall
        if step_s < -max(_REORDER_S, early_s) or (step_s - waited_s > most_ahead_s and ahead_s > most_ahead_s):
            self._reanchor(arrival)
            return
        if step < 0 and not self._reordered:
            self._reordered = True
            self._order.begin_learning(self._presented)
        if step >= 0 and waited_s - step_s > JUMP_S:
            # A network that stalled, or a camera that stood still without counting: what comes after tells.
            self._stalled = True
            self._drift.restart_bucket(arrival)
        self._presented += step

    def _reanchor(self, arrival: float) -> None:
        self.reanchored += 1
        self._stalled = False
        self._presented = self._order.restart(max(self._dts + 1, round((arrival - self._offset) * self._rate)))
        self._drift.restart(arrival, self._offset)

    def _follow(self, arrival: float, delay: float) -> None:
        """Takes an `arrival - position` into the filter: each smallest one, and one a second. The offset follows."""
        if self._drift.observe(arrival, delay):
            self._decide(arrival)
        due = arrival >= self._followed_at
        most = MOST_DRIFT * (arrival - self._followed_at + _FOLLOW_S)
        if due:
            self._followed_at = arrival + _FOLLOW_S
        if not self.reliable:
            return
        if delay < self._offset - _MOST_AHEAD_S:
            self._reanchor(arrival)
        elif arrival < self._settled_at:
            self._offset = min(self._offset, delay)
        elif due:
            self._offset += min(most, max(-most, self._drift.smallest - self._offset))

    def _decide(self, arrival: float) -> None:
        """At the end of a bucket: did a camera stand still, has media time begun or ceased to drift?"""
        drift = self._drift
        if self._stalled:
            self._stalled = False
            if self.reliable and drift.complete - self._offset > JUMP_S:
                self._reanchor(arrival)
        elif self.reliable and drift.drifting >= _BUCKETS_TO_DECIDE:
            self.reliable = False
        elif not self.reliable and drift.steady >= _BUCKETS_TO_DECIDE:
            self.reliable = True
            self._presented = self._order.restart(self._dts + round(self._interval * self._rate))
            drift.restart(arrival, self._offset)

    def _paced_by_arrival(self, arrival: float) -> int:
        """The next dts where media time is unreliable: the usual interval, pulled towards the arrival."""
        expected = self._dts / self._rate + self._interval
        most = self._interval * _MOST_STRETCH
        pull = min(most, max(-most, (arrival - self._offset - expected) * _PULL))
        return round((expected + pull) * self._rate)


class _DriftMeter:
    """Minimum filter over `arrival - position`, in buckets of 10 s, and what it says about drift."""

    __slots__ = ("_bucket_ends", "_rising", "complete", "current", "drifting", "steady")

    def __init__(self) -> None:
        self.complete = math.inf
        """The smallest delay of the last complete bucket."""
        self.drifting = 0
        """How many buckets on end the delay has moved the same way by more than MOST_DRIFT."""
        self.steady = 0
        """How many buckets on end it has not."""
        self.current = math.inf
        """The smallest delay of the bucket that is being filled."""
        self._rising = False
        self._bucket_ends = 0.0

    @property
    def smallest(self) -> float:
        """The smallest delay of the last 10 to 20 s."""
        return min(self.complete, self.current)

    def observe(self, arrival: float, delay: float) -> bool:
        """Takes one delay; whether a bucket ended with it."""
        if delay < self.current:
            self.current = delay
        if arrival < self._bucket_ends:
            return False
        self._end_bucket()
        self.restart_bucket(arrival)
        return True

    def restart_bucket(self, arrival: float) -> None:
        self.current = math.inf
        self._bucket_ends = arrival + _BUCKET_S

    def restart(self, arrival: float, delay: float) -> None:
        """The position was anchored anew so that its delay is `delay`; nothing before that counts."""
        self.complete, self.drifting, self.steady = delay, 0, 0
        self.restart_bucket(arrival)

    def _end_bucket(self) -> None:
        change = self.current - self.complete
        self.complete = self.current
        if math.isinf(change):
            return
        if abs(change) <= MOST_DRIFT * _BUCKET_S:
            self.drifting, self.steady = 0, self.steady + 1
            return
        rising = change > 0
        self.drifting = self.drifting + 1 if self.drifting and rising == self._rising else 1
        self.steady, self._rising = 0, rising


class _DecodeOrder:
    """Decode times out of presentation times: the n-th smallest of those seen, n being how far pictures are reordered.

    It starts from what the stream says about n and learns more where that was too little.
    """

    __slots__ = ("_last", "_spacing", "_waiting")

    def __init__(self, reorder: int, spacing: int) -> None:
        self._waiting = [0] * reorder
        self._spacing = spacing
        self._last = 0

    @property
    def depth(self) -> int:
        """By how many pictures a picture comes early, as far as is known."""
        return len(self._waiting)

    def restart(self, position: int) -> int:
        """Begins anew so that the next picture decodes at `position`; returns when it is presented."""
        presented = position + len(self._waiting) * self._spacing
        self._waiting = list(range(position, presented, self._spacing))
        self._last = 0
        return presented

    def begin_learning(self, presented: int) -> None:
        """A first picture came out of order, after pictures that all decoded when they were presented."""
        self._last = presented

    def decode_position(self, presented: int) -> int:
        if presented < self._last and len(self._waiting) < _MOST_LEARNT_REORDER:
            heappush(self._waiting, presented)
        elif not self._waiting:
            self._last = presented
        else:
            self._last = heappushpop(self._waiting, presented)
        return self._last
