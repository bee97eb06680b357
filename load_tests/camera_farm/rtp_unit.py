"""Access units as interleaved RTP (RFC 2326, 10.12; RFC 3550), packetised once and patched for each send.

A farm sends the same clip to a hundred sessions. All that differs from one send to the next is twelve bytes a
packet, and the packet with the counter; so the packets lie ready in one buffer, and a send is one copy of it,
one `pack_into` a packet and one write.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from load_tests.media import join_avcc
from mediasrv.media.rtp import packetize_h264

PAYLOAD_BYTES: Final = 1400
VIDEO_PAYLOAD_TYPE: Final = 96
AAC_PAYLOAD_TYPE: Final = 97
PCMA_PAYLOAD_TYPE: Final = 8

_NAL_IDR, _NAL_SPS, _NAL_PPS = 5, 7, 8
_HEADER: Final = struct.Struct(">BBHBBHII")
_VARIABLE: Final = struct.Struct(">HII")
_HEADER_BYTES: Final = _HEADER.size


@dataclass(slots=True)
class Track:
    """The RTP state of one track in one session: where its next packet stands."""

    channel: int
    payload_type: int
    clock_rate: int
    ssrc: int
    sequence: int
    first_timestamp: int
    packets: int = 0
    payload_bytes: int = 0

    def timestamp(self, since_start_s: float) -> int:
        """RTP time of a moment, counted from the start of the session; wraps at 32 bits."""
        return (self.first_timestamp + round(since_start_s * self.clock_rate)) & 0xFFFFFFFF


@dataclass(slots=True)
class PacketRun:
    """Packets one after another in one buffer, with the offset of each."""

    data: bytes = b""
    offsets: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RtpUnit:
    """A coded picture: parameter sets, a place for the SEI, and its slices."""

    keyframe: bool
    before_sei: PacketRun
    after_sei: PacketRun
    parameter_sets: tuple[bytes, ...]

    def packets(self, sei: bytes, track: Track, timestamp: int, skip: int = 0) -> bytes:
        """The interleaved bytes to send, the marker on the last packet.

        The first `skip` packets are left out though they take sequence numbers: the camera's network lost them.
        """
        runs = (self.before_sei, _run([sei]), self.after_sei)
        pieces = [_stamp(run, track, timestamp) for run in runs if run.offsets]
        if not skip:
            return b"".join(pieces)
        return b"".join(_split(b"".join(pieces))[skip:])


def pack_unit(nals: Sequence[bytes]) -> RtpUnit:
    """NAL units of one access unit (no AUD, no SEI) as an RtpUnit."""
    parameter_sets = tuple(nal for nal in nals if nal[0] & 31 in (_NAL_SPS, _NAL_PPS))
    slices = [nal for nal in nals if nal[0] & 31 not in (_NAL_SPS, _NAL_PPS)]
    return RtpUnit(
        keyframe=any(nal[0] & 31 == _NAL_IDR for nal in slices),
        before_sei=_run(packetize_h264(join_avcc(parameter_sets), PAYLOAD_BYTES)),
        after_sei=_run(packetize_h264(join_avcc(slices), PAYLOAD_BYTES), marker=True),
        parameter_sets=parameter_sets,
    )


def audio_packet(payload: bytes, track: Track, timestamp: int) -> bytes:
    """One audio frame in one packet; AAC behind its AU header (RFC 3640, 3.3.6), with the marker."""
    marked = track.payload_type == AAC_PAYLOAD_TYPE
    if marked:
        payload = struct.pack(">HH", 16, len(payload) << 3) + payload
    kind = track.payload_type | 0x80 * marked
    size = len(payload)
    head = _HEADER.pack(0x24, track.channel, 12 + size, 0x80, kind, track.sequence & 0xFFFF, timestamp, track.ssrc)
    track.sequence += 1
    track.packets += 1
    track.payload_bytes += size
    return head + payload


def sender_report(track: Track, ntp_s: float, timestamp: int) -> bytes:
    """RTCP SR (RFC 3550, 6.4.1), interleaved on the channel after the track's."""
    whole = int(ntp_s)
    fraction = int((ntp_s - whole) * (1 << 32))
    report = struct.pack(
        ">BBHIIIIII",
        0x80,
        200,
        6,
        track.ssrc,
        whole,
        fraction,
        timestamp,
        track.packets & 0xFFFFFFFF,
        track.payload_bytes & 0xFFFFFFFF,
    )
    return struct.pack(">BBH", 0x24, track.channel + 1, len(report)) + report


def _run(payloads: Sequence[bytes], marker: bool = False) -> PacketRun:
    data, offsets = bytearray(), []
    for index, payload in enumerate(payloads):
        kind = VIDEO_PAYLOAD_TYPE | 0x80 * (marker and index == len(payloads) - 1)
        offsets.append(len(data))
        data += _HEADER.pack(0x24, 0, 12 + len(payload), 0x80, kind, 0, 0, 0) + payload
    return PacketRun(bytes(data), offsets)


def _stamp(run: PacketRun, track: Track, timestamp: int) -> bytearray:
    data = bytearray(run.data)
    sequence, ssrc, patch = track.sequence, track.ssrc, _VARIABLE.pack_into
    for offset in run.offsets:
        patch(data, offset + 6, sequence & 0xFFFF, timestamp, ssrc)
        sequence += 1
    if track.channel:
        for offset in run.offsets:
            data[offset + 1] = track.channel
    track.sequence = sequence
    track.packets += len(run.offsets)
    track.payload_bytes += len(data) - _HEADER_BYTES * len(run.offsets)
    return data


def _split(data: bytes) -> list[bytes]:
    packets, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
        packets.append(data[at:end])
        at = end
    return packets
