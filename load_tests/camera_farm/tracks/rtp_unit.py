"""Access units as framed RTP (RFC 2326, 10.12; RFC 3550), packetised once and patched for each send.

A farm sends the same clip to a hundred sessions. All that differs from one send to the next is twelve bytes a
packet, and the packet with the counter; so the packets lie ready in one buffer, and a send is one copy of it,
one `pack_into` a packet and one write. UDP sends the same packets without their frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from load_tests.camera_farm.tracks.payloads import packetise
from load_tests.camera_farm.tracks.shapes import VideoCodec

PAYLOAD_BYTES: Final = 1400
VIDEO_PAYLOAD_TYPE: Final = 96
MARKER: Final = 0x80
"""Of the second byte of a packet."""
FRAME_BYTES: Final = 4
"""`$`, channel and length stand before each packet."""

_HEADER: Final = struct.Struct(">BBHBBHII")
_VARIABLE: Final = struct.Struct(">HII")
_HEADER_BYTES: Final = _HEADER.size
_H264_IDR, _H264_SEI, _RECOVERY_POINT = 5, 6, 6
_H265_RANDOM_ACCESS: Final = range(16, 22)
_PARAMETER_SETS: Final = {VideoCodec.H264: (7, 8), VideoCodec.H265: (32, 33, 34)}


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
    """A coded picture: parameter sets, a place for the SEI, and its slices.

    It is shown `shown_after` pictures later than it would be if pictures came in the order in which they are shown.
    """

    keyframe: bool
    before_sei: PacketRun
    after_sei: PacketRun
    parameter_sets: tuple[bytes, ...]
    shown_after: int = 0

    def packets(self, sei: bytes, track: Track, timestamp: int, skip: int = 0) -> bytes:
        """The interleaved bytes to send, the marker on the last packet.

        The first `skip` packets are left out though they take sequence numbers: the camera's network lost them.
        """
        pieces: list[bytes | bytearray] = []
        if self.before_sei.offsets:
            pieces.append(_stamp(self.before_sei, track, timestamp))
        pieces.append(one_packet(sei, track, timestamp))
        pieces.append(_stamp(self.after_sei, track, timestamp))
        data = b"".join(pieces)
        return b"".join(list(split_frames(data))[skip:]) if skip else data


def pack_unit(
    nals: Sequence[bytes],
    codec: VideoCodec = VideoCodec.H264,
    *,
    shown_after: int = 0,
    marker: bool = True,
    in_band_sets: bool = True,
) -> RtpUnit:
    """NAL units of one access unit (no AUD) as an RtpUnit; see VideoShape for the peculiarities."""
    parameter_sets = tuple(nal for nal in nals if nal_type(nal, codec) in _PARAMETER_SETS[codec])
    rest = [nal for nal in nals if nal_type(nal, codec) not in _PARAMETER_SETS[codec]]
    sent_sets = parameter_sets if in_band_sets else ()
    return RtpUnit(
        keyframe=any(_is_keyframe(nal, codec) for nal in rest),
        before_sei=_run(packetise(sent_sets, codec, PAYLOAD_BYTES)),
        after_sei=_run(packetise(rest, codec, PAYLOAD_BYTES), marker=marker),
        parameter_sets=parameter_sets,
        shown_after=shown_after,
    )


def nal_type(nal: bytes, codec: VideoCodec) -> int:
    return nal[0] & 0x1F if codec is VideoCodec.H264 else nal[0] >> 1 & 0x3F


def _is_keyframe(nal: bytes, codec: VideoCodec) -> bool:
    kind = nal_type(nal, codec)
    if codec is VideoCodec.H265:
        return kind in _H265_RANDOM_ACCESS
    return kind == _H264_IDR or (kind == _H264_SEI and nal[1] == _RECOVERY_POINT)


def one_packet(payload: bytes, track: Track, timestamp: int, marker: int = 0) -> bytes:
    """A framed packet; `marker` is MARKER or 0."""
    size, sequence = len(payload), track.sequence
    track.sequence = sequence + 1
    track.packets += 1
    track.payload_bytes += size
    kind = track.payload_type | marker
    head = _HEADER.pack(0x24, track.channel, 12 + size, 0x80, kind, sequence & 0xFFFF, timestamp, track.ssrc)
    return head + payload


def sender_report(track: Track, ntp_s: float, timestamp: int) -> bytes:
    """RTCP SR and SDES (RFC 3550, 6.1), framed for the channel after the track's."""
    whole = int(ntp_s)
    fraction = int((ntp_s - whole) * (1 << 32))
    sent = (track.packets & 0xFFFFFFFF, track.payload_bytes & 0xFFFFFFFF)
    report = struct.pack(">BBHIIIIII", 0x80, 200, 6, track.ssrc, whole & 0xFFFFFFFF, fraction, timestamp, *sent)
    data = report + struct.pack(">BBHI12s", 0x81, 202, 4, track.ssrc, b"\x01\x06camera")
    return struct.pack(">BBH", 0x24, track.channel + 1, len(data)) + data


def split_frames(data: bytes) -> Iterator[bytes]:
    """The framed packets in what one of the functions above made."""
    at = 0
    while at < len(data):
        end = at + FRAME_BYTES + int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at:end]
        at = end


def _run(payloads: Sequence[bytes], marker: bool = False) -> PacketRun:
    data, offsets = bytearray(), []
    for index, payload in enumerate(payloads):
        kind = VIDEO_PAYLOAD_TYPE | MARKER * (marker and index == len(payloads) - 1)
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
