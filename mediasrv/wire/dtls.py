"""DTLS server for DTLS-SRTP (RFC 5764) as a sans-IO core: datagrams and timer in, datagrams and keys out.

OpenSSL works on memory buffers here and never sees a socket. The peer is known by the fingerprint of its
certificate in the offer (RFC 8122), so certificates are self-signed and not checked against any authority.
"""

from __future__ import annotations

import datetime
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from mediasrv.errors import ProtocolError
from mediasrv.wire.srtp import KEY_BYTES, SALT_BYTES, SrtpKeys

DATAGRAM_BYTES: Final = 1200
"""No DTLS datagram we send is longer."""

_GCM: Final = b"SRTP_AEAD_AES_128_GCM"
_CM: Final = b"SRTP_AES128_CM_SHA1_80"
_SALT_BYTES: Final = {_GCM: SALT_BYTES, _CM: 14}
"""Profiles (RFC 7714, 14.2; RFC 5764, 4.1.2) and the size of their salts."""
_EXPORTER_LABEL: Final = b"EXTRACTOR-dtls_srtp"
_CIPHERS: Final = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305"
_DTLS_1_2: Final = 0xFEFD
"""On the wire, versions of DTLS count down (RFC 6347, 4.1)."""
_RECORD_HEADER_BYTES: Final = 13
_FLIGHT_BYTES: Final = 65_536
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Hash of a certificate as in SDP: `algorithm` such as `sha-256`, `value` the raw bytes."""

    algorithm: str
    value: bytes

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value.hex(':').upper()}"


def parse_fingerprint(algorithm: str, value: str) -> Fingerprint | None:
    """An `a=fingerprint` value (RFC 8122, 5); None for a hash that is not accepted here (SHA-1, MD5)."""
    known = _HASHES.get(algorithm.lower())
    if known is None:
        return None
    try:
        raw = bytes.fromhex(value.replace(":", ""))
    except ValueError as broken:
        raise ProtocolError("A certificate fingerprint is not hexadecimal.") from broken
    if len(raw) != known.digest_size:
        raise ProtocolError("A certificate fingerprint has the wrong length.")
    return Fingerprint(algorithm.lower(), raw)


class DtlsIdentity:
    """Certificate and key of this server's start, shared by all its connections. With `srtp_sha1` viewers that do not
    know AEAD_AES_128_GCM get AES_CM_128_HMAC_SHA1_80.
    """

    def __init__(self, not_before: datetime.datetime, *, srtp_sha1: bool = True) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed(key, not_before)
        self.fingerprint = Fingerprint("sha-256", certificate.fingerprint(hashes.SHA256()))
        self.context = _server_context(certificate, key, srtp_sha1)


class DtlsServer:
    """The passive side of one handshake, then the keeper of its connection.

    Hand each datagram to `receive` and each expiry of `timeout_s` to `handle_timeout`, and send what
    `datagrams_to_send` gives after either. `local_keys` protect what we send, `remote_keys` what the peer
    sends; both are None until the handshake is done and the peer's certificate is the one it announced.
    """

    def __init__(self, identity: DtlsIdentity, peer: tuple[Fingerprint, ...]) -> None:
        self._connection = SSL.Connection(identity.context, None)
        self._connection.set_accept_state()
        self._connection.set_ciphertext_mtu(DATAGRAM_BYTES)
        self._peer = peer
        self.local_keys: SrtpKeys | None = None
        self.remote_keys: SrtpKeys | None = None
        self.closed = False
        """Whether the peer has said goodbye (close_notify)."""

    def receive(self, datagram: bytes) -> None:
        """Takes one datagram. Raises ProtocolError when the handshake has failed for good."""
        self._connection.bio_write(datagram)
        if self.local_keys is None:
            self._handshake()
        else:
            self._drain()

    def timeout_s(self) -> float | None:
        """Seconds until `handle_timeout` is due, None while no answer is outstanding."""
        return self._connection.DTLSv1_get_timeout() if self.local_keys is None else None

    def handle_timeout(self) -> None:
        """Repeats the last flight if it is due. Raises ProtocolError when it was repeated too often."""
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as failed:
            raise ProtocolError("The DTLS handshake timed out.", code="dtls_failed") from failed

    def close(self) -> None:
        """Queues close_notify; harmless in any state."""
        if self.local_keys is not None:
            try:
                self._connection.shutdown()
            except SSL.Error:
                self.closed = True

    def datagrams_to_send(self) -> list[bytes]:
        """Takes what OpenSSL wants to send, cut at records: a memory buffer forgets where datagrams ended."""
        try:
            flight = self._connection.bio_read(_FLIGHT_BYTES)
        except SSL.Error:
            return []
        return _join_records(_split_records(flight))

    def _handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as failed:
            raise ProtocolError("The DTLS handshake failed.", code="dtls_failed") from failed
        self._check_peer()
        self._export_keys()

    def _check_peer(self) -> None:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        for announced in self._peer:
            digest = certificate.fingerprint(_HASHES[announced.algorithm]) if certificate else b""
            if not hmac.compare_digest(digest, announced.value):
                raise ProtocolError("The peer's certificate is not the one of its offer.", code="dtls_fingerprint")

    def _export_keys(self) -> None:
        """RFC 5764, 4.2: client key, server key, client salt, server salt."""
        profile = self._connection.get_selected_srtp_profile()
        salt_bytes = _SALT_BYTES.get(profile)
        if salt_bytes is None:
            raise ProtocolError("The peer does not offer an SRTP profile that is taken here.", code="srtp_profile")
        material = self._connection.export_keying_material(_EXPORTER_LABEL, 2 * (KEY_BYTES + salt_bytes), None)
        salts, aead = material[2 * KEY_BYTES :], profile == _GCM
        self.remote_keys = SrtpKeys(material[:KEY_BYTES], salts[:salt_bytes], aead)
        self.local_keys = SrtpKeys(material[KEY_BYTES : 2 * KEY_BYTES], salts[salt_bytes:], aead)

    def _drain(self) -> None:
        """Lets OpenSSL see alerts and repeated flights. There is no data channel: application data is dropped."""
        try:
            self._connection.recv(_FLIGHT_BYTES)
        except SSL.WantReadError:
            return
        except SSL.Error:
            self.closed = True


def _self_signed(key: ec.EllipticCurvePrivateKey, not_before: datetime.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mediasrv")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before - datetime.timedelta(days=1))
        .not_valid_after(not_before + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )


def _server_context(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, sha1: bool) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Every certificate passes here: its fingerprint is compared once the handshake is done.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.set_cipher_list(_CIPHERS)
    context.set_tlsext_use_srtp(b":".join((_GCM, _CM) if sha1 else (_GCM,)))
    return context


def _split_records(flight: bytes) -> list[bytes]:
    """DTLS 1.2 records (RFC 6347, 4.1)."""
    records = []
    while flight:
        size = _RECORD_HEADER_BYTES + int.from_bytes(flight[11:13], "big")
        records.append(flight[:size])
        flight = flight[size:]
    return records


def _join_records(records: list[bytes]) -> list[bytes]:
    """As few datagrams of at most DATAGRAM_BYTES as whole records allow."""
    datagrams: list[bytes] = []
    for record in records:
        if datagrams and len(datagrams[-1]) + len(record) <= DATAGRAM_BYTES:
            datagrams[-1] += record
        else:
            datagrams.append(record)
    return datagrams
