"""STUN Binding as ICE uses it (RFC 8489, RFC 8445, 7): short-term credentials, IPv4 and IPv6.

Pure: bytes in, values out. A message is read strictly; nothing in it is believed before `is_authentic`.
"""

from __future__ import annotations

import binascii
import hmac
import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from mediasrv.errors import ProtocolError

BINDING_REQUEST: Final = 0x0001
BINDING_SUCCESS: Final = 0x0101
BINDING_ERROR: Final = 0x0111
MAGIC_COOKIE: Final = b"\x21\x12\xa4\x42"

_USERNAME: Final = 0x0006
_MESSAGE_INTEGRITY: Final = 0x0008
_ERROR_CODE: Final = 0x0009
_UNKNOWN_ATTRIBUTES: Final = 0x000A
_XOR_MAPPED_ADDRESS: Final = 0x0020
_PRIORITY: Final = 0x0024
_USE_CANDIDATE: Final = 0x0025
_FINGERPRINT: Final = 0x8028
_ICE_CONTROLLED: Final = 0x8029
_ICE_CONTROLLING: Final = 0x802A

_UNDERSTOOD: Final = frozenset((_USERNAME, _MESSAGE_INTEGRITY, _PRIORITY, _USE_CANDIDATE, 0x001C))
_HEADER_BYTES: Final = 20
_INTEGRITY_BYTES: Final = 24
_FINGERPRINT_BYTES: Final = 8
_FINGERPRINT_XOR: Final = 0x5354554E

_ERROR_REASONS: Final = {420: "Unknown Attribute", 487: "Role Conflict"}


