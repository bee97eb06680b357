"""What one viewer is sent of one stream: which sequence number and timestamp each shared packet travels under.

**(SSRC, ROC, sequence) -> (header, payload) is a function.** GCM makes its nonce of the left side; a second
content under it would give the authentication key away. An *epoch* maps packet indices to the stream's packets by
one offset. Joining, replaying the GOP and skipping ahead open a new epoch behind the highest index that was ever
protected, so an index belongs to one epoch for good. A packet asked for again is looked up in the epoch of its
index; what lies outside a known epoch or has left the ring is not answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from mediasrv.wire.packet_ring import PacketizedUnit, PacketRing, Run
from mediasrv.wire.srtp import OVERHEAD_BYTES, SrtpSender

SQUEEZED_STEP: Final = 90
"""Cached access units are at least 1 ms apart in RTP time."""
_EPOCHS: Final = 64


@dataclass(slots=True)
class Epoch:
    """From packet index `first_index` to the next epoch's: index = number in the stream + `offset`.

    `timestamps` holds the stream time of units that travel under another than their own, by their first number.
    """

    first_index: int
    offset: int
    timestamps: dict[int, int] = field(default_factory=dict)


class RtpVideoSender:
    """One viewer's video. `start` first; units are then sent in the order in which they were `admit`ted."""

    def __init__(self, srtp: SrtpSender, ring: PacketRing, first_index: int, timestamp_offset: int) -> None:
        self._srtp = srtp
        self._ring = ring
        self._timestamp_offset = timestamp_offset
        self._epochs: deque[Epoch] = deque()
        self._epoch = Epoch(first_index, 0)
        self._next_index = first_index
        self._last_timestamp = -1 << 62
        self.packets = 0
        self.octets = 0

    @property
    def started(self) -> bool:
        return bool(self._epochs)

    def rtp_timestamp(self, stream_timestamp: int) -> int:
        """The stream's media time as the 32 bits this viewer sees."""
        return stream_timestamp + self._timestamp_offset & 0xFFFFFFFF

    def start(self, units: Sequence[PacketizedUnit], step: int = SQUEEZED_STEP) -> None:
        """Begins with the cached GOP (or one keyframe), squeezed: `step` apart, the last at its own time.

        So the viewer is near live at once. A `step` as long as a unit takes to be sent looks to it like an even
        stream; a shorter one looks like a bad network, and its jitter buffer grows.
        """
        self._open(units[0])
        step = max(step, SQUEEZED_STEP)
        self._squeeze(units, units[-1].timestamp - step * (len(units) - 1), step)

    def replay(self, units: Sequence[PacketizedUnit], room: int) -> None:
        """Sends the cached GOP once more under new numbers, in the `room` of RTP time before the next unit is due."""
        self._open(units[0])
        step = max(1, min(SQUEEZED_STEP, room // (len(units) + 1)))
        self._squeeze(units, self._last_timestamp + step, step)

    def skip_to(self, keyframe: PacketizedUnit) -> None:
        """Goes on with this keyframe; what was left out leaves no hole in the sequence numbers."""
        self._open(keyframe)

    def admit(self, unit: PacketizedUnit) -> None:
        """Fixes the unit's timestamp, strictly above the one before. Once for each unit before its runs are sent."""
        timestamps = self._epoch.timestamps
        timestamp = timestamps.get(unit.first, unit.timestamp) if timestamps else unit.timestamp
        if timestamp <= self._last_timestamp:
            timestamp = timestamps[unit.first] = self._last_timestamp + 1
        self._last_timestamp = timestamp

    def protect(self, unit: PacketizedUnit, run: Run) -> bytes:
        """Protected datagrams of one run of a unit that was admitted in this epoch, joined for one GSO send."""
        start, end, _ = run
        epoch = self._epoch
        payloads = unit.payloads
        index = unit.first + epoch.offset + start
        joined = self._protect(epoch, unit, index, payloads[start:end], end == len(payloads))
        self._next_index = index + end - start
        self.packets += end - start
        self.octets += len(joined) - OVERHEAD_BYTES * (end - start)
        return joined

    def resend(self, sequence: int) -> bytes | None:
        """The newest packet that was sent under this 16-bit number, the same to the bit, or None."""
        newest = self._next_index - 1
        index = newest - (newest - sequence & 0xFFFF)
        epoch = next((epoch for epoch in reversed(self._epochs) if epoch.first_index <= index), None)
        if epoch is None:
            return None
        number = index - epoch.offset
        unit = self._ring.find(number)
        if unit is None:
            return None
        place = number - unit.first
        return self._protect(epoch, unit, index, [unit.payloads[place]], place + 1 == len(unit.payloads))

    def _protect(self, epoch: Epoch, unit: PacketizedUnit, index: int, payloads: list[bytes], marked: bool) -> bytes:
        timestamp = epoch.timestamps.get(unit.first, unit.timestamp) if epoch.timestamps else unit.timestamp
        return self._srtp.protect_run(index, payloads, timestamp + self._timestamp_offset, marked)

    def _open(self, unit: PacketizedUnit) -> None:
        """A new epoch in which `unit` takes the first index that was never used."""
        self._epoch = Epoch(self._next_index, self._next_index - unit.first)
        self._epochs.append(self._epoch)
        self._forget()

    def _forget(self) -> None:
        """Drops epochs none of whose packets is in the ring any more; none of them could be answered."""
        epochs = self._epochs
        while len(epochs) > 1 and (
            len(epochs) > _EPOCHS or epochs[1].first_index - epochs[0].offset <= self._ring.oldest
        ):
            epochs.popleft()

    def _squeeze(self, units: Sequence[PacketizedUnit], first: int, step: int) -> None:
        self._epoch.timestamps.update((unit.first, first + step * i) for i, unit in enumerate(units))


class RtpAudioSender:
    """One viewer's audio. No packet is ever sent again, so a counter is all it needs.

    One source, one payload type an encoding; the encodings share the counter and thereby never a nonce.
    """

    def __init__(self, srtp: dict[str, SrtpSender], first_index: int, timestamp_offset: int) -> None:
        self._srtp = srtp
        self._next_index = first_index
        self._timestamp_offset = timestamp_offset
        self.packets = 0
        self.octets = 0

    def rtp_timestamp(self, stream_timestamp: int) -> int:
        """The stream's media time as the 32 bits this viewer sees."""
        return stream_timestamp + self._timestamp_offset & 0xFFFFFFFF

    def protect(self, encoding: str, payload: bytes, timestamp: int) -> bytes | None:
        """A protected datagram, or None where this encoding was not negotiated."""
        srtp = self._srtp.get(encoding)
        if srtp is None:
            return None
        datagram = srtp.protect_run(self._next_index, [payload], timestamp + self._timestamp_offset, False)
        self._next_index += 1
        self.packets += 1
        self.octets += len(payload)
        return datagram
