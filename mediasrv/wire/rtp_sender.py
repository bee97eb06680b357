"""What one viewer is sent: which source, sequence number and timestamp each shared packet travels under.

**(SSRC, ROC, sequence) -> (header, payload) is a function.** GCM makes its nonce of the left side; a second
content under it would give the authentication key away. An *epoch* maps packet indices to the packets of one stream by
one offset. Joining, moving to another stream, replaying the GOP and skipping ahead open a new epoch behind the highest
index that was ever protected, so an index belongs to one epoch for good. A packet asked for again is looked up in the
epoch of its index; what lies outside a known epoch or has left its ring is not answered.

Where the viewer offered it, what is asked for again travels under a source of its own (RTX, RFC 4588): its numbers only
ever rise, and the viewer's count of what was lost stays true. Else it is sent as it was, the same to the bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from mediasrv.wire.packet_ring import PacketizedUnit, PacketRing, Run
from mediasrv.wire.srtp import EXTENSION_BYTES

SQUEEZED_STEP: Final = 90
"""Cached access units are at least 1 ms apart in RTP time."""
_EPOCHS: Final = 64
PATIENCE: Final = 3
"""In so many steps, a keyframe each, a viewer is asked to hold pictures back: in one, its picture would stand still."""


class RtpProtector(Protocol):
    """Protects the packets of one source and payload type, the same to the bit for the same arguments."""

    def protect_run(
        self, index: int, payloads: list[bytes], timestamp: int, marked: bool, extended: bool = False
    ) -> bytes: ...


@dataclass(slots=True)
class Epoch:
    """From packet index `first_index` to the next epoch's: index = number in the stream of `ring` + `offset`.

    `timestamps` holds the stream time of units that travel under another than their own, by their first number.
    """

    first_index: int
    offset: int
    ring: PacketRing
    srtp: RtpProtector
    timestamps: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VideoSources:
    """By the encoding of a stream: the source of its packets and, where there is one, that of their repair (RTX).
    `media` also takes how patient its keyframes ask the viewer to be, from 0 to PATIENCE.

    `extended` says that keyframes carry the header extension, `shorter_bytes` by how much datagrams are shorter than
    those of GCM.
    """

    media: Callable[[str, int], RtpProtector]
    repair: Callable[[str], RtpProtector | None]
    extended: bool = False
    shorter_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A packet that was sent before."""

    epoch: Epoch
    unit: PacketizedUnit
    index: int

    @property
    def place(self) -> int:
        return self.index - self.epoch.offset - self.unit.first


