"""RTP payloads to access units and back: H.264 (RFC 6184), AAC (RFC 3640) and G.711 (RFC 3551).

A depacketizer takes RTP packets where they lie in the receive buffer, `receive(data, start, end, now)`, and calls
`deliver(rtp_timestamp, keyframe, payload, now)` once for each whole access unit: no object is made for a packet, since
a camera sends hundreds a second. It answers where the next packet begins, or that these bytes are no RTP at all: then
the interleaved stream around them must be resynchronised.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final

Deliver = Callable[[int, bool, bytes, float], None]
"""`(rtp_timestamp, keyframe, payload, now)`: the timestamp is the packet's own 32 bits."""
ParameterSets = tuple[bytes, bytes]
"""One SPS and one PPS, whole NAL units."""

_RTP_HEADER: Final = struct.Struct("!BBHI").unpack_from
_RTP_HEADER_BYTES: Final = 12
_FRAME_BYTES: Final = 4
"""`$`, channel and length stand before an interleaved packet (RFC 2326, 10.12)."""
NO_RTP: Final = -1
_PLAIN: Final = 0x80
"""First byte of a packet of version 2 without padding, extension and contributing sources."""
_MARKER: Final = 0x80
_RESTART: Final = 0x8000

_NAL_TYPE: Final = 0x1F
_NAL_REF_IDC: Final = 0x60
_LAST_VCL: Final = 5
_IDR: Final = 5
_SPS: Final = 7
_PPS: Final = 8
_AUD: Final = 9
_LAST_SINGLE: Final = 23
_STAP_A: Final = 24
_FU_A: Final = 28
_FU_START: Final = 0x80
_FU_END: Final = 0x40
_FU_EDGE: Final = _FU_START | _FU_END


class Depacketizer:
    """What all payload formats share: header, sequence, loss. Not thread-safe; never raises on any bytes."""

    __slots__ = ("_deliver", "_expected", "lost_packets", "packets", "payload_type", "strange_packets")

    def __init__(self, payload_type: int, deliver: Deliver) -> None:
        self.payload_type = payload_type
        self.packets = 0
        self.lost_packets = 0
        self.strange_packets = 0
        """Packets of another payload type, or with nothing usable in them."""
        self._deliver = deliver
        self._expected = -1

    def receive(self, data: bytes, start: int, stop: int, now: float) -> int:
        """Takes the RTP packet `data[start:stop]` that arrived at `now` (monotonic seconds).

        Answers where the next one's frame begins: `stop`, or further on where packets behind it were taken, too;
        NO_RTP where it is none.
        """
        if stop - start < _RTP_HEADER_BYTES or data[start] >> 6 != 2:
            return NO_RTP
        first, second, sequence, timestamp = _RTP_HEADER(data, start)
        at, end = start + _RTP_HEADER_BYTES, stop
        if first != _PLAIN:
            at, end = payload_span(data, start, stop)
        self.packets += 1
        if sequence != self._expected and self._expected >= 0:
            self.lost_packets += packets_between(self._expected, sequence)
            self._on_loss()
        self._expected = (sequence + 1) & 0xFFFF
        if second & 0x7F == self.payload_type and at < end:
            self._take(data, at, end, timestamp, second & _MARKER != 0, now)
        else:
            self.strange_packets += 1
        return stop

    def _on_loss(self) -> None:
        pass

    def _take(self, data: bytes, at: int, end: int, timestamp: int, marker: bool, now: float) -> None:
        raise NotImplementedError


