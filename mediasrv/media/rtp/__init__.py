"""RTP payloads to access units and back; each payload format has a module of its own.

A depacketizer takes RTP packets where they lie in the receive buffer, `receive(data, start, end, now)`, and calls
`deliver(rtp_timestamp, keyframe, payload, now)` once for each whole access unit: no object is made for a packet, since
a camera sends hundreds a second. It answers where the next packet begins, or that these bytes are no RTP at all: then
the interleaved stream around them must be resynchronised.
"""

from mediasrv.media.rtp.audio import AacDepacketizer, G711Depacketizer, OpusDepacketizer, packetize_aac, packetize_g711
from mediasrv.media.rtp.base import NO_RTP, Deliver, Depacketizer, packets_between, payload_span
from mediasrv.media.rtp.h264 import H264Depacketizer, packetize_h264
from mediasrv.media.rtp.h265 import H265Depacketizer, packetize_h265
from mediasrv.media.rtp.metadata import MetadataDepacketizer
from mediasrv.media.rtp.pictures import PictureDepacketizer

__all__ = [
    "NO_RTP",
    "AacDepacketizer",
    "Deliver",
    "Depacketizer",
    "G711Depacketizer",
    "H264Depacketizer",
    "H265Depacketizer",
    "MetadataDepacketizer",
    "OpusDepacketizer",
    "PictureDepacketizer",
    "packetize_aac",
    "packetize_g711",
    "packetize_h264",
    "packetize_h265",
    "packets_between",
    "payload_span",
]
