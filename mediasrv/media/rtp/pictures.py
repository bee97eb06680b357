"""RTP packets to coded pictures, and back: what H.264 (RFC 6184) and H.265 (RFC 7798) have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from mediasrv.media.access_unit import ParameterSets
from mediasrv.media.rtp.base import (
    MARKER,
    NO_RTP,
    PLAIN,
    RTP_HEADER,
    RTP_HEADER_BYTES,
    Deliver,
    Depacketizer,
    packets_between,
    payload_span,
)

_FRAME_BYTES: Final = 4
"""`$`, channel and length stand before an interleaved packet (RFC 2326, 10.12)."""
_HEADERS_BYTES: Final = _FRAME_BYTES + RTP_HEADER_BYTES
_USER_DATA: Final = 5
"""A type of SEI message that many cameras send with each picture, in a SEI of its own."""
BYTES: Final = tuple(bytes((value,)) for value in range(256))
FU_START: Final = 0x80
FU_END: Final = 0x40
_FU_INNER: Final = 0xFF & ~(FU_START | FU_END)


@dataclass(frozen=True, slots=True)
class NalSyntax:
    """How a codec's NAL units and their fragments are told apart.

    A unit's type is its first byte, shifted and masked. `set_types` stand in the order in which a VideoFormat holds
    them; slices have the types `first_slice` to `last_slice`. A payload is a fragment where its first byte is `fu_mark`
    under `fu_mask`; before the fragment stand the NAL unit's header with that type, and a byte: `fu_bytes` in all.
    """

    type_shift: int
    type_mask: int
    set_types: tuple[int, ...]
    first_slice: int
    last_slice: int
    random_access: frozenset[int]
    delimiter: int
    sei: int
    fu_mask: int
    fu_mark: int
    fu_bytes: int

    @property
    def header_bytes(self) -> int:
        """Of a NAL unit."""
        return self.fu_bytes - 1

    def nal_type(self, nal: bytes) -> int:
        return nal[0] >> self.type_shift & self.type_mask


class PictureDepacketizer(Depacketizer):
    """NAL units whole, aggregated and fragmented, to length-prefixed access units.

    A damaged access unit is dropped whole and `damaged()` is called at the moment the damage is seen, before anything
    later is delivered: what refers to the lost picture is then the listener's to refuse. `parameter_sets` is replaced,
    before a keyframe is delivered, where the stream itself carries others: what is in the stream wins over the SDP.
    Access unit delimiters are dropped, SEI and parameter sets stay.
    """

    # What of the syntax is looked at for each packet has a place of its own: a class's attributes are found slowly.
    __slots__ = (
        "_broken",
        "_damaged",
        "_delimiter",
        "_ended_timestamp",
        "_first_slice",
        "_fu_bytes",
        "_fu_mark",
        "_fu_mask",
        "_keyframe",
        "_last_slice",
        "_marker_trusted",
        "_most_bytes",
        "_nal_at",
        "_nal_began_bytes",
        "_nal_header",
        "_picture",
        "_pieces",
        "_random_access",
        "_sei",
        "_size_bytes",
        "_timestamp",
        "_type_mask",
        "_type_shift",
        "damaged_units",
        "parameter_sets",
    )

    syntax: ClassVar[NalSyntax]

    def __init__(
        self,
        payload_type: int,
        deliver: Deliver,
        damaged: Callable[[float], None],
        *,
        most_bytes: int,
        parameter_sets: ParameterSets | None = None,
    ) -> None:
        super().__init__(payload_type, deliver)
        self.parameter_sets = parameter_sets
        self.damaged_units = 0
        self._damaged = damaged
        self._most_bytes = most_bytes
        self._timestamp = -1
        self._ended_timestamp = -1
        self._marker_trusted = True
        self._broken = False
        syntax = self.syntax
        self._type_shift, self._type_mask = syntax.type_shift, syntax.type_mask
        self._first_slice, self._last_slice = syntax.first_slice, syntax.last_slice
        self._random_access = syntax.random_access
        self._delimiter, self._sei = syntax.delimiter, syntax.sei
        self._fu_mask, self._fu_mark, self._fu_bytes = syntax.fu_mask, syntax.fu_mark, syntax.fu_bytes
        self._begin_unit()

    @classmethod
    def pick_sets(cls, nals: Sequence[bytes]) -> ParameterSets | None:
        """The first parameter set of each kind among these NAL units, None where one is missing."""
        syntax = cls.syntax
        found = tuple(
            next((nal for nal in nals if nal and syntax.nal_type(nal) == kind), b"") for kind in syntax.set_types
        )
        return found if all(found) else None

    def _begin_unit(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._nal_at = -1
        self._nal_began_bytes = 0
        self._nal_header = b""
        self._keyframe = False
        self._picture = False

    def receive(self, data: bytes, start: int, stop: int, now: float) -> int:
        # Hot: the header is parsed here once more rather than by a call.
        if stop - start < RTP_HEADER_BYTES:
            return NO_RTP
        first, second, sequence, timestamp = RTP_HEADER(data, start)
        at, end = start + RTP_HEADER_BYTES, stop
        if first != PLAIN:
            if first >> 6 != 2:
                return NO_RTP
            at, end = payload_span(data, start, stop)
        if sequence != self._expected:
            self._sequence_broke(sequence, timestamp, now)
        self._expected = (sequence + 1) & 0xFFFF
        self.packets += 1
        if second & 0x7F != self.payload_type or end - at < 2:
            self.strange_packets += 1
            return stop
        if timestamp != self._timestamp:
            self._end_unit(now)  # the marker never came: the next timestamp ends the access unit
            self._timestamp = timestamp
        fragment = data[at] & self._fu_mask == self._fu_mark
        if not self._broken:
            if fragment:
                self._take_fragment(data, at, end, now)
            else:
                self._take_payload(data, at, end, now)
        if second & MARKER:
            if self._marker_trusted:
                self._end_unit(now)
        elif fragment and self._nal_at >= 0 and first == PLAIN:
            stop = self._take_run(data, start, stop, now)
        return stop

    def _take_run(self, data: bytes, start: int, stop: int, now: float) -> int:
        """The middle fragments right behind the fragment `data[start:stop]`; answers where they end.

        They are most of a stream, and each differs from the one before in its sequence number and its payload only: two
        comparisons of bytes recognise it, and nothing needs to be parsed. What is not recognised is not taken.
        """
        frame, size = start - _FRAME_BYTES, stop - start + _FRAME_BYTES
        head = _HEADERS_BYTES + self._fu_bytes
        edge = frame + head - 1
        until_sequence = data[frame : start + 2]
        after_sequence = data[start + 4 : edge] + BYTES[data[edge] & _FU_INNER]
        append, expected = self._pieces.append, self._expected
        at, last = stop, len(data) - size
        while (
            at <= last
            and data.startswith(until_sequence, at)
            and data.startswith(after_sequence, at + 8)
            and data[at + 6] << 8 | data[at + 7] == expected
        ):
            append(data[at + head : at + size])
            expected = (expected + 1) & 0xFFFF
            at += size
        taken = (at - stop) // size
        self.packets += taken
        self._size_bytes += taken * (size - head)
        self._expected = expected
        if self._size_bytes > self._most_bytes:
            self._break(now)
        return at

    def disturb(self, now: float) -> None:
        """Bytes around the packets were junk: an access unit that had begun is not trusted."""
        if self._pieces:
            self._break(now)

    def _sequence_broke(self, sequence: int, timestamp: int, now: float) -> None:
        if self._expected >= 0:
            self.lost_packets += packets_between(self._expected, sequence)
            self._break(now)
        self._timestamp = timestamp  # nobody knows where the lost packets belonged: this access unit is damaged too

    def _break(self, now: float) -> None:
        self._begin_unit()
        if not self._broken:
            self._broken = True
            self.damaged_units += 1
            self._damaged(now)

    def _end_unit(self, now: float) -> None:
        if self._broken:
            self._broken = False
            self._begin_unit()
        elif self._picture:
            self._close_nal()
            self._ended_timestamp = self._timestamp
            keyframe, payload = self._keyframe, b"".join(self._pieces)
            self._begin_unit()
            if keyframe:
                self._adopt_parameter_sets(payload)
            self._deliver(self._timestamp, keyframe, payload, now)
        # Otherwise only parameter sets or SEI came: some cameras set the marker after them. They join the next picture.

    def _take_payload(self, data: bytes, at: int, end: int, now: float) -> None:
        """One RTP payload of at least two bytes that is no fragment; by its type."""
        raise NotImplementedError

    def _whole_header(self, data: bytes, at: int, kind: int) -> bytes:
        """The header of the NAL unit whose first fragment's payload is at `data[at]`."""
        raise NotImplementedError

    def _is_recovery_point(self, sei: bytes) -> bool:
        """Whether a SEI NAL unit says that decoding may begin at this picture."""
        return False

    def _take_fragment(self, data: bytes, at: int, end: int, now: float) -> None:
        body = at + self._fu_bytes
        if body > end:
            self._break(now)
            return
        edge = data[body - 1]
        if edge & FU_START:
            kind = edge & self._type_mask
            if not self._begin_nal(kind, now):
                return
            self._nal_at = len(self._pieces)
            self._nal_header = self._whole_header(data, at, kind)
            self._pieces.append(b"")  # the length is known at the end
            self._nal_began_bytes = self._size_bytes
        elif self._nal_at < 0:
            self._break(now)
            return
        self._pieces.append(data[body:end])
        self._size_bytes += end - body
        if self._size_bytes > self._most_bytes:
            self._break(now)
        elif edge & FU_END:
            self._close_nal()

    def _take_nal(self, data: bytes, at: int, end: int, now: float) -> None:
        kind = data[at] >> self._type_shift & self._type_mask
        if kind == self._delimiter or not self._begin_nal(kind, now):
            return
        size = end - at
        if kind == self._sei and size > 2 and data[at + 1] != _USER_DATA and self._is_recovery_point(data[at:end]):
            self._keyframe = True
        self._pieces.append(size.to_bytes(4, "big") + data[at:end])
        self._size_bytes += size + 4
        if self._size_bytes > self._most_bytes:
            self._break(now)

    def _take_aggregate(self, data: bytes, at: int, end: int, now: float) -> None:
        """NAL units one after the other, each behind its length in two bytes."""
        while at + 2 < end:
            start = at + 2
            at = start + int.from_bytes(data[at:start], "big")
            if at > end:
                self._break(now)
            if self._broken:
                return
            if at > start:
                self._take_nal(data, start, at, now)

    def _begin_nal(self, kind: int, now: float) -> bool:
        self._close_nal()
        if self._first_slice <= kind <= self._last_slice:
            if self._timestamp == self._ended_timestamp and not self._picture:
                # A second picture of the same timestamp: this camera marks each slice. From now on, only a new
                # timestamp ends an access unit; the one cut short is gone.
                self._marker_trusted = False
                self._break(now)
                return False
            self._picture = True
            if kind in self._random_access:
                self._keyframe = True
        return True

    def _close_nal(self) -> None:
        if self._nal_at >= 0:
            header = self._nal_header
            size = self._size_bytes - self._nal_began_bytes + len(header)
            self._pieces[self._nal_at] = size.to_bytes(4, "big") + header
            self._size_bytes += 4 + len(header)
            self._nal_at = -1

    def _adopt_parameter_sets(self, payload: bytes) -> None:
        """The first of each kind in a keyframe, so that a stream with several PPS does not seem to change at each."""
        syntax = self.syntax
        found = dict.fromkeys(syntax.set_types, b"")
        for start, end in nal_spans(payload):
            kind = payload[start] >> syntax.type_shift & syntax.type_mask
            if syntax.first_slice <= kind <= syntax.last_slice:
                break
            if found.get(kind) == b"":
                found[kind] = payload[start:end]
        known = self.parameter_sets or (b"",) * len(found)
        sets = tuple(new or old for new, old in zip(found.values(), known, strict=True))
        if sets != known and all(sets):
            self.parameter_sets = sets