def payload_span(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the payload lies in a packet with CSRCs, an extension or padding (RFC 3550, 5.1 and 5.3.1).

    Start equals end, inside the packet, where the header claims more than there is.
    """
    first = data[start]
    at = start + _RTP_HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        if at + 4 > end:
            return end, end
        at += 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
    if first & 0x20:
        padding = data[end - 1]
        end = end - padding if padding else start
    return (at, end) if at <= end else (start, start)


def packets_between(expected: int, sequence: int) -> int:
    """How many packets are missing. A step back is a sender that began anew: counted as one, since nobody knows."""
    missing = (sequence - expected) & 0xFFFF
    return missing if missing < _RESTART else 1


class G711Depacketizer(Depacketizer):
    """Each packet is one access unit of samples as they are (RFC 3551, 4.5.14)."""

    __slots__ = ()

    def receive(self, data: bytes, start: int, stop: int, now: float) -> int:
        # Hot: up to a hundred packets a second, nearly all of which follow the one before.
        if stop - start > _RTP_HEADER_BYTES:
            first, second, sequence, timestamp = _RTP_HEADER(data, start)
            if first == _PLAIN and sequence == self._expected and second & 0x7F == self.payload_type:
                self._expected = (sequence + 1) & 0xFFFF
                self.packets += 1
                self._deliver(timestamp, True, data[start + _RTP_HEADER_BYTES : stop], now)
                return stop
        return super().receive(data, start, stop, now)

    def _take(self, data: bytes, at: int, end: int, timestamp: int, marker: bool, now: float) -> None:
        self._deliver(timestamp, True, data[at:end], now)


class AacDepacketizer(Depacketizer):
    """RFC 3640, mode AAC-hbr or AAC-lbr: several access units a packet, or one over several packets.

    `size_bits` and `index_bits` are the widths in an AU header; `unit_samples` is the length of an access unit (1024 or
    960).
    """

    __slots__ = ("_fragment", "_fragment_bytes", "_fragment_timestamp", "_index_bits", "_size_bits", "_unit_samples")

    def __init__(
        self, payload_type: int, deliver: Deliver, *, size_bits: int = 13, index_bits: int = 3, unit_samples: int = 1024
    ) -> None:
        super().__init__(payload_type, deliver)
        self._size_bits = size_bits
        self._index_bits = index_bits
        self._unit_samples = unit_samples
        self._fragment = b""
        self._fragment_bytes = 0
        self._fragment_timestamp = -1

    def _on_loss(self) -> None:
        self._fragment_timestamp = -1

    def _take(self, data: bytes, at: int, end: int, timestamp: int, marker: bool, now: float) -> None:
        sizes, at = self._au_headers(data, at, end)
        if len(sizes) == 1 and sizes[0] > end - at:
            self._take_fragment(data[at:end], sizes[0], timestamp, now)
            return
        self._fragment_timestamp = -1
        for index, size in enumerate(sizes):
            if at + size > end:
                self.strange_packets += 1
                return
            self._deliver((timestamp + index * self._unit_samples) & 0xFFFFFFFF, True, data[at : at + size], now)
            at += size

    def _au_headers(self, data: bytes, at: int, end: int) -> tuple[list[int], int]:
        """Sizes of the access units, and where the first begins (RFC 3640, 3.2.1). No sizes for nonsense."""
        header_bits = int.from_bytes(data[at : at + 2], "big")
        width = self._size_bits + self._index_bits
        body = at + 2 + (header_bits + 7) // 8
        if body >= end or header_bits < width:
            self.strange_packets += 1
            return [], end
        headers = int.from_bytes(data[at + 2 : body], "big") >> -header_bits % 8
        count = header_bits // width
        size_mask = (1 << self._size_bits) - 1
        shifts = range(header_bits - self._size_bits, -1, -width)
        return [size for shift in shifts[:count] if (size := headers >> shift & size_mask)], body

    def _take_fragment(self, piece: bytes, size: int, timestamp: int, now: float) -> None:
        if (timestamp, size) != (self._fragment_timestamp, self._fragment_bytes):
            self._fragment, self._fragment_timestamp, self._fragment_bytes = b"", timestamp, size
        self._fragment += piece
        if len(self._fragment) == size:
            self._fragment_timestamp = -1
            self._deliver(timestamp, True, self._fragment, now)
        elif len(self._fragment) > size:
            self._fragment_timestamp = -1
            self.strange_packets += 1


class H264Depacketizer(Depacketizer):
    """Single NAL units, STAP-A and FU-A (RFC 6184, packetization modes 0 and 1) to length-prefixed access units.

    A damaged access unit is dropped whole and `damaged()` is called at the moment the damage is seen, before anything
    later is delivered: what refers to the lost picture is then the listener's to refuse. `parameter_sets` is replaced,
    before a keyframe is delivered, where the stream itself carries others: what is in the stream wins over the SDP.
    Access unit delimiters are dropped, SEI and parameter sets stay.
    """

    __slots__ = (
        "_broken",
        "_damaged",
        "_ended_timestamp",
        "_keyframe",
        "_marker_trusted",
        "_most_bytes",
        "_nal_at",
        "_nal_began_bytes",
        "_nal_header",
        "_picture",
        "_pieces",
        "_size_bytes",
        "_timestamp",
        "damaged_units",
        "parameter_sets",
    )

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
        self._begin_unit()

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
        if stop - start < _RTP_HEADER_BYTES:
            return NO_RTP
        first, second, sequence, timestamp = _RTP_HEADER(data, start)
        at, end = start + _RTP_HEADER_BYTES, stop
        if first != _PLAIN:
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
        if not self._broken:
            self._take_payload(data, at, end, now)
        if second & _MARKER:
            if self._marker_trusted:
                self._end_unit(now)
        elif self._nal_at >= 0 and first == _PLAIN and data[at] & _NAL_TYPE == _FU_A:
            stop = self._take_run(data, start, stop)
        return stop

    def _take_run(self, data: bytes, start: int, stop: int) -> int:
        """The middle fragments right behind the first fragment `data[start:stop]`; answers where they end.

        They are most of a stream, and each differs from the one before in its sequence number and its payload only: two
        comparisons of bytes recognise it, and nothing needs to be parsed. What is not recognised is not taken.
        """
        frame, size = start - _FRAME_BYTES, stop - start + _FRAME_BYTES
        until_sequence = data[frame : start + 2]
        after_sequence = data[start + 4 : start + 13] + bytes((data[start + 13] & _NAL_TYPE,))
        append, expected = self._pieces.append, self._expected
        at, last = stop, len(data) - size
        while (
            at <= last
            and data.startswith(until_sequence, at)
            and data.startswith(after_sequence, at + 8)
            and data[at + 6] << 8 | data[at + 7] == expected
        ):
            append(data[at + 18 : at + size])
            expected = (expected + 1) & 0xFFFF
            at += size
        taken = (at - stop) // size
        self.packets += taken
        self._size_bytes += taken * (size - 18)
        self._expected = expected
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
        kind = data[at] & _NAL_TYPE
        if kind == _FU_A:
            self._take_fragment(data, at, end, now)
        elif 0 < kind <= _LAST_SINGLE:
            self._take_nal(data, at, end, now)
        elif kind == _STAP_A:
            self._take_aggregate(data, at + 1, end, now)
        else:
            self._break(now)  # interleaved mode, which was not negotiated: the pictures cannot be put together

    def _take_fragment(self, data: bytes, at: int, end: int, now: float) -> None:
        edge = data[at + 1]
        if edge & _FU_START:
            if not self._begin_nal(edge & _NAL_TYPE, now):
                return
            self._nal_at = len(self._pieces)
            self._nal_header = bytes((data[at] & 0xE0 | edge & _NAL_TYPE,))
            self._pieces.append(b"")  # the length is known at the end
            self._nal_began_bytes = self._size_bytes
        elif self._nal_at < 0:
            self._break(now)
            return
        self._pieces.append(data[at + 2 : end])
        self._size_bytes += end - at - 2
        if self._size_bytes > self._most_bytes:
            self._break(now)
        elif edge & _FU_END:
            self._close_nal()

    def _take_nal(self, data: bytes, at: int, end: int, now: float) -> None:
        kind = data[at] & _NAL_TYPE
        if kind == _AUD or not self._begin_nal(kind, now):
            return
        size = end - at
        self._pieces.append(size.to_bytes(4, "big") + data[at:end])
        self._size_bytes += size + 4
        if self._size_bytes > self._most_bytes:
            self._break(now)

    def _take_aggregate(self, data: bytes, at: int, end: int, now: float) -> None:
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
        if 0 < kind <= _LAST_VCL:
            if self._timestamp == self._ended_timestamp and not self._picture:
                # A second picture of the same timestamp: this camera marks each slice. From now on, only a new
                # timestamp ends an access unit; the one cut short is gone.
                self._marker_trusted = False
                self._break(now)
                return False
            self._picture = True
            self._keyframe |= kind == _IDR
        return True

    def _close_nal(self) -> None:
        if self._nal_at >= 0:
            size = self._size_bytes - self._nal_began_bytes + 1
            self._pieces[self._nal_at] = size.to_bytes(4, "big") + self._nal_header
            self._size_bytes += 5
            self._nal_at = -1

    def _adopt_parameter_sets(self, payload: bytes) -> None:
        """The first SPS and PPS of a keyframe, so that a stream with several PPS does not seem to change at each."""
        sps = pps = b""
        for start, end in _nal_spans(payload):
            kind = payload[start] & _NAL_TYPE
            if kind == _SPS and not sps:
                sps = payload[start:end]
            elif kind == _PPS and not pps:
                pps = payload[start:end]
            elif kind <= _LAST_VCL:
                break
        known = self.parameter_sets or (b"", b"")
        found = (sps or known[0], pps or known[1])
        if found != known and all(found):
            self.parameter_sets = found


def split_parameter_sets(nals: Sequence[bytes]) -> ParameterSets | None:
    """The first SPS and the first PPS among these NAL units, None where one is missing."""
    sps = next((nal for nal in nals if nal and nal[0] & _NAL_TYPE == _SPS), None)
    pps = next((nal for nal in nals if nal and nal[0] & _NAL_TYPE == _PPS), None)
    return (sps, pps) if sps and pps else None


def packetize_h264(payload: bytes, most_bytes: int) -> list[bytes]:
    """RTP payloads, in order, for one access unit of length-prefixed NAL units (RFC 6184, packetization mode 1).

    None is longer than `most_bytes` (at least 3). Neighbouring NAL units that fit together share a STAP-A, so parameter
    sets and SEI travel in a small datagram of their own before the fragments of a picture. All fragments of a NAL unit
    have one size, only the last may be shorter: the kernel cuts them out of one buffer (UDP GSO). Access unit
    delimiters are dropped. The marker bit belongs on the last payload.
    """
    payloads: list[bytes] = []
    together: list[bytes] = []
    together_bytes = 1
    for start, end in _nal_spans(payload):
        if payload[start] & _NAL_TYPE == _AUD:
            continue
        size = end - start
        if together and together_bytes + 2 + size > most_bytes:
            payloads.append(_aggregate(together))
            together, together_bytes = [], 1
        if size > most_bytes:
            payloads += _fragment(payload, start, end, most_bytes)
        else:
            together.append(payload[start:end])
            together_bytes += 2 + size
    if together:
        payloads.append(_aggregate(together))
    return payloads


def _nal_spans(payload: bytes) -> Iterator[tuple[int, int]]:
    at, size = 0, len(payload)
    while at + 4 < size:
        start = at + 4
        at = min(start + int.from_bytes(payload[at:start], "big"), size)
        if at > start:
            yield start, at


def _aggregate(nals: list[bytes]) -> bytes:
    """One NAL unit as it is, several as a STAP-A (RFC 6184, 5.7.1)."""
    if len(nals) == 1:
        return nals[0]
    header = _STAP_A | max(nal[0] & _NAL_REF_IDC for nal in nals)
    return bytes((header,)) + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def _fragment(payload: bytes, start: int, end: int, most_bytes: int) -> list[bytes]:
    """FU-A fragments (RFC 6184, 5.8) of equal size; the NAL header travels inside the two bytes of each."""
    indicator, kind = payload[start] & 0xE0 | _FU_A, payload[start] & _NAL_TYPE
    body = start + 1
    count = -(-(end - body) // (most_bytes - 2))
    step = -(-(end - body) // count)
    middle = bytes((indicator, kind))
    fragments = [middle + payload[at : min(at + step, end)] for at in range(body, end, step)]
    fragments[0] = bytes((indicator, kind | _FU_START)) + fragments[0][2:]
    fragments[-1] = bytes((indicator, kind | _FU_END)) + fragments[-1][2:]
    return fragments
