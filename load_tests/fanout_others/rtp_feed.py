"""The clip as plain RTP: `python -m load_tests.fanout_others.rtp_feed VIDEO_PORT [AUDIO_PORT]`, until it is ended.

A picture's packets are cut as mediasrv cuts them, so that both servers send as many.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

from load_tests.child import say
from load_tests.clip_on_air import RATE, ClipOnAir
from load_tests.media import ALAW_FRAME_BYTES
from load_tests.webrtc_client import H264_PAYLOAD_TYPE, PCMA_PAYLOAD_TYPE
from mediasrv.media.rtp import packetize_h264
from mediasrv.settings import WebRtcSettings

_HOST: Final = "127.0.0.1"


class RtpFeed:
    def __init__(self, video_port: int, audio_port: int) -> None:
        self._video = (_HOST, video_port)
        self._audio = (_HOST, audio_port)
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._payload_bytes = WebRtcSettings().payload_bytes
        self._sent = 0

    def on_picture(self, number: int, keyframe: bool, payload: bytes) -> None:
        payloads = packetize_h264(payload, self._payload_bytes)
        timestamp = number * 90_000 // RATE & 0xFFFFFFFF
        for place, one in enumerate(payloads):
            kind = H264_PAYLOAD_TYPE | (0x80 if place + 1 == len(payloads) else 0)
            header = struct.pack(">BBHII", 0x80, kind, self._sent & 0xFFFF, timestamp, 1)
            self._sock.sendto(header + one, self._video)
            self._sent += 1

    def on_sound(self, number: int, payload: bytes) -> None:
        timestamp = number * ALAW_FRAME_BYTES & 0xFFFFFFFF
        header = struct.pack(">BBHII", 0x80, PCMA_PAYLOAD_TYPE, number & 0xFFFF, timestamp, 2)
        self._sock.sendto(header + payload, self._audio)


def feed(argv: Sequence[str]) -> int:
    video_port, *audio = (int(word) for word in argv)
    source = RtpFeed(video_port, audio[0] if audio else 0)
    air = ClipOnAir(audio=bool(audio))
    say({})
    asyncio.run(air.run(source.on_picture, source.on_sound if audio else None))
    return 0


if __name__ == "__main__":
    sys.exit(feed(sys.argv[1:]))
