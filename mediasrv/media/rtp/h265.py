"""H.265 over RTP (RFC 7798): payloads to access units, and back. Section numbers are its own."""

from __future__ import annotations

from typing import Final

from mediasrv.media.rtp.pictures import NalSyntax, PictureDepacketizer, packetize_nals

_HEADER_BYTES: Final = 2
_AP: Final = 48
_FU: Final = 49


class H265Depacketizer(PictureDepacketizer):
    """Single NAL units, aggregation packets and fragmentation units without decoding order numbers (4.4.1 to 4.4.3).

    Keyframes are IRAP pictures: IDR, CRA and BLA (ITU-T H.265, 3.68). A sender that sets `sprop-max-don-diff` puts
    decoding order numbers into its packets and must be refused before it comes here.
    """

    __slots__ = ()

    syntax = NalSyntax(
        type_shift=1,
        type_mask=0x3F,
        set_types=(32, 33, 34),
        first_slice=0,
        last_slice=31,
        random_access=frozenset(range(16, 22)),
        delimiter=35,
        sei=39,
        fu_mask=0x7E,
        fu_mark=_FU << 1,
        fu_bytes=_HEADER_BYTES + 1,
    )

    def _take_payload(self, data: bytes, at: int, end: int, now: float) -> None:
        kind = data[at] >> 1 & 0x3F
        if kind < _AP:
            self._take_nal(data, at, end, now)
        elif kind == _AP:
            self._take_aggregate(data, at + _HEADER_BYTES, end, now)
        else:
            self._break(now)  # PACI (4.4.4) and what is not specified: the pictures cannot be put together

    def _whole_header(self, data: bytes, at: int, kind: int) -> bytes:
        return bytes((data[at] & 0x81 | kind << 1, data[at + 1]))


def packetize_h265(payload: bytes, most_bytes: int) -> list[bytes]:
    """RTP payloads, in order, for one access unit of length-prefixed NAL units, without decoding order numbers.

    None is longer than `most_bytes` (at least 4). Neighbouring NAL units that fit together share an aggregation packet
    (4.4.2), so the parameter sets travel together; see `packetize_nals` for the rest.
    """
    return packetize_nals(payload, most_bytes, H265Depacketizer.syntax, _aggregate_header)


def _aggregate_header(nals: list[bytes]) -> bytes:
    """Of an aggregation packet (4.4.2): forbidden bit of any, the lowest layer and temporal id of all."""
    forbidden = 0x80 & max(nal[0] for nal in nals)
    layer_id = min((nal[0] & 1) << 5 | nal[1] >> 3 for nal in nals)
    temporal_id = min(nal[1] & 0x07 for nal in nals)
    return bytes((forbidden | _AP << 1 | layer_id >> 5, (layer_id & 0x1F) << 3 | temporal_id))
