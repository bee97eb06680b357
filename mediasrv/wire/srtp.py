"""SRTP and SRTCP with AEAD_AES_128_GCM (RFC 7714), keys derived as RFC 3711, 4.3 says.

`SrtpSender.protect_run` is the hot path of the fan-out: it is called for each picture of each viewer.

A GCM nonce is made of (SSRC, packet index), so an index must never be used for other bytes: two
contents under one nonce give the authentication key away. Who calls keeps (SSRC, ROC, sequence) ->
(header, payload) a function (`wire.rtp_sender`); nothing here remembers what was sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mediasrv.errors import ProtocolError

KEY_BYTES: Final = 16
SALT_BYTES: Final = 12
TAG_BYTES: Final = 16
CM_TAG_BYTES: Final = 10
RTP_HEADER_BYTES: Final = 12
OVERHEAD_BYTES: Final = RTP_HEADER_BYTES + TAG_BYTES
"""What a datagram holds beside its RTP payload."""
EXTENSION_BYTES: Final = 8
"""What one with a header extension holds besides (RFC 8285, 4.2: the header, and one element of up to three bytes)."""

_LABEL_RTP_KEY: Final = 0
_LABEL_RTP_SALT: Final = 2
_LABEL_RTCP_KEY: Final = 3
_LABEL_RTCP_SALT: Final = 5

_RTCP_HEADER_BYTES: Final = 8
_RTCP_TRAILER_BYTES: Final = 4
_ENCRYPTED: Final = 0x80000000
_RTCP_SOURCES: Final = 16
_REPLAY_WINDOW: Final = 128

_BYTES: Final = [bytes((i,)) for i in range(256)]


@dataclass(frozen=True, slots=True, repr=False)
class SrtpKeys:
    """Master key and master salt of one direction, for AEAD_AES_128_GCM or, where not `aead`, for
    AES_CM_128_HMAC_SHA1_80 (`wire.srtp_cm`). Without repr: they are secret.
    """

    key: bytes
    salt: bytes
    aead: bool = True

    @property
    def tag_bytes(self) -> int:
        """What authentication adds to an RTP packet."""
        return TAG_BYTES if self.aead else CM_TAG_BYTES


def derive(keys: SrtpKeys, label: int, size_bytes: int) -> bytes:
    """A session key or salt (RFC 3711, 4.3.1, key derivation rate 0; salt widened as RFC 7714, 11 says)."""
    block = bytearray(keys.salt.ljust(14, b"\0") + b"\0\0")
    block[7] ^= label
    stream = Cipher(algorithms.AES(keys.key), modes.CTR(bytes(block))).encryptor()
    return stream.update(bytes(size_bytes))


def header_extension(identifier: int, value: bytes) -> bytes:
    """A one-byte-header extension (RFC 8285, 4.2) with one element of three bytes: EXTENSION_BYTES long."""
    return b"\xbe\xde\0\1" + bytes((identifier << 4 | len(value) - 1,)) + value


class SrtpSender:
    """Protects the RTP packets of one source. `index` is the 48-bit packet index, ROC above the sequence number.

    `extension` is what the headers of `extended` runs carry besides: empty, or EXTENSION_BYTES long.
    """

    __slots__ = ("_encrypt", "_extension", "_head", "_marked", "_nonce_base", "_nonce_ends", "_ssrc")

    def __init__(self, keys: SrtpKeys, ssrc: int, payload_type: int, extension: bytes = b"") -> None:
        self._encrypt = AESGCM(derive(keys, _LABEL_RTP_KEY, KEY_BYTES)).encrypt
        salt = int.from_bytes(derive(keys, _LABEL_RTP_SALT, SALT_BYTES), "big")
        # RFC 7714, 8.1: salt xor (SSRC, ROC, sequence). Packets whose indices differ in the last byte only have
        # nonces that do: all last bytes are made here, in the order of the index.
        self._nonce_base = salt ^ ssrc << 48
        self._nonce_ends = [_BYTES[self._nonce_base & 0xFF ^ i] for i in range(256)]
        self._ssrc = ssrc.to_bytes(4, "big")
        self._extension = extension
        # Plain, and with the X bit (RFC 3550, 5.1).
        self._head = [bytes((first, payload_type)) for first in (0x80, 0x90)]
        self._marked = [bytes((first, payload_type | 0x80)) for first in (0x80, 0x90)]

    def protect_run(
        self, index: int, payloads: list[bytes], timestamp: int, marked: bool, extended: bool = False
    ) -> bytes:
        """Datagrams of consecutive packets from `index` on, joined for one GSO send; `marked` sets the last marker bit.

        The result is the same to the bit for the same arguments.
        """
        count, low = len(payloads), index & 0xFF
        if low + count > 256:
            split = 256 - low
            first = self.protect_run(index, payloads[:split], timestamp, False, extended)
            return first + self.protect_run(index + split, payloads[split:], timestamp, marked, extended)
        tail = (timestamp & 0xFFFFFFFF).to_bytes(4, "big") + self._ssrc
        if extended:
            tail += self._extension
        front = self._head[extended] + _BYTES[index >> 8 & 0xFF]
        headers = [front + number + tail for number in _BYTES[low : low + count]]
        if marked:
            headers[-1] = self._marked[extended] + headers[-1][2:]
        nonce = (self._nonce_base ^ index).to_bytes(12, "big")[:11]
        nonces = [nonce + end for end in self._nonce_ends[low : low + count]]
        datagrams = [b""] * (2 * count)
        datagrams[::2] = headers
        datagrams[1::2] = map(self._encrypt, nonces, payloads, headers)
        return b"".join(datagrams)


class SrtcpSender:
    """Protects our RTCP (RFC 7714, 9). One index for all of it: no nonce can come twice."""

    def __init__(self, keys: SrtpKeys) -> None:
        self._cipher = AESGCM(derive(keys, _LABEL_RTCP_KEY, KEY_BYTES))
        self._salt = int.from_bytes(derive(keys, _LABEL_RTCP_SALT, SALT_BYTES), "big")
        self._index = 0

    def protect(self, compound: bytes) -> bytes:
        """Raises ProtocolError after 2^31 compounds, when the keys are used up (RFC 3711, 9.2)."""
        if self._index >= 0x7FFFFFFF:
            raise ProtocolError("The SRTCP keys are used up.")
        self._index += 1
        header, trailer = compound[:_RTCP_HEADER_BYTES], (_ENCRYPTED | self._index).to_bytes(4, "big")
        nonce = _rtcp_nonce(self._salt, header, self._index)
        return header + self._cipher.encrypt(nonce, compound[_RTCP_HEADER_BYTES:], header + trailer) + trailer


class SrtcpReceiver:
    """Opens a peer's RTCP and refuses what was altered or comes again. At most 16 sources a peer."""

    def __init__(self, keys: SrtpKeys) -> None:
        self._cipher = AESGCM(derive(keys, _LABEL_RTCP_KEY, KEY_BYTES))
        self._salt = int.from_bytes(derive(keys, _LABEL_RTCP_SALT, SALT_BYTES), "big")
        self._windows: dict[bytes, ReplayWindow] = {}

    def unprotect(self, data: bytes) -> bytes:
        """The plain compound. Raises ProtocolError where it is too short, not authentic, or a replay."""
        if len(data) < _RTCP_HEADER_BYTES + TAG_BYTES + _RTCP_TRAILER_BYTES:
            raise ProtocolError("An SRTCP packet is too short.")
        trailer = int.from_bytes(data[-_RTCP_TRAILER_BYTES:], "big")
        index = trailer & 0x7FFFFFFF
        window = self._windows.get(data[4:8])
        if window is not None and not window.may_accept(index):
            raise ProtocolError("An SRTCP packet came twice.")
        compound = self._open(data, index, encrypted=bool(trailer & _ENCRYPTED))
        self._accept(data[4:8], index)
        return compound

    def _open(self, data: bytes, index: int, *, encrypted: bool) -> bytes:
        body, trailer = data[:-_RTCP_TRAILER_BYTES], data[-_RTCP_TRAILER_BYTES:]
        # RFC 7714, 9.2 and 9.3: what is not encrypted is associated data, the trailer always.
        split = _RTCP_HEADER_BYTES if encrypted else len(body) - TAG_BYTES
        try:
            plain = self._cipher.decrypt(_rtcp_nonce(self._salt, data, index), body[split:], body[:split] + trailer)
        except InvalidTag as altered:
            raise ProtocolError("An SRTCP packet is not authentic.") from altered
        return body[:split] + plain

    def _accept(self, ssrc: bytes, index: int) -> None:
        window = self._windows.get(ssrc)
        if window is None:
            if len(self._windows) >= _RTCP_SOURCES:
                raise ProtocolError("A peer sends RTCP from too many sources.")
            window = self._windows[ssrc] = ReplayWindow()
        window.accept(index)


class ReplayWindow:
    """Which of the last 128 indices were seen (RFC 3711, 3.3.2)."""

    __slots__ = ("_newest", "_seen")

    def __init__(self) -> None:
        self._newest = -1
        self._seen = 0

    def may_accept(self, index: int) -> bool:
        age = self._newest - index
        return age < 0 or (age < _REPLAY_WINDOW and not self._seen >> age & 1)

    def accept(self, index: int) -> None:
        """Notes an authentic index that `may_accept`."""
        age = self._newest - index
        if age >= 0:
            self._seen |= 1 << age
            return
        self._seen = (self._seen << min(-age, _REPLAY_WINDOW) | 1) & (1 << _REPLAY_WINDOW) - 1
        self._newest = index


def _rtcp_nonce(salt: int, header: bytes, index: int) -> bytes:
    """RFC 7714, 9.1: salt xor (0, SSRC, 0, index)."""
    return (salt ^ int.from_bytes(header[4:8], "big") << 48 ^ index).to_bytes(12, "big")
