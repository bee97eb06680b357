"""A track as it goes out: whole RTP packets (RFC 3550, 5.1) that any number of receivers can share."""

from __future__ import annotations

import struct
from typing import Final

from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Format, VideoFormat
from mediasrv.media.nal import join_avcc
from mediasrv.media.rtp.audio import packetize_aac, packetize_g711
from mediasrv.media.rtp.base import MARKER, PLAIN
from mediasrv.media.rtp.h264 import H264Depacketizer, packetize_h264
from mediasrv.media.rtp.h265 import H265Depacketizer, packetize_h265
from mediasrv.media.rtp.pictures import nal_spans
from mediasrv.media.stream_clock import StreamClock

_HEADER: Final = struct.Struct("!BBHII").pack
_SYNTAXES: Final = {Codec.H264: H264Depacketizer.syntax, Codec.H265: H265Depacketizer.syntax}
_G711: Final = (Codec.PCMA, Codec.PCMU)
_MARKED_AS_TALK: Final = (*_G711, Codec.OPUS)
"""Of these the marker says that talk begins after silence (RFC 3551, 4.1), which cameras do not tell."""


class OutgoingTrack:
    """Numbers and times the packets of one track: one SSRC, whose sequence and time go on over a camera's sessions.

    `first_sequence` and `timestamp_offset` are random (RFC 3550, 5.1); `payload_bytes` bounds a payload.
    """

    def __init__(
        self,
        form: Format,
        payload_type: int,
        *,
        ssrc: int,
        first_sequence: int,
        timestamp_offset: int,
        payload_bytes: int,
    ) -> None:
        self.format = form
        self.payload_type = payload_type
        self.ssrc = ssrc
        self.sequence = first_sequence
        """Of the packet that comes next."""
        self.packets = 0
        self.octets = 0
        self._timestamp_offset = timestamp_offset
        self._payload_bytes = payload_bytes
        self._clock = StreamClock(form.clock_rate)

    def packetize(self, unit: AccessUnit) -> list[bytes]:
        """The unit's RTP packets, in order; none where it holds nothing to send. Hot: once a unit, for all receivers.

        Pictures travel under the time at which they are shown, so those with B pictures do not rise.
        """
        payloads, step = _payloads(unit, self._payload_bytes)
        timestamp = self._clock.place(unit) + unit.pts - unit.dts + self._timestamp_offset
        packets = []
        sequence, marker = self.sequence, 0
        last = -1 if self.format.codec in _MARKED_AS_TALK else len(payloads) - 1
        for number, payload in enumerate(payloads):
            if number == last:
                marker = MARKER
            packets.append(
                _HEADER(PLAIN, marker | self.payload_type, sequence, timestamp & 0xFFFFFFFF, self.ssrc) + payload
            )
            self.octets += len(payload)
            sequence = sequence + 1 & 0xFFFF
            timestamp += step
        self.sequence = sequence
        self.packets += len(packets)
        return packets

    def at(self, now_s: float) -> tuple[int, int] | None:
        """(wall time in microseconds, RTP timestamp) at monotonic `now_s`, for a sender report; None before media."""
        found = self._clock.at(now_s)
        return None if found is None else (found[0], found[1] + self._timestamp_offset & 0xFFFFFFFF)


def with_parameter_sets(unit: AccessUnit) -> bytes:
    """The payload; a keyframe without parameter sets gets those of its format, for whoever joins there."""
    video = unit.format
    if not unit.keyframe or not isinstance(video, VideoFormat):
        return unit.payload
    syntax = _SYNTAXES[video.codec]
    sps = syntax.set_types[-2]  # the PPS is the last
    if any(syntax.nal_type(unit.payload[start : start + 1]) == sps for start, _ in nal_spans(unit.payload)):
        return unit.payload
    return join_avcc(video.parameter_sets) + unit.payload


def _payloads(unit: AccessUnit, most_bytes: int) -> tuple[list[bytes], int]:
    """RTP payloads, and by how much RTP time each is later than the one before."""
    form = unit.format
    if form.codec is Codec.H264:
        return packetize_h264(with_parameter_sets(unit), most_bytes), 0
    if form.codec is Codec.H265:
        return packetize_h265(with_parameter_sets(unit), most_bytes), 0
    if form.codec is Codec.AAC:
        return packetize_aac(unit.payload, most_bytes), 0
    if form.codec in _G711 and isinstance(form, AudioFormat):
        payloads = packetize_g711(unit.payload, most_bytes, form.channels)
        return payloads, len(payloads[0]) // form.channels if payloads else 0
    if form.codec is Codec.OPUS:
        return [unit.payload], 0  # cannot be cut (RFC 7587, 4.2)
    # An XML document: in pieces, the last of which is marked (ONVIF Streaming Specification, 5.1.2.1.1).
    return [unit.payload[at : at + most_bytes] for at in range(0, len(unit.payload), most_bytes)], 0
