"""SRTP and SRTCP with AES_CM_128_HMAC_SHA1_80 (RFC 3711; RFC 5764, 4.1.2) by libsrtp.

For viewers that do not know AEAD_AES_128_GCM, such as GStreamer 1.22. Each packet is protected by a call of its own,
which costs twice as much as `wire.srtp`. Senders and receivers have the same methods as those there.
"""

from __future__ import annotations

from typing import Final

import pylibsrtp

from mediasrv.errors import ProtocolError
from mediasrv.wire.srtp import SrtpKeys

_RESENT_PACKETS: Final = 8192
"""So far back a packet may be sent again."""


def outbound_session(keys: SrtpKeys) -> pylibsrtp.Session:
    """That of one source, which all its payload types share: libsrtp counts the ROC itself, from 0."""
    policy = _policy(keys, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
    policy.allow_repeat_tx = True
    policy.window_size = _RESENT_PACKETS
    return pylibsrtp.Session(policy)


class CmSrtpSender:
    """Protects RTP packets of one source and payload type. `index` is that of `SrtpSender`."""

    def __init__(self, session: pylibsrtp.Session, ssrc: int, payload_type: int, extension: bytes = b"") -> None:
        self._session = session
        self._ssrc = ssrc.to_bytes(4, "big")
        self._payload_type = payload_type
        self._extension = extension

    def protect_run(
        self, index: int, payloads: list[bytes], timestamp: int, marked: bool, extended: bool = False
    ) -> bytes:
        """Datagrams of consecutive packets from `index` on, joined. Raises ProtocolError for one too old to be sent
        again.
        """
        first = 0x90 if extended else 0x80
        tail = (timestamp & 0xFFFFFFFF).to_bytes(4, "big") + self._ssrc + (self._extension if extended else b"")
        last = len(payloads) - 1
        datagrams = []
        for place, payload in enumerate(payloads):
            kind = self._payload_type | (0x80 if marked and place == last else 0)
            header = bytes((first, kind)) + (index + place & 0xFFFF).to_bytes(2, "big") + tail
            datagrams.append(self._protect(header + payload))
        return b"".join(datagrams)

    def _protect(self, packet: bytes) -> bytes:
        try:
            return self._session.protect(packet)
        except pylibsrtp.Error as refused:
            raise ProtocolError("A packet cannot be protected any more.") from refused


class CmSrtcpSender:
    """Protects our RTCP."""

    def __init__(self, keys: SrtpKeys) -> None:
        self._session = pylibsrtp.Session(_policy(keys, pylibsrtp.Policy.SSRC_ANY_OUTBOUND))

    def protect(self, compound: bytes) -> bytes:
        """Raises ProtocolError when the keys are used up."""
        try:
            return self._session.protect_rtcp(compound)
        except pylibsrtp.Error as failed:
            raise ProtocolError("The SRTCP keys are used up.") from failed


class CmSrtcpReceiver:
    """Opens a peer's RTCP and refuses what was altered or comes again."""

    def __init__(self, keys: SrtpKeys) -> None:
        self._session = pylibsrtp.Session(_policy(keys, pylibsrtp.Policy.SSRC_ANY_INBOUND))

    def unprotect(self, data: bytes) -> bytes:
        """The plain compound. Raises ProtocolError where it is too short, not authentic, or a replay."""
        try:
            return self._session.unprotect_rtcp(data)
        except (pylibsrtp.Error, ValueError) as refused:
            raise ProtocolError("An SRTCP packet is not authentic, or came twice.") from refused


def _policy(keys: SrtpKeys, ssrc_type: int) -> pylibsrtp.Policy:
    profile = pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80
    return pylibsrtp.Policy(key=keys.key + keys.salt, ssrc_type=ssrc_type, srtp_profile=profile)
