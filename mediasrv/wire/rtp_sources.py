"""The RTP sources of one viewer: who protects which packets. They are made when first used: few viewers need all."""

from __future__ import annotations

import secrets
from functools import cache
from typing import Final

from mediasrv.wire.rtp_sender import PATIENCE, RtpProtector, VideoSources
from mediasrv.wire.srtp import TAG_BYTES, SrtcpReceiver, SrtcpSender, SrtpKeys, SrtpSender, header_extension
from mediasrv.wire.srtp_cm import CmSrtcpReceiver, CmSrtcpSender, CmSrtpSender, outbound_session
from mediasrv.wire.whep_sdp import Offer

_DELAY_STEP_S: Final = 0.01
_MOST_DELAY: Final = 0xFFF


class PeerSources:
    """`ssrcs` are those of media, repair and audio, all distinct: one transport has one session key, and equal SSRCs
    would share nonces. Encodings of one source share its counter.
    """

    def __init__(
        self,
        keys: SrtpKeys,
        offer: Offer,
        ssrcs: tuple[int, int, int],
        delay_s: tuple[float, float],
        patient_delay_s: float,
    ) -> None:
        media, repair, audio = ssrcs
        least_s, most_s = delay_s
        number = offer.playout_delay
        protector = _Protectors(keys).make

        @cache
        def video_source(encoding: str, patience: int) -> RtpProtector:
            delay = playout_delay(max(least_s, patient_delay_s * patience / PATIENCE), most_s)
            extension = header_extension(number, delay) if number else b""
            return protector(media, offer.video[encoding].payload_type, extension)

        @cache
        def repair_source(encoding: str) -> RtpProtector | None:
            payload_type = offer.video[encoding].repair_type
            return None if payload_type is None else protector(repair, payload_type)

        @cache
        def audio_source(encoding: str) -> RtpProtector | None:
            payload_type = offer.audio.get(encoding)
            return None if payload_type is None else protector(audio, payload_type)

        shorter_bytes = TAG_BYTES - keys.tag_bytes
        self.video = VideoSources(video_source, repair_source, bool(number), shorter_bytes)
        self.audio = audio_source


class _Protectors:
    """Makes them with the negotiated algorithm."""

    def __init__(self, keys: SrtpKeys) -> None:
        self._keys = keys
        self._session = cache(lambda _ssrc: outbound_session(keys))

    def make(self, ssrc: int, payload_type: int, extension: bytes = b"") -> RtpProtector:
        if self._keys.aead:
            return SrtpSender(self._keys, ssrc, payload_type, extension)
        return CmSrtpSender(self._session(ssrc), ssrc, payload_type, extension)


def rtcp_sides(
    local: SrtpKeys, remote: SrtpKeys
) -> tuple[SrtcpSender | CmSrtcpSender, SrtcpReceiver | CmSrtcpReceiver]:
    """Who protects our RTCP, and who opens the peer's."""
    if local.aead:
        return SrtcpSender(local), SrtcpReceiver(remote)
    return CmSrtcpSender(local), CmSrtcpReceiver(remote)


def distinct_ssrcs() -> tuple[int, int, int]:
    """Three SSRCs that differ, of media, repair and audio."""
    media, repair, audio = secrets.SystemRandom().sample(range(1 << 32), 3)
    return media, repair, audio


def playout_delay(least_s: float, most_s: float) -> bytes:
    """The value of the header extension: two 12-bit numbers of 10 ms (webrtc.org/experiments/rtp-hdrext)."""
    least, most = (min(_MOST_DELAY, max(0, round(each / _DELAY_STEP_S))) for each in (least_s, most_s))
    return (least << 12 | most).to_bytes(3, "big")