class RtpVideoSender:
    """One viewer's video. `start` first, when it is known what the stream is; units are then sent in the order in which
    they were `admit`ted.

    All numbers are the caller's to choose: the first index of media and of repair, and an offset to RTP time.
    """

    def __init__(
        self, sources: VideoSources, ring: PacketRing, first_index: int, timestamp_offset: int, first_repair: int = 0
    ) -> None:
        self._sources = sources
        self._ring = ring
        self._timestamp_offset = timestamp_offset
        self._epochs: deque[Epoch] = deque()
        self._epoch: Epoch
        self._next_index = first_index
        self._next_repair = first_repair
        self._last_timestamp = -1 << 62
        self.patient = False
        """Whether the viewer should hold pictures back, from the next epochs on: it loses packets."""
        self._patience = 0
        self._extended = sources.extended
        self._shorter_bytes = sources.shorter_bytes
        self.packets = 0
        self.octets = 0

    @property
    def started(self) -> bool:
        return bool(self._epochs)

    def rtp_timestamp(self, stream_timestamp: int) -> int:
        """The stream's media time as the 32 bits this viewer sees."""
        return stream_timestamp + self._timestamp_offset & 0xFFFFFFFF

    def size(self, unit: PacketizedUnit, run: Run) -> int:
        """The size in bytes of this viewer's datagrams of a run."""
        size = run[2] - self._shorter_bytes
        return size + EXTENSION_BYTES if self._extended and unit.keyframe else size

    def start(self, units: Sequence[PacketizedUnit], step: int = SQUEEZED_STEP) -> None:
        """Begins, or goes on, with the cached GOP (or one keyframe), squeezed: `step` apart, the last at its own time.
        What was left out before leaves no hole in the sequence numbers.

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

    def move_to(self, ring: PacketRing) -> None:
        """Another stream, whose time line has the same origin: `start` with a keyframe of it."""
        self._ring = ring

    def renew(self, unit: PacketizedUnit) -> None:
        """Goes on with this keyframe, under the next index, where the viewer is not yet as patient as it should be. All
        that was admitted before must have been sent.
        """
        if self._extended and self._patience != (PATIENCE if self.patient else 0):
            self._open(unit)

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
        epoch, payloads = self._epoch, unit.payloads
        index = unit.first + epoch.offset + start
        timestamp = epoch.timestamps.get(unit.first, unit.timestamp) if epoch.timestamps else unit.timestamp
        last = end == len(payloads)
        self._next_index = index + end - start
        self.packets += end - start
        self.octets += unit.octets if last and not start else sum(map(len, payloads[start:end]))
        return epoch.srtp.protect_run(
            index,
            payloads[start:end],
            timestamp + self._timestamp_offset,
            last,
            self._extended and unit.keyframe,
        )

    def resend(self, sequence: int) -> bytes | None:
        """The newest packet that was sent under this 16-bit number, or None where it is not known any more."""
        newest = self._next_index - 1
        sent = self._find(newest - (newest - sequence & 0xFFFF))
        if sent is None:
            return None
        repair = self._sources.repair(sent.epoch.ring.encoding)
        if repair is not None:
            return self._repair(repair, sent)
        epoch, unit, place = sent.epoch, sent.unit, sent.place
        timestamp = epoch.timestamps.get(unit.first, unit.timestamp) + self._timestamp_offset
        marked, extended = place + 1 == len(unit.payloads), self._extended and unit.keyframe
        return epoch.srtp.protect_run(sent.index, [unit.payloads[place]], timestamp, marked, extended)

    def repair_newest(self, count: int) -> list[bytes]:
        """The last packets of this stream once more, which fill a line to see what it carries; none without RTX."""
        repair = self._sources.repair(self._ring.encoding) if self.started else None
        if repair is None:
            return []
        found = [self._find(index) for index in range(self._next_index - count, self._next_index)]
        return [self._repair(repair, sent) for sent in found if sent is not None]

    def _find(self, index: int) -> _Sent | None:
        epoch = next((epoch for epoch in reversed(self._epochs) if epoch.first_index <= index), None)
        unit = epoch.ring.find(index - epoch.offset) if epoch else None
        return None if epoch is None or unit is None else _Sent(epoch, unit, index)

    def _repair(self, repair: RtpProtector, sent: _Sent) -> bytes:
        """RFC 4588, 4: the original sequence number before the payload; timestamp and marker as they were."""
        unit, place = sent.unit, sent.place
        payload = (sent.index & 0xFFFF).to_bytes(2, "big") + unit.payloads[place]
        timestamp = sent.epoch.timestamps.get(unit.first, unit.timestamp) + self._timestamp_offset
        datagram = repair.protect_run(self._next_repair, [payload], timestamp, place + 1 == len(unit.payloads))
        self._next_repair += 1
        return datagram

    def _open(self, unit: PacketizedUnit) -> None:
        """A new epoch in which `unit` takes the first index that was never used."""
        self._patience = min(PATIENCE, self._patience + 1) if self.patient else 0
        srtp = self._sources.media(self._ring.encoding, self._patience)
        self._epoch = Epoch(self._next_index, self._next_index - unit.first, self._ring, srtp)
        self._epochs.append(self._epoch)
        self._forget()

    def _forget(self) -> None:
        """Drops epochs none of whose packets is in its ring any more; none of them could be answered."""
        epochs = self._epochs
        while len(epochs) > 1 and (
            len(epochs) > _EPOCHS or epochs[1].first_index - epochs[0].offset <= epochs[0].ring.oldest
        ):
            epochs.popleft()

    def _squeeze(self, units: Sequence[PacketizedUnit], first: int, step: int) -> None:
        self._epoch.timestamps.update((unit.first, first + step * i) for i, unit in enumerate(units))


class RtpAudioSender:
    """One viewer's audio. No packet is ever sent again, so a counter is all it needs.

    One source, one payload type an encoding; the encodings share the counter and thereby never a nonce.
    """

    def __init__(self, srtp: Callable[[str], RtpProtector | None], first_index: int, timestamp_offset: int) -> None:
        self._srtp = srtp
        self._next_index = first_index
        self._timestamp_offset = timestamp_offset
        self._encoding = ""
        self._last_timestamp = 0
        self.packets = 0
        self.octets = 0

    def rtp_timestamp(self, stream_timestamp: int) -> int:
        """The stream's media time as the 32 bits this viewer sees."""
        return stream_timestamp + self._timestamp_offset & 0xFFFFFFFF

    def protect(self, encoding: str, payload: bytes, timestamp: int) -> bytes | None:
        """A protected datagram; None where this encoding was not negotiated, or time would run back: another stream's
        sound may lie a little behind what was heard.
        """
        srtp = self._srtp(encoding)
        if srtp is None or (encoding == self._encoding and timestamp <= self._last_timestamp):
            return None
        self._encoding, self._last_timestamp = encoding, timestamp
        datagram = srtp.protect_run(self._next_index, [payload], timestamp + self._timestamp_offset, False)
        self._next_index += 1
        self.packets += 1
        self.octets += len(payload)
        return datagram