@dataclass(frozen=True, slots=True)
class StunMessage:
    """A STUN message whose form is right. `integrity_at` is the offset of MESSAGE-INTEGRITY, 0 where there is none.

    `unknown` lists the attribute types that must be understood (RFC 8489, 14) and are not.
    """

    kind: int
    transaction_id: bytes
    username: str
    use_candidate: bool
    controlled: bool
    unknown: tuple[int, ...]
    integrity_at: int
    data: bytes

    def is_authentic(self, password: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY (RFC 8489, 14.5) was made with this password, over everything that was read."""
        at = self.integrity_at
        if not at:
            return False
        covered = self.data[:2] + struct.pack(">H", at - _HEADER_BYTES + _INTEGRITY_BYTES) + self.data[4:at]
        return hmac.compare_digest(hmac.digest(password, covered, "sha1"), self.data[at + 4 : at + _INTEGRITY_BYTES])


def parse_message(data: bytes) -> StunMessage:
    """Reads a STUN message. Attributes after MESSAGE-INTEGRITY are not covered by it and are passed over.

    Raises ProtocolError where a length, the cookie or FINGERPRINT is wrong.
    """
    if len(data) < _HEADER_BYTES or data[4:8] != MAGIC_COOKIE or data[0] & 0xC0:
        raise ProtocolError("This is no STUN message.")
    if len(data) != _HEADER_BYTES + int.from_bytes(data[2:4], "big") or len(data) % 4:
        raise ProtocolError("The length of a STUN message is wrong.")
    attributes, integrity_at = _parse_attributes(data)
    username = attributes.get(_USERNAME, b"").decode("utf-8", "replace")
    return StunMessage(
        kind=int.from_bytes(data[:2], "big"),
        transaction_id=data[8:20],
        username=username,
        use_candidate=_USE_CANDIDATE in attributes,
        controlled=_ICE_CONTROLLED in attributes,
        unknown=tuple(kind for kind in attributes if kind < 0x8000 and kind not in _UNDERSTOOD),
        integrity_at=integrity_at,
        data=data,
    )


def build_binding_request(
    transaction_id: bytes,
    username: str,
    password: bytes,
    *,
    priority: int,
    use_candidate: bool = False,
    controlling: bool = True,
    tie_breaker: int = 0,
) -> bytes:
    """A Binding request of an agent in its role (RFC 8445, 7.1)."""
    role = _ICE_CONTROLLING if controlling else _ICE_CONTROLLED
    attributes = [
        _attribute(_USERNAME, username.encode()),
        _attribute(_PRIORITY, struct.pack(">I", priority)),
        _attribute(role, struct.pack(">Q", tie_breaker)),
    ]
    if use_candidate:
        attributes.append(_attribute(_USE_CANDIDATE, b""))
    return _seal(BINDING_REQUEST, transaction_id, b"".join(attributes), password)


def build_success(request: StunMessage, address: tuple[str, int], password: bytes) -> bytes:
    """The answer to a check that came from `address` (host, port)."""
    mapped = _xor_address(address, request.transaction_id)
    return _seal(BINDING_SUCCESS, request.transaction_id, _attribute(_XOR_MAPPED_ADDRESS, mapped), password)


def build_error(request: StunMessage, code: int, password: bytes) -> bytes:
    """An error response to an authentic request: 420 (RFC 8489, 6.3.1) or 487 (RFC 8445, 7.3.1.1)."""
    reason = _ERROR_REASONS[code].encode()
    attributes = _attribute(_ERROR_CODE, struct.pack(">HBB", 0, code // 100, code % 100) + reason)
    if code == 420:
        attributes += _attribute(_UNKNOWN_ATTRIBUTES, struct.pack(f">{len(request.unknown)}H", *request.unknown))
    return _seal(BINDING_ERROR, request.transaction_id, attributes, password)


def _parse_attributes(data: bytes) -> tuple[dict[int, bytes], int]:
    """Attributes up to MESSAGE-INTEGRITY, the first of each type, and where MESSAGE-INTEGRITY begins, or 0."""
    attributes: dict[int, bytes] = {}
    integrity_at = 0
    at = _HEADER_BYTES
    while at < len(data):
        kind, size = struct.unpack_from(">HH", data, at)
        end = at + 4 + size
        if end > len(data):
            raise ProtocolError("A STUN attribute is longer than its message.")
        if kind == _FINGERPRINT:
            _check_fingerprint(data, at, size)
        elif kind == _MESSAGE_INTEGRITY and not integrity_at:
            if size != _INTEGRITY_BYTES - 4:
                raise ProtocolError("The MESSAGE-INTEGRITY of a STUN message has the wrong size.")
            integrity_at = at
        elif not integrity_at:
            attributes.setdefault(kind, data[at + 4 : end])
        at = (end + 3) & ~3
    return attributes, integrity_at


def _check_fingerprint(data: bytes, at: int, size: int) -> None:
    """FINGERPRINT is last and a CRC-32 of all before it (RFC 8489, 14.7)."""
    if size != 4 or at + _FINGERPRINT_BYTES != len(data):
        raise ProtocolError("The FINGERPRINT of a STUN message is not its last attribute.")
    if int.from_bytes(data[at + 4 :], "big") != binascii.crc32(data[:at]) ^ _FINGERPRINT_XOR:
        raise ProtocolError("The FINGERPRINT of a STUN message is wrong.")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def _seal(kind: int, transaction_id: bytes, attributes: bytes, password: bytes) -> bytes:
    """Header, attributes, MESSAGE-INTEGRITY and FINGERPRINT.

    Each of the last two covers a header whose length runs to its own end (RFC 8489, 14.5 and 14.7).
    """
    covered = _header(kind, len(attributes) + _INTEGRITY_BYTES, transaction_id) + attributes
    attributes += _attribute(_MESSAGE_INTEGRITY, hmac.digest(password, covered, "sha1"))
    message = _header(kind, len(attributes) + _FINGERPRINT_BYTES, transaction_id) + attributes
    return message + _attribute(_FINGERPRINT, struct.pack(">I", binascii.crc32(message) ^ _FINGERPRINT_XOR))


def _header(kind: int, size: int, transaction_id: bytes) -> bytes:
    return struct.pack(">HH", kind, size) + MAGIC_COOKIE + transaction_id


def _xor_address(address: tuple[str, int], transaction_id: bytes) -> bytes:
    """XOR-MAPPED-ADDRESS (RFC 8489, 14.2). An IPv4 peer of a dual-stack socket is told its IPv4 address."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    mapped = getattr(host, "ipv4_mapped", None)
    packed = (mapped or host).packed
    mask = MAGIC_COOKIE + transaction_id
    xored = bytes(a ^ b for a, b in zip(packed, mask, strict=False))
    return struct.pack(">BBH", 0, 1 if len(packed) == 4 else 2, address[1] ^ 0x2112) + xored
