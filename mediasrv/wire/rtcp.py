"""RTCP packets: reports, goodbyes and the feedback that a sender of video must understand.

Sources: RFC 3550, 6 (SR, RR, SDES, BYE), RFC 4585, 6 (NACK, PLI), RFC 5104, 4.3.1 (FIR), RFC 5506 (a
compound need not begin with a report), draft-alvestrand-rmcat-remb-03 (REMB). Pure: bytes in, values out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mediasrv.errors import ProtocolError

SR: Final = 200
RR: Final = 201
SDES: Final = 202
BYE: Final = 203
RTPFB: Final = 205
PSFB: Final = 206

_NTP_UNIX_S: Final = 2_208_988_800
"""Seconds from 1900-01-01, where NTP time begins, to 1970-01-01."""
_CNAME: Final = 1
_HEADER_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source (RFC 3550, 6.4.1). `fraction_lost` is in 1/256, `delay_65536` in 1/65536 s."""

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int
    delay_65536: int


@dataclass(frozen=True, slots=True)
class SenderReport:
    """`ntp` is the 64-bit NTP time at which the RTP clock of `ssrc` showed `rtp_timestamp`."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """The canonical name of each source that gives one."""

    cnames: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    ssrcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nack:
    """Generic NACK (RFC 4585, 6.2.1): 16-bit sequence numbers asked for, in the order of the packet."""

    media_ssrc: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeyframeRequest:
    """PLI (RFC 4585, 6.3.1) or FIR (RFC 5104, 4.3.1) for these sources."""

    media_ssrcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BandwidthEstimate:
    """REMB: what the receiver believes it can take of these sources together."""

    bits_per_s: int
    media_ssrcs: tuple[int, ...]


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye | Nack | KeyframeRequest | BandwidthEstimate


def parse_compound(data: bytes) -> list[RtcpPacket]:
    """All packets of a compound that are known here; types that are not are passed over.

    Raises ProtocolError where a length, a count or the version is wrong anywhere in the compound.
    """
    packets: list[RtcpPacket] = []
    start = 0
    while start < len(data):
        end = _packet_end(data, start)
        parse = _PARSERS.get(data[start + 1])
        if parse is not None:
            parsed = parse(data[start] & 0x1F, _without_padding(data, start, end))
            if parsed is not None:
                packets.append(parsed)
        start = end
    return packets


def build_sender_report(report: SenderReport, cname: str) -> bytes:
    """A compound of SR (without report blocks) and SDES with the CNAME (RFC 3550, 6.1), 4-byte aligned."""
    sr = struct.pack(
        ">BBHIQIII",
        0x80,
        SR,
        6,
        report.ssrc,
        report.ntp,
        report.rtp_timestamp & 0xFFFFFFFF,
        report.packets & 0xFFFFFFFF,
        report.octets & 0xFFFFFFFF,
    )
    return sr + build_source_description(report.ssrc, cname)


def build_receiver_report(ssrc: int, blocks: Sequence[ReportBlock] = ()) -> bytes:
    """An RR of at most 31 blocks (RFC 3550, 6.4.2)."""
    body = b"".join(_build_block(block) for block in blocks)
    return struct.pack(">BBHI", 0x80 | len(blocks), RR, 1 + len(body) // 4, ssrc) + body


def build_source_description(ssrc: int, cname: str) -> bytes:
    """An SDES with the CNAME of one source (RFC 3550, 6.5), 4-byte aligned."""
    name = cname.encode()[:255]
    chunk = struct.pack(">IBB", ssrc, _CNAME, len(name)) + name
    chunk += bytes(4 - len(chunk) % 4)
    return struct.pack(">BBH", 0x81, SDES, len(chunk) // 4) + chunk


def build_goodbye(ssrcs: Sequence[int]) -> bytes:
    """A BYE for at most 31 sources (RFC 3550, 6.6)."""
    return struct.pack(f">BBH{len(ssrcs)}I", 0x80 | len(ssrcs), BYE, len(ssrcs), *ssrcs)


def build_nack(sender_ssrc: int, media_ssrc: int, sequences: Sequence[int]) -> bytes:
    """A generic NACK for these 16-bit sequence numbers, one PID/BLP pair each (RFC 4585, 6.2.1)."""
    pairs = b"".join(struct.pack(">HH", sequence & 0xFFFF, 0) for sequence in sequences)
    return struct.pack(">BBHII", 0x81, RTPFB, 2 + len(sequences), sender_ssrc, media_ssrc) + pairs


def build_picture_loss(sender_ssrc: int, media_ssrc: int) -> bytes:
    """A PLI (RFC 4585, 6.3.1)."""
    return struct.pack(">BBHII", 0x81, PSFB, 2, sender_ssrc, media_ssrc)


def ntp_from_us(wall_us: int) -> int:
    """Microseconds since 1970 as a 64-bit NTP timestamp (RFC 3550, 4), which wraps in 2036."""
    return ((wall_us + _NTP_UNIX_S * 1_000_000) << 32) // 1_000_000 & 0xFFFFFFFFFFFFFFFF


def ntp_to_us(ntp: int) -> int:
    """A 64-bit NTP timestamp as microseconds since 1970, rounded to the nearest.

    Values with the high bit clear are taken from the era that begins in 2036 (RFC 4330, 3).
    """
    if ntp >> 63 == 0:
        ntp += 1 << 64
    return ((ntp * 1_000_000 + (1 << 31)) >> 32) - _NTP_UNIX_S * 1_000_000


def _packet_end(data: bytes, start: int) -> int:
    if len(data) - start < _HEADER_BYTES:
        raise ProtocolError("An RTCP packet is shorter than its header.")
    if data[start] >> 6 != 2:
        raise ProtocolError("An RTCP packet is not of version 2.")
    end = start + 4 * (1 + int.from_bytes(data[start + 2 : start + 4], "big"))
    if end > len(data):
        raise ProtocolError("An RTCP packet is longer than its datagram.")
    return end


def _without_padding(data: bytes, start: int, end: int) -> bytes:
    """The body after the four header bytes; padding is counted by its last byte (RFC 3550, 6.4.1)."""
    body = data[start + _HEADER_BYTES : end]
    if not data[start] & 0x20:
        return body
    padding = body[-1] if body else 0
    if not 0 < padding <= len(body) or padding % 4:
        raise ProtocolError("The padding of an RTCP packet is longer than the packet.")
    return body[:-padding]


def _need(body: bytes, size_bytes: int) -> None:
    if len(body) < size_bytes:
        raise ProtocolError("An RTCP packet is too short for what it says it holds.")


def _parse_sender_report(count: int, body: bytes) -> SenderReport:
    _need(body, 24 + 24 * count)
    ssrc, ntp, rtp_timestamp, packets, octets = struct.unpack_from(">IQIII", body)
    return SenderReport(ssrc, ntp, rtp_timestamp, packets, octets, _parse_blocks(count, body, 24))


def _parse_receiver_report(count: int, body: bytes) -> ReceiverReport:
    _need(body, 4 + 24 * count)
    return ReceiverReport(int.from_bytes(body[:4], "big"), _parse_blocks(count, body, 4))


def _parse_blocks(count: int, body: bytes, offset: int) -> tuple[ReportBlock, ...]:
    return tuple(_parse_block(body, offset + 24 * i) for i in range(count))


def _parse_block(body: bytes, offset: int) -> ReportBlock:
    ssrc, loss, highest, jitter, last_sr, delay = struct.unpack_from(">IIIIII", body, offset)
    lost = loss & 0xFFFFFF
    if lost & 0x800000:  # 24 bits with a sign: duplicates can make it negative
        lost -= 1 << 24
    return ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last_sr, delay)


def _build_block(block: ReportBlock) -> bytes:
    loss = block.fraction_lost << 24 | block.packets_lost & 0xFFFFFF
    return struct.pack(
        ">IIIIII", block.ssrc, loss, block.highest_sequence, block.jitter, block.last_sr, block.delay_65536
    )


def _parse_sdes(count: int, body: bytes) -> SourceDescription:
    cnames = []
    offset = 0
    for _ in range(count):
        _need(body, offset + 5)
        ssrc = int.from_bytes(body[offset : offset + 4], "big")
        cname, offset = _parse_chunk(body, offset + 4)
        if cname is not None:
            cnames.append((ssrc, cname))
    return SourceDescription(tuple(cnames))


def _parse_chunk(body: bytes, offset: int) -> tuple[str | None, int]:
    """The items of one SDES chunk; a zero byte ends them, the next chunk begins on four bytes."""
    cname = None
    while True:
        _need(body, offset + 1)
        kind = body[offset]
        if kind == 0:
            return cname, (offset + 4) & ~3
        _need(body, offset + 2)
        end = offset + 2 + body[offset + 1]
        _need(body, end)
        if kind == _CNAME:
            cname = body[offset + 2 : end].decode("utf-8", "replace")
        offset = end


def _parse_goodbye(count: int, body: bytes) -> Goodbye:
    _need(body, 4 * count)
    return Goodbye(struct.unpack_from(f">{count}I", body))


def _parse_transport_feedback(kind: int, body: bytes) -> Nack | None:
    if kind != 1:
        return None
    _need(body, 8)
    sequences: list[int] = []
    for pid, following in struct.iter_unpack(">HH", body[8:]):
        sequences.append(pid)
        sequences.extend((pid + bit + 1) & 0xFFFF for bit in range(16) if following >> bit & 1)
    return Nack(int.from_bytes(body[4:8], "big"), tuple(sequences))


def _parse_payload_feedback(kind: int, body: bytes) -> KeyframeRequest | BandwidthEstimate | None:
    _need(body, 8)
    if kind == 1:
        return KeyframeRequest((int.from_bytes(body[4:8], "big"),))
    if kind == 4:
        if len(body) % 8:
            raise ProtocolError("A FIR does not hold whole entries.")
        return KeyframeRequest(tuple(ssrc for ssrc, _ in struct.iter_unpack(">II", body[8:])))
    if kind == 15 and body[8:12] == b"REMB":
        return _parse_remb(body)
    return None


def _parse_remb(body: bytes) -> BandwidthEstimate:
    _need(body, 16)
    count, estimate = body[12], int.from_bytes(body[13:16], "big")
    _need(body, 16 + 4 * count)
    return BandwidthEstimate((estimate & 0x3FFFF) << (estimate >> 18), struct.unpack_from(f">{count}I", body, 16))


_PARSERS: Final[dict[int, Callable[[int, bytes], RtcpPacket | None]]] = {
    SR: _parse_sender_report,
    RR: _parse_receiver_report,
    SDES: _parse_sdes,
    BYE: _parse_goodbye,
    RTPFB: _parse_transport_feedback,
    PSFB: _parse_payload_feedback,
}