def nal_spans(payload: bytes) -> Iterator[tuple[int, int]]:
    """Where the NAL units of a length-prefixed payload lie; empty ones are left out, the last may be cut short."""
    at, size = 0, len(payload)
    while at + 4 < size:
        start = at + 4
        at = min(start + int.from_bytes(payload[at:start], "big"), size)
        if at > start:
            yield start, at


def packetize_nals(
    payload: bytes, most_bytes: int, syntax: NalSyntax, aggregate_header: Callable[[list[bytes]], bytes]
) -> list[bytes]:
    """RTP payloads, in order, for one access unit of length-prefixed NAL units; the marker bit belongs on the last.

    Neighbouring NAL units that fit together are aggregated, so parameter sets and SEI travel in a small datagram of
    their own before the fragments of a picture. All fragments of a NAL unit have one size, only the last may be
    shorter: the kernel cuts them out of one buffer (UDP GSO). Access unit delimiters are dropped, and what is shorter
    than a NAL unit's header. `most_bytes` exceeds `syntax.fu_bytes`; `aggregate_header` is of at least two units.
    """
    payloads: list[bytes] = []
    together: list[bytes] = []
    together_bytes = syntax.header_bytes
    for start, end in nal_spans(payload):
        size = end - start
        if payload[start] >> syntax.type_shift & syntax.type_mask == syntax.delimiter or size < syntax.header_bytes:
            continue
        if together and together_bytes + 2 + size > most_bytes:
            payloads.append(_aggregate(together, aggregate_header))
            together, together_bytes = [], syntax.header_bytes
        if size > most_bytes:
            payloads += _fragment(payload, start, end, most_bytes, syntax)
        else:
            together.append(payload[start:end])
            together_bytes += 2 + size
    if together:
        payloads.append(_aggregate(together, aggregate_header))
    return payloads


def _aggregate(nals: list[bytes], aggregate_header: Callable[[list[bytes]], bytes]) -> bytes:
    """One NAL unit as it is, several each behind its length."""
    if len(nals) == 1:
        return nals[0]
    return aggregate_header(nals) + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def _fragment(payload: bytes, start: int, end: int, most_bytes: int, syntax: NalSyntax) -> list[bytes]:
    """Fragments of equal size; the NAL unit's header travels inside the first bytes of each."""
    first = payload[start]
    kind = first >> syntax.type_shift & syntax.type_mask
    body = start + syntax.header_bytes
    indicator = BYTES[first & ~syntax.fu_mask & 0xFF | syntax.fu_mark] + payload[start + 1 : body]
    count = -(-(end - body) // (most_bytes - syntax.fu_bytes))
    step = -(-(end - body) // count)
    middle = indicator + BYTES[kind]
    fragments = [middle + payload[at : min(at + step, end)] for at in range(body, end, step)]
    fragments[0] = indicator + BYTES[kind | FU_START] + fragments[0][syntax.fu_bytes :]
    fragments[-1] = indicator + BYTES[kind | FU_END] + fragments[-1][syntax.fu_bytes :]
    return fragments
