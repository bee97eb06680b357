"""How readers come in: accepting connections within bounds, TLS and its certificate, the pair of UDP sockets."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mediasrv.errors import SettingsError
from mediasrv.settings import RtspServeSettings
from mediasrv.storage.keys import private_pem, write_private
from mediasrv.wire.ports import opening
from mediasrv.wire.udp import open_socket

log = logging.getLogger(__name__)

BACKLOG: Final = 128
SEND_BUFFER_BYTES: Final = 512 * 1024
"""The kernel would let megabytes wait for a slow reader, who would then see the past."""
_LIFE: Final = timedelta(days=3650)
_DAY: Final = timedelta(days=1)
_PAIR_ATTEMPTS: Final = 32
_FULL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_FULL_S: Final = 0.5
_USER_TIMEOUT_MS: Final = 20_000
_KEEPALIVE: Final = (
    (socket.TCP_KEEPIDLE, 20),
    (socket.TCP_KEEPINTVL, 5),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS),
)
"""A peer that vanished without a word is gone after 35 s, or 20 s after the first byte it did not acknowledge."""

Accepted = Callable[[socket.socket, str], None]
"""`(socket, address)` takes over the socket."""


def open_listener(host: str, port: int) -> socket.socket:
    """A listening non-blocking socket; the caller closes it. Raises SettingsError where the port cannot be had."""
    with opening(socket.SOCK_STREAM, host, port, "RTSP") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    return sock


async def accept(listener: socket.socket, accepted: Accepted) -> None:
    """Accepts until cancelled. Out of sockets, it waits a little instead of ending."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, address = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno in _FULL:
                log.warning("no more RTSP connections can be taken now: %s", error.strerror)
            await asyncio.sleep(_FULL_S if error.errno in _FULL else 0)
            continue
        try:
            _prepare(sock)
        except OSError:  # gone before it was looked at
            sock.close()
        else:
            accepted(sock, str(address[0]))


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def open_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Bound UDP sockets of RTP and RTCP, on neighbouring ports, the first even (RFC 3550, 11); the caller closes them.

    Port 0 is any free pair. Raises SettingsError.
    """
    for _ in range(_PAIR_ATTEMPTS):
        rtp = open_socket(host, port)
        first = rtp.getsockname()[1]
        try:
            if first % 2 == 0:
                return rtp, open_socket(host, first + 1)
        except SettingsError:
            if port:
                rtp.close()
                raise
        rtp.close()
        if port:
            raise SettingsError("rtsp_serve.udp_port must be even: RTCP takes the one behind it.")
    raise SettingsError(f"No pair of UDP ports of {host} is free.", code="port_unusable")


def tls_context(settings: RtspServeSettings, directory: Path) -> ssl.SSLContext:
    """Of RTSPS. Makes a certificate in `directory` where none is configured. Raises SettingsError."""
    certificate, key = Path(settings.certificate_file), Path(settings.key_file)
    if not settings.certificate_file:
        certificate, key = directory / "rtsps.crt", directory / "rtsps.key"
        if not (certificate.exists() and key.exists()):
            _make_certificate(settings.host, certificate, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"The certificate {certificate} and its key {key} cannot be used: {error}.") from error
    return context


def _make_certificate(host: str, certificate_file: Path, key_file: Path) -> None:
    """Signed by itself, as cameras have theirs: whoever connects may pin its fingerprint, which is logged once."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mediasrv")]), datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.DNSName(socket.gethostname()), x509.IPAddress(ipaddress.ip_address(host))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_file, private_pem(key))
    write_private(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    log.info("made a certificate for RTSPS, %s; its SHA-256 fingerprint is %s", certificate_file, fingerprint)
